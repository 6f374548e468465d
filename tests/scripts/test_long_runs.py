"""Checkpoints: cells that are stopped by a time limit, a signal or a kill resume to the same tables. Instants are
shares of the sweep's time on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from sweeps import EABENCH, LONG, TINY, expect_same_tables, needs_eabench, rows, start, sweep, timed, wait_until

pytestmark = needs_eabench

TABLES = ("accuracy.csv", "curves.csv", "geometry.csv")


@pytest.fixture(scope="session")
def few(tmp_path_factory) -> tuple[str, ...]:
    """Options for four cells that train for about a third of a second each on this machine."""
    folder = tmp_path_factory.mktemp("calibration")
    (folder / "tiny.ini").write_text(TINY)
    call = ("--set", "task.basis=4", "--set", "task.delay=2", "--set", "train.stop_when_solved=off")
    done = sweep(folder / "tiny.ini", *call, "--out", folder / "run", "--workers", "1", "--set", "train.seed=1",
                 "--set", "train.steps=1000", "--set", "train.mechanism=dpa")
    assert done.returncode == 0, done.stderr
    steps = round(1000 * 0.35 / float(rows(folder / "run/throughput.csv")[0]["train_s"]))
    steps = min(100_000, max(700, steps))
    return (*call, "--set", "train.seed=1:2", "--set", f"train.steps={steps}",
            "--set", f"train.eval_every={steps // 4 + 1}", "--save-curves", "--save-geometry")


def checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("*.ckpt"))


def expect_same_run(run: Path, whole: Path) -> None:
    expect_same_tables(run, whole, *TABLES)
    assert not (run / "checkpoints").exists()


@pytest.mark.parametrize("options", [(), ("--fleet", "2"), ("--fleet", "4")])
def test_time_limit_within_cells(spec: Path, tmp_path: Path, few, options):
    """Several starts, each with a time limit shorter than a cell, resume to the tables of one start."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    call = (spec, *few, *options, "--workers", "2")
    began = time.monotonic()
    assert sweep(*call, "--out", whole).returncode == 0
    limit_s = max(0.1, 0.25 * (time.monotonic() - began))
    starts, done = 0, None
    while done is None or done.returncode == 130:
        done = sweep(*call, "--out", run, "--time-limit", f"{limit_s}s")
        starts += 1
        assert starts < 100 and "not used" not in done.stderr, done.stderr
        if done.returncode == 130:
            assert "the time limit was reached" in done.stderr
        limit_s *= 1.3  # so that the cells end even if the machine has become slower
    assert done.returncode == 0, done.stderr
    expect_same_run(run, whole)


def test_a_stopped_cell_is_marked(spec: Path, tmp_path: Path, few):
    """SIGSTOP within a cell: its speed is marked, also after an interruption, and no other cell's."""
    run = tmp_path / "run"
    call = (spec, *few, "--workers", "1", "--out", run)
    process = start(*call)
    wait_until(lambda: (run / "accuracy.csv").exists() and len(rows(run / "accuracy.csv")) == 1)
    time.sleep(0.05)  # the second cell trains now
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").split()[2] == "T")
    process.send_signal(signal.SIGCONT)
    time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130 and sweep(*call).returncode == 0
    stopped = ["stopped" in row["marks"].split() for row in rows(run / "throughput.csv")]
    assert sum(stopped) == 1 and not stopped[0]  # the second, or on a slow machine a later one


def signal_while_training(run: Path, number: int, *call) -> str:
    """Starts an endless sweep with two workers and signals it when both are training; returns its messages."""
    process = start(*call, "--out", run, "--workers", "2", *LONG)

    def both_train() -> bool:
        assert process.poll() is None, process.communicate()
        if not (run / ".state").exists():
            return False
        done = subprocess.run([EABENCH, "status", run, "--json"], check=False, capture_output=True, text=True)
        sweeps = json.loads(done.stdout)["sweeps"] if done.returncode == 0 else []
        mine = [cell for found in sweeps if found["process"] == process.pid for cell in found["running"]]
        return len(mine) == 2 and all(cell["share"] > 0 for cell in mine)

    wait_until(both_train)
    process.send_signal(number)
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    print("ended after", time.monotonic() - began)
    return err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_of_each_running_cell(spec: Path, tmp_path: Path, number):
    run = tmp_path / "run"
    signal_while_training(run, number, spec, "--set", "train.seed=1")
    assert len(checkpoints(run)) == 2
    before = {path.name: path.read_bytes() for path in checkpoints(run)}
    assert "not used" not in signal_while_training(run, number, spec, "--set", "train.seed=1")
    after = {path.name: path.read_bytes() for path in checkpoints(run)}
    assert before.keys() == after.keys() and all(before[name] != after[name] for name in before)


def test_a_killed_sweep_resumes_from_its_last_checkpoints(spec: Path, tmp_path: Path, few):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    instants = random.Random(seed)
    whole, run, kills, kept = tmp_path / "whole", tmp_path / "run", 0, 0
    seconds = timed(spec, "--out", whole, *few)
    every = f"{seconds / 40:.9f}"

    def saved() -> set[tuple[str, int]]:
        with contextlib.suppress(FileNotFoundError):  # a cell has just ended
            return {(path.name, path.stat().st_mtime_ns) for path in checkpoints(run)}
        return set()

    for number in range(6):
        before = saved()
        process = start(spec, *few, "--out", run, "--workers", "2", "--checkpoint-every", every,
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: process.poll() is not None or saved() - before)
        time.sleep(number % 2 * instants.uniform(0, 0.2) * seconds)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        kept += len(checkpoints(run))
    done = sweep(spec, *few, "--out", run, "--workers", "2", "--checkpoint-every", every)
    assert done.returncode == 0 and "checkpoint" not in done.stderr, done.stderr
    assert kills > 0 and kept > 0
    expect_same_run(run, whole)


def test_checkpoints_can_be_turned_off(spec: Path, tmp_path: Path):
    run = tmp_path / "run"
    off = ("--checkpoint-every", "0", "--time-limit", "0.3", "--set", "train.seed=1")
    assert sweep(spec, "--out", run, *LONG, *off).returncode == 130
    assert not (run / "checkpoints").exists()


def stopped_run(spec: Path, run: Path, few: tuple[str, ...]) -> tuple:
    """Makes a run whose only cell was stopped half-way; returns the options of the sweep."""
    call = (*few, "--set", "train.mechanism=dpa", "--set", "train.seed=1", "--workers", "1")
    for share in (0.2, 0.05, 0.5, 0.01, 0.8):
        shutil.rmtree(run, ignore_errors=True)
        seconds = timed(spec, *call, "--out", run.with_name("timed"))
        shutil.rmtree(run.with_name("timed"))
        assert sweep(spec, *call, "--out", run, "--time-limit", str(share * seconds)).returncode in (0, 130)
        if checkpoints(run):
            return call
    pytest.skip("no instant within the cell was found")


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello\n" * 1000),
    "cut in the middle": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut at the end": lambda path: os.truncate(path, path.stat().st_size - 1),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0" * 8),
    "a huge hole": lambda path: os.truncate(path, 1 << 40),
    "a flipped bit": lambda path: path.write_bytes(path.read_bytes()[:-100] + b"\x55" + path.read_bytes()[-99:]),
    "another version": lambda path: path.write_bytes(
        path.read_bytes()[:16] + b"0.0.0\0\0\0" + path.read_bytes()[24:]),
    "a link": lambda path: (path.rename(path.with_suffix(".other")), path.symlink_to(path.with_suffix(".other"))),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoints_are_reported_and_ignored(spec: Path, tmp_path: Path, few, damage: str):
    run, whole = tmp_path / "run", tmp_path / "whole"
    call = stopped_run(spec, run, few)
    assert sweep(spec, *call, "--out", whole).returncode == 0
    path = checkpoints(run)[0]
    DAMAGES[damage](path)
    done = sweep(spec, *call, "--out", run)
    assert done.returncode == 0, done.stderr
    messages = [line for line in done.stderr.splitlines() if "checkpoint" in line]
    assert len(messages) == 1 and messages[0].startswith("eabench sweep: ") and str(path) in messages[0], done.stderr
    for name in TABLES:
        assert (run / name).read_bytes() == (whole / name).read_bytes()


def test_a_checkpoint_of_another_spec_is_ignored(spec: Path, tmp_path: Path, few):
    run, other = tmp_path / "run", tmp_path / "other"
    call = stopped_run(spec, run, few)
    name = checkpoints(run)[0].name
    assert sweep(spec, *call, "--set", "train.lr=0.02", "--out", other, "--time-limit", "1e-9").returncode == 130
    (other / "checkpoints").mkdir(exist_ok=True)
    wanted = sweep(spec, *call, "--set", "train.lr=0.02", "--out", tmp_path / "whole")
    assert wanted.returncode == 0
    cell = rows(tmp_path / "whole/accuracy.csv")[0]["cell"]
    shutil.copy(run / "checkpoints" / name, other / "checkpoints" / f"{cell}.ckpt")
    done = sweep(spec, *call, "--set", "train.lr=0.02", "--out", other)
    assert done.returncode == 0 and re.search(r"checkpoints/\S*: of other cells", done.stderr), done.stderr
    assert (other / "accuracy.csv").read_bytes() == (tmp_path / "whole/accuracy.csv").read_bytes()


def test_a_linked_checkpoint_folder_is_not_used(spec: Path, tmp_path: Path):
    run, outside = tmp_path / "run", tmp_path / "outside"
    assert sweep(spec, "--out", run, *LONG, "--time-limit", "1e-9", "--checkpoint-every", "0").returncode == 130
    outside.mkdir()
    (run / "checkpoints").symlink_to(outside)
    # Measuring the peak takes a part of the time.
    done = sweep(spec, "--out", run, *LONG, "--time-limit", "2", "--checkpoint-every", "0.05", "--workers", "1")
    assert done.returncode == 130 and "not a folder; no checkpoint is kept" in done.stderr, done.stderr
    assert not list(outside.iterdir())
