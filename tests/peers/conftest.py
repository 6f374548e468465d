"""Finds the program, the library, scripts/peers and python/; traces cells on demand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "python")]
EABENCH = Path(os.environ.get("EABENCH", ROOT / "build" / "release" / "eabench"))


@pytest.fixture(scope="session")
def trace(tmp_path_factory: pytest.TempPathFactory):
    """trace(backend, steps, options): the folder of `eabench trace` for one cell; options are "section.key=value"."""
    if not os.access(EABENCH, os.X_OK):
        pytest.fail(f"{EABENCH} does not exist; build it, or set EABENCH to the program to test", pytrace=False)

    def run(backend: str, steps: int, options: list[str]) -> Path:
        folder = tmp_path_factory.mktemp("trace")
        (folder / "s.ini").write_text("[task recurrence]\n")
        out = folder / "out"
        sets = [word for option in options for word in ("--set", option)]
        subprocess.run([EABENCH, "trace", folder / "s.ini", "--backend", backend, "--steps", str(steps),
                        "--out", out, *sets], check=True, capture_output=True, text=True, timeout=120)
        return out

    return run
