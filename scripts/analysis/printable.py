"""Text from outside, for one line of a message or a figure. Needs no package: the peers' environment has no pandas."""

from __future__ import annotations

import re

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]")


def printable(text: str, limit: int = 120) -> str:
    """Without control characters, at most `limit` long."""
    text = CONTROL.sub("\N{REPLACEMENT CHARACTER}", re.sub(r"\s+", " ", text))
    return text if len(text) <= limit else text[: limit - 3] + "..."
