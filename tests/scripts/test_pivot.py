"""scripts/pivot: counts, means, the best rate, order and bad input."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis import pivot
from synthetic import row

Make = Callable[..., Path]


def table(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[list[str]]:
    assert pivot.main([str(argument) for argument in arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = [[field.strip() for field in line.strip("|").split("|")] for line in captured.out.splitlines()]
    assert lines[1] == ["---"] * len(lines[0]) and all(len(line) == len(lines[0]) for line in lines)
    return [lines[0], *lines[2:]]


def cells() -> list[dict[str, object]]:
    rows = []
    for mechanism in ("ea", "dpa"):
        for lr in (0.01, 0.002):
            for seed in (1, 2, 3):
                solved = mechanism == "ea" and seed <= (3 if lr == 0.01 else 1)
                rows.append(row(mechanism=mechanism, lr=lr, seed=seed, solved=int(solved), steps_to_solve=500 * seed,
                                validation_accuracy=0.9 if lr == 0.002 else 0.8, token_accuracy=0.5 + seed / 10 + lr))
    return rows


def test_solved_counts_and_median_steps(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(cells())
    assert table(capsys, run, "--rows", "lr", "--show", "solved") == [
        ["lr", "dpa", "ea"], ["0.002", "0 of 3", "1 of 3 (500)"], ["0.01", "0 of 3", "3 of 3 (1,000)"]]


def test_best_chooses_by_validation_and_shows_held_out_accuracy(make_run: Make, capsys) -> None:
    run = make_run(cells())
    assert table(capsys, run, "--best", "lr") == [["level", "dpa", "ea"], ["basis=8 delay=2", "0.7020", "0.7020"]]
    assert table(capsys, run, "--rows", "seed", "--columns", "mechanism,lr", "--digits", "2")[1] == [
        "1", "0.60", "0.61", "0.60", "0.61"]


def test_diverged_is_chance_and_not_solved(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run([row(seed=1), row(seed=2, status="diverged")])
    assert table(capsys, run, "--show", "solved")[1] == ["basis=8 delay=2", "1 of 2 (1,000)"]
    assert table(capsys, run)[1] == ["basis=8 delay=2", f"{(1 + 1 / 8) / 2:.4f}"]


def test_levels_by_bits_and_missing_fields(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run([row(16, 4), row(8, 3), row(8, 3, mechanism="ea", solved=0, token_accuracy=0.25)])
    assert table(capsys, run) == [["level", "dpa", "ea"], ["basis=8 delay=3", "1.0000", "0.2500"],
                                  ["basis=16 delay=4", "1.0000", ""]]


def test_folders_are_rows_in_their_order_and_may_share_cells(make_run: Make, capsys, tmp_path: Path) -> None:
    runs = [make_run([row(token_accuracy=0.75)], "b"), make_run([row(token_accuracy=0.75)], "a")]
    written = tmp_path / "table.csv"
    assert table(capsys, *runs, "--rows", "run", "--csv", written) == [["run", "dpa"], ["b", "0.7500"], ["a", "0.7500"]]
    with written.open(newline="") as file:
        assert list(csv.reader(file)) == [["run", "dpa"], ["b", "0.7500"], ["a", "0.7500"]]


def test_a_name_cannot_break_the_table(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run([row(mechanism="e|a")])
    assert pivot.main([str(run)]) == 0
    assert "| level | e\\|a |" in capsys.readouterr().out


@pytest.mark.parametrize(("options", "said"), [
    (("--rows", "colour"), "no column 'colour'; allowed: run, "), (("--columns", "_line"), "no column '_line'"),
    (("--rows", "lr,"), "no column ''"), (("--best", "x"), "--best x: "),
    (("--rows", "lr", "--columns", "lr"), "a name twice"),
    (("--csv", "/nowhere/t.csv"), "/nowhere/t.csv: No such file"),
])
def test_bad_input_is_one_line(make_run: Make, capsys: pytest.CaptureFixture[str], options, said: str) -> None:
    assert pivot.main([str(make_run(cells())), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("pivot: ") and error.count("\n") == 1 and said in error


def test_no_run_and_two_of_one_name(make_run: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = make_run(cells())
    assert pivot.main([str(run), str(run)]) == 2
    assert pivot.main([str(tmp_path / "none")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "names have to differ" in lines[0] and "no such folder" in lines[1]


def test_of_equal_rates_the_innermost_as_in_the_report(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run([row(lr=rate, seed=seed, token_accuracy=accuracy)
                    for rate, accuracy in ((0.01, 0.25), (0.02, 0.5), (0.04, 0.75)) for seed in (1, 2)])
    assert table(capsys, run, "--best", "lr")[1] == ["basis=8 delay=2", "0.5000"]


def test_numbers_that_some_cells_lack(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run([row(seed=1), row(seed=2, solved=0, token_accuracy=0.5)])
    assert table(capsys, run, "--rows", "steps_to_solve") == [["steps_to_solve", "dpa"], ["1000", "1.0000"],
                                                              ["(none)", "0.5000"]]
