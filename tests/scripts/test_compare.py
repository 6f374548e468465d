"""scripts/compare: verdicts, exit codes, and the choice between exact and statistical comparison."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis import compare
from synthetic import row, speed, sweep

Make = Callable[..., Path]
Rows = list[dict[str, object]]


def changed(rows: Rows, where: Callable[[dict[str, object]], bool], **changes: object) -> Rows:
    return [{**cell, **changes} if where(cell) else dict(cell) for cell in rows]


def run_compare(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str]]:
    code = compare.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert captured.err == ""
    return code, captured.out.splitlines()


def test_equal_runs_are_exact_and_the_same(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = sweep()
    code, lines = run_compare(capsys, make_run(rows, "a"), make_run(list(reversed(rows)), "b"))
    assert code == 0 and lines[0].startswith("exact") and lines[-1] == "verdict: no regression (75 same)"


@pytest.mark.parametrize(("column", "value", "verdict"), [
    ("token_accuracy", 0.999, "worse"), ("loss_nats", 0.02, "worse"), ("loss_nats", 0.005, "better"),
    ("steps_to_solve", 1250, "worse"), ("steps_to_solve", 750, "better"), ("tokens", 1, "worse"),
    ("solved", 0, "worse"), ("seen_share", 0.5, "worse"), ("steps_to_solve", "", "worse"),
])
def test_exact_finds_any_change(make_run: Make, capsys: pytest.CaptureFixture[str], column: str, value: object,
                                verdict: str) -> None:
    rows = [row(seed=seed) for seed in (1, 2, 3)]
    code, lines = run_compare(capsys, make_run(rows, "a"),
                              make_run(changed(rows, lambda cell: cell["seed"] == 2, **{column: value}), "b"))
    assert code == (verdict == "worse")
    assert lines[2].startswith(f"{verdict} ") and column in lines[2] and "seed=2" in lines[2]
    assert ("REGRESSION" in lines[-1]) == (verdict == "worse")


def test_exact_tolerance(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(seed=seed) for seed in (1, 2)]
    a = make_run(rows, "a")
    b = make_run(changed(rows, lambda cell: True, token_accuracy=0.995, loss_nats=9, tokens=1), "b")
    assert run_compare(capsys, a, b, "--tolerance", "0.01")[0] == 0
    assert run_compare(capsys, a, b, "--tolerance", "0.001")[0] == 1


def test_spelling_of_numbers_is_no_change(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row()]
    b = make_run(changed(rows, lambda cell: True, token_accuracy="1.000", loss_nats="1e-2"), "b")
    assert run_compare(capsys, make_run(rows, "a"), b)[0] == 0


@pytest.mark.parametrize(("environment", "why"), [
    ({"isa": "avx2"}, "isa is 'avx512' and 'avx2'"), ({"version": "0.2.0"}, "version is"),
    ({"backend": "cuda"}, "not cpu"), ({"isa": ""}, "isa is"), ({"compiler": "another 1.0"}, "compiler is"),
])
def test_which_rule_applies(make_run: Make, capsys: pytest.CaptureFixture[str], environment: dict[str, str],
                            why: str) -> None:
    rows = sweep(rates=[0.01])
    a, b = make_run(rows, "a"), make_run(changed(rows, lambda cell: cell["seed"] == 1, loss_nats=0.5), "b",
                                         **environment)
    code, lines = run_compare(capsys, a, b)
    assert code == 0 and lines[0].startswith("statistical") and why in lines[0]
    assert run_compare(capsys, a, b, "--exact")[0] == 1
    assert run_compare(capsys, a, a, "--statistical")[1][0].startswith("statistical")


def test_missing_and_new(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = sweep(levels=[(8, 2)], rates=[0.01])
    code, lines = run_compare(capsys, make_run(rows[1:], "a"), make_run(rows[:-1], "b"))
    assert code == 1 and lines[2].startswith("missing  cell") and "seed=2" in lines[2]
    assert any(line.startswith("new ") for line in lines) and "1 missing, 1 new" in lines[-1]
    assert "missing cell recurrence basis=8 delay=2 ea-scaled" in lines[-1]
    assert run_compare(capsys, make_run(rows[1:], "c"), make_run(rows, "d"))[0] == 0


@pytest.mark.parametrize("rule", ["--exact", "--statistical"])
def test_a_cell_that_fails_is_a_regression(make_run: Make, capsys: pytest.CaptureFixture[str], rule: str) -> None:
    good, bad = [row(seed=1), row(seed=2)], [row(seed=1), row(seed=2, status="oom", reason="8 GiB needed, 4 GiB free")]
    a, b = make_run(good, "a"), make_run(bad, "b")
    code, lines = run_compare(capsys, a, b, rule)
    assert code == 1 and "8 GiB needed" in "\n".join(lines)
    assert run_compare(capsys, b, a, rule)[0] == 0 and run_compare(capsys, b, b, rule, "--no-throughput")[0] == 0


def test_divergence(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    good = sweep(levels=[(8, 2), (4, 3), (4, 2), (4, 4)], mechanisms=["ea"], rates=[0.01], seeds=[1, 2])
    bad = [row(int(str(cell["basis"])), int(str(cell["delay"])), mechanism="ea", seed=cell["seed"], status="diverged")
           for cell in good]
    a, b = make_run(good, "a"), make_run(bad, "b", speeds=[])
    assert run_compare(capsys, a, b, "--exact", "--no-throughput")[0] == 1
    code, lines = run_compare(capsys, a, b, "--statistical", "--no-throughput")
    assert code == 1 and "worse    token_accuracy  recurrence ea" in "\n".join(lines)


def shifted(rows: Rows, mechanism: str, by: float) -> Rows:
    return [{**cell, "token_accuracy": round(float(str(cell["token_accuracy"])) + by * (1 + 0.1 * index % 0.7), 6)}
            if cell["mechanism"] == mechanism else cell for index, cell in enumerate(rows)]


def middling(seeds: int = 5) -> Rows:
    return [row(basis, delay, mechanism=name, seed=seed, lr=lr, token_accuracy=0.5 + 0.01 * seed, solved=0)
            for basis, delay in ((8, 2), (8, 3), (8, 4)) for name in ("dpa", "ea") for seed in range(seeds)
            for lr in (0.01, 0.02)]


def test_statistical_regression_is_found_in_the_right_mechanism(make_run: Make,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    rows = middling()
    a, b = make_run(rows, "a"), make_run(shifted(rows, "ea", -0.05), "b")
    code, lines = run_compare(capsys, a, b, "--statistical")
    assert code == 1 and lines[2].startswith("worse    token_accuracy  recurrence ea") and "15 pairs" in lines[2]
    assert sum(line.startswith("worse") for line in lines) == 1
    code, lines = run_compare(capsys, b, a, "--statistical")
    assert code == 0 and sum(line.startswith("better") for line in lines) == 1
    assert run_compare(capsys, a, b, "--statistical", "--tolerance", "0.5")[0] == 0


def test_few_pairs_prove_nothing(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = middling(seeds=1)
    code, lines = run_compare(capsys, make_run(rows, "a"), make_run(shifted(rows, "ea", -0.3), "b"), "--statistical")
    # Three pairs: the smallest p is 2/8, times four tests.
    assert code == 0 and any("p=0.25, Holm 1; not proven" in line for line in lines)


def test_holm_is_applied_over_all_groups(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(8, 2, mechanism=name, seed=seed, token_accuracy=0.5, solved=0) for name in ("dpa", "ea", "ea-scaled")
            for seed in range(6)]
    code, lines = run_compare(capsys, make_run(rows, "a"), make_run(shifted(rows, "ea", -0.1), "b"), "--statistical")
    # Six pairs give 2/64 = 0.031, below 0.05 alone, but it is one of six tests.
    assert code == 0 and any("p=0.0312, Holm 0.188" in line for line in lines)


def test_throughput(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(seed=seed, mechanism=name) for seed in (1, 2, 3) for name in ("dpa", "ea")]
    a = make_run(rows, "a", speeds=[speed(cell, 1000) for cell in rows])

    def compared(factor: float, *more: str, name: str = "b", **environment: str) -> tuple[int, list[str]]:
        speeds = [speed(cell, 1000 * (factor if cell["mechanism"] == "ea" else 1)) for cell in rows]
        return run_compare(capsys, a, make_run(rows, name, speeds=speeds, **environment), *more)

    code, lines = compared(0.79)
    assert code == 1 and lines[2].startswith("worse    tokens_per_s  ea") and "0.790x" in lines[2]
    assert compared(0.81)[0] == 0 and compared(0.79, "--no-throughput")[0] == 0
    assert compared(0.81, "--throughput-tolerance", "10")[0] == 1
    assert any(line.startswith("better   tokens_per_s  ea") for line in compared(1.5)[1])
    code, lines = compared(0.1, cpu="Another CPU")
    assert code == 0 and any("different machines" in line for line in lines)
    assert compared(0.1, "--throughput-tolerance", "20", cpu="Another CPU")[0] == 1


def test_busy_and_stopped_cells_are_not_judged(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(seed=seed) for seed in (1, 2, 3)]
    a = make_run(rows, "a", speeds=[speed(cell, 1000) for cell in rows])  # an older table, without marks

    def compared(*cells: tuple[float, str]) -> tuple[int, str]:
        speeds = [speed(cell, tokens, marks=marks, other_cores=1.5, steal_cores="")
                  for cell, (tokens, marks) in zip(rows, cells)]
        run = make_run(rows, "b", speeds=speeds)
        code, lines = run_compare(capsys, a, run, "--throughput-tolerance", "20")
        assert run_compare(capsys, run, a, "--throughput-tolerance", "20")[0] == 0  # as BASE, too
        return code, next(line for line in lines if "tokens_per_s" in line)

    code, line = compared((500, "busy"), (400, "busy stopped"), (300, "stopped"))
    assert code == 0 and line.startswith("same ") and "0.400x" in line
    assert line.endswith("3 cells, tolerance 20%; 2 busy, 2 stopped, not judged")
    code, line = compared((300, "busy"), (1000, ""), (1000, "above_peak"))
    assert code == 0 and "1.000x" in line and line.endswith("2 cells, tolerance 20%; 1 busy, not judged")
    code, line = compared((1000, "busy"), (500, ""), (500, "above_peak"))
    assert code == 1 and line.startswith("worse") and "0.500x" in line


def test_missing_throughput(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row()]
    a, b = make_run(rows, "a"), make_run(rows, "b", speeds=[])
    code, lines = run_compare(capsys, a, b)
    assert code == 1 and lines[2].startswith("missing  tokens_per_s")
    assert run_compare(capsys, b, a)[0] == 0 and run_compare(capsys, a, b, "--no-throughput")[0] == 0


def test_csv_output(make_run: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [row(level="=1+1", seed=seed) for seed in (1, 2)]
    a, b = make_run(rows, "a"), make_run(rows[:1], "b")
    assert run_compare(capsys, a, b, "--csv", tmp_path / "t.csv")[0] == 1
    table = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [line["verdict"] for line in table] == ["missing", "same", "same"]
    assert compare.main([str(a), str(b), "--csv", str(tmp_path / "no" / "t.csv")]) == 2
    printed = capsys.readouterr()
    assert "--csv takes a file" in printed.err and "verdict: " in printed.out


def test_long_tables_are_shortened_but_regressions_stay(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(seed=seed) for seed in range(200)]
    code, lines = run_compare(capsys, make_run(rows[:70], "a"), make_run(rows[5:], "b"))
    assert code == 1 and len(lines) < 70 and sum(line.startswith("missing") for line in lines) == 5
    assert any(line.startswith("and ") for line in lines) and "130 new" in lines[-1]


def test_columns_are_aligned(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(sweep(seeds=[1]))
    _, lines = run_compare(capsys, run, run, "--statistical")
    start = lines[1].index("where")
    assert all(line[start - 1] == " " and line[start] != " " for line in lines[2:-1])


@pytest.mark.parametrize("arguments", [
    [], ["a"], ["a", "b", "--exact", "--statistical"], ["a", "b", "--tolerance", "nan"], ["a", "b", "--tolerance", "2"],
    ["a", "b", "--throughput-tolerance", "x"], ["a", "b", "c"]])
def test_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        compare.main(arguments)
    errors = capsys.readouterr().err
    assert stop.value.code == 2 and errors.startswith("compare: ") and errors.count("\n") == 1


def test_empty_baseline_is_misuse(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    empty, full = make_run([], "a"), make_run([row()], "b")
    assert compare.main([str(empty), str(full)]) == 2
    assert "no rows; a baseline needs at least one" in capsys.readouterr().err
    assert compare.main([str(full), str(empty)]) == 1


def test_rows_of_one_model_are_one_pair(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that was evaluated at many levels proves no more than one number."""
    rows = [row(level=f"distance={place}", seed=seed, cell=f"{seed:016x}", task="distance")
            for seed in (1, 2) for place in range(25)]
    worse = changed(rows, lambda cell: cell["seed"] == 2, token_accuracy=0.9)
    code, lines = run_compare(capsys, make_run(rows, "a"), make_run(worse, "b"), "--statistical", "--no-throughput")
    assert code == 0, lines
    assert any("token_accuracy" in line and "2 pairs" in line and "not proven (1 of the pairs differ)" in line
               for line in lines), lines


def test_machines_with_one_name_and_different_peaks(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """As in virtual machines, which hide the processor's generation."""
    rows = sweep(rates=[0.01])
    fast, slow = ([speed(cell, rate) for cell in rows] for rate in (900e3, 400e3))
    a = make_run(rows, "a", speeds=fast, peak_gflop_per_s="262")
    code, lines = run_compare(capsys, a, make_run(rows, "b", speeds=slow, peak_gflop_per_s="118"))
    assert code == 0 and any("the runs are from different machines" in line for line in lines), lines
    code, lines = run_compare(capsys, a, make_run(rows, "c", speeds=slow, peak_gflop_per_s="240"))
    assert code == 1 and "REGRESSION" in lines[-1], lines
