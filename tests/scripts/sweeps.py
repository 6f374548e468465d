"""Helpers of the tests that run eabench: a small spec, starting and killing sweeps, reading tables. EABENCH names the
program (default: build/release/eabench)."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EABENCH = os.environ.get("EABENCH", str(ROOT / "build/release/eabench"))
needs_eabench = pytest.mark.skipif(not Path(EABENCH).exists(), reason=f"{EABENCH} is not built; EABENCH names another")

TINY = """[task recurrence]
basis = 4, 8
delay = 2, 3
[model]
d_model = 8
heads = 2
context = 12
[train]
mechanism = dpa, ea
steps = 40
batch = 8
eval_every = 20
eval_tokens = 200
seed = 1:3
"""
CELLS = 24
LONG = ["--set", "train.steps=100000000", "--set", "train.stop_when_solved=off", "--set", "train.eval_every=1000000"]
TIMES = ("train_s", "wall_s", "tokens_per_s", "fleet_tokens_per_s", "gflop_per_s", "peak_gflop_per_s", "peak_fraction",
         "other_cores", "steal_cores", "marks")


def command(spec: Path | str, *options) -> list[str]:
    return [EABENCH, "sweep", str(spec), "--backend", "cpu", *map(str, options)]


def sweep(spec: Path | str, *options, **keywords) -> subprocess.CompletedProcess:
    keywords.setdefault("timeout", 300)
    return subprocess.run(command(spec, *options), check=False, capture_output=True, text=True, **keywords)


def trained(spec: Path, name: str, *options: str) -> Path:
    """The folder `name` beside the spec, after a sweep that must succeed."""
    run = spec.parent / name
    done = sweep(spec, "--out", run, *options)
    assert done.returncode == 0, done.stderr
    return run


def start(spec: Path | str, *options, **keywords) -> subprocess.Popen:
    keywords.setdefault("stdout", subprocess.PIPE)
    keywords.setdefault("stderr", subprocess.PIPE)
    return subprocess.Popen(command(spec, *options), text=True, **keywords)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, strict=True))


def without_times(path: Path) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows(path)]


def expect_same_tables(run: Path, whole: Path, *tables: str) -> None:
    """Expects equal tables (default: accuracy.csv and curves.csv), and an equal throughput.csv except for its times."""
    for name in tables or ("accuracy.csv", "curves.csv"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert without_times(run / "throughput.csv") == without_times(whole / "throughput.csv")


def one_line(done: subprocess.CompletedProcess, code: int, *parts: str, command: str = "sweep") -> None:
    """Expects the exit code, no output, and one message that contains all `parts`."""
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith(f"eabench {command}: "), done.stderr
    for part in parts:
        assert part in done.stderr
    assert done.stdout == ""


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"the condition is still false after {seconds} s"
        time.sleep(0.01)


LONGER = ("--set", "train.steps=400", "--set", "train.stop_when_solved=off")  # long enough to be killed halfway


def kill_within(seconds: float, instants: random.Random, *call) -> bool:
    """Starts a sweep and kills it at a random instant; False if it ended before."""
    process = start(*call, "--workers", "2", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(instants.uniform(0, seconds))
    process.kill()
    return process.wait() == -signal.SIGKILL


def timed(*call) -> float:
    """The time of a sweep on this machine in s, within which tests draw their instants."""
    began = time.monotonic()
    done = sweep(*call, "--workers", "2")
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began
