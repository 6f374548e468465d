"""Command lines of the scripts: errors in one line, and times in the grammar of eabench (host/base/duration.h)."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from .printable import printable

NUMBER = r"((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
BARE = re.compile(NUMBER)
UNITS = re.compile("(?=.)" + "".join(f"(?:{NUMBER}{unit})?" for unit in "dhms"), re.ASCII)
UNIT_S = (86400, 3600, 60, 1)
ALLOWED = "seconds, or like 90s, 10m, 1h30m, 2d"


class Arguments(argparse.ArgumentParser):
    """Its errors are one line, without the usage before them."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {printable(message, 300)}; --help shows the options\n")


def seconds(text: str) -> float:
    """For argparse's `type`: 0 to 1e9 seconds."""
    bare, units = BARE.fullmatch(text), UNITS.fullmatch(text)
    found = (text,) if bare else units.groups("0") if units else None
    total = sum(float(value) * unit for value, unit in zip(found, (1,) if bare else UNIT_S)) if found else 2e9
    if not found:
        raise argparse.ArgumentTypeError(f"'{text[:40]}' is no time; allowed: {ALLOWED}")
    if total > 1e9:
        raise argparse.ArgumentTypeError(f"'{text[:40]}'; at most 1e9 s are allowed: {ALLOWED}")
    return total
