"""The memory that a dry run states is the most that the sweep has resident (the kernel's VmHWM)."""
from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest

from sweeps import EABENCH

SPEC = """[task recurrence]
basis = 8
[train]
seed = 1, 2
steps = 2
eval_tokens = 1
"""
UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}

SHAPES = {
    "default": (1, ()),
    "two workers": (2, ("train.batch=20000", "model.d_model=8", "model.context=8")),
    "many sequences": (1, ("train.batch=65536", "model.d_model=4", "model.context=8")),
    "long": (1, ("model.context=300", "train.batch=4")),
    "deep": (1, ("model.layers=24", "train.batch=4", "model.context=8")),
    "weights": (1, ("model.d_model=512", "model.layers=2", "train.batch=1", "model.context=8")),
    "sgd": (1, ("model.d_model=512", "train.optimizer=sgd", "train.batch=1", "model.context=8")),
}


def peak_bytes(command: list[object]) -> float:
    """The largest VmHWM of the process, asked for every millisecond; it grows only."""
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    status, peak = Path(f"/proc/{process.pid}/status"), 0.0
    while process.poll() is None:
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        peak = max(peak, 1024 * float(found[1]) if found else 0)
        time.sleep(0.001)
    assert process.returncode == 0
    return peak


@pytest.mark.parametrize("shape", SHAPES)
def test_the_stated_memory_is_within_a_factor_of_the_peak(shape: str, tmp_path: Path):
    workers, sets = SHAPES[shape]
    (tmp_path / "s.ini").write_text(SPEC)
    command = [EABENCH, "sweep", tmp_path / "s.ini", "--backend", "cpu", "--workers", workers]
    command += ["--out", tmp_path / "run"]
    for option in sets:
        command += ["--set", option]
    dry = subprocess.run([*map(str, command), "--dry-run"], capture_output=True, text=True, check=True)
    number, unit = re.search(r"^memory +([0-9.]+) (\w+) at most", dry.stdout, re.MULTILINE).groups()
    ratio = float(number) * UNITS[unit] / peak_bytes(command)
    assert 1 / 1.5 < ratio < 1.5


def test_long_contexts_and_large_batches_fit(tmp_path: Path):
    """Micro-batches bound the activations, so 33 million tokens a step take half a gigabyte, not 55."""
    (tmp_path / "s.ini").write_text(SPEC)
    command = [EABENCH, "sweep", tmp_path / "s.ini", "--backend", "cpu", "--dry-run", "--list", "--set",
               "model.context=8192", "--set", "train.batch=4096"]
    assert subprocess.run(list(map(str, command)), capture_output=True, check=False).returncode == 0


def test_a_step_too_long_to_measure_is_estimated_by_flop(tmp_path: Path):
    """One sequence has 5e11 FLOP, which 0.6 s at a twentieth of the peak do not cover."""
    (tmp_path / "s.ini").write_text(SPEC)
    command = [EABENCH, "sweep", tmp_path / "s.ini", "--backend", "cpu", "--dry-run", "--workers", 1,
               "--set", "train.batch=1", "--set", "model.d_model=256"]
    long = subprocess.run([*map(str, command), "--set", "model.context=16384"], capture_output=True, text=True,
                          check=True).stdout
    rate = float(re.search(r"^time .* on 1 worker at ([0-9.e+]+) GFLOP/s", long, re.MULTILINE)[1])
    peak = float(re.search(r"by FLOP, at 10 % of the peak of ([0-9.e+]+) GFLOP/s", long)[1])
    assert rate == pytest.approx(0.1 * peak, rel=0.02)
    short = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout
    assert "by FLOP" not in short and "GFLOP/s each" in short
