"""What predicts the margin of a mechanism over the baseline, from setting to setting and from level to level.

A point is one level of one family at one setting; its margin is the mean over seeds of the difference in token
accuracy, each mechanism at its best rate. Descriptors are facts about the level and the model, or measured on the
trained attention. None is computed from an accuracy or from `solved`, which would contain the answer. A descriptor
divides two numbers only where the ratio has a meaning: bits per position, positions per position, tokens per dimension.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:  # an import of a second, only needed where a run has many settings
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import Pipeline

from .claims import SIGNIFICANT, SKILL_ANY, compare_group
from .pool import BASELINE, MIXTURE, Group
from .stats import BOOTSTRAP_SEED, holm
from .summary import at_best_rate
from .tables_more import as_number

FEWEST_POINTS = 12
FEWEST_SETTINGS = 3   # one is left out, and two show whether the others agree
DRAWS = 1999          # shuffles for a p-value, and resamples for an interval; fewer for large tables
FEWEST_DRAWS, MOST_ENTRIES = 199, 200_000_000
MOST_FOLDS = 10
MOST_SHOWN = 2        # partial dependences


def _ratio(over: str, under: str) -> Callable[[dict[str, float]], float]:
    return lambda facts: facts.get(over, math.nan) / facts[under] if facts.get(under) else math.nan


DESCRIPTORS: dict[str, Callable[[dict[str, float]], float]] = {
    "complexity (bits)": lambda facts: facts["complexity_bits"],
    "complexity over context (bits per position)": _ratio("complexity_bits", "context"),
    "delay over context": _ratio("delay", "context"),
    "vocabulary over d_model": _ratio("vocab", "d_model"),
    "d_model": lambda facts: facts["d_model"],
    "head_dim": _ratio("d_model", "heads"),
    "context": lambda facts: facts["context"],
    "layers": lambda facts: facts["layers"]}
FACTS = ("complexity_bits", "vocab", "context", "delay", "d_model", "heads", "layers")
GEOMETRY = {"row_entropy_share": "row entropy share", "determining_mass": "determining mass",
            "mean_angle": "mean angle of attention (degrees)"}


@dataclass
class Correlation:
    """Rank correlation of a descriptor with the margin, within families; `same`: descriptors that order the points
    alike."""

    name: str
    points: int
    value: float
    low: float
    high: float
    p_value: float
    p_adjusted: float = math.nan
    effect: float = math.nan  # in the regression: change of the margin from the lowest value to the highest
    same: list[str] = field(default_factory=list)


@dataclass
class Prediction:
    """`error`: root mean square of the cross-validated model, `of_mean`: of predicting the mean of the other
    settings. matters: the descriptors that predict the margin, best first; empty: nothing predicts it."""

    mechanism: str
    points: pd.DataFrame   # family, setting, level, margin, and the descriptors
    correlations: list[Correlation]
    error: float
    of_mean: float
    matters: list[str]
    dependence: dict[str, tuple[np.ndarray, np.ndarray]]


def _attention(geometry: pd.DataFrame) -> pd.DataFrame:
    """The quantities of GEOMETRY by cell, means over layers and heads; the angle is weighted by attention mass."""
    mass = geometry[geometry["quantity"] == "angle_mass"]
    angles = (mass["value"] * (mass["low"] + mass["high"]) / 2).groupby(mass["cell"]).sum()
    scalars = geometry[geometry["quantity"].isin(list(GEOMETRY))]
    table = scalars.pivot_table(index="cell", columns="quantity", values="value")
    return table.assign(mean_angle=angles / mass["value"].groupby(mass["cell"]).sum()).rename(columns=GEOMETRY)


def collect(groups: Sequence[Group], mechanism: str, geometry: pd.DataFrame) -> pd.DataFrame:
    """The points: family, setting, level, margin, and a column for each descriptor (NaN where it is unknown)."""
    attention = _attention(geometry) if len(geometry) else None
    rows = []
    for group in groups:
        if group.task == MIXTURE:
            continue
        first = group.rows.drop_duplicates("level").set_index("level")
        chosen = at_best_rate(group)[0] if attention is not None else group.rows
        for level in compare_group(group, mechanism).levels:
            if not SKILL_ANY[0] <= level.skill <= SKILL_ANY[1]:
                continue
            line = first.loc[level.name]
            facts = {name: as_number(str(line[name])) for name in FACTS if name in line}
            point = {"family": group.task, "setting": group.setting, "level": level.name,
                     "margin": float(np.mean(list(level.differences.values())))}
            point |= {name: make(facts) for name, make in DESCRIPTORS.items()}
            for who in (BASELINE, mechanism) if attention is not None else ():
                cells = chosen.loc[(chosen["level"] == level.name) & (chosen["mechanism"] == who), "cell"]
                point |= {f"{name} of {who}": value for name, value in attention.reindex(cells).mean().items()}
            rows.append(point)
    return pd.DataFrame(rows).replace([math.inf, -math.inf], math.nan)


def descriptors_of(points: pd.DataFrame) -> list[str]:
    """The columns with at least FEWEST_POINTS known values that are not all equal."""
    return [name for name in points.columns if name not in ("family", "setting", "level", "margin")
            and points[name].notna().sum() >= FEWEST_POINTS and points[name].nunique() > 1]


def enough(points: pd.DataFrame) -> bool:
    return (len(points) >= FEWEST_POINTS and points["setting"].nunique() >= FEWEST_SETTINGS
            and points["margin"].nunique() > 1 and len(descriptors_of(points)) > 0)


def _table(points: pd.DataFrame, column: str) -> pd.DataFrame:
    """Ranks of the column within each family, centred; [settings][levels], NaN where there is no point."""
    ranks = points.groupby("family")[column].transform(lambda values: values.rank() - values.rank().mean())
    return points.assign(rank=ranks).pivot(index="setting", columns=["family", "level"], values="rank")


def _correlations(first: np.ndarray, second: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Of tables [n][settings][levels] with one table or n of them, over the entries that both have."""
    known = ~(np.isnan(first) | np.isnan(second))
    weight = known * (1.0 if weights is None else weights)
    a, b = np.where(known, first, 0.0), np.where(known, second, 0.0)
    total = weight.sum(axis=(1, 2), keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        a = a - (weight * a).sum(axis=(1, 2), keepdims=True) / total
        b = b - (weight * b).sum(axis=(1, 2), keepdims=True) / total
        return (weight * a * b).sum(axis=(1, 2)) / np.sqrt((weight * a * a).sum(axis=(1, 2))
                                                           * (weight * b * b).sum(axis=(1, 2)))


def correlate(points: pd.DataFrame, name: str) -> Correlation:
    """Spearman's correlation within families, with a p-value and an interval for settings and levels that are crossed.

    Points of one setting are alike, and so are those of one level. The p-value is that of shuffling whole settings and,
    within each family, whole levels: a descriptor that only the settings vary has as many values as there are settings.
    For the interval settings and levels are resampled independently (Owen 2007), which is rather too wide than too
    narrow.
    """
    kept = points[points[name].notna()]
    ranks = _table(kept, name)
    families = ranks.columns.get_level_values("family").to_numpy()
    x, y = ranks.to_numpy(), _table(kept, "margin").to_numpy()
    value = float(_correlations(x[None], y[None])[0])
    if math.isnan(value):  # constant within each family
        return Correlation(name, len(kept), math.nan, math.nan, math.nan, 1.0)
    dice = np.random.default_rng(BOOTSTRAP_SEED)
    draws = max(FEWEST_DRAWS, min(DRAWS, MOST_ENTRIES // x.size))
    block = max(1, 1_000_000 // x.size)  # keeps large tables within memory
    hits, resampled = 1, []
    for start in range(0, draws, block):
        count = min(block, draws - start)
        hits += int(np.sum(np.abs(np.nan_to_num(_correlations(_shuffle(x, families, count, dice), y[None])))
                           >= abs(value) - 1e-12))
        weights = [dice.multinomial(size, np.full(size, 1 / size), count) for size in x.shape]
        resampled.append(_correlations(x[None], y[None], weights[0][:, :, None] * weights[1][:, None, :]))
    spread = np.concatenate(resampled)
    low, high = np.nanquantile(spread, [0.025, 0.975]) if not np.isnan(spread).all() else (math.nan, math.nan)
    return Correlation(name, len(kept), value, float(low), float(high), hits / (draws + 1))


def _shuffle(table: np.ndarray, families: np.ndarray, count: int, dice: np.random.Generator) -> np.ndarray:
    """`count` copies of the table [settings][levels] with shuffled settings and, within families, shuffled levels."""
    settings, levels = (np.tile(np.arange(size), (count, 1)) for size in table.shape)
    settings = dice.permuted(settings, axis=1)
    for family in np.unique(families):
        own = families == family
        levels[:, own] = dice.permuted(levels[:, own], axis=1)
    return table[settings[:, :, None], levels[:, None, :]]


def _correlate_all(points: pd.DataFrame) -> list[Correlation]:
    """Of each descriptor; of those with the same order of the points only the first is tested."""
    found: list[Correlation] = []
    ranks: list[np.ndarray] = []
    for name in descriptors_of(points):
        rank = points.groupby("family")[name].rank().to_numpy()
        twin = next((item for item, other in zip(found, ranks) if np.array_equal(rank, other, equal_nan=True)), None)
        if twin:
            twin.same.append(name)
            continue
        found.append(correlate(points, name))
        ranks.append(rank)
    for item, p_value in zip(found, holm([item.p_value for item in found])):
        item.p_adjusted = p_value
    return sorted(found, key=lambda item: (item.p_adjusted, -abs(np.nan_to_num(item.value))))


def _folds(settings: np.ndarray) -> GroupKFold:
    from sklearn.model_selection import GroupKFold

    return GroupKFold(min(MOST_FOLDS, len(np.unique(settings))))


def predict(points: pd.DataFrame, mechanism: str) -> Prediction:
    """Ridge regression on the ranks of the descriptors, cross-validated by leaving whole settings out, and so is the
    choice of its penalty within each fold.

    A descriptor matters if its correlation is significant and the model errs less than the mean of the other settings.
    """
    from sklearn.inspection import partial_dependence
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer

    correlations = _correlate_all(points)
    names = [item.name for item in correlations if item.points == len(points)]
    margin = points["margin"].to_numpy()
    if not names:
        return Prediction(mechanism, points, correlations, math.nan, math.nan, [], {})
    table = points[names].to_numpy(dtype=float)
    settings = points["setting"].to_numpy()

    def fitted(rows: np.ndarray) -> Pipeline:
        splits = list(_folds(settings[rows]).split(rows, groups=settings[rows]))
        ridge = RidgeCV(np.logspace(-2, 3, 6), cv=splits, scoring="neg_mean_squared_error")
        model = make_pipeline(QuantileTransformer(n_quantiles=min(len(points), 100)), ridge)
        return model.fit(table[rows], margin[rows])

    errors = np.empty((2, len(points)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fewer points in a fold than quantiles
        for train, test in _folds(settings).split(table, margin, settings):
            errors[0, test] = margin[test] - fitted(train).predict(table[test])
            errors[1, test] = margin[test] - margin[train].mean()
        model = fitted(np.arange(len(points)))
    error, of_mean = (float(value) for value in np.sqrt((errors**2).mean(axis=1)))
    if error >= of_mean:
        return Prediction(mechanism, points, correlations, error, of_mean, [], {})
    for item in correlations:
        if item.name in names:
            item.effect = float(model[-1].coef_[names.index(item.name)])  # the quantiles go from 0 to 1
    matters = [item.name for item in correlations if item.p_adjusted < SIGNIFICANT]
    dependence = {}
    for name in [name for name in matters if name in names][:MOST_SHOWN]:
        result = partial_dependence(model, table, [names.index(name)], kind="average", grid_resolution=50,
                                    percentiles=(0, 1))
        dependence[name] = (result["grid_values"][0], result["average"][0])
    return Prediction(mechanism, points, correlations, error, of_mean, matters, dependence)
