"""Held-out loss of models of a text: a text is never solved, and its accuracy says less than its loss."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from .page import Row, Table, heading, number, text
from .pool import Group, levels_of, mechanisms_of
from .style import Looks, Plot, finish_panels, label

MOST_LEVELS, MOST_TICKS = 4, 6


def loss_table(group: Group, rates: pd.DataFrame) -> pd.DataFrame:
    """One row per level, mechanism and rate: loss in nats and bits per token over seeds. `best` marks the rates of
    summary.at_best_rate."""
    table = group.rows.groupby(["level", "mechanism", "lr"], sort=False).agg(
        seeds=("loss_nats", "count"), nats=("loss_nats", "mean"), least=("loss_nats", "min"), most=("loss_nats", "max"),
        token_accuracy=("token_accuracy", "mean")).reset_index()
    order = {mechanism: place for place, mechanism in enumerate(mechanisms_of(group.rows))}
    table = table.sort_values(["level", "mechanism", "lr"],
                              key=lambda column: column.map(order) if column.name == "mechanism" else column)
    chosen = set(rates[["level", "mechanism", "lr"]].itertuples(index=False, name=None))
    best = [int(key in chosen) for key in table[["level", "mechanism", "lr"]].itertuples(index=False, name=None)]
    return table.assign(bits=table["nats"] / math.log(2), best=best)


def loss_plot(group: Group, name: str, losses: pd.DataFrame, looks: Looks) -> Plot | None:
    """Loss against learning rate, a panel per level. None where nothing has a loss."""
    table = losses.dropna(subset="nats")
    if table.empty:
        return None
    levels = [level for level in levels_of(group.rows) if level in set(table["level"])]
    shown = levels[:MOST_LEVELS]
    columns = min(2, len(shown))
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(5.2 * columns, 3.2 * lines + 0.5), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).flatten()
    for panel, level in zip(panels, shown):
        for mechanism in mechanisms_of(group.rows):
            part = table[(table["level"] == level) & (table["mechanism"] == mechanism)]
            if part.empty:
                continue
            look = {"color": looks.colour(mechanism), "marker": looks.marker(mechanism)}
            panel.errorbar(part["lr"], part["nats"], (part["nats"] - part["least"], part["most"] - part["nats"]),
                           label=label(mechanism), capsize=2, **look)
        panel.set_xscale("log")
        rates = sorted(table.loc[table["level"] == level, "lr"].unique())
        panel.set_xticks(rates[::-(-len(rates) // MOST_TICKS)])
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_title(label(level, 60), fontsize=8.5)
    finish_panels(figure, panels, len(shown))
    figure.supxlabel("learning rate", fontsize=10)
    figure.supylabel("held-out loss (nats a token)", fontsize=10)
    best = table[table["best"] == 1]
    words = ("Mean over seeds, and their range. At the rate with the best validation accuracy: "
             + ", ".join(f"{row.mechanism} {row.nats:.3f} nats" for row in best.itertuples()) + "."
             + (f" {len(shown)} of {len(levels)} levels; the CSV has all." if len(levels) > len(shown) else ""))
    return Plot(name, f"Loss against learning rate: {group.title}", words, figure, table)


def loss_rows(group: Group, losses: pd.DataFrame) -> Table:
    table = Table(f"Held-out loss of {group.title} at each mechanism's best rate, mean and range over seeds",
                  heading("level", "mechanism", "#rate", "#seeds", "#nats a token", "#least", "#most", "#bits a token",
                          "#accuracy"), [])
    for row in losses[losses["best"] == 1].itertuples():
        table.rows.append(Row([
            text(row.level), text(row.mechanism), number(row.lr, "g"), number(row.seeds, ".0f"),
            number(row.nats, ".4f"), number(row.least, ".4f"), number(row.most, ".4f"), number(row.bits, ".3f"),
            number(row.token_accuracy)]))
    return table
