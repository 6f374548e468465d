"""eabench sweep --search: the frontiers of a grid from a part of its cells."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import sweeps
from sweeps import EABENCH, needs_eabench

pytestmark = needs_eabench

# The easy levels are solved within 400 steps; on the hard ones nothing is learned within 200.
LADDER = """[task recurrence easy]
basis = 2
delay = 1, 2
[task recurrence hard]
basis = 64
delay = 9, 10, 11
[model]
d_model = 16
heads = 2
context = 12
[train]
mechanism = dpa, ea
lr = 1e-2, 3e-2
steps = 400
batch = 16
eval_every = 100
eval_tokens = 500
seed = 1:3
"""
CELLS = 5 * 2 * 2 * 3


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "ladder.ini"
    path.write_text(LADDER)
    return path


def sweep(spec: Path, *options: str) -> subprocess.CompletedProcess:
    command = [EABENCH, "sweep", str(spec), "--backend", "cpu", "--out", str(spec.parent / "run"), *options]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)


def rows(spec: Path, table: str = "accuracy.csv") -> list[dict[str, str]]:
    return sweeps.rows(spec.parent / "run" / table)


def test_finds_the_frontier_and_abandons_hopeless_cells(spec: Path) -> None:
    done = sweep(spec, "--search")
    assert done.returncode == 0, done.stderr
    assert "solved up to" in done.stdout
    for mechanism in ("dpa", "ea"):
        assert f"{mechanism}  recurrence" in done.stdout
    found = rows(spec)
    assert 0 < len(found) < CELLS
    assert f"the search trained {len(found)} of {CELLS} cells and saved {CELLS - len(found)} " in done.stdout
    assert len({row["cell"] for row in found}) == len(found)
    easy = [row for row in found if row["basis"] == "2"]
    assert any(row["solved"] == "1" for row in easy)
    hard = [row for row in found if row["basis"] == "64"]
    assert hard
    for row in hard:
        assert row["status"] == "timeout"
        assert row["reason"].startswith("abandoned at step 200 of 400: validation accuracy 0.")
        assert row["token_accuracy"] == ""
        assert row["solved"] == ""
    # Abandoned cells have no throughput.
    assert {row["cell"] for row in rows(spec, "throughput.csv")} == {r["cell"] for r in found if r["status"] == "ok"}


def test_a_second_search_trains_nothing_and_a_sweep_the_rest(spec: Path) -> None:
    assert sweep(spec, "--search").returncode == 0
    before = (spec.parent / "run/accuracy.csv").read_bytes()
    again = sweep(spec, "--search")
    assert again.returncode == 0, again.stderr
    assert (spec.parent / "run/accuracy.csv").read_bytes() == before
    whole = sweep(spec)
    assert whole.returncode == 0, whole.stderr
    found = rows(spec)
    assert len(found) == CELLS
    assert {row["status"] for row in found} == {"ok"}
    assert {row["steps_done"] for row in found if row["basis"] == "64"} == {"400"}


def test_finds_the_frontiers_of_the_whole_grid(spec: Path) -> None:
    searched = sweep(spec, "--search").stdout
    table = searched[searched.index("group") : searched.index("the search trained")]
    sweep(spec)
    frontiers = {}
    for mechanism in ("dpa", "ea"):
        solved = {}
        for row in rows(spec):
            if row["mechanism"] == mechanism and row["solved"] == "1":
                solved.setdefault((float(row["complexity_bits"]), row["level"]), set()).add(row["seed"])
        frontiers[mechanism] = max((key for key, seeds in solved.items() if len(seeds) >= 2), default=(0, "none"))[1]
    for mechanism, level in frontiers.items():
        line = next(line for line in table.splitlines() if line.startswith(mechanism + " "))
        assert line.split("recurrence", 1)[1].strip().startswith(level), line


def test_a_search_of_a_large_plan_obeys_its_limit(spec: Path) -> None:
    spec.write_text("[task recurrence]\nbasis = 2:9\n[train]\nmechanism = dpa, ea\nlr = 1e-3, 1e-2\nseed = 1:2000\n")
    done = sweep(spec, "--search", "--time-limit", "0.01")
    assert done.returncode == 130, done.stderr
    assert "the time limit was reached; " in done.stderr
    assert " of 64000 cells are done. To resume:" in done.stderr
