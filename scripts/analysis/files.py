"""Writing files that others may be reading, and errors of files in one line."""

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


def unusable(error: OSError, written: Path | None) -> str:
    """What an error of reading runs, or of writing --csv, says in one line."""
    allowed = ("--csv takes a file that can be written" if error.filename == str(written) else
               "a RUN is a folder that can be read")
    return f"{error.filename}: {error.strerror}; {allowed}"
