"""Training throughput: tokens per second and the share of the measured peak, per mechanism."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from .pool import mechanisms_of
from .style import Looks, Plot, label
from .summary import median, undisturbed
from .tables import slowed

MOST_DOTS = 300  # per mechanism; for more cells so many quantiles are drawn


def _si(value: float, _: object = None) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def throughput_plot(name: str, configuration: str, rows: pd.DataFrame, looks: Looks) -> Plot:
    names = mechanisms_of(rows)
    shown = [("tokens_per_s", "trained tokens per second", _si)]
    if rows["peak_fraction"].notna().any():
        shown.append(("peak_fraction", "share of the measured peak", lambda value, _=None: f"{100 * value:.3g}%"))
    figure = Figure(figsize=(7.4, 0.5 * len(names) + 1.2), layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for panel, (column, text, form) in zip(panels, shown):
        for position, mechanism in enumerate(names):
            cells = rows[(rows["mechanism"] == mechanism) & rows[column].notna()]
            if cells.empty:
                continue
            values, hollow = cells[column].to_numpy(), slowed(cells).to_numpy()
            if len(values) > MOST_DOTS:
                values, hollow = np.quantile(values, np.linspace(0, 1, MOST_DOTS)), np.zeros(MOST_DOTS, dtype=bool)
            height = position + (np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else np.zeros(1))
            for dots, look in ((~hollow, {"markeredgewidth": 0}), (hollow, {"markerfacecolor": "none"})):
                panel.plot(values[dots], height[dots], linestyle="none", marker=looks.marker(mechanism), markersize=4,
                           alpha=0.4, color=looks.colour(mechanism), **look)
            middle = float(undisturbed(cells)[column].median())
            panel.plot([middle] * 2, [position - 0.34, position + 0.34], color=looks.colour(mechanism),
                       linewidth=2.6, solid_capstyle="butt")
        panel.set_xlim(0, 1.08 * float(rows[column].max()) or 1)
        panel.xaxis.set_major_formatter(FuncFormatter(form))
        panel.xaxis.get_major_locator().set_params(nbins=5)
        panel.set_xlabel(text)
        panel.grid(axis="y", visible=False)
    panels[0].set_yticks(range(len(names)), [label(mechanism, 18) for mechanism in names])
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    phrases = []
    for mechanism in names:
        cells = undisturbed(rows[rows["mechanism"] == mechanism])
        share = median(cells["peak_fraction"])
        peak = f", {100 * share:.1f}% of the peak" if share == share else ""
        phrases.append(f"{label(mechanism)}: {_si(cells['tokens_per_s'].median())} tokens/s{peak}")
    few = rows.groupby("mechanism").size().max() <= MOST_DOTS
    dots = "A dot is one cell" if few else f"Dots are {MOST_DOTS} quantiles"
    if slowed(rows).any():
        dots += " (hollow: busy or stopped, and not in the median where there are others)"
    words = f"{dots}, the bar is the median. Medians: " + "; ".join(phrases) + "."
    columns = ["mechanism", "task", "level", "seed", "lr", "backend", "device", "fleet", "workers", "tokens_per_s",
               "fleet_tokens_per_s", "gflop_per_s", "peak_fraction", "other_cores", "steal_cores", "marks"]
    title = "Training throughput" + (f": {label(configuration, 90)}" if configuration else "")
    return Plot(name, title, words, figure, rows[columns])
