"""The statistics against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from analysis import stats


def test_wilson_known_values() -> None:
    # Textbook values of Wilson's 95% interval for 8 of 10 and 0 of 10.
    assert stats.wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert stats.wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert stats.wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert all(math.isnan(bound) for bound in stats.wilson(0, 0))


def test_bootstrap_two_values_by_hand() -> None:
    # Resampled means of {0, 1} are 0, 0.5, 1 with chances 1/4, 1/2, 1/4; widened by sqrt(2) about 0.5.
    mean, low, high = stats.bootstrap_mean([[0.0, 1.0]])
    assert mean == 0.5
    assert (low, high) == pytest.approx((0.5 - 0.5 * math.sqrt(2), 0.5 + 0.5 * math.sqrt(2)))
    assert stats.bootstrap_mean([[0.0, 1.0]], bounds=(0, 1)) == (0.5, 0.0, 1.0)


def test_bootstrap_is_repeatable_and_strata_weigh_the_same() -> None:
    strata = [[0.1, 0.2, 0.4], [0.5, 0.5]]
    assert stats.bootstrap_mean(strata) == stats.bootstrap_mean(strata)
    assert stats.bootstrap_mean(strata)[0] == pytest.approx((0.7 / 3 + 0.5) / 2)


def test_bootstrap_close_to_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.1, 400)
    mean, low, high = stats.bootstrap_mean([values])
    half = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.002)


@pytest.mark.parametrize("strata", [[[0.5]], [[0.5], [0.1, 0.2]]])
def test_bootstrap_with_one_seed_has_no_interval(strata: list[list[float]]) -> None:
    mean, low, high = stats.bootstrap_mean(strata)
    assert not math.isnan(mean) and math.isnan(low) and math.isnan(high)


def test_bootstrap_of_nothing_and_of_equal_values() -> None:
    assert all(math.isnan(value) for value in stats.bootstrap_mean([]))
    assert stats.bootstrap_mean([[0.3, 0.3, 0.3]]) == pytest.approx((0.3, 0.3, 0.3))


def test_censored_median() -> None:
    nan = math.nan
    assert stats.censored_median([250, 500, 750]) == 500
    assert stats.censored_median([250, 500, nan]) == 500
    assert math.isnan(stats.censored_median([250, nan]))  # the larger of the two middle values is not reached
    assert math.isnan(stats.censored_median([nan, nan, 250]))
    assert math.isnan(stats.censored_median([]))


@pytest.mark.parametrize(("means", "rate", "edge"), [
    ({0.01: 0.5, 0.02: 0.9, 0.04: 0.6}, 0.02, False),
    ({0.01: 0.9, 0.02: 0.5, 0.04: 0.6}, 0.01, True),
    ({0.01: 0.1, 0.02: 0.5, 0.04: 0.6}, 0.04, True),
    ({0.01: 1.0, 0.02: 1.0, 0.04: 0.6}, 0.02, False),   # of equals the innermost
    ({0.01: 1.0, 0.02: 0.3, 0.04: 1.0}, 0.01, True),    # then the lower, and it is at the edge
    ({0.01: 1.0, 0.02: 1.0}, 0.01, False),              # the rate made no difference
    ({0.01: 0.4, 0.02: 0.5}, 0.02, True),
    ({0.01: 0.4}, 0.01, False),
])
def test_best_rate(means: dict[float, float], rate: float, edge: bool) -> None:
    rates = pd.Series([lr for lr in means for _ in range(2)])
    validation = pd.Series([value + shift for value in means.values() for shift in (-0.05, 0.05)])
    assert stats.choose_rate(validation, rates) == (rate, edge, len(means))


def test_sign_flip_exact() -> None:
    assert stats.sign_flip([1, 1, 1]) == pytest.approx(2 / 8)
    assert stats.sign_flip([0.1] * 6) == pytest.approx(2 / 64)   # rounding must not exclude the observed pattern
    # Sums of +-1 +-2 +-3: 6, 4, 2, 0, 0, -2, -4, -6; the observed |1 + 2 - 3| = 0 is reached by all.
    assert stats.sign_flip([1, 2, -3]) == 1.0
    assert stats.sign_flip([1, 2, 3]) == pytest.approx(2 / 8)
    assert stats.sign_flip([0, 0, 0]) == 1.0 and stats.sign_flip([]) == 1.0
    assert stats.sign_flip([1, 1, 1, 0, 0]) == stats.sign_flip([1, 1, 1])


def test_sign_flip_drawn_agrees_with_the_exact_binomial() -> None:
    # 15 of 20 equal differences positive: twice the binomial tail, 0.0414.
    assert stats.sign_flip([1.0] * 15 + [-1.0] * 5) == pytest.approx(0.0414, abs=0.005)
    assert 0 < stats.sign_flip([1.0] * 60) < 0.001


def test_holm_by_hand() -> None:
    # Sorted: 0.005*4 = 0.02, 0.01*3 = 0.03, 0.03*2 = 0.06, 0.04*1 -> at least 0.06.
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.9, 0.8]) == [1.0, 1.0]
    assert stats.holm([]) == []
