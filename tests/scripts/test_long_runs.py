"""Cells that outlast a start: checkpoints, the time limit within a cell, kills. Instants are shares of what the sweep takes
on this machine."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from sweeps import (  # noqa: F401  (fixtures)
    LONG, cache, needs_eabench, rows, spec, start, sweep, timed, wait_until, without_times)

pytestmark = needs_eabench

# Four cells, each of them a good part of the whole.
FEW = ("--set", "task.basis=4", "--set", "task.delay=2", "--set", "train.seed=1:2", "--set", "train.steps=3000",
       "--set", "train.stop_when_solved=off", "--set", "train.eval_every=700", "--save-curves", "--save-geometry")
TABLES = ("accuracy.csv", "curves.csv", "geometry.csv")


def checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("*.ckpt"))


def expect_same_tables(run: Path, whole: Path) -> None:
    for name in TABLES:
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    assert [row["cell"] for row in rows(run / "throughput.csv")] == [row["cell"] for row in rows(whole / "throughput.csv")]
    assert without_times(run / "throughput.csv") == without_times(whole / "throughput.csv")
    assert not (run / "checkpoints").exists()


@pytest.mark.parametrize("options", [(), ("--fleet", "2"), ("--fleet", "4")])
def test_time_limit_within_cells(spec: Path, tmp_path: Path, options):
    """A limit that is shorter than a cell, again and again: each start goes on, and the tables are those of one start."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    call = (spec, *FEW, *options, "--workers", "2")
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
        limit_s *= 1.3  # a machine that is now slower than at first gets on all the same
    assert done.returncode == 0, done.stderr
    expect_same_tables(run, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_of_each_cell_at_work(spec: Path, tmp_path: Path, number):
    run = tmp_path / "run"
    process = start(spec, "--out", run, "--workers", "2", "--set", "train.seed=1", *LONG)
    wait_until(lambda: (run / "accuracy.csv").exists())
    time.sleep(0.3)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert len(checkpoints(run)) == 2
    before = {path.name: path.read_bytes() for path in checkpoints(run)}
    again = sweep(spec, "--out", run, "--workers", "2", "--set", "train.seed=1", *LONG, "--time-limit", "0.5")
    assert again.returncode == 130 and "not used" not in again.stderr
    after = {path.name: path.read_bytes() for path in checkpoints(run)}
    assert before.keys() == after.keys() and all(before[name] != after[name] for name in before)


def test_killed_it_goes_on_from_the_last_checkpoint(spec: Path, tmp_path: Path):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    instants = random.Random(seed)
    whole, run, kills, kept = tmp_path / "whole", tmp_path / "run", 0, 0
    seconds = timed(spec, "--out", whole, *FEW)
    every = f"{seconds / 40:.9f}"
    for _ in range(6):
        process = start(spec, *FEW, "--out", run, "--workers", "2", "--checkpoint-every", every,
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(instants.uniform(0.1, 0.4) * seconds)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        kept += len(checkpoints(run))
    done = sweep(spec, *FEW, "--out", run, "--workers", "2", "--checkpoint-every", every)
    assert done.returncode == 0 and "checkpoint" not in done.stderr, done.stderr
    assert kills > 0 and kept > 0
    expect_same_tables(run, whole)


def test_times_of_all_parts_are_added_up(spec: Path, tmp_path: Path):
    one = ("--set", "task.basis=4", "--set", "task.delay=2", "--set", "train.seed=1", "--set", "train.mechanism=dpa",
           "--set", "train.steps=20000", "--set", "train.stop_when_solved=off", "--workers", "1")
    run = tmp_path / "run"
    seconds = timed(spec, *one, "--out", tmp_path / "whole")
    parts = 0
    while parts < 50 and sweep(spec, *one, "--out", run, "--time-limit", str(0.4 * seconds)).returncode == 130:
        parts += 1
    if not parts:
        pytest.skip("this machine is faster now than it was a moment ago")
    train_s, wall_s = (float(rows(run / "throughput.csv")[0][key]) for key in ("train_s", "wall_s"))
    tokens = int(rows(run / "accuracy.csv")[0]["tokens"])
    assert tokens == 20000 * 8 * 12
    assert float(rows(run / "throughput.csv")[0]["tokens_per_s"]) == pytest.approx(tokens / train_s, rel=1e-6)
    # Every part but the last had 0.4 of the whole for everything, so that training all of it did not fit into one.
    assert wall_s > train_s > 0.2 * seconds


def test_without_checkpoints_a_cell_starts_anew(spec: Path, tmp_path: Path):
    run = tmp_path / "run"
    off = ("--checkpoint-every", "0", "--time-limit", "0.3", "--set", "train.seed=1")
    assert sweep(spec, "--out", run, *LONG, *off).returncode == 130
    assert not (run / "checkpoints").exists()


def stopped_run(spec: Path, run: Path) -> tuple:
    """A run stopped within its one long cell, and what it was called with."""
    call = (*FEW, "--set", "train.mechanism=dpa", "--set", "train.seed=1", "--workers", "1")
    for share in (0.2, 0.05, 0.5, 0.01, 0.8):
        shutil.rmtree(run, ignore_errors=True)
        seconds = timed(spec, *call, "--out", run.with_name("timed"))
        shutil.rmtree(run.with_name("timed"))
        assert sweep(spec, *call, "--out", run, "--time-limit", str(share * seconds)).returncode in (0, 130)
        if checkpoints(run):
            return call
    pytest.skip("no instant within the cell was found")


HOSTILE = {
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


@pytest.mark.parametrize("damage", HOSTILE)
def test_hostile_checkpoints_are_told_and_not_used(spec: Path, tmp_path: Path, damage: str):
    run, whole = tmp_path / "run", tmp_path / "whole"
    call = stopped_run(spec, run)
    assert sweep(spec, *call, "--out", whole).returncode == 0
    path = checkpoints(run)[0]
    HOSTILE[damage](path)
    done = sweep(spec, *call, "--out", run)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "checkpoint" in line]
    assert len(told) == 1 and told[0].startswith("eabench sweep: ") and str(path) in told[0], done.stderr
    for name in TABLES:
        assert (run / name).read_bytes() == (whole / name).read_bytes()


def test_a_checkpoint_of_another_spec_is_not_used(spec: Path, tmp_path: Path):
    run, other = tmp_path / "run", tmp_path / "other"
    call = stopped_run(spec, run)
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


def test_checkpoints_cannot_lead_out_of_the_run(spec: Path, tmp_path: Path):
    run, outside = tmp_path / "run", tmp_path / "outside"
    assert sweep(spec, "--out", run, *LONG, "--time-limit", "1e-9", "--checkpoint-every", "0").returncode == 130
    outside.mkdir()
    (run / "checkpoints").symlink_to(outside)
    done = sweep(spec, "--out", run, *LONG, "--time-limit", "0.3", "--checkpoint-every", "0.05", "--workers", "1")
    assert done.returncode == 130 and "not a folder; no checkpoint is kept" in done.stderr, done.stderr
    assert not list(outside.iterdir())
