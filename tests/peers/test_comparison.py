"""The tables of scripts/peers/run.sh, its rule for the number of samples, and whole runs."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from peers import compare, measure, points, ratios, table, tensors
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]


def pair(number: int, ours: float, theirs: float, **other: object) -> dict[str, str]:
    row = {"op": "attention", "mechanism": "ea", "dtype": "float32", "pass": "forward", "batch": 1, "heads": 1,
           "context": 64, "head_dim": 32, "causal": "on", "position": "none", "layers": "", "d_model": "",
           "implementation": "torch-eager", "fleet": "", "pair": number, "status": "ok", "reason": "",
           "ours_us": ours, "theirs_us": theirs, "theirs_p05_us": theirs, "theirs_p95_us": theirs,
           "theirs_samples": 10}
    return {name: str(value) for name, value in {**row, **other}.items()}


def ours(time_us: float) -> dict[str, str]:
    row = {**{name: value for name, value in pair(0, 1, 1).items() if name in ratios.SHAPE}, "backend": "cpu",
           "device": "x", "implementation": "fused", "status": "ok", "reason": "", "samples": 10,
           "time_median_us": time_us, "time_p05_us": time_us, "time_p95_us": time_us, "gflop": 1, "gbyte": 1,
           "tflop_per_s": 0.2, "gbyte_per_s": 4, "roof_fraction": 0.5, "memory_bytes": 8, "error_ratio": 1,
           "throttled": 0, "median_error": 0.1, "cache": "cold"}
    return {name: str(value) for name, value in row.items()}


def test_interval():
    mean, low, high = ratios.interval([2.0, 4.0, 8.0, 4.0])
    assert mean == pytest.approx(4)
    half = 3.182446 * math.log(2) * math.sqrt(2 / 3) / 2  # t of 3 degrees, deviation of the logarithms, root of 4 pairs
    assert (low, high) == (pytest.approx(4 * math.exp(-half), rel=1e-6), pytest.approx(4 * math.exp(half), rel=1e-6))
    assert all(math.isnan(bound) for bound in ratios.interval([2.0])[1:])


@pytest.mark.parametrize("pairs", [2, 3, 5])
def test_intervals_of_few_pairs_have_the_right_coverage(pairs):
    """2,000 experiments with a known ratio: the standard error of a coverage of 95 % is 0.5 %."""
    draws = np.random.default_rng(pairs).normal(math.log(3), 0.1, (2000, pairs))
    found = [ratios.interval(list(np.exp(logs))) for logs in draws]
    assert np.mean([low <= 3 <= high for _, low, high in found]) == pytest.approx(0.95, abs=0.015)


def test_a_ratio_above_one_means_that_eabench_is_faster():
    (row,) = ratios.ratio_rows([pair(i, 2.0, 6.0) for i in range(3)])
    assert [row[name] for name in ("ratio", "ratio_low", "ratio_high", "ours", "theirs", "pairs", "unit")] == [
        "3", "3", "3", "2", "6", 3, "us"]
    trained = [pair(i, 0, 0, op="training", ours_tokens_per_s=8e6, theirs_tokens_per_s=2e6) for i in range(3)]
    (row,) = ratios.ratio_rows(trained)
    assert (row["ratio"], row["unit"]) == ("4", "tokens/s")


def test_a_peer_that_cannot_run_is_a_row_with_its_reason():
    rows = ratios.ratio_rows([pair(0, 2, 6),
                              pair(0, 2, 0, implementation="torch-flex", status="unsupported", reason="no compiler")])
    assert [row["status"] for row in rows] == ["ok", "unsupported"]
    assert rows[1]["reason"] == "no compiler" and "ratio" not in rows[1]


def test_rows_in_eabench_s_columns():
    pairs = [pair(0, 2, 6), pair(1, 2, 6), pair(0, 2, 0, implementation="torch-flex", status="oom", reason="large")]
    columns, rows = ratios.kernel_rows(pairs, [ours(2.0), ours(2.0)])
    assert columns == list(ours(2.0))
    assert [row["implementation"] for row in rows] == ["fused", "torch-eager", "torch-flex"]
    assert [rows[1][name] for name in ("time_median_us", "samples", "gflop", "error_ratio", "device")] == [
        "6", 20, "1", "", "x"]
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


def test_a_long_call_is_warmed_up_once():
    taken = []

    def take(calls: int) -> float:
        taken.append(calls)
        return 0.2 * calls

    first = measure.sample(take, 0)
    before = len(taken)
    measure.sample(take, 0, "cpu", first)
    assert before == 2 and len(taken) == 3


def test_a_gpu_is_timed_by_events_on_its_stream():
    calls = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            calls.append("record")

        def synchronize(self) -> None:
            calls.append("synchronize")

        def elapsed_time(self, other: Event) -> float:
            assert isinstance(other, Event)
            return 250.0  # milliseconds

    seconds = measure.timed(lambda: calls.append("work"), "cuda", types.SimpleNamespace(Event=Event))
    assert seconds == 0.25 and calls == ["record", "work", "record", "synchronize"]


def test_cold_operands_are_twice_as_large_as_the_cache():
    assert measure.sets_for(1 << 20, "cpu") * (1 << 20) >= 2 * (32 << 20)
    assert measure.sets_for(1 << 20, "cuda") * (1 << 20) == 256 << 20
    assert measure.sets_for(1 << 40, "cpu") == 2


def test_sets_of_operands_leave_half_of_the_memory_free(monkeypatch):
    free = [100]
    monkeypatch.setattr(measure, "free_bytes", lambda: free[0])
    made = []
    for index in measure.rotation(1 << 20, "cpu"):
        made.append(index)
        free[0] -= 20
    assert made == [0, 1, 2]
    wanted = measure.sets_for(1 << 20, "cpu")
    assert measure.note_on_rotation(3, 1 << 20, "cpu") == f"3 of {wanted} sets of operands, for lack of memory"
    free[0] = 100
    assert len(list(measure.rotation(1 << 20, "cpu"))) == wanted
    assert measure.note_on_rotation(wanted, 1 << 20, "cpu") == ""


def test_tensors_agree_with_the_package_safetensors(trace):
    folder = trace("cpu", 1, [])
    for name in ("weights-0", "batch-0"):
        own, theirs = tensors.read_tensors(folder / f"{name}.safetensors"), load_file(folder / f"{name}.safetensors")
        assert own.keys() == theirs.keys()
        assert all(own[key].dtype == x.dtype and np.array_equal(own[key], x) for key, x in theirs.items())


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("quick", [False, True])
def test_a_plan_has_each_ratio_once_and_the_goals_first(gpu, quick):
    jobs = [job for _, stage in points.plan(gpu, quick) for job in stage]
    assert len(jobs) == len(set(jobs)) > 10
    assert {job.op for job in jobs} == {"attention", "training"}
    assert {job.implementation for job in jobs} <= {*points.ATTENTION, *points.TRAINING}
    if not gpu and not quick:
        axes = ("mechanism", "pass", "context", "head_dim")
        shapes = {tuple(dict(job.point)[name] for name in axes) for job in jobs if job.op == "attention"}
        assert shapes >= {(m, p, c, d) for m in ("dpa", "ea") for p in ("forward", "backward") for c in (64, 8192)
                          for d in (16, 128)}
        models = {tuple(dict(job.point)[name] for name in ("mechanism", "layers", "d_model"))
                  for job in points.plan(gpu, quick)[0][1]}
        assert models == {(m, layers, d) for m in ("dpa", "ea") for layers in (1, 2) for d in (16, 32, 64)}


def test_a_text_is_a_stage_of_its_own_with_its_own_goal(tmp_path):
    (title, jobs), *others = points.plan(gpu=False, quick=True, with_text=True)
    assert title == "text" and others == points.plan(gpu=False, quick=True)
    assert {dict(job.point)["d_model"] for job in jobs} == {128} and all(job.on_text for job in jobs)
    assert not any(job.on_text for _, stage in others for job in stage)
    (text := tmp_path / "a text").write_text("to be or not to be")
    run = compare.Run(compare.parse(["--eabench", "x", "--out", str(tmp_path), "--text", str(text), "--only", "text"]))
    assert [stage for stage, _ in run.plan()] == ["text"]
    assert f"file = {text}\n" in run.spec(dict(jobs[0].point)).read_text()
    trained = [ratio(2, op="training", layers=4, d_model=128, position="learned"),
               ratio(6, op="training", layers=1, d_model=16, position="alibi")]
    shown = table.markdown(trained)
    assert "training on text, over PyTorch's best, 3 times: 0 of 1 shapes; the least is 2 [" in shown
    assert "training, over PyTorch's best, 5 times: 1 of 1 shapes" in shown


def test_expected_time_comes_from_earlier_pairs():
    job, other = points.training((1,), (16,), (("torch-eager", 1),))
    assert compare.expected_s([job, other], 5, {compare.key(job.row()): 2.0}) == pytest.approx(20)
    assert compare.expected_s([job], 2, {}) == pytest.approx(6)


def test_slow_shapes_get_fewer_pairs(tmp_path):
    run = compare.Run(compare.parse(["--eabench", "x", "--out", str(tmp_path)]))
    job, _ = points.training((1,), (16,), (("torch-eager", 1),))
    name = compare.key(job.row())
    assert list(run.pairs(job)) == [0, 1, 2, 3, 4]
    run.done[name] = {0: "ok", 1: "ok", 2: "ok"}
    assert list(run.pairs(job)) == [3, 4]
    run.known[name] = compare.SLOW_S + 1
    assert list(run.pairs(job)) == []
    run.done[name] = {0: "unsupported"}
    assert list(run.pairs(job)) == []


def ratio(value: float, **other: object) -> dict[str, str]:
    return {**pair(0, 1, 1, **other), "pairs": "5", "ratio": str(value), "ratio_low": str(0.9 * value),
            "ratio_high": str(1.1 * value)}


def test_the_table_has_a_peer_s_fastest_variant_and_where_it_is_faster():
    rows = [ratio(3, mechanism="dpa", implementation="torch-sdpa-flash"),
            ratio(2, mechanism="dpa", implementation="torch-sdpa-math"),
            ratio(0.5, mechanism="dpa", implementation="torch-sdpa-flash", head_dim=64),
            ratio(20, implementation="torch-eager"), ratio(4, implementation="torch-eager", head_dim=64),
            ratio(1, implementation="torch-sdpa-flash", status="unsupported", reason="knows dpa only")]
    text = table.markdown(rows)
    assert "| dpa, forward, context 64 | 0.50 to 2.0 (slower on 1 of 2) | not measured |" in text
    assert "| ea, forward, context 64 | cannot | 4.0 to 20 |" in text
    assert ("ea, over plain PyTorch, 5 times: 1 of 2 shapes; the least is 4 [3.6, 4.4] (ea forward, context 64, "
            "head_dim 64") in text
    assert "training, over JAX's best: not measured" in text


def test_shapes_below_a_goal_have_their_shares_of_the_peak(tmp_path):
    pairs = [pair(0, 2, 8), pair(1, 2, 8)]
    ratios._write(tmp_path / "ratios.csv", list(ratios.RATIO_COLUMNS), ratios.ratio_rows(pairs))
    ratios._write(tmp_path / "kernels.csv", *ratios.kernel_rows(pairs, [ours(2.0)]))
    text = table.markdown(table.read(tmp_path / "ratios.csv"), table.shares(tmp_path))
    assert "| ea forward, context 64, head_dim 32, over torch-eager | 4.00 of 5 | 0.50 | 0.12 | 8.0 | 0.62 |" in text
    own = [{**ours(2.0), "context": "512", "head_dim": "64", "roof_fraction": share} for share in ("0.59", "0.61")]
    assert ("- forward, 0.6 of the peak from head_dim 64 and context 512: 1 of 2 shapes; the least is 0.59 (ea"
            in table.markdown([], kernels=[*own, ours(2.0)]))
    trained = [pair(i, 0, 0, op="training", layers=1, d_model=64, head_dim="", fleet=1, ours_tokens_per_s=8e6,
                    theirs_tokens_per_s=2e6, **{"pass": ""}) for i in range(2)]
    template = {"backend": "cpu", "device": "x", "mechanism": "ea", "layers": "1", "d_model": "64", "context": "64",
                "batch": "1", "fleet": "1", "workers": "2", "flop_per_token": "100000", "peak_gflop_per_s": "500",
                "gflop_per_s": "", "peak_fraction": ""}
    rows = ratios.ratio_rows(trained)
    ratios._write(tmp_path / "throughput.csv", *ratios.throughput_rows(rows, [template]))
    text = table.markdown(rows, table.shares(tmp_path))
    assert "| ea, d_model 64, layers 1, over torch-eager | 4.00 of 5 | 0.80 | 0.20 | 5.0 | 1.00 |" in text


@pytest.mark.parametrize(("arguments", "says"), [(["--fast"], "unknown option '--fast'"),
                                                 (["--out"], "--out needs a value"),
                                                 (["--device"], "--device needs a value"),
                                                 (["--text"], "--text needs a value")])
def test_misuse(arguments, says):
    done = subprocess.run([ROOT / "scripts/peers/run.sh", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1


def peers(out: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    binary = Path(os.environ.get("EABENCH", ROOT / "build/release/eabench"))
    environment = {**os.environ, "EABENCH": str(binary),
                   "EABENCH_LIBRARY": str(next(binary.parent.rglob("libeabench.so"))),
                   "EAB_PEERS_VENV": str(Path(sys.executable).parents[1]), "EAB_PEERS_PYTHON": sys.executable}
    return subprocess.run([ROOT / "scripts/peers/run.sh", "--no-build", "--out", out, *map(str, arguments)],
                          capture_output=True, text=True, check=False, env=environment, timeout=600)


def test_a_stopped_run_is_resumed_and_a_new_run_keeps_its_tables(tmp_path):
    small = ("--quick", "--only", "attention", "--implementations", "torch-sdpa-flash", "--pairs", 1,
             "--seconds", "0.01")
    done = peers(tmp_path, *small, "--time-limit", "0.5")
    assert done.returncode == 0 and "the time limit is reached" in done.stderr, done.stderr
    counts = [len(ratios.read(tmp_path / "pairs.csv"))]
    manifest = tmp_path / "manifest.ini"
    manifest.write_text(re.sub("(?m)^eabench = .*", "eabench = eabench 0.0.9 (older)", manifest.read_text()))
    done = peers(tmp_path, *small, "--resume")
    assert done.returncode == 0, done.stderr
    assert "\neabench_of_earlier_rows = eabench 0.0.9 (older)\n" in manifest.read_text()
    rows = ratios.read(tmp_path / "pairs.csv")
    counts.append(len(rows))
    assert 0 < counts[0] < counts[1] == 24
    assert len({compare.key(row) for row in rows}) == 24
    assert {row["status"] for row in rows} == {"ok", "unsupported"}
    assert "torch-sdpa-flash" in (tmp_path / "ratios.csv").read_text()
    assert "fused" in (tmp_path / "kernels.csv").read_text()
    assert "PyTorch" in (tmp_path / "manifest.ini").read_text()
    planned = peers(tmp_path, *small, "--dry-run")
    assert "attention: 24 ratios of 1 pairs, about" in planned.stdout and "a guess" not in planned.stdout
    peers(tmp_path, *small, "--time-limit", "0.5")
    assert len(ratios.read(tmp_path / "before/pairs.csv")) == 24 > len(ratios.read(tmp_path / "pairs.csv")) > 0


def test_the_plan_of_a_gpu_on_the_processor(tmp_path):
    """As on a GPU, but on the processor: no core is pinned, one eabench with a fleet, the GPU's shapes and peers."""
    gpu = ("--gpu", "--device", "cpu", "--quick", "--pairs", 1, "--training-seconds", "0.05", "--seconds", "0.01")
    done = peers(tmp_path, *gpu, "--only", "training", "--fleet", 2, "--implementations", "torch-eager,jax-jit")
    assert done.returncode == 0, done.stderr
    rows = ratios.read(tmp_path / "pairs.csv")
    assert {(row["implementation"], row["status"]) for row in rows} == {("torch-eager", "ok"), ("jax-jit", "ok")}
    assert all(float(row["theirs_tokens_per_s"]) > 0 for row in rows)
    done = peers(tmp_path, *gpu, "--only", "attention", "--implementations", "torch-sdpa-cudnn,torch-sdpa-flash",
                 "--resume")
    assert done.returncode == 0, done.stderr
    rows = [row for row in ratios.read(tmp_path / "pairs.csv") if row["op"] == "attention"]
    assert {row["status"] for row in rows} == {"unsupported"} and all(row["reason"] for row in rows)
    assert any(row["reason"].startswith("eabench: ") for row in rows), "bf16 is not supported on the processor"
    throughput = ratios.read(tmp_path / "throughput.csv")
    assert {row["implementation"] for row in throughput} == {"eabench", "torch-eager", "jax-jit"}


def test_an_error_of_eabench_is_a_row(tmp_path):
    fake = tmp_path / "eabench"
    fake.write_text("#!/bin/sh\n[ $1 = --version ] && echo eabench 0 && exit\n"
                    "echo 'eabench: no memory for this' >&2\nexit 3\n")
    fake.chmod(0o755)
    small = ["--quick", "--only", "training", "--implementations", "torch-eager", "--pairs", "2",
             "--out", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-m", "peers.compare", "--eabench", fake, *small], capture_output=True,
                          text=True, check=False, cwd=ROOT / "scripts", timeout=300)
    assert done.returncode == 0, done.stderr
    rows = ratios.read(tmp_path / "run/ratios.csv")
    assert len(rows) == 6
    assert {(row["status"], row["reason"]) for row in rows} == {("fail", "eabench trace: eabench: no memory for this")}


def test_gpu_check_runs_it(tmp_path):
    binary = Path(os.environ.get("EABENCH", ROOT / "build/release/eabench"))

    def gpu_check(out: Path, python: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([ROOT / "scripts/gpu_check.sh", "--emulated", "--binary", binary, "--only", "peers",
                               "--out", out], capture_output=True, text=True, check=False, timeout=600,
                              env={**os.environ, "EAB_PEERS_PYTHON": python})

    done = gpu_check(tmp_path, sys.executable)
    assert done.returncode == 0, done.stderr
    assert "peers     passed   4 ratios in" in (tmp_path / "summary.txt").read_text()
    without = gpu_check(tmp_path / "b", "/bin/false")
    assert without.returncode == 0 and "peers     skipped" in without.stdout
