"""The frontier of model size: the smallest d_model with which at least half of the seeds solve a level.

Every number is at the best learning rate of its mechanism, level and size, chosen by validation accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from .pool import BASELINE, SIZE, Group, levels_of, mechanisms_of
from .summary import at_best_rate
from .tables_more import as_number

WRONG = 0.05         # most probability that one end of an interval of sizes excludes the true size
MOST_ORDERS = 9_999  # ways to exchange the mechanisms that are enumerated; beyond, so many are drawn


@dataclass
class Frontier:
    """Of one level and mechanism. A size is NaN where no size tried qualifies; `shares`: size -> (solved, seeds)."""

    level: str
    bits: float
    mechanism: str
    shares: dict[float, tuple[int, int]]
    smallest: float   # the smallest size that at least half of the seeds solve
    implied: bool     # not trained there: a search solved a harder level at this size
    low: float        # sizes below are excluded; NaN: all that were tried
    high: float       # the size suffices; NaN: none tried is sure to
    parameters: float


def solved_by_size(group: Group) -> pd.DataFrame:
    """One row per mechanism, level, size and seed: whether it solved the level at the best rate."""
    parts = []
    for value, rows in group.rows.groupby(SIZE, sort=False):
        size = as_number(str(value))
        if size > 0:
            parts.append(at_best_rate(Group(group.task, group.setting, rows, group.axes))[0].assign(size=size))
    columns = ["mechanism", "level", "complexity_bits", "size", "seed", "solved", "parameters"]
    if not parts:
        return pd.DataFrame(columns=columns)
    keys = ["mechanism", "level", "size", "seed"]
    return pd.concat(parts, ignore_index=True)[columns].groupby(keys, as_index=False, sort=False).max()


def size_interval(shares: Sequence[tuple[float, int, int]]) -> tuple[float, float]:
    """The sizes that may be the smallest that solves with a probability of at least one half; shares: size, solved,
    seeds, the smallest size first.

    From below, sizes are excluded while Clopper and Pearson's upper bound of the solve rate is below one half; from
    above, sizes suffice while the lower bound is above it. Each stops at the first size that fails, so no correction
    for the number of sizes is needed: to pass the true size, that size itself must be misjudged.
    """
    low = high = math.nan
    for size, solved, seeds in shares:
        if scipy_stats.binom.cdf(solved, seeds, 0.5) > WRONG:
            low = size
            break
    for size, solved, seeds in reversed(shares):
        if scipy_stats.binom.sf(solved - 1, seeds, 0.5) > WRONG:
            break
        high = size
    return low, high


def frontiers(table: pd.DataFrame) -> list[Frontier]:
    """From solved_by_size: one for each level and mechanism, the levels from easy to hard."""
    counts = {key: (int(part.sum()), len(part))
              for key, part in table.groupby(["mechanism", "level", "size"])["solved"]}
    bits = dict(zip(table["level"], table["complexity_bits"]))
    weights = table.groupby(["mechanism", "level", "size"])["parameters"].mean()
    sizes = sorted(table["size"].unique())
    hardest: dict[tuple[str, float], float] = {}
    for (mechanism, level, size), (solved, seeds) in counts.items():
        if 2 * solved >= seeds:
            hardest[mechanism, size] = max(bits[level], hardest.get((mechanism, size), -math.inf))
    found = []
    for level in levels_of(table):
        for mechanism in mechanisms_of(table):
            shares = {size: counts[mechanism, level, size] for size in sizes if (mechanism, level, size) in counts}
            if not shares:
                continue
            enough = [size for size, (solved, seeds) in shares.items() if 2 * solved >= seeds]
            # A search trains no level below a solved one: it counts as solved, too.
            beyond = [size for size in sizes
                      if size not in shares and hardest.get((mechanism, size), -math.inf) > bits[level]]
            smallest = min([*enough, *beyond], default=math.nan)
            low, high = size_interval([(size, *share) for size, share in shares.items()])
            found.append(Frontier(level, float(bits[level]), mechanism, shares, smallest, smallest in beyond,
                                  low, high, float(weights.get((mechanism, level, smallest), math.nan))))
    return found


def steps_to_solving(table: pd.DataFrame, mechanism: str) -> pd.DataFrame:
    """From solved_by_size: the place in the list of sizes of the smallest one that each seed solves, one row per level
    and seed, `new` of the mechanism, `base` of the baseline; where none is solved, the place behind the level's largest
    size.

    Only sizes count at which both have a result of this level and seed. Levels with fewer than two such sizes are left
    out, and those where all seeds of both have the same place: they are too easy or too hard for any size tried.
    """
    table = table[table["mechanism"].isin([BASELINE, mechanism])]
    places = {size: place for place, size in enumerate(sorted(table["size"].unique()))}
    wide = table.pivot(index=["level", "seed", "size"], columns="mechanism", values="solved")
    empty = pd.DataFrame({"level": [], "seed": [], "new": [], "base": []})
    if BASELINE not in wide or mechanism not in wide:
        return empty
    rows = []
    for level, part in wide.dropna().groupby("level", sort=False):
        if part.index.get_level_values("size").nunique() < 2:
            continue
        own = []
        beyond = 1 + max(places[size] for size in part.index.get_level_values("size"))
        for seed, cells in part.groupby("seed"):
            order = cells.index.get_level_values("size").map(places)
            own.append((level, seed, *(min([place for place, solved in zip(order, cells[who]) if solved],
                                           default=beyond) for who in (mechanism, BASELINE))))
        if len({place for row in own for place in row[2:]}) > 1:
            rows += own
    return pd.DataFrame(rows, columns=list(empty)) if rows else empty


def has_gaps(table: pd.DataFrame, mechanism: str) -> bool:
    """Whether the mechanism or the baseline lacks a level, size and seed that the other has."""
    table = table[table["mechanism"].isin([BASELINE, mechanism])]
    return bool((table.groupby(["level", "seed", "size"])["mechanism"].nunique() < 2).any())


def exchanged(new: Sequence[float], base: Sequence[float]) -> float:
    """Two-sided p-value of the permutation test that the values of a mechanism's seeds and of the baseline's have the
    same distribution: exact for up to 7 seeds each."""
    result = scipy_stats.permutation_test((np.asarray(new), np.asarray(base)), _gap, permutation_type="independent",
                                          vectorized=True, n_resamples=MOST_ORDERS, rng=np.random.default_rng(0))
    return float(result.pvalue)


def _gap(new: np.ndarray, base: np.ndarray, axis: int) -> np.ndarray:
    return new.mean(axis=axis) - base.mean(axis=axis)
