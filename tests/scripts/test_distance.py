"""The family distance: one trained model evaluated at a list of distances, a row for each, and what the report shows of
it."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest
from analysis.figures_distance import distance_sums
from analysis.pool import pool_runs
from analysis.report import main as report
from analysis.tables import read_run
from sweeps import needs_eabench, one_line, rows, sweep

pytestmark = needs_eabench

# The rate leaves the initial weights as they are, so that models trained on different levels are the same model.
SPEC = """[task distance]
ops = CS
distance_min = {least}
distance_max = {most}
{test}
[model]
d_model = 8
heads = 2
context = 30
[train]
lr = 1e-300
weight_decay = 0
steps = 2
batch = 8
eval_every = 1
eval_tokens = 300
seed = 1:2
"""
LISTED = "test_distance_min = 0\ntest_distance_max = 6"
SCORES = ("loss_nats", "token_accuracy", "sequence_accuracy", "seen_share", "solved")


def write(path: Path, least: int, most: int, test: str = "") -> Path:
    path.write_text(SPEC.format(least=least, most=most, test=test), encoding="utf-8")
    return path


@pytest.fixture(name="run", scope="module")
def listed_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("distance")
    spec = write(folder / "spec.ini", 1, 3, LISTED)
    done = sweep(spec, "--out", folder / "run", "--fleet", "1")
    assert done.returncode == 0, done.stderr
    return spec, folder / "run"


def test_a_row_for_each_distance(run: tuple[Path, Path]) -> None:
    table = rows(run[1] / "accuracy.csv")
    assert len(table) == 2 * 8
    for first in (0, 8):
        whole, *single = table[first:first + 8]
        assert (whole["distance_min"], whole["distance_max"], whole["test_distance_max"]) == ("1", "3", "6")
        assert whole["rollout_accuracy"] and whole["validation_accuracy"]
        for distance, row in enumerate(single):
            assert (row["distance_min"], row["distance_max"], row["test_distance_max"]) == (str(distance),) * 2 + ("0",)
            assert row["level"] == f"ops=CS symbols=8 items=4 distance_min={distance} distance_max={distance}"
            assert (row["cell"], row["status"], row["rollout_accuracy"]) == (whole["cell"], "ok", "")
            for column in ("tokens", "steps_done", "validation_accuracy", "vocab", "parameters", "seed"):
                assert row[column] == whole[column]


@pytest.mark.parametrize("distance", [0, 2, 6])
def test_a_row_has_the_scores_of_a_level_of_that_distance(distance: int, run: tuple[Path, Path],
                                                          tmp_path: Path) -> None:
    assert sweep(write(tmp_path / "spec.ini", distance, distance), "--out", tmp_path / "run").returncode == 0
    alone = rows(tmp_path / "run" / "accuracy.csv")
    listed = [row for row in rows(run[1] / "accuracy.csv")
              if row["test_distance_max"] == "0" and row["distance_min"] == str(distance)]
    assert [[row[name] for name in SCORES] for row in listed] == [[row[name] for name in SCORES] for row in alone]


def test_rows_do_not_depend_on_the_fleet(run: tuple[Path, Path], tmp_path: Path) -> None:
    assert sweep(run[0], "--out", tmp_path / "run", "--fleet", "2", "--workers", "1").returncode == 0
    assert (tmp_path / "run" / "accuracy.csv").read_bytes() == (run[1] / "accuracy.csv").read_bytes()


def test_resume_counts_the_rows(run: tuple[Path, Path], tmp_path: Path) -> None:
    spec, whole = run
    assert sweep(spec, "--out", tmp_path / "run").returncode == 0
    table = tmp_path / "run" / "accuracy.csv"
    expected = (whole / "accuracy.csv").read_text(encoding="utf-8")
    lines = expected.splitlines(keepends=True)
    for kept in (lines[:-1], lines[:8], lines[:2]):
        table.write_text("".join(kept), encoding="utf-8")
        assert sweep(spec, "--out", tmp_path / "run").returncode == 0
        assert table.read_text(encoding="utf-8") == expected
    table.write_text("".join([*lines, lines[-1]]), encoding="utf-8")
    one_line(sweep(spec, "--out", tmp_path / "run"), 2, "a second row for cell", "distance_min=6")
    assert table.read_text(encoding="utf-8") == "".join([*lines, lines[-1]])


def test_a_cell_with_many_rows_is_read_again(tmp_path: Path) -> None:
    """254 levels, the most that a model can be evaluated at, and the cell's own row."""
    test = "s_distance_max = 4\ntest_distance_min = 1\ntest_distance_max = 127"
    options = (write(tmp_path / "spec.ini", 1, 3, test), "--out", tmp_path / "run", "--set", "train.seed=1", "--set",
               "model.context=300", "--set", "train.steps=7", "--set", "train.eval_every=7")
    assert sweep(*options).returncode == 0
    table = (tmp_path / "run" / "accuracy.csv").read_bytes()
    assert table.count(b"\n") == 1 + 255
    again = sweep(*options)
    assert again.returncode == 0 and "1 of 1 cells are done" in again.stdout, again.stderr
    (tmp_path / "run" / "accuracy.csv").write_bytes(table + table.splitlines(keepends=True)[-1])
    one_line(sweep(*options), 2, "a second row for cell", "one is allowed")


def test_refusals(tmp_path: Path) -> None:
    one_line(sweep(write(tmp_path / "a.ini", 1, 3, "test_distance_min = 2")), 2, "test_distance_max = 0", "allowed")
    one_line(sweep(write(tmp_path / "b.ini", 1, 3, "test_distance_max = 127"), "--set", "model.context=300"), 2,
             "at most 127 distances")
    one_line(sweep(write(tmp_path / "c.ini", 1, 3, "test_distance_max = 25")), 2, "context = 30", "at least 31")
    mixture = tmp_path / "d.ini"
    mixture.write_text("[task mixture]\nparts = recurrence + distance(test_distance_max=3)\n", encoding="utf-8")
    one_line(sweep(mixture), 2, "[task mixture] distance(", "no test_ options")


def test_report_shows_accuracy_against_distance(run: tuple[Path, Path], tmp_path: Path) -> None:
    assert report([str(run[1]), "--out", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Accuracy against distance" in page and "One trained model over distances" in page
    figures = list((tmp_path / "plots").glob("distances-*.csv"))
    assert len(figures) == 1
    with figures[0].open(newline="", encoding="utf-8") as file:
        points = list(csv.DictReader(file))
    assert [float(point["distance"]) for point in points] == list(range(7))
    table = rows(run[1] / "accuracy.csv")
    for point in points:  # the mean over both seeds
        own = [float(row["token_accuracy"]) for row in table if row["test_distance_max"] == "0"
               and float(row["distance_min"]) == float(point["distance"])]
        assert len(own) == 2 == float(point["seeds"])
        assert float(point["mean"]) == pytest.approx(sum(own) / 2, rel=1e-6)
    (sums,) = rows(tmp_path / "distances.csv")
    means = {float(point["distance"]): float(point["mean"]) for point in points}
    assert float(sums["sum"]) == pytest.approx(sum(means.values()), rel=1e-6)
    assert float(sums["trained_accuracy"]) == pytest.approx(sum(means[at] for at in (1, 2, 3)) / 3, rel=1e-6)
    assert float(sums["unseen_accuracy"]) == pytest.approx(sum(means[at] for at in (0, 4, 5, 6)) / 4, rel=1e-6)
    # A row at one distance is no level of its own.
    assert page.count("distance_min=6") == 0


def test_sums_over_distances() -> None:
    frame = pd.DataFrame({"trained_level": "l", "mechanism": "ea", "cell": ["a"] * 4 + ["b"],
                          "distance": [0.0, 1.0, 2.0, 3.0, 9.0], "trained_min": 1.0, "trained_max": 2.0,
                          "token_accuracy": [0.25, 1.0, 0.5, 0.5, 0.75]})
    sums = distance_sums(frame).set_index("cell")
    assert (sums.loc["a", "sum"], sums.loc["a", "p"], sums.loc["a", "distances"]) == (2.25, 0.5, 4)
    assert (sums.loc["a", "trained_accuracy"], sums.loc["a", "unseen_accuracy"]) == (0.75, 0.375)
    inside = distance_sums(frame[frame["distance"].isin((1, 2))]).set_index("cell")
    assert pd.isna(inside.loc["a", "p"]) and pd.isna(inside.loc["a", "unseen_accuracy"])
    assert sums.loc["b", "sum"] == 0.75 and pd.isna(sums.loc["b", "p"])  # no trained distance was evaluated


OWN = "s_distance_min = 4\ns_distance_max = 5\ntest_distance_min = 1\ntest_distance_max = 6"


def test_tasks_with_their_own_distances(run: tuple[Path, Path], tmp_path: Path) -> None:
    """A row for each distance and task; those of C are the scores of a level of that task and distance."""
    spec = write(tmp_path / "spec.ini", 1, 3, OWN)
    done = sweep(spec, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    table = rows(tmp_path / "run" / "accuracy.csv")
    assert len(table) == 2 * (1 + 2 * 6) and "s_distance_max" not in rows(run[1] / "accuracy.csv")[0]
    for op, single in (("C", table[1:7]), ("S", table[7:13])):
        for distance, row in enumerate(single, 1):
            own = str(distance) if op == "S" else "0"
            assert (row["ops"], row["distance_min"], row["distance_max"]) == (op, str(distance), str(distance))
            assert (row["s_distance_min"], row["s_distance_max"], row["test_distance_max"]) == (own, own, "0")
    assert sweep(spec, "--out", tmp_path / "run").returncode == 0  # nothing to do: every row is read
    assert rows(tmp_path / "run" / "accuracy.csv") == table
    assert report([str(tmp_path / "run"), "--out", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    (figure,) = (tmp_path / "plots").glob("distances-*.csv")
    with figure.open(newline="", encoding="utf-8") as file:
        levels = {point["trained_level"] for point in csv.DictReader(file)}
    assert {level.rsplit(", ", 1)[1] for level in levels} == {"C", "S"}
    assert "One trained model over distances" in page
    assert [row["level"][-1] for row in rows(tmp_path / "distances.csv")] == ["C", "S"]
    sums = pool_runs([read_run(tmp_path / "run")]).distances
    assert set(sums[sums["op"] == "S"]["trained_max"]) == {5.0} and set(sums[sums["op"] == "C"]["trained_max"]) == {3.0}


def test_distances_of_s_need_s(tmp_path: Path) -> None:
    spec = write(tmp_path / "spec.ini", 1, 3, OWN)
    one_line(sweep(spec, "--set", "task distance.ops=C"), 2, "s_distance_max = 5, ops = C", "ops = CS or S")
    one_line(sweep(spec, "--set", "task distance.s_distance_min=6"), 2, "s_distance_min = 6", "allowed")
