"""Ranks of a sweep by MPI that hang without dying (SIGSTOP): the sweep ends with a line, and the next start completes
it. Skipped like test_mpi.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from sweeps import EABENCH, wait_until
from test_mpi import ENDLESS, alone, alone_run, command, ended, expect_same_run, pytestmark, ranks_of, \
    start, sweep  # noqa: F401

# The sweep takes 12 s on two idle cores: `eabench status` learns every 2 s what runs.
CELLS_OF_SECONDS = ("--set", "train.steps=20000", "--set", "train.stop_when_solved=off")


@pytest.fixture
def spec(tmp_path: Path, alone_run: Path) -> Path:  # noqa: F811
    return alone_run.parent / "tiny.ini"


def lines_of(stderr: str) -> list[str]:
    """The sweep's own lines, without those of mpirun."""
    return [json.loads(line)["text"] for line in stderr.splitlines()
            if line.startswith('{"event":') and json.loads(line)["event"] == "error"]


def leader_of(run: Path) -> int:
    return int((run / ".lock").read_text().split()[0])


def all_train(run: Path, ranks: int) -> bool:
    """As eabench status knows it, which learns every 2 s what runs."""
    return f"\nrunning     {ranks} " in subprocess.run(
        [EABENCH, "status", run], check=False, capture_output=True, text=True).stdout


def stop_one(process: subprocess.Popen, run: Path, ranks: int, leader: bool) -> int:
    """SIGSTOP of the leader or of another rank, once all train; its process id."""
    wait_until(lambda: (run / ".state").exists() and len(ranks_of(process.pid)) == ranks)
    wait_until(lambda: all_train(run, ranks), 60)
    pid = next(pid for pid in ranks_of(process.pid) if (pid == leader_of(run)) == leader)
    os.kill(pid, signal.SIGSTOP)
    return pid


def stop_one_with_a_cell(process: subprocess.Popen, run: Path, ranks: int) -> int:
    """SIGSTOP of a rank other than the leader, in the middle of a cell and not between two."""
    while True:
        pid = stop_one(process, run, ranks, leader=False)
        time.sleep(2.5)  # less than --rank-timeout, and long enough for a new status
        if all_train(run, ranks):
            return pid
        os.kill(pid, signal.SIGCONT)


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}/exe").exists()


def test_a_follower_that_hangs_costs_its_cells_only(spec: Path, tmp_path: Path, alone_run: Path):  # noqa: F811
    """The others train all other cells, then the sweep ends with 3; the next start trains the rest."""
    run, whole = tmp_path / "run", tmp_path / "whole"
    options = (spec, "--save-curves", *CELLS_OF_SECONDS)
    process = start(3, *options, "--out", run, "--rank-timeout", "5", "--progress", "json")
    pid = stop_one_with_a_cell(process, run, 3)
    _, stderr = ended(process)
    assert process.returncode == 3, stderr
    first, last = lines_of(stderr)
    assert "it has sent nothing for 5 s (--rank-timeout); its cells that are not done are left" in first, stderr
    assert "it has sent nothing for 5 s (--rank-timeout); 23 of 24 cells are done, to resume: " in last, stderr
    wait_until(lambda: not is_there(pid))  # the launcher kills it
    assert sweep(2, *options, "--out", run).returncode == 0
    assert sweep(1, *options, "--out", whole).returncode == 0
    expect_same_run(run, whole)


def test_a_leader_that_hangs_ends_the_sweep(spec: Path, tmp_path: Path, alone_run: Path):  # noqa: F811
    run = tmp_path / "run"
    process = start(3, spec, "--out", run, "--rank-timeout", "5", "--progress", "json", *ENDLESS)
    pid = stop_one(process, run, 3, leader=True)
    _, stderr = ended(process)
    assert process.returncode == 3, stderr
    lines = lines_of(stderr)
    assert len(lines) == 1 and lines[0].startswith("the first rank has sent nothing for 5 s (--rank-timeout)"), stderr
    wait_until(lambda: not is_there(pid))
    done = sweep(2, spec, "--out", run, "--time-limit", "1", *ENDLESS)
    assert done.returncode == 130, done.stderr


def test_a_rank_that_pauses_is_not_lost(spec: Path, tmp_path: Path, alone_run: Path):  # noqa: F811
    """Cells that take longer than the time, and ranks that are stopped for less."""
    run = tmp_path / "run"
    process = start(2, spec, "--out", run, "--rank-timeout", "8", "--progress", "json", *ENDLESS)
    for leader in (False, True):
        pid = stop_one(process, run, 2, leader)
        time.sleep(4)
        os.kill(pid, signal.SIGCONT)
        time.sleep(2)
    time.sleep(6)
    assert process.poll() is None
    os.kill(leader_of(run), signal.SIGINT)
    _, stderr = ended(process)
    assert process.returncode == 130 and lines_of(stderr) == [], stderr


@pytest.mark.parametrize("value", ["4", "-1", "1e10", "5x", "", "nan"])
def test_misuse(spec: Path, tmp_path: Path, value: str):
    done = sweep(2, spec, "--out", tmp_path / "run", "--rank-timeout", value)
    assert done.returncode == 2 and f"--rank-timeout is '{value}'; at " in done.stderr and "allowed" in done.stderr
