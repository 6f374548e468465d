"""The statistics of report and compare; random draws have a fixed seed, so results are repeatable.

Seeds are few (2 to 10), so nothing here assumes a normal distribution, and an interval that cannot be computed is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtri

BOOTSTRAP_SEED = 20240718
RESAMPLES = 10_000
EXACT_SIGNS = 14  # up to 2^14 sign patterns are enumerated; beyond, that many are drawn


def bootstrap_mean(strata: Sequence[Sequence[float]], level: float = 0.95, resamples: int = RESAMPLES,
                   bounds: tuple[float, float] = (-math.inf, math.inf)) -> tuple[float, float, float]:
    """Mean of the strata's means, with the percentile bootstrap interval.

    Seeds are resampled within each stratum (a rung), since the rungs of a ladder were chosen, not drawn. The mean of n
    resampled values has (n-1)/n of the true variance (half for two seeds), so deviations are widened by sqrt(n/(n-1)).
    The result is clipped to `bounds`. A stratum of one seed has no scatter to estimate, so the interval is then NaN.
    """
    parts = [np.asarray(part, dtype=float) for part in strata if len(part)]
    if not parts:
        return math.nan, math.nan, math.nan
    mean = float(np.mean([part.mean() for part in parts]))
    if min(len(part) for part in parts) < 2:
        return mean, math.nan, math.nan
    largest = max(len(part) for part in parts)
    resamples = max(1000, min(resamples, 20_000_000 // largest))  # keeps huge strata within memory
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    total = np.zeros(resamples)
    for part in parts:
        means = part[generator.integers(len(part), size=(resamples, len(part)))].mean(axis=1)
        total += part.mean() + (means - part.mean()) * math.sqrt(len(part) / (len(part) - 1))
    low, high = np.quantile(total / len(parts), [(1 - level) / 2, (1 + level) / 2])
    # If all resamples are equal, rounding must not exclude the mean from the interval.
    low, high = min(float(low), mean), max(float(high), mean)
    return mean, max(low, bounds[0]), min(high, bounds[1])


def wilson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share (Wilson 1927); valid also for 0 of n and n of n."""
    if trials == 0:
        return math.nan, math.nan
    z = float(ndtri((1 + level) / 2))
    share = successes / trials
    centre = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def censored_median(values: Sequence[float]) -> float:
    """Median where NaN means 'not reached', that is infinite; NaN unless more than half are reached."""
    if len(values) == 0:
        return math.nan
    ordered = np.sort(np.where(np.isnan(values), math.inf, values))
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return float(median) if math.isfinite(median) else math.nan


def choose_rate(validation: pd.Series, rates: pd.Series) -> tuple[float, bool, int]:
    """The best rate of one mechanism at one level: (rate, at the edge of the grid, size of the grid).

    `validation` holds one value per cell, `rates` the cell's rate. The rate with the highest mean is chosen; of equals
    the innermost of the grid, then the lower. At the edge a better rate may lie outside the grid. The edge is not
    flagged if all rates are equally good, since then the rate does not matter, nor on a grid of one rate.
    """
    means = validation.groupby(rates).mean().sort_index()
    grid = means.index.to_numpy(dtype=float)
    tied = np.isclose(means.to_numpy(), means.max(), rtol=0, atol=1e-12)
    middle = (len(grid) - 1) / 2
    best = min(np.flatnonzero(tied), key=lambda index: (abs(index - middle), index))
    edge = len(grid) > 1 and best in (0, len(grid) - 1) and not tied.all()
    return float(grid[best]), bool(edge), len(grid)


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided p-value of the sign-flip permutation test that the differences are symmetric about 0.

    Zeros have no sign and are left out. All patterns are enumerated for few differences, else drawn with a fixed seed
    (the observed pattern counts as one draw, so p is never 0).
    """
    values = np.asarray([value for value in differences if value != 0], dtype=float)
    if len(values) == 0:
        return 1.0
    observed = abs(values.sum()) * (1 - 1e-12)  # so that rounding cannot exclude the observed pattern
    if len(values) <= EXACT_SIGNS:
        bits = np.arange(1 << len(values))[:, None] >> np.arange(len(values)) & 1
        return float(np.mean(np.abs((1 - 2 * bits) @ values) >= observed))
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    hits, draws, block = 0, 20_000, max(1, 4_000_000 // len(values))
    for start in range(0, draws, block):
        signs = generator.integers(0, 2, size=(min(block, draws - start), len(values))) * 2 - 1
        hits += int((np.abs(signs @ values) >= observed).sum())
    return (hits + 1) / (draws + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979); the order of the input is kept."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda position: p_values[position])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted
