"""What the tests of the sweep share: a small spec, its tables, starting and killing. EABENCH names the binary (default:
build/release/eabench)."""

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
needs_eabench = pytest.mark.skipif(not Path(EABENCH).exists(), reason=f"{EABENCH} is not built; EABENCH names the "
                                                                      "binary")

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
TIMES = ("train_s", "wall_s", "tokens_per_s", "fleet_tokens_per_s", "gflop_per_s", "peak_gflop_per_s", "peak_fraction")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """One cache of measured peaks for all tests, away from the user's. For sanitizers: GLib's slices hide from them who
    owns memory, and a process that ends at once does not join its threads."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("G_SLICE", "always-malloc")
    monkeypatch.setenv("TSAN_OPTIONS", os.environ.get("TSAN_OPTIONS", "") + ":report_thread_leaks=0")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.ini"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "tiny.ini").write_text(TINY)
    done = sweep(folder / "tiny.ini", "--out", folder / "run", "--workers", "1", "--save-curves")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def command(spec: Path | str, *options) -> list[str]:
    return [EABENCH, "sweep", str(spec), "--backend", "cpu", *map(str, options)]


def sweep(spec: Path | str, *options, **keywords) -> subprocess.CompletedProcess:
    keywords.setdefault("timeout", 300)
    return subprocess.run(command(spec, *options), check=False, capture_output=True, text=True, **keywords)


def start(spec: Path | str, *options, **keywords) -> subprocess.Popen:
    keywords.setdefault("stdout", subprocess.PIPE)
    keywords.setdefault("stderr", subprocess.PIPE)
    return subprocess.Popen(command(spec, *options), text=True, **keywords)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, strict=True))


def without_times(path: Path) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows(path)]


def one_line(done: subprocess.CompletedProcess, code: int, *parts: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("eabench sweep: "), done.stderr
    for part in parts:
        assert part in done.stderr
    assert done.stdout == ""


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


LONGER = ("--set", "train.steps=400", "--set", "train.stop_when_solved=off")  # long enough to be killed halfway


def kill_within(seconds: float, instants: random.Random, *call) -> bool:
    """Starts a sweep and kills it at a random instant; whether it was killed, and had not ended before."""
    process = start(*call, "--workers", "2", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(instants.uniform(0, seconds))
    process.kill()
    return process.wait() == -signal.SIGKILL


def timed(*call) -> float:
    """The seconds that a sweep takes on this machine: instants drawn within them are neither too early nor too late."""
    began = time.monotonic()
    done = sweep(*call, "--workers", "2")
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began
