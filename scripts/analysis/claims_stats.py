"""The tests behind the verdicts. The cluster is the seed, since results of one seed on several levels are dependent.

Seeds are few, so intervals and p-values over seeds are Student's with (seeds - 1) degrees of freedom. A percentile
bootstrap over five seeds misses in one of six cases: tests/scripts/test_claims_calibration.py measures both.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats as scipy_stats

from .stats import BOOTSTRAP_SEED, holm

LEVEL = 0.95
MOST_EXACT = 5040     # up to so many orders of the levels (7 levels) are enumerated; beyond, DRAWS are drawn
DRAWS = 4999
SAME = 1e-12          # margins that differ by less are tied


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval and the two-sided p-value of 'the value is the null value'."""

    value: float
    low: float
    high: float
    p_value: float
    clusters: int


def cluster_mean(differences: Sequence[float], units: Sequence[object], seeds: Sequence[object], null: float = 0.0
                 ) -> Estimate:
    """Mean over units (levels) of their mean difference, tested against `null`; one value per unit and seed.

    Every unit weighs the same, however many seeds it has. The variance is that of the seeds' sums of weighted
    deviations from their unit's mean, times n/(n-1): for a complete table this is the t-test over the seeds' means.
    """
    values = np.asarray(differences, dtype=float)
    if len(values) == 0:
        return Estimate(math.nan, math.nan, math.nan, math.nan, 0)
    _, unit = np.unique(np.asarray(units, dtype=str), return_inverse=True)
    names, seed = np.unique(np.asarray(seeds), return_inverse=True)
    sizes = np.bincount(unit)
    means = np.bincount(unit, values) / sizes
    weights = 1 / (len(sizes) * sizes[unit])
    sums = np.bincount(seed, weights * (values - means[unit]))
    count = len(names)
    mean = float(means.mean())
    if count < 2:
        return Estimate(mean, math.nan, math.nan, math.nan, count)
    return _student(mean, math.sqrt(count / (count - 1) * float(sums @ sums)), count, null)


def _student(mean: float, error: float, count: int, null: float) -> Estimate:
    half = float(scipy_stats.t.ppf((1 + LEVEL) / 2, count - 1)) * error
    distance = abs(mean - null)
    if distance <= SAME:
        p_value = 1.0
    else:  # if all seeds agree exactly the error is 0, and any distance is significant
        p_value = 2 * float(scipy_stats.t.sf(distance / error, count - 1)) if error > SAME else 0.0
    return Estimate(mean, mean - half, mean + half, p_value, count)


@dataclass
class Stratum:
    """The margins of one family at one setting: [levels][seeds], NaN where a pair is missing."""

    family: str
    levels: list[str]
    bits: np.ndarray
    seeds: list[float]
    margins: np.ndarray


@dataclass(frozen=True)
class Trend:
    """`estimate` is Kendall's rank correlation of margin with bits within a seed, averaged over the seeds."""

    estimate: Estimate
    p_seeds: float
    p_levels: float
    smallest_p_levels: float   # the smallest p-value that this many levels can reach
    per_bit: float             # the margin's least-squares slope, levels within strata


def _signs(values: np.ndarray) -> np.ndarray:
    gaps = values[:, None] - values[None, :]
    return np.where(np.abs(gaps) > SAME, np.sign(gaps), 0.0)  # NaN becomes 0: it compares as not larger


def trend(strata: Sequence[Stratum]) -> Trend:
    """Tests whether the margin rises with the bits, by two tests; the larger p-value counts.

    Over seeds: within each seed the pairs of levels where the margin rises minus those where it falls, as a share of
    the pairs of different complexity (Kendall's S without pairs tied in bits), summed over strata; Student's t over
    seeds. Over levels: the same statistic of the mean margins, against shuffled levels. Without the second test any
    pattern of the levels would become significant with enough seeds. A family's levels are shuffled alike in all
    settings.
    """
    score: dict[float, float] = defaultdict(float)
    pairs: dict[float, int] = defaultdict(int)
    for part in strata:
        rise = _signs(part.bits)
        upper = np.triu(rise != 0, 1)
        for column, seed in enumerate(part.seeds):
            gaps = part.margins[:, column][:, None] - part.margins[:, column][None, :]
            known = upper & ~np.isnan(gaps)
            signs = np.where(np.abs(gaps) > SAME, np.sign(gaps), 0.0)
            score[seed] += float((signs * rise)[known].sum())
            pairs[seed] += int(known.sum())
    correlations = np.asarray([score[seed] / pairs[seed] for seed in score if pairs[seed]])
    p_levels, smallest, observed = _shuffled_levels(strata)
    nothing = Estimate(math.nan, math.nan, math.nan, math.nan, len(correlations))
    if len(correlations) == 0:
        return Trend(nothing, math.nan, p_levels, smallest, math.nan)
    mean = float(correlations.mean())
    if len(correlations) < 2:
        return Trend(Estimate(mean, math.nan, math.nan, math.nan, 1), math.nan, p_levels, smallest, _slope(strata))
    over = _student(mean, float(correlations.std(ddof=1)) / math.sqrt(len(correlations)), len(correlations), 0.0)
    p_value = max(over.p_value, p_levels) if observed * mean >= 0 else 1.0
    estimate = Estimate(mean, max(-1.0, over.low), min(1.0, over.high), p_value, over.clusters)
    return Trend(estimate, over.p_value, p_levels, smallest, _slope(strata))


def _mean_margins(part: Stratum) -> np.ndarray:
    return np.asarray([row[~np.isnan(row)].mean() if (~np.isnan(row)).any() else math.nan for row in part.margins])


def _slope(strata: Sequence[Stratum]) -> float:
    over, under = 0.0, 0.0
    for part in strata:
        margins = _mean_margins(part)
        known = ~np.isnan(margins)
        if known.sum() >= 2:
            bits = part.bits[known] - part.bits[known].mean()
            over += float(bits @ margins[known])
            under += float(bits @ bits)
    return over / under if under > 0 else math.nan


def _shuffled_levels(strata: Sequence[Stratum]) -> tuple[float, float, float]:
    """Two-sided p-value of S, the smallest that so many levels can reach, and S, combined over the mean margins."""
    tables: list[tuple[np.ndarray, np.ndarray]] = []  # per family: signs of the bits, signs of the margins
    orders = 1.0
    for family in sorted({part.family for part in strata}):
        parts = [part for part in strata if part.family == family]
        names = list(dict.fromkeys(level for part in parts for level in part.levels))
        place = {name: index for index, name in enumerate(names)}
        bits = np.zeros(len(names))
        margins = np.zeros((len(names), len(names)))
        for part in parts:
            index = np.asarray([place[level] for level in part.levels])
            bits[index] = part.bits
            margins[np.ix_(index, index)] += np.nan_to_num(_signs(_mean_margins(part)))
        tables.append((_signs(bits), margins))
        orders *= math.factorial(min(len(names), 100))
        for size in np.unique(bits, return_counts=True)[1]:
            orders /= math.factorial(min(int(size), 100))
    if not tables:
        return math.nan, 1.0, math.nan
    smallest = min(1.0, 2 / orders)
    observed = sum(float((rise * margins).sum()) for rise, margins in tables)
    bar = abs(observed) - 1e-9
    if len(tables) == 1 and math.factorial(min(len(tables[0][0]), 20)) <= MOST_EXACT:
        every = np.asarray(list(itertools.permutations(range(len(tables[0][0])))))
        return float(np.mean(np.abs(_shuffled(tables[0], every)) >= bar)), smallest, observed
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    sums = np.zeros(DRAWS)
    for rise, margins in tables:
        sums += _shuffled((rise, margins), generator.permuted(np.tile(np.arange(len(rise)), (DRAWS, 1)), axis=1))
    return float((np.sum(np.abs(sums) >= bar) + 1) / (DRAWS + 1)), max(smallest, 1 / (DRAWS + 1)), observed


def _shuffled(table: tuple[np.ndarray, np.ndarray], orders: np.ndarray) -> np.ndarray:
    rise, margins = table
    block = max(1, 4_000_000 // max(1, rise.size))
    return np.concatenate([np.einsum("nij,ij->n", rise[part[:, :, None], part[:, None, :]], margins)
                           for part in (orders[start:start + block] for start in range(0, len(orders), block))])


@lru_cache(maxsize=4096)
def fisher_greater(solved: int, seeds: int, other_solved: int, other_seeds: int) -> float:
    """Fisher's exact p-value, one-sided: the first solves more often than the other."""
    table = [[solved, seeds - solved], [other_solved, other_seeds - other_solved]]
    return float(scipy_stats.fisher_exact(table, alternative="greater").pvalue)


def smallest_fisher(solved: int, seeds: int, other_solved: int, other_seeds: int) -> float:
    """The smallest p-value of any split of as many solved seeds: the first side has all of them."""
    total = solved + other_solved
    return fisher_greater(min(total, seeds), seeds, max(0, total - seeds), other_seeds)


def corrected_fisher(tables: Sequence[tuple[int, int, int, int]]) -> list[float]:
    """Two-sided Fisher p-values, corrected by Holm over the tables that could be significant at all (Tarone 1990)."""
    testable = [index for index, table in enumerate(tables) if 2 * smallest_fisher(*table) <= 1 - LEVEL]
    corrected = [1.0] * len(tables)
    for index, p_value in zip(testable, holm([min(1.0, 2 * fisher_greater(*tables[index])) for index in testable])):
        corrected[index] = p_value
    return corrected


def binomial_split(mine: int, theirs: int) -> tuple[float, float, float]:
    """Exact test that exclusive levels are as likely on either side: (p-value, low, high) of mine - theirs."""
    total = mine + theirs
    if total == 0:
        return 1.0, math.nan, math.nan
    result = scipy_stats.binomtest(mine, total, 0.5)
    interval = result.proportion_ci(LEVEL, "exact")
    return float(result.pvalue), total * (2 * float(interval.low) - 1), total * (2 * float(interval.high) - 1)
