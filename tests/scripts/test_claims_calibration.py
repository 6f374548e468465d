"""The rate of false verdicts in worlds without an effect, over EAB_CALIBRATION_RUNS synthetic runs (60)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import stats as scipy_stats

from analysis.claims import MARGIN, Claim, Level, as_good, exclusive, growing
from analysis.pool import Group
from claims_worlds import levels_of_world, solving_world, verdict_of, world

RUNS = int(os.environ.get("EAB_CALIBRATION_RUNS", "60"))
Test = Callable[[Claim, list[Level]], Claim]
World = Callable[[np.random.Generator], Sequence[Group]]


def at_margin(dice: np.random.Generator) -> list[Group]:
    """Worse by exactly MARGIN: 'supported' and 'contradicted' are both wrong here, and allowed in 2.5% each."""
    return [world(dice, effect=lambda index, bits: -MARGIN)]


def two_settings_at_margin(dice: np.random.Generator) -> list[Group]:
    return [world(dice, levels=5, effect=lambda index, bits: -MARGIN, title=title) for title in ("a", "b")]


def equal(dice: np.random.Generator) -> list[Group]:
    return [world(dice)]


def scattered_levels(dice: np.random.Generator) -> list[Group]:
    """The margin varies with the level without a trend, equally in two settings and in every seed."""
    effects = dice.normal(0, 0.05, 8)
    return [world(dice, effect=lambda index, bits: effects[index], title=title) for title in ("a", "b")]


def equal_frontier(dice: np.random.Generator) -> list[Group]:
    return [solving_world(dice, [(chance, chance) for chance in (1.0, 0.95, 0.8, 0.5, 0.3, 0.2, 0.1, 0.05, 0.0)])]


@pytest.mark.parametrize(("test", "make"), [
    (as_good, at_margin), (as_good, two_settings_at_margin), (growing, equal), (growing, scattered_levels),
    (exclusive, equal_frontier)], ids=lambda item: item.__name__)
def test_false_verdicts_are_rare(test: Test, make: World) -> None:
    verdicts = [verdict_of(test, *make(np.random.default_rng(run))).verdict for run in range(RUNS)]
    allowed = scipy_stats.binom.ppf(0.999, RUNS, 0.05)  # 99.9% quantile for a test of level 5%
    assert verdicts.count("supported") + verdicts.count("contradicted") <= allowed
    assert "too few data" not in verdicts


def test_the_percentile_bootstrap_would_be_wrong_more_often() -> None:
    """The reason for Student's t over seeds: with five seeds the bootstrap's 95% interval misses three times as
    often."""
    misses = dict.fromkeys(("student", "bootstrap"), 0)
    runs = 10 * RUNS
    for run in range(runs):
        dice = np.random.default_rng(run)
        seeds = dice.normal(-MARGIN, 0.03, 5)
        low, high = scipy_stats.ttest_1samp(seeds, -MARGIN).confidence_interval(0.95)
        misses["student"] += not low <= -MARGIN <= high
        means = seeds[dice.integers(5, size=(1000, 5))].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        misses["bootstrap"] += not low <= -MARGIN <= high
    assert misses["student"] <= scipy_stats.binom.ppf(0.999, runs, 0.05)
    assert misses["bootstrap"] >= scipy_stats.binom.ppf(0.001, runs, 0.13) > misses["student"]


def test_the_choice_of_levels_is_unbiased() -> None:
    """Levels are chosen by the mean skill of both; over many runs without an effect the mean difference stays 0."""
    kept = []
    for run in range(RUNS):
        group = world(np.random.default_rng(run), noise=0.1, skill=lambda place: 1.05 - 0.2 * place)
        levels = [level for level in levels_of_world(group) if level.skill <= 0.95]
        kept += [np.mean([np.mean(list(level.differences.values())) for level in levels])] if levels else []
    assert scipy_stats.ttest_1samp(kept, 0).pvalue > 0.001
