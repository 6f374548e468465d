"""The verdicts: statistics worked out by hand, worlds with a known truth, too few data, and claims.csv."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats

from analysis import claims, claims_stats, report
from analysis.claims import Claim, as_good, exclusive, growing, judge
from analysis.pool import pool_runs
from analysis.tables import read_run
from claims_worlds import levels_of_world, solving_world, verdict_of, world
from synthetic import row, sweep

Make = Callable[..., Path]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---- the tests by hand -----------------------------------------------------------------------------------------------


def test_cluster_mean_of_a_complete_table_is_the_t_test_over_seeds() -> None:
    table = generator().normal(0.02, 0.1, (4, 6))  # levels, seeds
    units, seeds = np.indices(table.shape)
    result = claims_stats.cluster_mean(table.ravel(), units.ravel(), seeds.ravel(), -0.01)
    expected = scipy_stats.ttest_1samp(table.mean(axis=0), -0.01)
    assert result.p_value == pytest.approx(expected.pvalue) and result.clusters == 6
    assert (result.low, result.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_cluster_mean_weighs_levels_equally_and_needs_two_seeds() -> None:
    result = claims_stats.cluster_mean([0.1, 0.3, 0.5], ["a", "a", "b"], [1, 2, 1])
    assert result.value == pytest.approx((0.2 + 0.5) / 2)
    one = claims_stats.cluster_mean([0.1, 0.2], ["a", "b"], [1, 1])
    assert one.value == pytest.approx(0.15) and math.isnan(one.low) and math.isnan(one.p_value)
    assert math.isnan(claims_stats.cluster_mean([], [], []).value)
    same = claims_stats.cluster_mean([0.2, 0.2, 0.2], ["a"] * 3, [1, 2, 3])
    assert same.p_value == 0 and (same.low, same.high) == pytest.approx((0.2, 0.2))
    assert claims_stats.cluster_mean([0.0, 0.0], ["a"] * 2, [1, 2]).p_value == 1


def stratum(margins: list[list[float]], bits: list[float] | None = None, family: str = "f") -> claims_stats.Stratum:
    table = np.asarray(margins, dtype=float)
    return claims_stats.Stratum(family, [f"l{index}" for index in range(len(table))],
                                np.asarray(bits or range(len(table)), dtype=float), list(range(table.shape[1])), table)


def test_trend_agrees_with_kendall() -> None:
    margins = generator(3).normal(0, 1, (6, 1))
    margins = np.hstack([margins, margins])
    result = claims_stats.trend([stratum(margins.tolist())])
    expected = scipy_stats.kendalltau(np.arange(6), margins[:, 0], method="exact")
    assert result.estimate.value == pytest.approx(expected.statistic)
    assert result.p_levels == pytest.approx(expected.pvalue)
    assert result.smallest_p_levels == pytest.approx(2 / 720)


def test_trend_by_hand() -> None:
    # Seed 0 rises on all three pairs, seed 1 on two of three: 1 and 1/3.
    result = claims_stats.trend([stratum([[0.0, 0.0], [0.1, 0.3], [0.2, 0.2]])])
    assert result.estimate.value == pytest.approx(2 / 3) and result.smallest_p_levels == pytest.approx(2 / 6)
    assert result.per_bit == pytest.approx(0.1)
    # Levels of equal bits make no pair; a missing margin removes its pairs.
    result = claims_stats.trend([stratum([[0.0, 1.0], [0.5, 0.0], [1.0, math.nan]], [4, 4, 6])])
    assert result.estimate.value == pytest.approx(1.0)
    assert math.isnan(claims_stats.trend([]).estimate.value)


def test_families_are_shuffled_together_in_all_their_settings() -> None:
    rising = [[0.0, 0.01], [0.1, 0.11], [0.2, 0.21], [0.3, 0.31]]
    alone = claims_stats.trend([stratum(rising)])
    twice = claims_stats.trend([stratum(rising), stratum(rising)])
    assert twice.p_levels == pytest.approx(alone.p_levels) == pytest.approx(2 / 24)  # no new levels, no new evidence
    other = claims_stats.trend([stratum(rising), stratum(rising, family="g")])
    assert other.smallest_p_levels == pytest.approx(2 / 24 ** 2) and other.p_levels < 0.02


def test_fisher_and_the_binomial_by_hand() -> None:
    assert claims_stats.fisher_greater(5, 5, 0, 5) == pytest.approx(1 / 252)
    assert claims_stats.smallest_fisher(2, 5, 1, 5) == pytest.approx(10 / 120)
    # (5, 5, 0, 5) gives 2/252 and is the only table that could be significant: it is not corrected for the others.
    assert claims_stats.corrected_fisher([(5, 5, 0, 5), (1, 5, 0, 5), (5, 5, 5, 5)]) == pytest.approx([2 / 252, 1, 1])
    assert claims_stats.corrected_fisher([(5, 5, 0, 5)] * 3) == pytest.approx([6 / 252] * 3)
    p_value, low, high = claims_stats.binomial_split(6, 0)
    assert p_value == pytest.approx(2 / 64) and low == pytest.approx(6 * (2 * 0.025 ** (1 / 6) - 1)) and high == 6
    assert claims_stats.binomial_split(0, 0)[0] == 1


# ---- known truths ----------------------------------------------------------------------------------------------------


def plus(value: float) -> Callable[[int, float], float]:
    return lambda index, bits: value


def verdicts(test: Callable[[Claim, list[claims.Level]], Claim], make: Callable[[np.random.Generator], list[object]],
             runs: int = 20) -> list[str]:
    return [verdict_of(test, *make(generator(run))).verdict for run in range(runs)]


@pytest.mark.parametrize(("effect", "verdict"), [(0.08, "supported"), (-0.12, "contradicted")])
def test_at_least_as_good(effect: float, verdict: str) -> None:
    found = verdicts(as_good, lambda dice: [world(dice, effect=plus(effect))])
    assert found.count(verdict) >= 17 and set(found) <= {verdict, "not supported"}


@pytest.mark.parametrize(("slope", "verdict"), [(0.03, "supported"), (-0.03, "contradicted")])
def test_growing_margin(slope: float, verdict: str) -> None:
    found = verdicts(growing, lambda dice: [world(dice, effect=lambda index, bits: slope * (index - 4))])
    assert found.count(verdict) >= 18 and set(found) <= {verdict, "not supported"}


def test_exclusive_levels() -> None:
    chances = [(1.0, 1.0), (0.9, 1.0), (0.05, 0.97), (0.0, 0.97), (0.0, 0.95), (0.0, 0.1), (0.0, 0.0)]
    found = verdicts(exclusive, lambda dice: [solving_world(dice, chances)])
    assert found.count("supported") >= 16
    swapped = [(ours, theirs) for theirs, ours in chances]
    assert verdicts(exclusive, lambda dice: [solving_world(dice, swapped)]).count("contradicted") >= 16


def test_exclusive_levels_of_both_decide_nothing() -> None:
    chances = [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)]
    claim = verdict_of(exclusive, solving_world(generator(), chances))
    assert claim.verdict == "not supported" and claim.statistic == 0 and "1 and 1" in claim.words


def test_one_solved_cell_at_any_rate_is_enough_to_lose_a_level() -> None:
    group = solving_world(generator(), [(1.0, 1.0), (0.0, 1.0), (0.0, 0.0)])
    assert verdict_of(exclusive, group).statistic == 1
    rows = group.rows
    stray = rows[(rows["mechanism"] == "dpa") & (rows["level"] == "level 1") & (rows["lr"] == 0.04)].index[0]
    rows.loc[stray, "solved"] = 1.0  # validation stays low: it is not the chosen rate
    assert verdict_of(exclusive, group).statistic == 0


def test_ranges_name_neighbours_once() -> None:
    group = solving_world(generator(), [(1, 1), (0, 1), (0, 1), (1, 1), (0, 1), (0, 0)])
    words = verdict_of(exclusive, group).words
    assert "(recurrence 6 to 8 bits, 2 levels; recurrence 12 bits)" in words
    assert "3 levels solved by at least half" in words


# ---- which levels and rows count -------------------------------------------------------------------------------------


def test_levels_at_chance_and_ceiling_are_left_out() -> None:
    middle = world(generator(), effect=plus(-0.05), noise=0.01, seed_noise=0.005)
    padded = world(generator(), effect=plus(-0.05), noise=0.01, seed_noise=0.005)
    flat = world(generator(1), skill=lambda place: 1.0, noise=0.0, seed_noise=0.0, title="all right")
    flat.rows["token_accuracy"] = 1.0
    assert verdict_of(as_good, middle).verdict == "contradicted"
    claim = verdict_of(as_good, padded, flat)
    assert claim.verdict == "contradicted" and claim.levels == 8
    assert "8 levels at chance or ceiling left out" in claim.words


def test_the_trend_leaves_out_levels_near_the_ceiling() -> None:
    # The margin is 0.04, but smaller at the ceiling, where accuracies end at 1: over all levels the trend would rise.
    group = world(generator(), levels=12, effect=plus(0.04), noise=0.003, seed_noise=0.003,
                  skill=lambda place: min(1.0, 1.6 - 1.5 * place))
    claim = verdict_of(growing, group)
    assert 5 <= claim.levels < 12 and claim.verdict == "not supported"


def test_the_rate_is_chosen_on_validation() -> None:
    group = world(generator(), rates=3)
    rows = group.rows
    best = (rows["mechanism"] == "ea") & (rows["lr"] == 0.04)
    rows.loc[best, "token_accuracy"] = 0.99       # held out: must not affect the choice
    rows.loc[best, "validation_accuracy"] = 0.0
    assert all(abs(np.mean(list(level.differences.values()))) < 0.15 for level in levels_of_world(group))


# ---- too few data ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("test", "group", "said"), [
    (as_good, dict(seeds=2), "2 seeds; at least 3"), (as_good, dict(seeds=1), "1 seed; at least 3"),
    (growing, dict(seeds=2), "2 seeds; at least 3"),
    (growing, dict(levels=4), "only 4 levels between chance and ceiling"),
    (exclusive, dict(seeds=3), "3 seeds cannot show"), (exclusive, dict(), "no seed solved any level"),
])
def test_too_few_data(test: Callable[[Claim, list[claims.Level]], Claim], group: dict[str, int], said: str) -> None:
    claim = verdict_of(test, world(generator(), skill=lambda place: 0.8 - 0.5 * place, **group))
    assert claim.verdict == "too few data" and said in claim.words and math.isnan(claim.p_value)
    assert math.isnan(claim.low)


def test_a_ladder_that_is_solved_or_unsolved_throughout_is_too_few_data() -> None:
    claim = verdict_of(exclusive, solving_world(generator(), [(1.0, 1.0)] * 3))
    assert claim.verdict == "too few data" and "ends too low" in claim.words
    claim = verdict_of(as_good, solving_world(generator(), [(1.0, 1.0)] * 3))
    assert claim.verdict == "too few data" and "between chance and ceiling" in claim.words


# ---- whole runs ------------------------------------------------------------------------------------------------------

LEVELS = [(basis, delay) for basis, delay in itertools.product((4, 8, 16), (2, 3, 4, 5))]


def judged(*runs: Path) -> tuple[dict[tuple[str, str], Claim], list[Claim]]:
    leading, details = judge(pool_runs([read_run(run) for run in runs]))
    return {(claim.claim, claim.mechanism): claim for claim in leading}, details


def test_a_whole_run(make_run: Make) -> None:
    rows = sweep(levels=LEVELS, seeds=range(5), rates=(0.005, 0.01, 0.02))
    found, details = judged(make_run(rows))
    assert [key[0] for key in found if key[1] == "ea"] == list(claims.CLAIMS) and details == []
    assert found[claims.AS_GOOD, "ea"].verdict == "supported" and found[claims.EXCLUSIVE, "ea"].statistic > 0
    assert found[claims.MIXED + claims.AS_GOOD, "ea"].verdict == "too few data"
    assert "no mixtures" in found[claims.MIXED + claims.AS_GOOD, "ea"].words
    assert next(iter(found))[1] == "ea"


def test_settings_are_details_and_corrected(make_run: Make) -> None:
    rows = [cell for width in (16, 32) for cell in sweep(levels=LEVELS, seeds=range(5), noise=width, d_model=width)]
    found, details = judged(make_run(rows))
    mine = [claim for claim in details if (claim.claim, claim.mechanism) == (claims.AS_GOOD, "ea")]
    assert [claim.scope for claim in mine] == ["recurrence, d_model=16", "recurrence, d_model=32"]
    assert all(claim.p_adjusted >= claim.p_value for claim in mine)
    assert "supported in 2, contradicted in 0 of 2" in found[claims.AS_GOOD, "ea"].words
    assert found[claims.AS_GOOD, "ea"].levels == sum(claim.levels for claim in mine)


def test_secondary_mechanisms_are_corrected_for_each_other(make_run: Make) -> None:
    rows = sweep(levels=LEVELS, seeds=range(5), mechanisms=("dpa", "ea", "ea-scaled", "ea-softmax"))
    found, _ = judged(make_run(rows))
    first, second = found[claims.AS_GOOD, "ea-scaled"], found[claims.AS_GOOD, "ea-softmax"]
    assert found[claims.AS_GOOD, "ea"].p_adjusted == found[claims.AS_GOOD, "ea"].p_value
    assert max(first.p_adjusted, second.p_adjusted) > min(first.p_value, second.p_value)
    assert min(first.p_adjusted, second.p_adjusted) == pytest.approx(min(1, 2 * min(first.p_value, second.p_value)))


def mixture_rows(seeds: range, gain: float = 0.0) -> list[dict[str, object]]:
    """Mixtures of two levels each. Counted as single tasks, the parts' rows would reverse the verdict."""
    dice = generator(5)
    rows: list[dict[str, object]] = []
    for index, mechanism, seed in itertools.product(range(6), ("dpa", "ea"), seeds):
        accuracy = 0.9 - 0.1 * index + dice.normal(0, 0.01) + (gain * index if mechanism == "ea" else 0)
        cell = f"m{index}{mechanism}{seed}"
        common = dict(mechanism=mechanism, seed=seed, cell=cell, solved=0)
        rows.append(row(task="mixture", axes={"basis": "", "delay": ""}, level=f"mix {index} cue=token",
                        complexity_bits=8 + index, token_accuracy=accuracy, validation_accuracy=accuracy,
                        chance_accuracy=0.1, **common))
        for delay in (2, 3):
            part = 0.1 if mechanism == "ea" else 0.9
            rows.append(row(8, delay + index, token_accuracy=part, validation_accuracy=part, **common))
    return rows


def test_mixtures_have_their_own_claims_and_leave_the_others_alone(make_run: Make) -> None:
    alone = sweep(levels=LEVELS, seeds=range(5))
    single, _ = judged(make_run(alone, "alone"))
    both = make_run([*alone, *mixture_rows(range(5), gain=0.03)], "both", speeds=[])
    found, _ = judged(both)
    for claim in (claims.AS_GOOD, claims.GROWING, claims.EXCLUSIVE):
        assert found[claim, "ea"] == single[claim, "ea"]
    assert found[claims.MIXED + claims.AS_GOOD, "ea"].verdict == "supported"
    assert found[claims.MIXED + claims.GROWING, "ea"].verdict == "supported"
    assert found[claims.MIXED + claims.GROWING, "ea"].levels == 6
    pool = pool_runs([read_run(both)])
    assert len(pool.parts) == 120 and set(pool.parts["mixture"]) == {f"mix {index} cue=token" for index in range(6)}
    assert {group.task for group in pool.groups} == {"recurrence", "mixture"}


def test_a_mixture_without_bits_gets_the_mean_of_its_parts(make_run: Make) -> None:
    rows = [cell | ({"complexity_bits": ""} if cell["task"] == "mixture" else {}) for cell in mixture_rows(range(2))]
    pool = pool_runs([read_run(make_run(rows, speeds=[]))])
    assert sorted(set(pool.rows["complexity_bits"])) == [3 * (2.5 + index) for index in range(6)]


def test_warnings(make_run: Make) -> None:
    rows = sweep(levels=LEVELS, seeds=range(3), mechanisms=("dpa", "ea"))
    rows = [cell for cell in rows if cell["mechanism"] == "ea" or cell["lr"] == 0.01]
    rows += [row(8, 2, mechanism="ea", seed=7, status="timeout"), row(8, 3, mechanism="dpa", seed=8, status="diverged")]
    found, _ = judged(make_run(rows))
    said = "; ".join(found[claims.AS_GOOD, "ea"].warnings)
    for part in ("unequal numbers of learning rates (ea 2, dpa 1)", "1 cells of ea have no result (1 timeout)",
                 "of dpa diverged", "at the edge of its grid"):
        assert part in said, said
    few, _ = judged(make_run(sweep(levels=LEVELS, seeds=range(3), rates=[0.01]), "few"))
    assert few[claims.AS_GOOD, "ea"].warnings[:2] == [
        "3 seeds are few", "a single learning rate: it may suit one mechanism better"]


def test_claims_csv_and_the_page_lead_with_the_verdicts(make_run: Make) -> None:
    run = make_run([*sweep(levels=LEVELS, seeds=range(5)), *mixture_rows(range(5))], speeds=[])
    assert report.main([str(run)]) == 0
    with (run / "claims.csv").open() as file:
        table = list(csv.DictReader(file))
    assert list(table[0])[:9] == ["claim", "mechanism", "scope", "verdict", "measure", "statistic", "low", "high",
                                  "p_value"]
    assert {line["verdict"] for line in table} <= {"supported", "not supported", "contradicted", "too few data"}
    assert not [value for line in table for value in line.values() if value == "nan"]
    html = (run / "report.html").read_text()
    assert html.index("The verdicts") < html.index("What this run shows") < html.index("<svg")
    assert '<span class="chip yes">supported</span>' in html and '<span class="chip thin">too few data</span>' in html


def test_runs_without_a_comparison_have_no_claims(make_run: Make) -> None:
    for name, mechanisms, said in (("a", ["ea"], "ea ran without dpa"), ("b", ["dpa"], "only dpa ran")):
        run = make_run(sweep(mechanisms=mechanisms), name)
        assert report.main([str(run)]) == 0
        assert said in (run / "report.html").read_text() and (run / "claims.csv").read_text().count("\n") == 1
