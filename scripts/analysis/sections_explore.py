"""The report of a run that scripts/explore made: what it confirmed, and the margins that it met on the way.

The search trained the settings that looked best, more than once, so its run has no verdicts on the claims, which are
about all settings: they would be those of a selection.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from .explore_space import OBJECTS
from .page import Row, Section, Table, heading, interval, number, text
from .style import MUTED, Looks, Plot
from .tables import Checker, DataError, Run, printable, read_csv

TABLE = "explore.csv"
COLUMNS = ("phase", "setting", "margin", "standard_error", "seeds", "full", "object", "low", "high", "p_adjusted",
           "confirmed")
REGION = "region"   # older tables have none
MOST_HALVINGS = 20
MOST_ROWS = 40


@dataclass
class Explored:
    """explore.csv: the names of the two mechanisms, the search's rows and the confirmations."""

    first: str
    second: str
    search: pd.DataFrame
    fresh: pd.DataFrame
    object: str = "accuracy"   # of OBJECTS: what margins are of

    @property
    def who(self) -> str:
        return f"{self.first} - {self.second}" + OBJECTS[self.object].margin

    @property
    def confirmed(self) -> pd.DataFrame:
        return self.fresh[self.fresh["confirmed"] == "True"]


def read_explored(run: Path) -> Explored | None:
    """None for a run that is no exploration; raises DataError for a table that explore does not write."""
    path = run / TABLE
    if not path.exists():
        return None
    rows, _ = read_csv(path, COLUMNS)
    pair = [name[len("accuracy "):] for name in rows.columns if name.startswith("accuracy ")]
    if len(pair) != 2:
        raise DataError(f"{path}:1: {len(pair)} columns of accuracies; two mechanisms are compared")
    checker = Checker(path, rows)
    checker.text("setting")
    if REGION not in rows:
        rows[REGION] = ""
    checker.text(REGION, needed=False)
    for name, allowed in (("phase", ("search", "confirmation")), ("full", ("True", "False")),
                          ("object", tuple(OBJECTS)), ("confirmed", ("True", "False", ""))):
        checker.one_of(name, allowed)
    what = str(rows["object"].iloc[0]) if len(rows) else "accuracy"
    most = MOST_HALVINGS if what == "size" else 1
    checker.number("margin", -most, most, needed=True)
    checker.number("seeds", 1, 1e6, needed=True, whole=True)
    checker.number("standard_error", 0, most)
    for name in ("low", "high"):
        checker.number(name, -most, most)
    checker.number("p_adjusted", 0, 1)
    fresh = rows[rows["phase"] == "confirmation"]
    wrong = fresh[~((fresh["low"] <= fresh["margin"]) & (fresh["margin"] <= fresh["high"]))]
    if len(wrong):
        raise DataError(f"{path}:{wrong['_line'].iloc[0]}: a margin outside of its interval; low to high is allowed")
    search = rows[rows["phase"] == "search"].sort_values("margin", ascending=False, kind="stable")
    return Explored(pair[0], pair[1], search, fresh, what)


def sentences(explored: Explored) -> list[str]:
    """One for each confirmed setting, or one that says that there is none."""
    tried = len(explored.fresh)
    if not tried:
        return ["Nothing was trained again with fresh seeds yet."]
    if explored.confirmed.empty:
        return [f"No margin ({explored.who}) was confirmed; trained again with fresh seeds: "
                f"{tried} setting{'' if tried == 1 else 's'}."]
    return [f"Confirmed: {explored.who} is {row.margin:+.3f} [{row.low:+.3f}, {row.high:+.3f}] at "
            f"{printable(row.setting, 200)} ({row.seeds:.0f} fresh seeds, corrected p {row.p_adjusted:.2g})."
            for row in explored.confirmed.itertuples()]


def explore_section(explored: Explored) -> Section:
    section = Section("explore", "What the exploration found")
    section.findings = sentences(explored)
    section.paragraphs = [
        f"{len(explored.search)} settings were measured in the search. The margin is {explored.who}, each at its best "
        "rate. Those of the search chose the settings, so they are too large; only what was trained again with fresh "
        "seeds, at all rates, counts. Expected elsewhere: with another level, or another value of one option, the "
        "surrogate expects at least half as much; that is no result. "
        "There are no verdicts on the claims: the settings are a selection."]
    fresh = Table("Trained again with fresh seeds", heading(
        "setting", "#seeds", "#margin", "#95% interval", "#corrected p", "reading",
        "expected elsewhere"), [])
    for row in explored.fresh.itertuples():
        confirmed = row.confirmed == "True"
        fresh.rows.append(Row([text(row.setting), number(row.seeds, ".0f"), number(row.margin, "+.4f"),
                               interval(row.low, row.high, "+.4f"), number(row.p_adjusted, ".2g"),
                               text("confirmed" if confirmed else "not confirmed", "good" if confirmed else ""),
                               text(row.region)]))
    searched = Table("The search's settings, the largest margins first", heading(
        "setting", "#seeds", "#margin", "#standard error"), [], folded=len(explored.search) > MOST_ROWS)
    searched.rows = [Row([text(row.setting), number(row.seeds, ".0f"), number(row.margin, "+.4f"),
                          number(row.standard_error, ".4f")]) for row in explored.search.itertuples()]
    section.tables = [fresh, searched]
    return section


def explore_figure(explored: Explored, looks: Looks) -> Plot | None:
    """The margins of the settings that were measured with all steps, in their order. None without one."""
    full = explored.search[explored.search["full"] == "True"]
    if full.empty:
        return None
    full = full.set_index(pd.RangeIndex(1, len(full) + 1))
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.errorbar(full.index, full["margin"], yerr=full["standard_error"].fillna(0), fmt=".", color=MUTED, markersize=4,
                  elinewidth=0.8, label="search, with its standard error")
    place = dict(zip(full["setting"], full.index))
    fresh = explored.fresh[explored.fresh["setting"].isin(place)]
    if len(fresh):
        axes.errorbar(fresh["setting"].map(place), fresh["margin"],
                      yerr=[(fresh["margin"] - fresh["low"]).to_list(), (fresh["high"] - fresh["margin"]).to_list()],
                      color=looks.colour(explored.first), fmt=looks.marker(explored.first), capsize=3,
                      label="fresh seeds, with its 95% interval")
    axes.axhline(0, color=MUTED, linestyle=":", linewidth=1.1)
    axes.set_xlabel("settings with all steps, by the search's margin")
    axes.set_ylabel(explored.who)
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside upper left", ncols=2)
    words = (f"Margins of {len(full)} settings over the search's seeds, and of {len(fresh)} over fresh ones, which are "
             "nearer to 0 where the search was lucky.")
    return Plot("explore", "Margins of the search and of the confirmation", words, figure,
                explored.search[["setting", "full", "margin", "standard_error"]])


def searched_rows(run: Run, explored: Explored) -> Run:
    """The run's rows of the two mechanisms with all steps and the search's seeds: what it knows about every setting."""
    rows = run.accuracy[run.accuracy["mechanism"].isin([explored.first, explored.second])]
    count = int(explored.search["seeds"].max()) if len(explored.search) else 0
    seeds = sorted(rows["seed"].unique(), key=float)[:count]
    steps = pd.to_numeric(rows["steps"], errors="coerce")
    full = explored.search[explored.search["full"] == "True"]
    keep = rows["seed"].isin(seeds) & (steps == steps.max()) & (len(full) > 0)
    return replace(run, accuracy=rows[keep].reset_index(drop=True))
