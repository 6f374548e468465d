"""The tables of scripts/peers/run.sh, and its rule for when to stop sampling."""

from __future__ import annotations

import csv
import math
import os
import subprocess
from pathlib import Path

import pytest
from peers import measure, ratios

ROOT = Path(__file__).resolve().parents[2]


def pair(number: int, ours: float, theirs: float, **other: object) -> dict[str, str]:
    row = {"op": "attention", "mechanism": "ea", "dtype": "float32", "pass": "forward", "batch": 1, "heads": 1, "context": 64,
           "head_dim": 32, "causal": "on", "position": "none", "layers": "", "d_model": "", "implementation": "torch-eager",
           "fleet": "", "pair": number, "status": "ok", "reason": "", "ours_us": ours, "theirs_us": theirs,
           "theirs_p05_us": theirs, "theirs_p95_us": theirs, "theirs_samples": 10}
    return {name: str(value) for name, value in {**row, **other}.items()}


def ours(time_us: float) -> dict[str, str]:
    row = {**{name: value for name, value in pair(0, 1, 1).items() if name in ratios.SHAPE}, "backend": "cpu", "device": "x",
           "implementation": "fused", "status": "ok", "reason": "", "samples": 10, "time_median_us": time_us, "time_p05_us": time_us,
           "time_p95_us": time_us, "gflop": 1, "gbyte": 1, "tflop_per_s": 0.2, "gbyte_per_s": 4, "roof_fraction": 0.5,
           "memory_bytes": 8, "error_ratio": 1, "throttled": 0, "median_error": 0.1, "cache": "cold"}
    return {name: str(value) for name, value in row.items()}


def test_interval():
    mean, low, high = ratios.interval([2.0, 4.0, 8.0, 4.0])
    assert mean == pytest.approx(4)
    assert 2 <= low < mean < high <= 8
    assert all(math.isnan(bound) for bound in ratios.interval([2.0, 3.0])[1:])


def test_a_ratio_above_one_means_that_eabench_is_faster():
    (row,) = ratios.ratio_rows([pair(i, 2.0, 6.0) for i in range(3)])
    assert [row[name] for name in ("ratio", "ratio_low", "ratio_high", "ours", "theirs", "pairs", "unit")] == [
        "3", "3", "3", "2", "6", 3, "us"]
    trained = [pair(i, 0, 0, op="training", ours_tokens_per_s=8e6, theirs_tokens_per_s=2e6) for i in range(3)]
    (row,) = ratios.ratio_rows(trained)
    assert (row["ratio"], row["unit"]) == ("4", "tokens/s")


def test_a_peer_that_cannot_run_is_a_row_with_its_reason():
    rows = ratios.ratio_rows([pair(0, 2, 6), pair(0, 2, 0, implementation="torch-flex", status="unsupported", reason="no compiler")])
    assert [row["status"] for row in rows] == ["ok", "unsupported"]
    assert rows[1]["reason"] == "no compiler" and "ratio" not in rows[1]


def test_rows_in_eabench_s_columns():
    pairs = [pair(0, 2, 6), pair(1, 2, 6), pair(0, 2, 0, implementation="torch-flex", status="oom", reason="large")]
    columns, rows = ratios.kernel_rows(pairs, [ours(2.0), ours(2.0)])
    assert columns == list(ours(2.0))
    assert [row["implementation"] for row in rows] == ["fused", "torch-eager", "torch-flex"]
    assert [rows[1][name] for name in ("time_median_us", "samples", "gflop", "error_ratio", "device")] == ["6", 20, "1", "", "x"]
    assert float(rows[1]["tflop_per_s"]) == pytest.approx(0.2 / 3, rel=1e-5)
    assert (rows[2]["status"], rows[2]["time_median_us"], rows[2]["context"]) == ("oom", "", "64")


def test_sampling_stops_by_the_rule():
    steady = measure.sample(lambda calls: 60e-6 * calls, 10)
    assert steady.samples == measure.MIN_SAMPLES
    assert steady.median_us == pytest.approx(60)
    short = measure.sample(lambda calls: 1e-6 * calls, 10)  # many calls a sample
    assert short.median_us == pytest.approx(1)
    state = {"number": 0}

    def noisy(calls: int) -> float:
        state["number"] += 1
        return (60e-6 if state["number"] % 2 else 120e-6) * calls

    assert measure.sample(noisy, 0.05).samples > 2 * measure.MIN_SAMPLES


def test_cold_operands_outgrow_the_cache():
    assert measure.sets_for(1 << 20, gpu=False) * (1 << 20) >= 32 << 20
    assert measure.sets_for(1 << 40, gpu=False) == 2


@pytest.mark.parametrize(("arguments", "says"), [(["--fast"], "unknown option '--fast'"), (["--out"], "--out needs a value")])
def test_misuse(arguments, says):
    done = subprocess.run([ROOT / "scripts/peers/run.sh", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1


def test_a_short_run(tmp_path):
    """Ours and theirs, for as long as it takes to have a pair; the same line goes on."""
    binary = Path(os.environ.get("EABENCH", ROOT / "build/release/eabench"))
    library = next(binary.parent.rglob("libeabench.so"))
    venv = Path(os.sys.executable).parents[1]
    command = [ROOT / "scripts/peers/run.sh", "--no-build", "--quick", "--only", "attention", "--pairs", "1", "--seconds", "0.01",
               "--time-limit", "1", "--out", tmp_path]
    environment = {**os.environ, "EABENCH": str(binary), "EABENCH_LIBRARY": str(library), "EAB_PEERS_VENV": str(venv),
                   "XDG_CACHE_HOME": str(tmp_path / "cache")}
    counts = []
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        with open(tmp_path / "pairs.csv", newline="") as file:
            counts.append(len(list(csv.DictReader(file))))
    assert 0 < counts[0] < counts[1]
    assert "torch-sdpa-flash" in (tmp_path / "ratios.csv").read_text()
    assert "fused" in (tmp_path / "kernels.csv").read_text()
    assert "PyTorch" in (tmp_path / "manifest.ini").read_text()
