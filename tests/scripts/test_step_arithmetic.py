"""The table of tests/cuda/step_arithmetic.py: docs/cuda.md has it, and its model is the one that eabench builds."""

from __future__ import annotations

import re
import subprocess
import sys

from sweeps import EABENCH, ROOT, needs_eabench

sys.path.insert(0, str(ROOT / "tests/cuda"))
import step_arithmetic  # noqa: E402


def test_the_table_is_in_the_docs():
    assert step_arithmetic.table() in (ROOT / "docs/cuda.md").read_text()


@needs_eabench
def test_the_model_is_that_of_the_quick_ladder(tmp_path):
    command = [EABENCH, "sweep", ROOT / "tasks/ladders/quick.ini", "--dry-run", "--backend", "cpu"]
    command += ["--out", tmp_path / "run"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    assert int(re.search(r"parameters +\d+ to (\d+)", done.stdout)[1]) == step_arithmetic.PARAMETERS
