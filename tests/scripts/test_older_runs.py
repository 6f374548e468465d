"""Runs that an older version of eabench began: its tables lack the columns of later options, whose defaults count."""

from __future__ import annotations

import csv
import shutil
import subprocess
from pathlib import Path

import pytest
from sweeps import EABENCH, TINY, expect_same_tables, needs_eabench, one_line, rows, sweep

from analysis.pool import pool_runs
from analysis.tables import LATER_OPTIONS, read_run

pytestmark = needs_eabench

# The options of each section that the first tables had, or that share such a column. The others go into LATER_OPTIONS.
FIRST_OPTIONS = {
    "recurrence": "basis delay a b", "task_switch": "modulus ops switch_percent",
    "delay_copy": "symbols items mode distance_min distance_max test_distance_min test_distance_max",
    "recall": "pairs keys values", "modular": "modulus operation test_percent", "parity": "bits marked answer",
    "selective_copy": "symbols items blanks", "induction": "symbols triggers", "mixture": "parts cue",
    "distance": "ops symbols items distance_min distance_max test_distance_min test_distance_max", "flip_flop": "",
    "counting": "symbols items", "group": "answer", "congruential": "modulus test_percent",
    "noisy_recall": "keys values", "compression": "symbols items", "text": "file unit valid_percent test_percent",
    "model": "layers d_model heads mlp_ratio context position alibi_span norm activation bias embedding init_scale "
             "embedding_scale qk_init",
    "train": "mechanism scale optimizer lr beta1 beta2 momentum weight_decay clip steps batch warmup schedule lr_final "
             "seed eval_every eval_tokens stop_when_solved heldout"}
FIRST_RESULTS = ("tokens steps_done loss_nats validation_accuracy token_accuracy sequence_accuracy rollout_accuracy "
                 "chance_accuracy seen_share solved steps_to_solve")
FIRST_COLUMNS = ("cell status reason backend dtype task level complexity_bits vocab parameters "
                 + " ".join(FIRST_OPTIONS[section] for section in ("recurrence", "model", "train"))
                 + " " + FIRST_RESULTS).split()
FIRST_SPEED_COLUMNS = ("cell backend device dtype mechanism task level layers d_model heads context batch seed lr "
                       "fleet workers train_s wall_s tokens_per_s fleet_tokens_per_s flop_per_token gflop_per_s "
                       "peak_gflop_per_s peak_fraction memory_bytes").split()


def write_table(path: Path, columns: list[str], table: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def make_older(run: Path, keep: int | None = None) -> None:
    """Gives the run the columns and the manifest of the first version, and only the first `keep` cells."""
    for name, columns in (("accuracy.csv", FIRST_COLUMNS), ("throughput.csv", FIRST_SPEED_COLUMNS)):
        write_table(run / name, columns, rows(run / name)[:keep])
    later = {name for added in LATER_OPTIONS.values() for name in added}
    manifest = run / "manifest.ini"
    spec, environment = manifest.read_text().split("[environment]")
    lines = [line for line in spec.splitlines() if line.split(" =")[0] not in later]
    manifest.write_text("\n".join(lines) + "\n[environment]" + environment)


def status(run: Path) -> str:
    done = subprocess.run([EABENCH, "status", str(run)], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("keep", [5, None])
def test_an_older_run_resumes(tmp_path: Path, undisturbed: Path, keep: int | None):
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    make_older(run, keep)
    before = (run / "accuracy.csv").read_bytes()
    assert f"done       {keep or 24:>2}" in status(run)
    assert (run / "accuracy.csv").read_bytes() == before  # reading changes nothing
    done = sweep(run / "manifest.ini", "--out", run, "--workers", "1", "--save-curves")
    assert done.returncode == 0, done.stderr
    assert "24 of 24 cells are done" in done.stdout
    assert keep is None or f"{keep} of 24 cells are done already" in done.stderr
    expect_same_tables(run, undisturbed)
    manifest = (run / "manifest.ini").read_text().split("[environment]")[0]
    assert keep is None or manifest == (undisturbed / "manifest.ini").read_text().split("[environment]")[0]


def test_older_shards_are_merged(spec: Path, tmp_path: Path, undisturbed: Path):
    run = tmp_path / "run"
    for part in "12":
        done = sweep(spec, "--out", run, "--shard", f"{part}/2", "--workers", "1", "--save-curves")
        assert done.returncode == 0, done.stderr
    make_older(run / "shards/1-of-2")
    done = subprocess.run([EABENCH, "merge", str(run)], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    expect_same_tables(run, undisturbed)
    assert rows(run / "shards/1-of-2/accuracy.csv")[0].keys() == set(FIRST_COLUMNS)


def test_reports_pool_older_runs_with_newer_ones(tmp_path: Path, undisturbed: Path):
    """Cells that differ only in a column that one run lacks are of one setting."""
    older, newer = tmp_path / "older", tmp_path / "newer"
    for run, seeds in ((older, "12"), (newer, "3")):
        shutil.copytree(undisturbed, run)
        kept = [row for row in rows(run / "accuracy.csv") if row["seed"] in seeds]
        write_table(run / "accuracy.csv", list(kept[0]), kept)
    make_older(older)
    pool = pool_runs([read_run(older), read_run(newer)])
    assert [(group.title, group.axes, len(group.rows)) for group in pool.groups] == \
        [("recurrence", ["basis", "delay"], 24)]


def test_every_later_option_has_its_default():
    text = subprocess.run([EABENCH, "sweep", "--help"], check=True, capture_output=True, text=True).stdout
    later: dict[str, dict[str, str]] = {}
    seen: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.removeprefix("  task").split()
        if line.startswith("  ") and words and words[0] in FIRST_OPTIONS:
            seen.setdefault(words[0], []).append(words[1])
            if words[1] not in FIRST_OPTIONS[words[0]].split():
                later.setdefault(words[0], {})[words[1]] = words[2]
    assert set(seen) == set(FIRST_OPTIONS) and all(set(FIRST_OPTIONS[name].split()) <= set(seen[name]) for name in seen)
    assert later == LATER_OPTIONS


def test_columns_that_no_cell_uses_are_left_out(tmp_path: Path):
    """A later option has a column only in runs that use it; a table that has one nevertheless is read."""
    text = TINY.replace("[task recurrence]\nbasis = 4, 8\ndelay = 2, 3",
                        "[task recall]\npairs = 2\nkeys = 4\ngaps = GAPS")
    for name, gaps in (("plain", "none"), ("both", "none, power")):
        (tmp_path / f"{name}.ini").write_text(text.replace("GAPS", gaps).replace("context = 12", "context = 16"))
        done = sweep(tmp_path / f"{name}.ini", "--out", tmp_path / name, "--workers", "1")
        assert done.returncode == 0, done.stderr
    plain, both = (rows(tmp_path / name / "accuracy.csv") for name in ("plain", "both"))
    assert "gaps" not in plain[0] and "filler" not in both[0]
    assert [row["gaps"] for row in both] == ["none"] * 6 + ["power"] * 6
    assert [{**row, "gaps": "none"} for row in plain] == both[:6]

    before = (tmp_path / "plain/accuracy.csv").read_bytes()
    write_table(tmp_path / "plain/accuracy.csv", list(both[0]), both[:6])
    assert "done       6  100%" in status(tmp_path / "plain")
    done = sweep(tmp_path / "plain.ini", "--out", tmp_path / "plain", "--workers", "1")
    assert done.returncode == 0 and "6 of 6 cells are done" in done.stdout, done.stdout
    assert (tmp_path / "plain/accuracy.csv").read_bytes() == before
    pool = pool_runs([read_run(tmp_path / name) for name in ("plain", "both")])
    assert [(group.title, len(group.rows)) for group in pool.groups] == [("recall", 12)]


def renamed(header: list[str], old: str, new: str) -> list[str]:
    return [new if name == old else name for name in header]


@pytest.mark.parametrize(("table", "change", "says"), [
    ("accuracy.csv", lambda header: renamed(header, "qk_norm", "qk_norms"), "is 'qk_norms'; nearest: qk_norm;"),
    ("accuracy.csv", lambda header: renamed(header, "qk_norm", "qk_init"), "is 'qk_init', as is column"),
    ("accuracy.csv", lambda header: renamed(header, "tokens", ""), "is ''; nearest:"),
    ("accuracy.csv", lambda header: [name for name in header if name != "tokens"], "column 'tokens' is missing;"),
    ("throughput.csv", lambda header: [name for name in header if name != "lr"], "column 'lr' is missing;"),
])
def test_other_columns_are_refused(tmp_path: Path, spec: Path, undisturbed: Path, table: str, change, says: str):
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    with (run / table).open(newline="") as file:
        old, *lines = csv.reader(file)
    new = change(old)
    places = [old.index(name) for name in new] if len(new) < len(old) else list(range(len(old)))
    with (run / table).open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([new, *([line[i] for i in places] for line in lines)])
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    one_line(sweep(spec, "--out", run, "--workers", "1"), 2, f"{table}:1: column", says,
             "the columns of this version of eabench are allowed, or another --out")
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_an_option_that_is_not_default_has_another_identity(tmp_path: Path, undisturbed: Path):
    """The cells of an older run are those with the default of a later option, and no others."""
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    make_older(run)
    (tmp_path / "tiny.ini").write_text(TINY.replace("[train]", "qk_norm = off, on\n[train]"))
    done = sweep(tmp_path / "tiny.ini", "--out", run, "--dry-run")
    assert done.returncode == 0 and "cells        48\ndone         24, in " in done.stdout, done.stdout
