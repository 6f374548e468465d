"""Writing files that others may be reading."""

from __future__ import annotations

import os
from pathlib import Path


def replace_file(path: Path, content: str) -> None:
    """Replaces the file in one step, so that readers never see half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(content, encoding="utf-8", errors="backslashreplace")  # a path may be no UTF-8
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
