"""Accuracy against distance: one trained model, evaluated at pairs of one distance after the other."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from .page import Row, Table, heading, interval, number, text
from .pool import Group, Pool, levels_of, mechanisms_of
from .style import GRID, MUTED, Looks, Plot, finish_panels, label
from .summary import at_best_rate

MOST_LEVELS = 6


def _of_group(chosen: pd.DataFrame, distances: pd.DataFrame) -> pd.DataFrame:
    """The rows at single distances of the chosen cells, with the level that they were trained on, and the task of a row
    that has only one of the two."""
    cells = chosen[["cell", "backend", "level"]].rename(columns={"level": "trained_level"})
    rows = distances.drop(columns="trained_level", errors="ignore").merge(cells, on=["cell", "backend"])
    return rows.assign(trained_level=rows["trained_level"] + (", " + rows["op"]).where(rows["op"] != "", ""))


def distance_plot(group: Group, name: str, chosen: pd.DataFrame, distances: pd.DataFrame, looks: Looks) -> Plot | None:
    """One panel per trained level, or two where its tasks are evaluated separately. None without rows at single
    distances."""
    rows = _of_group(chosen, distances)
    if rows.empty:
        return None
    every = [shown for level in levels_of(chosen) for shown in (level, f"{level}, C", f"{level}, S")
             if shown in set(rows["trained_level"])]
    levels = every[:MOST_LEVELS]
    columns = min(3, len(levels))
    lines = -(-len(levels) // columns)
    figure = Figure(figsize=(max(5.2, 3.4 * columns + 0.5), 2.7 * lines + 0.9), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).flatten()
    table = rows.groupby(["trained_level", "mechanism", "distance"], sort=False)["token_accuracy"].agg(
        seeds="size", mean="mean", low="min", high="max").reset_index()
    for panel, level in zip(panels, levels):
        own = rows[rows["trained_level"] == level]
        least, most, op = (own[name].iloc[0] for name in ("trained_min", "trained_max", "op"))
        panel.axvspan(least - 0.5, most + 0.5, color=GRID, zorder=0, label="trained distances")
        for mechanism in mechanisms_of(chosen):
            part = table[(table["mechanism"] == mechanism) & (table["trained_level"] == level)].sort_values("distance")
            if part.empty:
                continue
            colour = looks.colour(mechanism)
            panel.fill_between(part["distance"], part["low"], part["high"], color=colour, alpha=0.15, linewidth=0)
            panel.plot(part["distance"], part["mean"], color=colour, linewidth=1.5, label=label(mechanism),
                       marker=looks.marker(mechanism), markersize=3.5, markevery=max(1, len(part) // 12))
        panel.axhline(own["chance_accuracy"].mean(), linestyle=":", color=MUTED, linewidth=1.1, label="chance")
        panel.set_title(f"{op and op + ', '}trained on {least:g} to {most:g}", fontsize=8.5)
        panel.set_ylim(-0.03, 1.05)
        panel.xaxis.get_major_locator().set_params(integer=True)
    finish_panels(figure, panels, len(levels))
    figure.supxlabel("distance", fontsize=10)
    figure.supylabel("token accuracy", fontsize=10)
    sums = distance_sums(rows)
    words = ("Mean over seeds of one trained model's accuracy at each distance, each mechanism at its best rate; the "
             "band spans all seeds; shaded: the trained distances; dotted: chance."
             + (f" {len(levels)} of {len(every)} levels; the CSV has all." if len(every) > len(levels) else "")
             + " Sum of accuracy over distances: "
             + ", ".join(f"{label(str(mechanism))} {part['sum'].mean():.1f}"
                         for mechanism, part in sums.groupby("mechanism", sort=False)) + ".")
    return Plot(name, f"Accuracy against distance: {group.title}", words, figure, table)


def distance_sums(rows: pd.DataFrame) -> pd.DataFrame:
    """For each cell: the mean accuracy over the distances that were trained, and over those that were not; the sum over
    all; and P, the sum over the latter divided by that over the former. NaN where none was evaluated."""
    seen = (rows["distance"] >= rows["trained_min"]) & (rows["distance"] <= rows["trained_max"])
    parts = rows.assign(all=rows["token_accuracy"], seen=rows["token_accuracy"].where(seen),
                        unseen=rows["token_accuracy"].mask(seen))
    cells = parts.groupby(["trained_level", "mechanism", "cell"], sort=False)
    sums = cells.agg(distances=("distance", "size"), trained_accuracy=("seen", "mean"),
                     unseen_accuracy=("unseen", "mean"), sum=("all", "sum")).reset_index()
    ratio = (cells["unseen"].sum(min_count=1) / cells["seen"].sum()).to_numpy()
    return sums.assign(p=pd.Series(ratio).where(sums["trained_accuracy"] > 0))


MEASURES = {"trained_accuracy": "trained", "unseen_accuracy": "unseen", "sum": "sum", "p": "P"}


def distance_rows(pool: Pool) -> pd.DataFrame:
    """A row for each setting, level and mechanism at its best rate: mean, least and most over the seeds of each of
    MEASURES. Empty without rows at single distances."""
    found = []
    for group in pool.groups if len(pool.distances) else ():
        rows = _of_group(at_best_rate(group)[0], pool.distances)
        if rows.empty:
            continue
        for (level, mechanism), part in distance_sums(rows).groupby(["trained_level", "mechanism"], sort=False):
            line = {"setting": group.setting, "level": level, "mechanism": mechanism, "seeds": len(part),
                    "distances": part["distances"].iloc[0]}
            line |= {f"{name}{ending}": getattr(part[name], how)() for name in MEASURES
                     for ending, how in (("", "mean"), ("_least", "min"), ("_most", "max"))}
            found.append(line)
    return pd.DataFrame(found)


def distance_table(rows: pd.DataFrame) -> Table:
    names = ["setting", *(["level"] if rows["level"].nunique() > 1 else []), "mechanism"]
    titles = [title for name in MEASURES.values() for title in (f"#{name}", f"#{name}, all seeds")]
    table = Table("One trained model over distances: mean accuracy at the trained ones and at the unseen ones, the sum "
                  "over all, and P, the sum at unseen ones divided by that at trained ones; mean and range over seeds",
                  heading(*names, "#seeds", "#distances", *titles), [])
    for line in rows.to_dict("records"):
        table.rows.append(Row([
            *(text(line[name]) for name in names), number(line["seeds"], ".0f"), number(line["distances"], ".0f"),
            *(cell for name in MEASURES for cell in (
                number(line[name], ".3f"), interval(line[f"{name}_least"], line[f"{name}_most"], ".2f")))]))
    return table
