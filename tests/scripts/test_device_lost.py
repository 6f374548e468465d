"""A sweep whose device fails for good: it goes on in a fresh process. On the kernels that simt runs, whose reset can be
told to fail (EAB_SIMT_FAULT)."""

from __future__ import annotations

import csv
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("EABENCH", ROOT / "build/release/eabench")).with_name("eabench_simt")
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
def sweep(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("G_SLICE", "always-malloc")
    (tmp_path / "spec.ini").write_text(SPEC)

    def run(name, *options, **environment):
        command = [PROGRAM, "sweep", tmp_path / "spec.ini", "--backend", "simt", "--out", tmp_path / name, *options]
        return subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, **environment})

    return run


def accuracies(folder: Path) -> dict[tuple[str, str], tuple[str, str]]:
    with (folder / "accuracy.csv").open(newline="") as file:
        return {(row["mechanism"], row["seed"]): (row["status"], row["loss_nats"]) for row in csv.DictReader(file)}


def test_a_fleet_outlives_a_lost_device(sweep, tmp_path):
    """Its cells are trained by halves in a fresh process, to the results of an undisturbed run."""
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


def test_a_cell_alone_is_to_blame(sweep, tmp_path):
    """Trained one by one, the cell at work has failed, and is not tried again; the others are trained."""
    done = sweep("faulty", "--fleet", "1", EAB_SIMT_FAULT="100 for good")
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("resuming in a new process") == 1, done.stderr
    assert "3 of 4 cells are done; 1 failed" in done.stdout
    assert sorted(status for status, _ in accuracies(tmp_path / "faulty").values()) == ["fail", "ok", "ok", "ok"]


@pytest.mark.parametrize("text", ["", "1", "1:2:3", "0:-1:2:3", "9:1:2:3", "0:1:2:nan", "0:1:2:3:4", "0:1:2:-1"])
def test_what_the_environment_says_is_checked(sweep, tmp_path, text):
    done = sweep("refused", EAB_SWEEP_RESTART=text)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "EAB_SWEEP_RESTART" in done.stderr
    assert not (tmp_path / "refused").exists()
