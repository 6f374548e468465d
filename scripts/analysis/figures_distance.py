"""Accuracy against distance: one trained model, evaluated at pairs of one distance after the other."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from .page import Row, Table, heading, number, text
from .pool import Group, levels_of, mechanisms_of
from .style import GRID, MUTED, Looks, Plot, finish_panels, label

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
    """For each cell: the sum of its accuracy over all distances, and P, that over the distances that were not trained
    divided by that over those that were (NaN where none was evaluated)."""
    seen = (rows["distance"] >= rows["trained_min"]) & (rows["distance"] <= rows["trained_max"])
    parts = rows.assign(all=rows["token_accuracy"], seen=rows["token_accuracy"].where(seen, 0.0))
    sums = parts.groupby(["trained_level", "mechanism", "cell"], sort=False).agg(
        distances=("distance", "size"), sum=("all", "sum"), seen=("seen", "sum")).reset_index()
    return sums.assign(p=((sums["sum"] - sums["seen"]) / sums["seen"]).where(sums["seen"] > 0))


def distance_table(group: Group, chosen: pd.DataFrame, distances: pd.DataFrame) -> Table | None:
    rows = _of_group(chosen, distances)
    if rows.empty:
        return None
    table = Table(f"Sums over distances of {group.title}: the accuracy at all distances, and P, the sum at unseen "
                  "distances divided by that at trained ones; mean and range over seeds",
                  heading("level", "mechanism", "#seeds", "#distances", "#sum", "#least", "#most", "#P", "#least P",
                          "#most P"), [])
    for (level, mechanism), part in distance_sums(rows).groupby(["trained_level", "mechanism"], sort=False):
        table.rows.append(Row([
            text(level), text(mechanism), number(len(part), ".0f"), number(part["distances"].iloc[0], ".0f"),
            number(part["sum"].mean(), ".2f"), number(part["sum"].min(), ".2f"), number(part["sum"].max(), ".2f"),
            number(part["p"].mean(), ".3f"), number(part["p"].min(), ".3f"), number(part["p"].max(), ".3f")]))
    return table
