"""A sweep whose device cannot be reset after an error resumes in a new process. Runs on simt, where EAB_SIMT_FAULT
injects such an error."""

from __future__ import annotations

import csv
import os
import subprocess
from pathlib import Path

import pytest
from sweeps import EABENCH

PROGRAM = Path(EABENCH).with_name("eabench_simt")
pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason=f"{PROGRAM} is not built")

SPEC = """[task recurrence]
basis = 4
delay = 2
[model]
d_model = 8
heads = 2
context = 8
mlp_ratio = 1
[train]
mechanism = dpa, ea
steps = 4
batch = 2
eval_every = 4
eval_tokens = 4
seed = 1:2
"""


@pytest.fixture
def sweep(tmp_path):
    (tmp_path / "spec.ini").write_text(SPEC)

    def run(name, *options, **environment):
        command = [PROGRAM, "sweep", tmp_path / "spec.ini", "--backend", "simt", "--out", tmp_path / name, *options]
        return subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, **environment})

    return run


def accuracies(folder: Path) -> dict[tuple[str, str], tuple[str, str]]:
    with (folder / "accuracy.csv").open(newline="") as file:
        return {(row["mechanism"], row["seed"]): (row["status"], row["loss_nats"]) for row in csv.DictReader(file)}


def test_a_fleet_outlives_a_lost_device(sweep, tmp_path):
    """A new process trains the fleet in halves, with the results of an undisturbed run."""
    undisturbed = sweep("undisturbed")
    assert undisturbed.returncode == 0, undisturbed.stderr
    done = sweep("faulty", EAB_SIMT_FAULT="100 for good")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("resuming in a new process") == 1, done.stderr
    assert "4 of 4 cells are done" in done.stdout
    found = accuracies(tmp_path / "faulty")
    assert set(found) == {(mechanism, seed) for mechanism in ("dpa", "ea") for seed in "12"}
    for cell, (status, loss) in accuracies(tmp_path / "undisturbed").items():
        assert found[cell][0] == status == "ok"
        assert abs(float(found[cell][1]) / float(loss) - 1) < 1e-4


def test_a_single_cell_that_loses_the_device_fails(sweep, tmp_path):
    """In fleets of one the running cell counts as failed and is not retried; the others are trained."""
    done = sweep("faulty", "--fleet", "1", EAB_SIMT_FAULT="100 for good")
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("resuming in a new process") == 1, done.stderr
    assert "3 of 4 cells are done; 1 failed" in done.stdout
    assert sorted(status for status, _ in accuracies(tmp_path / "faulty").values()) == ["fail", "ok", "ok", "ok"]


@pytest.mark.parametrize("text", ["", "1", "1:2:3", "0:-1:2:3", "9:1:2:3", "0:1:2:nan", "0:1:2:3:4", "0:1:2:-1"])
def test_a_bad_restart_variable_is_refused(sweep, tmp_path, text):
    done = sweep("refused", EAB_SWEEP_RESTART=text)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "EAB_SWEEP_RESTART" in done.stderr
    assert not (tmp_path / "refused").exists()
