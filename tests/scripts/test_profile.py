"""eabench sweep --profile: the shares sum to 100 %, and the results are those of a sweep without it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from sweeps import EABENCH, needs_eabench, rows

pytestmark = needs_eabench

SPEC = """[task recurrence]
basis = 4
delay = 2
[model]
d_model = 16
heads = 2
context = 12
activation = relu, gelu
[train]
steps = 60
batch = 8
eval_every = 20
eval_tokens = 200
stop_when_solved = off
"""


def sweep(spec: Path, out: Path, *options: str) -> str:
    done = subprocess.run(
        [EABENCH, "sweep", str(spec), "--backend", "cpu", "--workers", "2", "--out", str(out), *options],
        capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_profile_adds_up_and_changes_nothing(tmp_path):
    spec = tmp_path / "tiny.ini"
    spec.write_text(SPEC)
    assert "profile of the workers" not in sweep(spec, tmp_path / "plain")
    lines = sweep(spec, tmp_path / "profiled", "--profile").split("profile of the workers")[1].splitlines()[1:]
    assert rows(tmp_path / "plain/accuracy.csv") == rows(tmp_path / "profiled/accuracy.csv")

    calls = {line[:26].strip(): line[26:39].strip() for line in lines}
    shares = {line[:26].strip(): float(line[50:58]) for line in lines}
    assert calls["generate"] == calls["optimizer_step"] == "120"  # 60 steps of 2 cells
    assert shares["all"] == 100
    assert abs(sum(shares[name] for name in ("training", "evaluation", "the sweep's own")) - 100) < 0.1
    assert all(share >= 0 for share in shares.values())


def test_checkpoints_have_a_line(tmp_path):
    spec = tmp_path / "tiny.ini"
    spec.write_text(SPEC)
    lines = sweep(spec, tmp_path / "run", "--profile", "--checkpoint-every", "1e-9").splitlines()
    line = next(line for line in lines if "of it checkpoints" in line)
    own = next(line for line in lines if line.startswith("the sweep's own"))
    assert line.split()[3] == "120"  # one after every step
    assert 0 < float(line.split()[4]) <= float(own.split()[3]) + 0.01
