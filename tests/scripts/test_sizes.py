"""The frontier of model size: planted frontiers, no difference planted, the report, and a real run with a search."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sweeps
from scipy import stats as scipy_stats
from sweeps import needs_eabench

from analysis import claims, report
from analysis.claims import Claim, smaller
from analysis.pool import Group, pool_runs
from analysis.sizes import frontiers, size_interval, solved_by_size, steps_to_solving
from analysis.tables import read_run
from synthetic import row

Make = Callable[..., Path]
SIZES = (8, 16, 32, 64)
RUNS = 200


def grid(needed: Callable[[str, int], float], levels: int = 6, seeds: int = 5, blur: float = 0.0, rates: int = 2,
         dice: np.random.Generator | None = None, mechanisms: tuple[str, ...] = ("dpa", "ea")) -> Group:
    """Cells that are solved from a size on: needed(mechanism, level) in steps of SIZES, moved by normal noise of
    width `blur`, half of it common to all levels of a seed."""
    dice = dice or np.random.default_rng(0)
    rows = []
    for mechanism in mechanisms:
        common = dice.normal(0, blur / 2, seeds)
        for level in range(levels):
            for seed in range(seeds):
                for rate in range(rates):
                    bar = needed(mechanism, level) + (common[seed] + dice.normal(0, blur) if blur else 0)
                    for place, size in enumerate(SIZES):
                        solved = place >= bar
                        rows.append({"task": "recurrence", "level": f"level {level}", "complexity_bits": 4.0 + level,
                                     "mechanism": mechanism, "lr": 0.01 * 2 ** rate, "seed": float(seed),
                                     "d_model": str(size), "parameters": 100.0 * size, "solved": float(solved),
                                     "validation_accuracy": 1.0 if solved else dice.uniform(0.2, 0.9)})
    return Group("recurrence", "", pd.DataFrame(rows), [])


def verdict(*groups: Group) -> Claim:
    claim = smaller(Claim(claims.SMALLER, "ea", "all", "", ""), [(str(index), solved_by_size(group))
                                                                 for index, group in enumerate(groups)])
    claim.verdict = claim.decide if claim.decide == claims.TOO_FEW or claim.p_value < 0.05 else claims.NOT_SUPPORTED
    return claim


def test_sizes_of_other_levels_are_no_steps() -> None:
    """A search trains no level below a solved one: its largest sizes may be absent at an easy level."""
    rows = grid(lambda who, level: 9 if level == 0 and who == "dpa" else 2, levels=2).rows
    steps = steps_to_solving(solved_by_size(Group("recurrence", "", rows[(rows["level"] != "level 0")
                                                                         | (rows["d_model"] != "64")], [])), "ea")
    assert steps[["new", "base"]].values.tolist() == [[2, 3]] * 5


def test_a_planted_frontier_is_found() -> None:
    found = frontiers(solved_by_size(grid(lambda who, level: min(4, level // 2 + (who == "dpa")), levels=8)))
    smallest = {(item.mechanism, item.level): item.smallest for item in found}
    for level in range(8):
        assert smallest["ea", f"level {level}"] == SIZES[level // 2]
        last = smallest["dpa", f"level {level}"]
        assert math.isnan(last) if level >= 6 else last == SIZES[level // 2 + 1]
    assert all(item.low == item.high == item.smallest for item in found if item.smallest > 0)
    unsolved = [item for item in found if math.isnan(item.smallest)]
    assert len(unsolved) == 2 and all(math.isnan(item.low) and math.isnan(item.high) for item in unsolved)


def test_a_planted_difference_is_supported_or_contradicted() -> None:
    claim = verdict(grid(lambda who, level: level // 2 + (who == "dpa"), blur=0.5))
    assert claim.verdict == "supported" and claim.statistic == pytest.approx(1, abs=0.4)
    assert claim.low <= 1 <= claim.high
    assert verdict(grid(lambda who, level: level // 2 + (who == "ea"), blur=0.5)).verdict == "contradicted"


def test_no_difference_is_seldom_called_one() -> None:
    kinds = [verdict(grid(lambda who, level: level, levels=4, seeds=(4, 5, 8)[run % 3], blur=0.7,
                          dice=np.random.default_rng(run))).verdict for run in range(RUNS)]
    assert kinds.count("supported") <= 0.05 * RUNS and kinds.count("contradicted") <= 0.05 * RUNS
    assert "too few data" not in kinds


def test_intervals_exclude_the_true_size_seldom() -> None:
    dice, missed = np.random.default_rng(1), [0, 0]
    rates = (0.05, 0.3, 0.5, 0.9)  # the third size is the smallest with one half
    for _ in range(2000):
        low, high = size_interval([(size, int(dice.binomial(10, rate)), 10) for size, rate in zip(SIZES, rates)])
        missed[0] += not low <= 32
        missed[1] += high < 32
    allowed = scipy_stats.binom.ppf(0.999, 2000, 0.05)
    assert missed[0] <= allowed and missed[1] <= allowed


def test_few_seeds_never_exclude_a_size() -> None:
    low, high = size_interval([(8, 0, 4), (16, 4, 4)])
    assert low == 8 and math.isnan(high)
    assert size_interval([(8, 0, 5), (16, 5, 5)]) == (16, 16)


@pytest.mark.parametrize(("group", "said"), [
    (grid(lambda who, level: level // 2 + (who == "dpa"), seeds=3), "3 seeds; 4 are the least"),
    (grid(lambda who, level: 9), "no level at two or more sizes"), (grid(lambda who, level: 0), "and not all solve"),
    (grid(lambda who, level: level, mechanisms=("ea",)), "no level at two or more sizes")])
def test_too_few_data(group: Group, said: str) -> None:
    claim = verdict(group)
    assert claim.verdict == "too few data" and said in claim.words and math.isnan(claim.p_value)


def test_missing_results_are_left_out_for_both() -> None:
    group = grid(lambda who, level: level // 2 + (who == "dpa"))
    whole = verdict(group)
    # Without its smallest sizes the mechanism would seem to need larger ones.
    rows = group.rows
    group.rows = rows[~((rows["mechanism"] == "ea") & (rows["seed"] == 0) & (rows["d_model"].isin(["8", "16"])))]
    claim = verdict(group)
    assert claim.seeds == whole.seeds and 0 < claim.statistic <= whole.statistic


def rows_of_sizes(**changes: object) -> list[dict[str, object]]:
    reach = {("dpa", 16): 2, ("dpa", 32): 4, ("ea", 16): 4, ("ea", 32): 6}
    rows = []
    for (mechanism, size), most in reach.items():
        for delay in (2, 3, 4, 5, 6):
            for seed in range(5):
                solved = delay <= most
                accuracy = 1.0 if solved else 0.5 + 0.01 * seed
                rows.append(row(4, delay, mechanism=mechanism, d_model=size, seed=seed, solved=int(solved),
                                token_accuracy=accuracy, validation_accuracy=accuracy, **changes))
    return rows


def test_the_report_has_the_section_and_the_claim(make_run: Make) -> None:
    run = make_run(rows_of_sizes())
    assert report.main([str(run)]) == 0
    with (run / "claims.csv").open() as file:
        table = [line for line in csv.DictReader(file) if line["claim"] == claims.SMALLER]
    assert [(line["mechanism"], line["scope"], line["verdict"]) for line in table] == [("ea", "all", "supported")]
    assert float(table[0]["statistic"]) == 1
    with (run / "plots/size-recurrence.csv").open() as file:
        smallest = {(line["mechanism"], line["level"]): line["smallest"] for line in csv.DictReader(file)}
    assert smallest["dpa", "basis=4 delay=4"] == "32" and smallest["ea", "basis=4 delay=4"] == "16"
    assert smallest["dpa", "basis=4 delay=6"] == "" and smallest["ea", "basis=4 delay=6"] == "32"
    html = (run / "report.html").read_text()
    assert "Model size: recurrence" in html and "if none of six claims is true" in html
    assert "ea alone solves, and dpa alone: 2 and 0 of 5 at d_model=16, 2 and 0 of 5 at d_model=32" in html


def test_a_search_leaves_out_what_a_harder_level_shows(make_run: Make) -> None:
    rows = [cell for cell in rows_of_sizes() if not (cell["d_model"] == 32 and cell["delay"] < 4)]
    pool = pool_runs([read_run(make_run(rows))])
    found = {(item.mechanism, item.level): item for item in frontiers(solved_by_size(pool.sized[0]))}
    item = found["dpa", "basis=4 delay=3"]
    assert item.smallest == 32 and item.implied
    assert not found["dpa", "basis=4 delay=2"].implied


@pytest.mark.parametrize("changes", [{}, {"heads": "own"}], ids=["one size", "heads follow d_model"])
def test_runs_that_do_not_compare_sizes_have_neither(make_run: Make, changes: dict[str, str]) -> None:
    rows = [cell | ({"heads": cell["d_model"] // 8} if changes else {}) for cell in rows_of_sizes()
            if changes or cell["d_model"] == 16]
    run = make_run(rows)
    assert pool_runs([read_run(run)]).sized == []
    assert report.main([str(run)]) == 0
    assert claims.SMALLER not in (run / "claims.csv").read_text()
    html = (run / "report.html").read_text()
    assert "Model size" not in html and "if none of five claims is true" in html


def test_sizes_that_are_no_numbers_are_left_out(make_run: Make) -> None:
    rows = rows_of_sizes() + [cell | {"d_model": size, "cell": f"{index} {size}"}
                              for size in ("", "-1", "wide", "1e999")
                              for index, cell in enumerate(rows_of_sizes()[:20])]
    run = make_run(rows, speeds=[])
    assert set(solved_by_size(pool_runs([read_run(run)]).sized[0])["size"]) == {16, 32}
    assert report.main([str(run), "--max-groups", "1"]) == 0


SPEC = """[task recurrence easy]
basis = 2
delay = 1, 2
[task recurrence hard]
basis = 64
delay = 9
[model]
d_model = 2, 16
heads = 1
context = 12
[train]
mechanism = dpa, ea
lr = 1e-2, 3e-2
steps = 300
batch = 16
eval_every = 100
eval_tokens = 500
seed = 1:3
"""


@needs_eabench
def test_a_search_finds_the_sizes_of_the_whole_grid(tmp_path: Path) -> None:
    """The search bisects the levels for each d_model, so the smallest size of every level follows from its rows."""
    spec = tmp_path / "sizes.ini"
    spec.write_text(SPEC)
    sizes = []
    for how in (["--search"], []):
        done = sweeps.sweep(spec, "--out", tmp_path / "run", *how)
        assert done.returncode == 0, done.stderr
        group = pool_runs([read_run(tmp_path / "run")]).sized[0]
        sizes.append({(item.mechanism, item.level): item.smallest for item in frontiers(solved_by_size(group))
                      if item.smallest > 0})
        if how:
            assert len(sweeps.rows(tmp_path / "run/accuracy.csv")) < 3 * 2 * 2 * 2 * 3
            assert report.main([str(tmp_path / "run")]) == 0
            assert "Model size: recurrence" in (tmp_path / "run/report.html").read_text()
    assert sizes[0] == sizes[1] and sizes[0]
