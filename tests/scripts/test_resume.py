"""Sweeps that are killed or interrupted and resumed; refused sweeps; damaged tables; a full disk."""

from __future__ import annotations

import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from sweeps import (CELLS, EABENCH, LONG, LONGER, TINY, command, expect_same_tables, kill_within, needs_eabench,
                    one_line, rows, start, sweep, timed, wait_until, without_times)

pytestmark = needs_eabench


def test_killed_at_random_instants(spec: Path, tmp_path: Path):
    """Each start resumes the run of the start before; after many kills the run may be complete."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    instants = random.Random(seed)
    whole, run, kills = tmp_path / "whole", tmp_path / "run", 0
    seconds = timed(spec, "--out", whole, "--save-curves", *LONGER)
    for _ in range(12):
        killed = kill_within(0.5 * seconds, instants, spec, "--out", run, "--save-curves", *LONGER)
        kills += killed
        table = run / "accuracy.csv"  # sometimes rows are removed, so that the run is not complete too early
        if (not killed or instants.random() < 0.4) and table.exists() and table.stat().st_size > 2000:
            os.truncate(table, instants.randrange(1500, table.stat().st_size))
    done = sweep(spec, "--out", run, "--save-curves", *LONGER)
    assert done.returncode == 0, done.stderr
    assert kills > 0
    for name in ("accuracy.csv", "curves.csv"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    assert len(rows(run / "throughput.csv")) == CELLS
    assert sorted(entry.name for entry in run.iterdir()) == [
        "accuracy.csv", "curves.csv", "manifest.ini", "throughput.csv"]


def test_killed_in_the_middle_of_cells(spec: Path, tmp_path: Path):
    seconds = timed(spec, "--out", tmp_path / "whole", *LONGER)
    for _ in range(4):
        kill_within(seconds, random.Random(), spec, "--out", tmp_path / "run", *LONGER)
    assert sweep(spec, "--out", tmp_path / "run", *LONGER).returncode == 0
    assert (tmp_path / "run/accuracy.csv").read_bytes() == (tmp_path / "whole/accuracy.csv").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_keeps_results_and_prints_how_to_resume(spec: Path, tmp_path: Path, number):
    run = tmp_path / "a run"
    process = start(spec, "--out", run, "--workers", "1", "--set", "train.steps=2, 100000000", "--set",
                    "train.stop_when_solved=off", "--set", "train.eval_every=1", "--set", "train.seed=1", "--set",
                    "task.delay=2", "--set", "train.eval_tokens=10")
    # The long cells come first and never end, so no cell is done.
    wait_until(lambda: (run / "accuracy.csv").exists())
    time.sleep(0.3)
    process.send_signal(number)
    began = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert process.returncode == 130, err
    last = err.rstrip("\n").splitlines()[-1].strip()
    assert last.startswith(shlex.quote(EABENCH) + " sweep ") and "'" + str(run) + "'" in last
    assert "interrupted; 0 of 8 cells are done" in err
    assert out == ""
    assert not (run / ".lock").exists()


@pytest.mark.parametrize("program", ["eabench", "bin/eabench", "my programs/eabench"])
def test_the_resume_line_resumes(spec: Path, tmp_path: Path, undisturbed: Path, monkeypatch, program: str):
    (tmp_path / program).parent.mkdir(exist_ok=True)
    (tmp_path / program).symlink_to(Path(EABENCH).resolve())
    monkeypatch.chdir(tmp_path)
    if "/" not in program:
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    call = [program, *command(spec, "--out", tmp_path / "it's here", "--time-limit", "1e-9", "--save-curves")[1:]]
    done = subprocess.run(call, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 130 and "the time limit" in done.stderr, done.stderr
    line = done.stderr.rstrip("\n").splitlines()[-1].strip()
    assert line.startswith(f"'{program}' sweep " if " " in program else f"{program} sweep "), line
    resumed = subprocess.run(["sh", "-c", line.replace("--time-limit 1e-9", "")], check=False, capture_output=True,
                             text=True, timeout=300)
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "it's here/accuracy.csv").read_bytes() == (undisturbed / "accuracy.csv").read_bytes()


def test_time_limit(spec: Path, tmp_path: Path):
    began = time.monotonic()
    done = sweep(spec, "--out", tmp_path / "run", "--time-limit", "1", *LONG)
    assert done.returncode == 130, done.stderr
    assert 0.9 < time.monotonic() - began < 15
    assert "time limit was reached; 0 of 24 cells are done" in done.stderr


def test_signals_within_a_second_are_one_interrupt(spec: Path, tmp_path: Path):
    """GNU timeout signals its child and then its group: the checkpoints are written all the same. That a later second
    one ends the process at once is in test_interrupt.c."""
    run = tmp_path / "run"
    process = start(spec, "--out", run, "--workers", "2", *LONG)
    tables = [run / name for name in ("accuracy.csv", "throughput.csv")]
    wait_until(lambda: all(table.exists() and table.stat().st_size for table in tables))
    time.sleep(0.5)
    process.send_signal(signal.SIGSTOP)  # so that all three are pending when it continues
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    assert process.wait(timeout=60) == 130
    err = process.communicate()[1]
    assert "interrupted; 0 of 24 cells are done. To resume:" in err and "again:" not in err, err
    assert len(list((run / "checkpoints").iterdir())) == 2
    for table in tables:
        assert table.read_bytes().endswith(b"\n")


def test_second_sweep_is_refused(spec: Path, tmp_path: Path):
    run = tmp_path / "run"
    process = start(spec, "--out", run, *LONG)
    wait_until(lambda: (run / "accuracy.csv").exists())
    try:
        one_line(sweep(spec, "--out", run), 2, f"{run} is in use by process {process.pid} on ", " since 20")
        dry = sweep(spec, "--out", run, "--dry-run")
        assert dry.returncode == 0, dry.stderr  # reading needs no lock
    finally:
        process.kill()
        process.communicate()
    done = sweep(spec, "--out", run)  # the lock file is stale now
    assert done.returncode == 0, done.stderr


def test_a_finished_run_is_reported_and_unchanged(undisturbed: Path, tmp_path: Path):
    before = {entry.name: entry.read_bytes() for entry in undisturbed.iterdir()}
    done = sweep(undisturbed.parent / "tiny.ini", "--out", undisturbed, "--save-curves", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "24 of 24 cells are done" in done.stdout
    assert {entry.name: entry.read_bytes() for entry in undisturbed.iterdir()} == before


def test_damaged_tables_are_refused_and_unchanged(spec: Path, tmp_path: Path):
    run = tmp_path / "run"
    assert sweep(spec, "--out", run).returncode == 0
    whole = (run / "accuracy.csv").read_bytes()
    for damaged, part in ((whole.replace(b"status", b"state", 1), "accuracy.csv:1: "),
                          (b"hello\n" + whole, "accuracy.csv:1: "),
                          (whole.replace(b",ok,", b",\0k,", 1), "accuracy.csv:2: a NUL"),
                          (whole + whole.splitlines(True)[1], "accuracy.csv:26: a second row")):
        (run / "accuracy.csv").write_bytes(damaged)
        one_line(sweep(spec, "--out", run), 2, part)
        assert (run / "accuracy.csv").read_bytes() == damaged
    (run / "accuracy.csv").write_bytes(whole + b"torn")
    assert sweep(spec, "--out", run).returncode == 0
    assert (run / "accuracy.csv").read_bytes() == whole


def test_full_disk(spec: Path, tmp_path: Path, undisturbed: Path):
    """A limit on file sizes stands in for a full disk. The tables must end with a complete row."""
    arguments = command(spec, "--workers", "2", "--save-curves", "--out", tmp_path / "run")
    limited = ["bash", "-c", 'ulimit -f 3; exec "$@"', "bash", *arguments]
    done = subprocess.run(limited, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    assert done.stderr.splitlines()[-1].startswith("eabench sweep: ") and "File too large" in done.stderr
    for name in ("accuracy.csv", "throughput.csv"):
        assert (tmp_path / "run" / name).read_bytes().endswith(b"\n")
    kept = len(rows(tmp_path / "run/accuracy.csv"))
    resumed = sweep(spec, "--out", tmp_path / "run", "--save-curves")
    assert resumed.returncode == 0, resumed.stderr
    if kept:
        assert f"{kept} of 24 cells are done already" in resumed.stderr
    assert (tmp_path / "run/accuracy.csv").read_bytes() == (undisturbed / "accuracy.csv").read_bytes()


def test_broken_pipes_are_harmless(spec: Path, tmp_path: Path):
    read, write = os.pipe()
    os.close(read)
    process = start(spec, "--out", tmp_path / "run", stderr=write, stdout=subprocess.DEVNULL)
    os.close(write)
    assert process.wait(timeout=60) == 0
    assert len(rows(tmp_path / "run/accuracy.csv")) == CELLS


MIXTURES = TINY.replace("[task recurrence]\nbasis = 4, 8\ndelay = 2, 3\n", """[task mixture]
parts = recurrence(basis=4 delay=3) + recurrence(delay=2), recurrence(basis=4 delay=2) + recurrence(delay=2) + recurrence
cue = token, none
""")


def test_mixtures_killed_and_resumed(tmp_path: Path):
    """A cell has a row for the whole and one for each part, all or none of them, also after kills."""
    spec, whole, run = tmp_path / "mixtures.ini", tmp_path / "whole", tmp_path / "run"
    spec.write_text(MIXTURES)
    seconds = timed(spec, "--out", whole, *LONGER)
    instants, kills = random.Random(2), 0
    for _ in range(12):
        kills += kill_within(0.5 * seconds, instants, spec, "--out", run, *LONGER)
        table = run / "accuracy.csv"
        if table.exists() and table.stat().st_size > 2000:  # removes rows, sometimes only some rows of a cell
            os.truncate(table, instants.randrange(1500, table.stat().st_size))
    done = sweep(spec, "--out", run, "--workers", "2", *LONGER)
    assert done.returncode == 0 and "24 of 24 cells are done" in done.stdout and kills > 0, done.stderr
    assert (run / "accuracy.csv").read_bytes() == (whole / "accuracy.csv").read_bytes()
    assert without_times(run / "throughput.csv") == without_times(whole / "throughput.csv")

    table = rows(whole / "accuracy.csv")
    assert len(rows(whole / "throughput.csv")) == 24 and len(table) == 12 * 3 + 12 * 4
    cells = {cell: [row for row in table if row["cell"] == cell]
             for cell in dict.fromkeys(row["cell"] for row in table)}
    for first, *parts in cells.values():
        names = re.fullmatch(r"(.*) cue=(token|none)", first["level"])
        assert first["task"] == "mixture" and names and first["basis"] == ""
        assert names[1] == " + ".join(f"{part['task']}({part['level']})" for part in parts)
        assert int(first["vocab"]) == 8 + (len(parts) if names[2] == "token" else 0)
        assert float(first["complexity_bits"]) == pytest.approx(
            np.log2(sum(2 ** float(part["complexity_bits"]) for part in parts)))
        assert int(first["tokens"]) == sum(int(part["tokens"]) for part in parts) == 400 * 8 * 12
        accuracies = [float(part["token_accuracy"]) for part in parts]
        assert min(accuracies) <= float(first["token_accuracy"]) <= max(accuracies)
        assert all(part["basis"] and part["seed"] == first["seed"] for part in parts)


def test_a_model_that_cannot_be_saved_costs_its_cell(spec: Path, tmp_path: Path, undisturbed: Path):
    run = tmp_path / "run"
    cell = rows(undisturbed / "accuracy.csv")[3]["cell"]
    blocked = run / f"models/{cell}.safetensors.new/x"  # the name of the temporary file is that of a folder
    blocked.mkdir(parents=True)
    options = ("--out", run, "--workers", "1", "--save-models", "--save-curves", "--progress", "line")
    done = sweep(spec, *options)
    assert done.returncode == 1, done.stderr
    assert f"models/{cell}.safetensors: cannot be written: " in done.stderr
    failed = [row for row in rows(run / "accuracy.csv") if row["status"] != "ok"]
    assert [(row["cell"], row["status"], row["token_accuracy"]) for row in failed] == [(cell, "fail", "")]
    shutil.rmtree(blocked.parent)
    assert sweep(spec, *options).returncode == 0
    expect_same_tables(run, undisturbed)
    assert len(list((run / "models").iterdir())) == 24
