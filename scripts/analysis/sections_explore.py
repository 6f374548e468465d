"""The report of a run that scripts/explore made: what it confirmed, and the margins that it met on the way.

The search trained the settings that looked best, more than once, so its run has no verdicts on the claims, which are
about all settings: they would be those of a selection.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from .page import Row, Section, Table, heading, interval, number, text
from .style import MUTED, Looks, Plot
from .tables import DataError, Run, printable, read_csv

TABLE = "explore.csv"
COLUMNS = ("phase", "setting", "steps", "margin", "standard_error", "seeds", "low", "high", "p_adjusted", "confirmed")
NUMBERS = ("steps", "margin", "standard_error", "seeds", "low", "high", "p_adjusted")
MOST_ROWS = 40


@dataclass
class Explored:
    """explore.csv: the names of the two mechanisms, the search's rows and the confirmations."""

    first: str
    second: str
    search: pd.DataFrame
    fresh: pd.DataFrame

    @property
    def confirmed(self) -> pd.DataFrame:
        return self.fresh[self.fresh["confirmed"] == "True"]


def read_explored(run: Path) -> Explored | None:
    """None for a run that is no exploration."""
    path = run / TABLE
    if not path.exists():
        return None
    rows, _ = read_csv(path, ("phase", "setting", "steps", "margin", "standard_error", "seeds"))
    pair = [name[len("accuracy "):] for name in rows.columns if name.startswith("accuracy ")]
    if len(pair) != 2:
        raise DataError(f"{path}:1: {len(pair)} columns of accuracies; two mechanisms are compared")
    for name in COLUMNS:
        rows[name] = rows[name] if name in rows else ""
        rows[name] = pd.to_numeric(rows[name], errors="coerce") if name in NUMBERS else rows[name]
    search = rows[rows["phase"] == "search"].sort_values("margin", ascending=False, kind="stable")
    return Explored(pair[0], pair[1], search, rows[rows["phase"] == "confirmation"])


def sentences(explored: Explored) -> list[str]:
    """One for each confirmed setting, or one that says that there is none."""
    who = f"{explored.first} - {explored.second}"
    if explored.confirmed.empty:
        tried = len(explored.fresh)
        return [f"No margin ({who}) was confirmed: {tried} settings were trained again with fresh seeds."]
    return [f"Confirmed: {who} is {row.margin:+.3f} [{row.low:+.3f}, {row.high:+.3f}] at "
            f"{printable(row.setting, 200)} ({row.seeds:.0f} fresh seeds, corrected p {row.p_adjusted:.2g})."
            for row in explored.confirmed.itertuples()]


def explore_section(explored: Explored) -> Section:
    section = Section("explore", "What the exploration found")
    section.findings = sentences(explored)
    who = f"{explored.first} - {explored.second}"
    section.paragraphs = [
        f"{len(explored.search)} settings were measured in the search. The margin is {who}, each at its best rate. "
        "Those of the search chose the settings, so they are too large; only what was trained again with fresh seeds, "
        "at all rates, counts. There are no verdicts on the claims: the settings are a selection."]
    fresh = Table("Trained again with fresh seeds", heading(
        "setting", "#seeds", "#margin", "#95% interval", "#corrected p", "reading"), [])
    for row in explored.fresh.itertuples():
        confirmed = row.confirmed == "True"
        fresh.rows.append(Row([text(row.setting), number(row.seeds, ".0f"), number(row.margin, "+.4f"),
                               interval(row.low, row.high, "+.4f"), number(row.p_adjusted, ".2g"),
                               text("confirmed" if confirmed else "not confirmed", "good" if confirmed else "")]))
    searched = Table("The search's settings, the largest margins first", heading(
        "setting", "#seeds", "#margin", "#standard error"), [], folded=len(explored.search) > MOST_ROWS)
    searched.rows = [Row([text(row.setting), number(row.seeds, ".0f"), number(row.margin, "+.4f"),
                          number(row.standard_error, ".4f")]) for row in explored.search.itertuples()]
    section.tables = [fresh, searched]
    return section


def explore_figure(explored: Explored, looks: Looks) -> Plot | None:
    """The margins of the settings that were measured with all steps, in their order. None without one."""
    full = explored.search[explored.search["steps"] == explored.search["steps"].max()]
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
                      yerr=[fresh["margin"] - fresh["low"], fresh["high"] - fresh["margin"]],
                      color=looks.colour(explored.first), fmt=looks.marker(explored.first), capsize=3,
                      label="fresh seeds, with its 95% interval")
    axes.axhline(0, color=MUTED, linestyle=":", linewidth=1.1)
    axes.set_xlabel("settings with all steps, by the search's margin")
    axes.set_ylabel(f"{explored.first} - {explored.second}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside upper left", ncols=2)
    words = (f"Margins of {len(full)} settings over the search's seeds, and of {len(fresh)} over fresh ones, which are "
             "nearer to 0 where the search was lucky.")
    return Plot("explore", "Margins of the search and of the confirmation", words, figure,
                explored.search[["setting", "steps", "margin", "standard_error"]])


def searched_rows(run: Run, explored: Explored) -> Run:
    """The run without the fresh seeds and without runs in few steps: what the search knows about every setting."""
    rows = run.accuracy
    counts = int(explored.search["seeds"].max()) if len(explored.search) else 0
    seeds = sorted(rows["seed"].unique(), key=float)[:counts]
    keep = rows["seed"].isin(seeds) & (rows["steps"].astype(float) == rows["steps"].astype(float).max())
    return Run(run.path, rows[keep].reset_index(drop=True), run.throughput, run.environment, run.sections,
               run.task_options, run.options, run.warnings)
