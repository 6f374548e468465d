"""Sweeps in parts (--shard) and eabench merge: the tables equal those of one process."""

from __future__ import annotations

import csv
import io
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from sweeps import EABENCH, ROOT, expect_same_tables, needs_eabench, one_line, rows, sweep

pytestmark = needs_eabench


def shards(spec: Path, run: Path, parts: int, *options) -> None:
    for part in range(1, parts + 1):
        done = sweep(spec, "--out", run, "--shard", f"{part}/{parts}", "--workers", "1", "--save-curves", *options)
        assert done.returncode == 0, done.stderr


def merge(run: Path, *options) -> subprocess.CompletedProcess:
    return subprocess.run([EABENCH, "merge", str(run), *map(str, options)], check=False, capture_output=True, text=True,
                          timeout=120)


def refused(done: subprocess.CompletedProcess, *parts: str) -> None:
    one_line(done, 2, *parts, command="merge")


@pytest.mark.parametrize("parts", [1, 2, 5, 30])
def test_merged_tables_are_those_of_one_process(spec: Path, tmp_path: Path, undisturbed: Path, parts: int):
    run = tmp_path / "run"
    shards(spec, run, parts)
    cells = [{row["cell"] for row in rows(run / f"shards/{part}-of-{parts}/accuracy.csv")}
             for part in range(1, parts + 1)]
    assert sum(map(len, cells)) == len(set().union(*cells)) == 24
    assert max(map(len, cells)) - min(map(len, cells)) <= 1
    done = merge(run)
    assert done.returncode == 0 and "24 of 24 cells are done; 24 added" in done.stdout, done.stderr
    expect_same_tables(run, undisturbed)
    again = merge(run)
    assert again.returncode == 0 and "; 0 added" in again.stdout
    expect_same_tables(run, undisturbed)
    resumed = sweep(spec, "--out", run, "--save-curves", "--workers", "1")
    assert resumed.returncode == 0 and "24 of 24 cells are done" in resumed.stdout
    manifest = (run / "manifest.ini").read_text()
    assert "command = eabench merge " in manifest
    assert manifest.split("[environment]")[0] == (undisturbed / "manifest.ini").read_text().split("[environment]")[0]


def test_the_longest_cells_are_spread(spec: Path, tmp_path: Path):
    """In a sweep of cells of two lengths the parts' work differs by at most one of the longest cells."""
    sums, longest = [], 0.0
    for part in range(1, 6):
        done = sweep(spec, "--dry-run", "--list", "--shard", f"{part}/5", "--set", "train.steps=40,400", "--set",
                     "train.seed=1:7", "--out", tmp_path / "run")
        assert done.returncode == 0, done.stderr
        work = [float(row["flop"]) for row in csv.DictReader(io.StringIO(done.stdout))]
        assert work == sorted(work, reverse=True)
        sums.append(sum(work))
        longest = max(longest, work[0])
    assert max(sums) - min(sums) <= longest * 1.001


def test_missing_parts_are_named_and_added_later(spec: Path, tmp_path: Path, undisturbed: Path):
    run, out = tmp_path / "run", tmp_path / "merged"
    shards(spec, run, 3)
    shutil.move(run / "shards/2-of-3", tmp_path / "away")
    done = merge(run, "--out", out)
    assert done.returncode == 1 and "16 of 24 cells are done; 8 missing; 16 added" in done.stdout, done.stderr
    assert f"shard 2/3 is missing: {run}/shards/2-of-3\n" in done.stderr
    shutil.move(tmp_path / "away", run / "shards/2-of-3")
    done = merge(run, "--out", out)
    assert done.returncode == 0 and "; 8 added" in done.stdout, done.stderr
    expect_same_tables(out, undisturbed)


def test_the_manifest_is_of_the_machine_that_trained(spec: Path, tmp_path: Path):
    """Also after a merge that adds nothing to a run that is not complete."""
    run = tmp_path / "run"
    shards(spec, run, 2)
    shutil.rmtree(run / "shards/1-of-2")
    manifest = run / "shards/2-of-2/manifest.ini"
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join("cpu = another one\n" if line.startswith("cpu = ") else line for line in lines))
    for added in (12, 0):
        done = merge(run)
        assert done.returncode == 1 and f"; {added} added" in done.stdout, done.stdout + done.stderr
        merged = (run / "manifest.ini").read_text()
        assert "cpu = another one\n" in merged and "workers = 1\n" in merged


def test_rows_of_texts_in_a_run_without_texts(spec: Path, tmp_path: Path):
    run = tmp_path / "run"
    shards(spec, run, 1)
    cell = rows(run / "shards/1-of-1/accuracy.csv")[0]["cell"]
    header = (ROOT / "results/epyc-zen4/text/text.csv").read_text().splitlines()[0]
    assert header.startswith("cell,")
    (run / "shards/1-of-1/text.csv").write_text(f"{header}\n{cell}{',' * header.count(',')}\n")
    refused(merge(run), "text.csv:2: cell ", "is of another task")


def test_a_torn_last_row(spec: Path, tmp_path: Path, undisturbed: Path):
    """Rows that a shard loses in a crash are reported as missing and are added by the next merge."""
    run = tmp_path / "run"
    shards(spec, run, 2)
    for name, cut in (("accuracy.csv", 25), ("throughput.csv", 7)):
        table = run / "shards/1-of-2" / name
        os.truncate(table, table.stat().st_size - cut)
    lost = rows(run / "shards/1-of-2/curves.csv")[-1]["cell"]
    done = merge(run)
    assert done.returncode == 1 and f"shard 1/2 lacks 1 cell, the first of them {lost}\n" in done.stderr, done.stderr
    assert lost not in (run / "accuracy.csv").read_text() + (run / "throughput.csv").read_text()
    shards(spec, run, 2)
    assert merge(run).returncode == 0
    expect_same_tables(run, undisturbed)


def test_killed_merges_are_continued(spec: Path, tmp_path: Path, undisturbed: Path):
    run, timed, instants = tmp_path / "run", tmp_path / "timed", random.Random()
    shards(spec, run, 4)
    began = time.monotonic()
    assert merge(run, "--out", timed).returncode == 0
    seconds = time.monotonic() - began
    for _ in range(6):
        process = subprocess.Popen([EABENCH, "merge", run], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(instants.uniform(0, seconds))
        process.send_signal(signal.SIGKILL)
        process.wait()
        table = run / "accuracy.csv"
        if table.exists() and table.stat().st_size > 2000:
            os.truncate(table, instants.randrange(1500, table.stat().st_size))
    done = merge(run)
    assert done.returncode == 0, done.stderr
    expect_same_tables(run, undisturbed)


def test_models_and_maps_are_merged(spec: Path, tmp_path: Path):
    run, out = tmp_path / "run", tmp_path / "out"
    shards(spec, run, 2, "--save-models", "--save-geometry", "--set", "train.seed=1")
    assert merge(run, "--out", out).returncode == 0
    cells = {row["cell"] for row in rows(out / "accuracy.csv")}
    for kind in ("models", "geometry"):
        assert {path.stem for path in (out / kind).iterdir()} == cells


def test_parts_that_do_not_fit_are_refused(spec: Path, tmp_path: Path):
    run = tmp_path / "run"
    refused(merge(run), "no shards/I-of-N")
    shards(spec, run, 2)
    part = run / "shards/2-of-2"
    whole = {path.name: path.read_bytes() for path in part.iterdir()}

    (part / "manifest.ini").write_bytes(whole["manifest.ini"].replace(b"steps = 40", b"steps = 41"))
    refused(merge(run), "2-of-2/manifest.ini is of another spec than ")
    (part / "manifest.ini").unlink()
    refused(merge(run), "2-of-2/manifest.ini: it is missing")
    (part / "manifest.ini").write_bytes(whole["manifest.ini"])

    first = (run / "shards/1-of-2/accuracy.csv").read_bytes().splitlines(keepends=True)
    speeds = (run / "shards/1-of-2/throughput.csv").read_bytes().splitlines(keepends=True)
    (part / "accuracy.csv").write_bytes(whole["accuracy.csv"] + first[3])
    (part / "throughput.csv").write_bytes(whole["throughput.csv"] + speeds[3])
    refused(merge(run), "2-of-2: cell " + first[3][:16].decode() + " is in shard 1, too")
    (part / "throughput.csv").write_bytes(whole["throughput.csv"])
    (part / "accuracy.csv").write_bytes(whole["accuracy.csv"] + whole["accuracy.csv"].splitlines(keepends=True)[1])
    refused(merge(run), "2-of-2/accuracy.csv:14: a second row for cell")
    (part / "accuracy.csv").write_bytes(whole["accuracy.csv"] + b"0" * 16 + first[3][16:])
    refused(merge(run), "cell '0000000000000000' is not one of this spec")
    (part / "accuracy.csv").write_bytes(whole["accuracy.csv"])

    shards(spec, run, 1)
    refused(merge(run), "shards of 1 and of 2")
    shutil.rmtree(run / "shards/1-of-1")
    assert sorted(path.name for path in run.iterdir()) == ["shards"]  # nothing was written
    assert merge(run).returncode == 0


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "1/", "/2", "1/2/3", "-1/2", "+1/2", " 1/2", "1/2 ", "1e0/2",
                                   "a/b", "1/99999999999999999999", "99999999999999999999/1"])
def test_bad_shards(spec: Path, tmp_path: Path, shard: str):
    one_line(sweep(spec, "--out", tmp_path / "run", f"--shard={shard}"), 2, "--shard is", "I/N is allowed")
    assert not (tmp_path / "run").exists()


def test_shards_with_other_options(spec: Path, tmp_path: Path):
    one_line(sweep(spec, "--out", tmp_path / "run", "--shard", "1/2", "--search"), 2, "--search with --shard")
    one_line(sweep(spec, "--list"), 2, "--list without --dry-run")
    tasks = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}  # each task of a launcher may train a part
    done = sweep(spec, "--out", tmp_path / "run", "--shard", "2/2", env={**os.environ, **tasks})
    assert done.returncode == 0 and "12 of 12 cells are done" in done.stdout, done.stderr


def test_bad_merges(tmp_path: Path):
    for options, part in (([], "no run"), (["a", "b"], "b; usage"), (["a", "--ouz", "b"], "nearest: --out"),
                          (["a", "--out", ""], "--out is empty")):
        done = subprocess.run([EABENCH, "merge", *options], check=False, capture_output=True, text=True, cwd=tmp_path)
        refused(done, part)


def test_list_of_cells(spec: Path, tmp_path: Path):
    done = sweep(spec, "--dry-run", "--list", "--fleet", "3", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    table = list(csv.DictReader(io.StringIO(done.stdout), strict=True))
    assert [row["order"] for row in table] == [str(i) for i in range(1, 25)]
    assert [row["fleet"] for row in table] == [str(1 + i // 3) for i in range(24)]
    assert len({row["cell"] for row in table}) == 24
    assert all(float(row["flop_with_evaluation"]) > float(row["flop"]) > 0 for row in table)
    assert sweep(spec, "--out", tmp_path / "run").returncode == 0
    rest = sweep(spec, "--dry-run", "--list", "--out", tmp_path / "run")
    assert rest.returncode == 0 and rest.stdout.count("\n") == 1


def test_the_dry_run_of_an_empty_part(spec: Path):
    done = sweep(spec, "--shard", "1000/1000", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "cells        0: the sweep has fewer cells than parts\n"
