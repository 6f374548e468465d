"""docs/cuda.md has the table of tests/cuda/step_arithmetic.py, and both use the model that eabench builds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EABENCH = Path(os.environ.get("EABENCH", ROOT / "build/release/eabench"))
sys.path.insert(0, str(ROOT / "tests/cuda"))
import step_arithmetic  # noqa: E402


def test_the_table_is_in_the_docs():
    assert step_arithmetic.table() in (ROOT / "docs/cuda.md").read_text()


@pytest.mark.skipif(not EABENCH.exists(), reason=f"{EABENCH} is not built")
def test_the_model_is_the_quick_ladders(tmp_path):
    command = [EABENCH, "sweep", ROOT / "tasks/ladders/quick.ini", "--dry-run", "--backend", "cpu"]
    command += ["--out", tmp_path / "run"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    assert int(re.search(r"parameters +\d+ to (\d+)", done.stdout)[1]) == step_arithmetic.PARAMETERS
