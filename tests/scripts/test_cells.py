"""sweep --cells: trains a choice of a spec's cells; the run is that of the whole spec."""

from __future__ import annotations

import csv
import os
import subprocess
from pathlib import Path

import pytest
from sweeps import EABENCH, expect_same_tables, needs_eabench, one_line, rows, sweep

pytestmark = needs_eabench


def ids(spec: Path, *options) -> list[str]:
    done = sweep(spec, "--dry-run", "--list", *options)
    assert done.returncode == 0, done.stderr
    return [row["cell"] for row in csv.DictReader(done.stdout.splitlines())]


def test_trains_these_cells_and_later_the_others(spec: Path, tmp_path: Path, undisturbed: Path):
    run, chosen = tmp_path / "run", tmp_path / "cells"
    cells = ids(spec)
    assert len(cells) == 24
    chosen.write_text("".join(f"{cell}\n" for cell in [*cells[5:2:-1], "", cells[20], cells[4]]))
    assert sorted(ids(spec, "--cells", chosen, "--out", run)) == sorted([*cells[3:6], cells[20]])
    done = sweep(spec, "--cells", chosen, "--out", run, "--save-curves", "--workers", "1", "--progress", "line")
    assert done.returncode == 0 and "4 of 24 cells are done" in done.stdout and "4/4 " in done.stderr, done
    assert {row["cell"] for row in rows(run / "accuracy.csv")} == {*cells[3:6], cells[20]}
    again = sweep(spec, "--cells", chosen, "--out", run, "--save-curves")
    assert again.returncode == 0 and "4 of 24 cells are done" in again.stdout
    whole = sweep(spec, "--out", run, "--save-curves", "--workers", "1")
    assert whole.returncode == 0, whole.stderr
    expect_same_tables(run, undisturbed)


def test_the_list_has_the_options_that_vary(spec: Path):
    done = sweep(spec, "--dry-run", "--list", "--set", "model.position=alibi,none", "--set", "train.lr=1e-2,2e-2")
    listed = list(csv.DictReader(done.stdout.splitlines()))
    assert list(listed[0])[-2:] == ["model.position", "train.mechanism"]
    assert {row["model.position"] for row in listed} == {"alibi", "none"}
    assert all(row["train.mechanism"] == row["mechanism"] for row in listed)


@pytest.mark.parametrize(("text", "parts"), [
    ("", ("lists no cell", "one id a line")),
    ("\n \n", ("lists no cell",)),
    ("0123456789abcdef\n", ("cells:1:", "'0123456789abcdef' is no cell of this spec", "--dry-run --list")),
    ("FIRST\nx\n", ("cells:2:", "'x' is no cell")),
    ("FIRST" + "9" * 100_000, ("cells:1:", "is no cell")),
])
def test_refuses_other_files(spec: Path, tmp_path: Path, text: str, parts: tuple[str, ...]):
    path = tmp_path / "cells"
    path.write_text(text.replace("FIRST", ids(spec)[0]))
    one_line(sweep(spec, "--cells", path, "--out", tmp_path / "run"), 2, *parts)
    assert not (tmp_path / "run").exists()


def test_refuses_what_is_no_file(spec: Path, tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, tmp_path / "missing", pipe, "/dev/zero"):
        one_line(sweep(spec, "--cells", path, "--out", tmp_path / "run", timeout=20), 2, "cell ids, one a line")


def test_refuses_another_choice(spec: Path, tmp_path: Path):
    one_line(sweep(spec, "--cells", tmp_path / "cells", "--search"), 2, "--cells with --search")


def command(*words) -> subprocess.CompletedProcess:
    return subprocess.run([EABENCH, *map(str, words)], check=False, capture_output=True, text=True, timeout=60)


def test_a_part_has_the_cells_of_the_list(spec: Path, tmp_path: Path, undisturbed: Path):
    """Whichever part the split by work would give them to."""
    run, cells = tmp_path / "run", ids(spec)
    lists = {1: cells[:5], 2: [*cells[7:10], *cells[20:]]}
    for part, chosen in lists.items():
        (tmp_path / "cells").write_text("".join(f"{cell}\n" for cell in chosen))
        options = ("--cells", tmp_path / "cells", "--shard", f"{part}/3", "--out", run)
        assert sorted(ids(spec, *options)) == sorted(chosen)
        done = sweep(spec, *options, "--save-curves", "--workers", "1")
        assert done.returncode == 0 and f"{len(chosen)} of 24 cells are done" in done.stdout, done
        assert {row["cell"] for row in rows(run / f"shards/{part}-of-3/accuracy.csv")} == set(chosen)
    for folder, done in ((run / "shards/1-of-3", "5"), (run, "12")):
        counted = command("status", folder).stdout.split()
        assert [counted[counted.index(word) + 1] for word in ("cells", "done")] == ["24", done]
    merged = command("merge", run)
    first = next(row["cell"] for row in rows(undisturbed / "accuracy.csv") if row["cell"] not in lists[1] + lists[2])
    assert merged.returncode == 1 and "12 of 24 cells are done; 12 missing; 12 added" in merged.stdout, merged
    assert merged.stderr == (f"eabench merge: no shard has 12 of the cells, the first of them {first}\n"
                             f"eabench merge: shard 3/3 is missing: {run}/shards/3-of-3\n")
    whole = sweep(spec, "--out", run, "--save-curves", "--workers", "1")
    assert whole.returncode == 0, whole.stderr
    expect_same_tables(run, undisturbed)


def test_a_list_for_a_part_can_be_refused_too(spec: Path, tmp_path: Path):
    (tmp_path / "cells").write_text("x\n")
    one_line(sweep(spec, "--cells", tmp_path / "cells", "--shard", "1/2", "--out", tmp_path / "run"), 2, "is no cell")
    one_line(sweep(spec, "--cells", tmp_path / "cells", "--shard", "3/2", "--out", tmp_path / "run"), 2, "--shard is")
    assert not (tmp_path / "run").exists()
