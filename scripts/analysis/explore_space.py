"""The settings that scripts/explore chooses from: those of a spec's cells, with their coordinates and results."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from .tables import DataError

ENDS = ("dpa", "ea-scaled")
MIX = "mix"   # the mechanism between them (docs/design.md 1); mix-0.25 is it with mix = 0.25
INSTRUMENT = "steps"   # settings that differ only here are one setting, measured cheaply (few steps) or in full
WIDTH = "d_model"      # of the object SIZE: how small a model can be and still solve the level
SIZE = "size"
COLUMNS = ("layers", WIDTH, "heads", "context", "batch", INSTRUMENT)
WIDE = 4               # numbers whose largest is at least so many times the smallest are compared by their logarithm
NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class Object(NamedTuple):
    """A quantity by which mechanisms are compared."""

    column: str   # of accuracy.csv
    margin: str   # added to "ea - dpa" in the page
    value: str    # of one mechanism


OBJECTS = {
    "accuracy": Object("token_accuracy", "", "accuracy"),
    "solved": Object("solved", ", share of seeds that solve", "share of seeds that solve"),
    SIZE: Object("solved", f", halvings of {WIDTH} that still solve", f"smallest {WIDTH} that solves")}

Results = dict[str, tuple[float, float]]  # of a cell's id: validation accuracy, and token accuracy or solved
Way = float | tuple[int, float]           # of training a setting: a rate; where sizes are compared a width and a rate


def way_name(way: Way) -> str:
    return f"d_model {way[0]}, rate {way[1]:g}" if isinstance(way, tuple) else f"rate {way:g}"


@dataclass
class Setting:
    """What two mechanisms have in common: level, model and training, but neither rate nor seed."""

    options: dict[str, str]
    place: int
    rival: int = -1           # place of the setting that is the same with the most steps; its own place if it is that
    point: np.ndarray = field(default_factory=lambda: np.zeros(0))
    cells: dict[str, dict[Way, dict[int, str]]] = field(default_factory=dict)  # mechanism, way, seed: the cell's id
    flop: float = 0.0         # of one cell of each compared mechanism, on average
    cost: dict[str, float] = field(default_factory=dict)   # FLOP of each cell
    name: str = ""            # the options that vary within the space, for a reader

    @property
    def key(self) -> str:
        """One of its cells, which is the same in every start."""
        return min(cell for ways in self.cells.values() for cells in ways.values() for cell in cells.values())

    def ids(self, mechanism: str, ways: Iterable[Way], seeds: Sequence[int]) -> list[str]:
        return [self.cells[mechanism][way][seed] for way in ways for seed in seeds]

    def ways(self, mechanism: str) -> list[Way]:
        return sorted(self.cells[mechanism])

    def work(self, cells: Iterable[str]) -> float:
        """FLOP of these cells."""
        return sum(self.cost[cell] for cell in cells)


@dataclass
class Space:
    settings: list[Setting]
    mechanisms: tuple[str, ...]
    seeds: list[int]
    names: list[str]          # of the coordinates
    walk: tuple[str, ...] = ()   # mechanisms between the two compared ones: trained in the search, never a result
    points: np.ndarray = field(init=False)         # [settings, coordinates]
    rivals: np.ndarray = field(init=False)         # [settings]: the place of each one's full version
    flop: np.ndarray = field(init=False)           # [settings]: of a cell
    cheapest: list[int] = field(init=False)        # the place of each full setting's cheapest version

    def __post_init__(self) -> None:
        self.points = np.array([setting.point for setting in self.settings])
        self.rivals = np.array([setting.rival for setting in self.settings])
        self.flop = np.array([setting.flop for setting in self.settings])
        versions: dict[int, list[Setting]] = {}
        for setting in self.settings:
            versions.setdefault(setting.rival, []).append(setting)
        self.cheapest = [min(versions[place], key=lambda setting: setting.flop).place for place in sorted(versions)]


def _options(row: dict[str, str], names: Sequence[str]) -> dict[str, str]:
    """The row's options: of the level (basis=8 delay=4), of the model and of the training."""
    return {name: row[name] for name in ("task", "level", *names)}


def _coordinates(column: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """One coordinate in 0..1 of a column of numbers, one for each word of a column of words; none of a constant."""
    words = sorted(set(column))
    if len(words) == 1:
        return []
    if not all(NUMBER.fullmatch(word) for word in words):
        return [(f"={word}", np.array([float(value == word) for value in column])) for word in words]
    values = np.array([float(word) for word in column])
    if values.min() > 0 and values.max() >= WIDE * values.min():
        values = np.log(values)
    return [("", (values - values.min()) / (values.max() - values.min()))]


def _level_columns(settings: Sequence[Setting]) -> dict[str, list[str]]:
    """The options in the levels' names as columns; an option that a level does not have is 0 there."""
    pairs = [dict(word.split("=", 1) for word in re.findall(r"[\w.]+=\S+", setting.options["level"]))
             for setting in settings]
    return {name: [pair.get(name, "0") for pair in pairs] for name in sorted(set().union(*pairs))}


def _locate(settings: list[Setting]) -> list[str]:
    columns = {"task": [setting.options["task"] for setting in settings], **_level_columns(settings)}
    for name in settings[0].options:
        if name not in ("task", "level"):
            columns[name] = [setting.options[name] for setting in settings]
    located = [(name + ending, values) for name, column in columns.items() for ending, values in _coordinates(column)]
    for place, setting in enumerate(settings):
        setting.point = np.array([values[place] for _, values in located])
    return [name for name, _ in located]


def _find_rivals(settings: list[Setting]) -> None:
    """Sets each setting's full version: the same options with the most steps."""
    groups: dict[tuple, list[Setting]] = {}
    for setting in settings:
        key = tuple(value for name, value in setting.options.items() if name != INSTRUMENT)
        groups.setdefault(key, []).append(setting)
    for group in groups.values():
        full = max(group, key=lambda setting: float(setting.options[INSTRUMENT]))
        for setting in group:
            setting.rival = full.place


def mechanisms_between(listed: pd.DataFrame, mechanisms: Sequence[str]) -> tuple[str, ...]:
    """Those of the list that lie between the two."""
    if sorted(mechanisms) != sorted(ENDS):
        raise DataError(f"--walk with --compare {','.join(mechanisms)}; allowed: dpa,ea-scaled and ea-scaled,dpa")
    _need(listed, mechanisms)
    walk = {_mechanism(row) for row in listed.to_dict("records") if row["mechanism"] == MIX}
    if not walk:
        raise DataError(f"--walk: the spec has no cell of mechanism {MIX}; allowed: a spec with "
                        f"mechanism = dpa, {MIX}, ea-scaled and mix = 0.25, 0.5, 0.75, for example")
    return tuple(sorted(walk, key=share_of))


def _need(listed: pd.DataFrame, mechanisms: Sequence[str]) -> None:
    if not set(mechanisms) & set(listed["mechanism"]):
        raise DataError(f"the spec has no cell of {' or '.join(mechanisms)}; allowed: mechanisms of the spec")


def share_of(mechanism: str) -> float:
    """Where the mechanism between ENDS lies: 0.25 of mix-0.25."""
    return float(mechanism.removeprefix(MIX + "-"))


def _mechanism(row: dict[str, str]) -> str:
    return f"{MIX}-{row['train.mix']}" if row["mechanism"] == MIX and "train.mix" in row else row["mechanism"]


def make_space(listed: pd.DataFrame, mechanisms: Sequence[str], walk: Sequence[str] = (), sizes: bool = False) -> Space:
    """The settings in the list of `eabench sweep --dry-run --list`, in its order of the cells' ids. sizes: a setting
    has all the widths of the spec."""
    if sizes and listed[WIDTH].nunique() < 2:
        raise DataError(f"--object {SIZE}: the spec has one {WIDTH}; allowed: several, such as {WIDTH} = 8, 12, 16, 24")
    _need(listed, mechanisms)
    names = [name for name in COLUMNS if not (sizes and name == WIDTH)]
    names += [name for name in listed.columns if "." in name and name.split(".")[1] not in (*COLUMNS, "mechanism", MIX)]
    found: dict[tuple, Setting] = {}
    for row in listed.sort_values("cell").to_dict("records"):
        mechanism = _mechanism(row)
        if mechanism not in (*mechanisms, *walk):
            continue
        options = _options(row, names)
        setting = found.setdefault(tuple(options.values()), Setting(options, 0))
        rate = float(row["lr"])
        ways = setting.cells.setdefault(mechanism, {})
        ways.setdefault((int(row[WIDTH]), rate) if sizes else rate, {})[int(row["seed"])] = row["cell"]
        setting.cost[row["cell"]] = float(row["flop"])
        if mechanism in mechanisms:
            setting.flop += float(row["flop"])
    settings = [found[key] for key in sorted(found)]
    seeds = sorted({seed for setting in settings for ways in setting.cells.values()
                    for cells in ways.values() for seed in cells})
    varying = [name for name in settings[0].options if len({setting.options[name] for setting in settings}) > 1]
    for place, setting in enumerate(settings):
        setting.place = place
        setting.name = " ".join(value if name in ("task", "level") else f"{name}={value}"
                                for name, value in setting.options.items() if name in varying)
        for mechanism in (*mechanisms, *walk):
            if any(sorted(cells) != seeds for cells in setting.cells.get(mechanism, {0.0: {}}).values()):
                raise DataError(f"{setting.name}: {mechanism} lacks seeds that others have; allowed: a spec in which "
                                "each compared mechanism has every setting and seed, and values of its own for lr only")
        setting.flop /= sum(len(cells) for name in mechanisms for cells in setting.cells[name].values())
    _find_rivals(settings)
    return Space(settings, tuple(mechanisms), seeds, _locate(settings), tuple(walk))


@dataclass
class Measured:
    """What a setting's mechanisms reach, one value for each seed: `accuracy` is the token accuracy at the best rate, or
    1 where the seed solves the level there, or, where sizes are compared, minus the logarithm (base 2) of the smallest
    width at which the seed solves it, each width at its best rate."""

    rate: dict[str, float]   # NaN where sizes are compared: there are several
    accuracy: dict[str, np.ndarray]

    def margins(self, first: str, second: str) -> np.ndarray:
        return self.accuracy[first] - self.accuracy[second]

    def standard_error(self, pair: tuple[str, str]) -> float:
        """Of the mean margin, from the scatter of its seeds; NaN for one seed."""
        margins = self.margins(*pair)
        return float(margins.std(ddof=1) / math.sqrt(len(margins))) if len(margins) > 1 else math.nan


def _width(way: Way) -> int:
    return way[0] if isinstance(way, tuple) else 0


def _smallness(solved: dict[int, np.ndarray]) -> np.ndarray:
    """Of each seed: -log2 of the smallest width at which it solves the level; without one of twice the largest."""
    width = np.full(len(next(iter(solved.values()))), 2.0 * max(solved))
    for size in sorted(solved, reverse=True):
        width = np.where(solved[size] == 1, size, width)
    return -np.log2(width)


def measure(setting: Setting, results: Results, mechanisms: Sequence[str], seeds: Sequence[int]) -> Measured | None:
    """None until every cell has a result. The best rate is that of the highest mean validation accuracy, of equals the
    lowest."""
    chosen, accuracy = {}, {}
    for mechanism in mechanisms:
        best: dict[int, tuple[float, Way, np.ndarray]] = {}   # by width: validation accuracy, way, scores
        for way in setting.ways(mechanism):
            rows = [results.get(cell) for cell in setting.ids(mechanism, [way], seeds)]
            if None in rows:
                return None
            validation = sum(row[0] for row in rows) / len(rows)
            if _width(way) not in best or validation > best[_width(way)][0]:
                best[_width(way)] = validation, way, np.array([row[1] for row in rows])
        if 0 in best:
            _, chosen[mechanism], accuracy[mechanism] = best[0]
        else:
            chosen[mechanism] = math.nan
            accuracy[mechanism] = _smallness({width: scores for width, (_, _, scores) in best.items()})
    return Measured(chosen, accuracy)
