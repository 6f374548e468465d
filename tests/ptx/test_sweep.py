"""The program's own work on the emulator: fleets against `cpu`, a lost device, bench."""

from __future__ import annotations

import csv
import os
import subprocess
import time
from pathlib import Path

import pytest
from conftest import BUILD

SPEC = """[task recurrence]
basis = 4, 5
delay = 2
[model]
d_model = 16
heads = 2
context = 16
mlp_ratio = 2
[train]
mechanism = dpa, ea
steps = 6
batch = 2
eval_every = 3
eval_tokens = 32
stop_when_solved = off
seed = 1:2
"""


# With more memory the program measures the device's peak by products that take minutes here.
MEMORY_MIB = 190


@pytest.fixture
def sweep(emulate, tmp_path):
    (tmp_path / "spec.ini").write_text(SPEC)

    def run(backend, name, *options, **environment):
        return emulate("eabench_ptx", "sweep", tmp_path / "spec.ini", "--backend", backend, "--out", tmp_path / name,
                       "--no-check", *options, EAB_PTX_MEMORY_MIB=MEMORY_MIB, **environment)

    return run


def losses(folder: Path) -> dict[tuple[str, ...], tuple[str, float]]:
    with (folder / "accuracy.csv").open(newline="") as file:
        return {tuple(row[name] for name in ("task", "level", "mechanism", "seed")):
                (row["status"], float(row["loss_nats"])) for row in csv.DictReader(file)}


def expect_same(found: Path, expected: Path, tolerance: float, rows: int = 8) -> None:
    ours, theirs = losses(found), losses(expected)
    assert set(ours) == set(theirs) and len(ours) == rows
    for cell, (status, loss) in theirs.items():
        assert ours[cell][0] == status
        assert ours[cell][1] == pytest.approx(loss, rel=tolerance), cell


@pytest.mark.parametrize(("precision", "option", "tolerance"),
                         [("float32", "sequences=0", 1e-4), ("float32", "dropout=0.2", 1e-4),
                          ("float32", "sequences=5", 1e-4), ("bf16", "sequences=0", 2e-2)])
def test_a_fleet_equals_the_cpu(sweep, tmp_path, precision, option, tolerance):
    assert sweep("cpu", "cpu", "--set", f"train.{option}").returncode == 0
    done = sweep("cuda", "cuda", "--fleet", "8", "--set", f"train.precision={precision}", "--set", f"train.{option}")
    assert done.returncode == 0 and not done.findings, done.stderr
    expect_same(tmp_path / "cuda", tmp_path / "cpu", tolerance)


MIXTURES = SPEC.replace("[task recurrence]\nbasis = 4, 5\ndelay = 2\n", """[task mixture]
parts = recurrence(basis=4 delay=3) + recurrence(delay=2), recurrence(basis=4) + parity + recurrence(delay=1)
""").replace("steps = 6", "steps = 12")


def test_mixtures_killed_and_resumed(sweep, tmp_path):
    """A fleet larger than the device's grids, killed after a checkpoint, resumes: the losses of `cpu`."""
    (tmp_path / "spec.ini").write_text(MIXTURES)
    assert sweep("cpu", "cpu").returncode == 0
    command = [BUILD / "eabench_ptx", "sweep", tmp_path / "spec.ini", "--backend", "cuda", "--out", tmp_path / "cuda",
               "--fleet", "8", "--checkpoint-every", "0.001", "--no-check"]
    device = {"EAB_PTX_MEMORY_MIB": str(MEMORY_MIB), "EAB_PTX_GRID": "5x2"}
    with subprocess.Popen(command, env={**os.environ, **device}, stdout=subprocess.DEVNULL) as process:
        while not list(tmp_path.glob("cuda/checkpoints/*.ckpt")) and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -9 and not (tmp_path / "cuda" / "DONE").exists()
    done = sweep("cuda", "cuda", "--fleet", "8", "--checkpoint-every", "0.001", EAB_PTX_GRID="5x2")
    assert done.returncode == 0 and not done.findings, done.stderr
    assert "resum" in done.stderr + done.stdout
    expect_same(tmp_path / "cuda", tmp_path / "cpu", 1e-4, rows=4 * (1 + 2) + 4 * (1 + 3))


TEXTS = SPEC.replace("[task recurrence]\nbasis = 4, 5\ndelay = 2\n", """[task text]
file = {0}/one.txt, {0}/two.txt
unit = char, byte
""").replace("mechanism = dpa, ea\n", "mechanism = dpa\n")


@pytest.fixture
def texts(tmp_path):
    """A spec of two files."""
    sentence = "The café is open; a cat sleeps.\n"
    (tmp_path / "one.txt").write_text(sentence * 50, encoding="utf-8")
    (tmp_path / "two.txt").write_text(sentence[4:] * 70, encoding="utf-8")
    (tmp_path / "spec.ini").write_text(TEXTS.format(tmp_path))


@pytest.mark.usefixtures("texts")
def test_texts(sweep, tmp_path):
    """Members of a fleet with different texts, and fleets of which each has another text than the one before."""
    assert sweep("cpu", "cpu").returncode == 0
    for fleet in ("8", "1"):
        done = sweep("cuda", fleet, "--fleet", fleet)
        assert done.returncode == 0 and not done.findings, done.stderr
        expect_same(tmp_path / fleet, tmp_path / "cpu", 1e-4)


@pytest.mark.usefixtures("texts")
def test_a_text_larger_than_the_device_is_refused(emulate, tmp_path):
    with (tmp_path / "two.txt").open("a", encoding="utf-8") as file:
        file.write("a cat " * 700_000)
    done = emulate("eabench_ptx", "sweep", tmp_path / "spec.ini", "--backend", "cuda", "--out", tmp_path / "run",
                   "--no-check", EAB_PTX_MEMORY_MIB=8)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "does not fit in memory: two.txt of 42" in done.stderr and "at most the 0.00839 GB here" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("fault", ["200", "200 for good"])
def test_a_sweep_outlives_a_fault(sweep, tmp_path, fault):
    """In this process after a reset, or in a new one."""
    assert sweep("cpu", "cpu").returncode == 0
    done = sweep("cuda", "cuda", "--fleet", "8", EAB_PTX_FAULT=fault)
    assert done.returncode == 0 and not done.findings, done.stderr
    assert done.stderr.count("resuming in a new process") == ("good" in fault), done.stderr
    expect_same(tmp_path / "cuda", tmp_path / "cpu", 1e-4)


def test_a_single_cell_that_loses_the_device_fails(sweep, tmp_path):
    """In fleets of one the running cell counts as failed and is not retried; the others are trained."""
    (tmp_path / "spec.ini").write_text(SPEC.replace("basis = 4, 5", "basis = 4").replace("steps = 6", "steps = 3"))
    done = sweep("cuda", "faulty", "--fleet", "1", EAB_PTX_FAULT="100 for good")
    assert done.returncode == 1 and not done.findings, done.stderr
    assert done.stderr.count("resuming in a new process") == 1, done.stderr
    assert "3 of 4 cells are done; 1 failed" in done.stdout
    with (tmp_path / "faulty/accuracy.csv").open(newline="") as file:
        assert sorted(row["status"] for row in csv.DictReader(file)) == ["fail", "ok", "ok", "ok"]


@pytest.mark.parametrize("text", ["", "1", "1:2:3", "0:-1:2:3", "9:1:2:3", "0:1:2:nan", "0:1:2:3:4", "0:1:2:-1"])
def test_a_bad_restart_variable_is_refused(sweep, tmp_path, text):
    done = sweep("cuda", "refused", EAB_SWEEP_RESTART=text)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "EAB_SWEEP_RESTART" in done.stderr
    assert not (tmp_path / "refused").exists()


def test_bench_rows(right, tmp_path):
    for options in (("attention", "--mechanism", "dpa,ea", "--context", 5, "--head-dim", 4, "--batch", 1, "--heads", 1,
                     "--dtype", "float32"), ("norm,loss", "--m", 3, "--n", 8)):
        right("eabench_ptx", "bench", "--backend", "cuda", "--out", tmp_path / "out", "--cache", "warm",
              "--min-samples", 2, "--max-seconds", 0.05, "--op", *options, EAB_PTX_MEMORY_MIB=MEMORY_MIB)
    with (tmp_path / "out/kernels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 5 and all(row["status"] == "ok" for row in rows), rows
