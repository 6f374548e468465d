"""Heat maps over two axes of a ladder: accuracy of each mechanism, and its margin over the baseline."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from .pool import BASELINE, Group, mechanisms_of, sort_key
from .style import GRID, Looks, Plot, label, slug

MOST_ANNOTATED = 14  # columns; beyond, numbers in the cells would overlap and the table has them
MOST_PARTS = 6       # maps of one group when the ladder has further axes


def heat_plots(group: Group, name: str, chosen: pd.DataFrame, looks: Looks) -> list[Plot]:
    """No map for a ladder of fewer than two axes, since the curves show all of it."""
    axes_here = [axis for axis in group.axes if chosen[axis].nunique() > 1]
    if len(axes_here) < 2:
        return []
    x_axis, y_axis = sorted(axes_here, key=lambda axis: -chosen[axis].nunique())[:2]
    further = [axis for axis in axes_here if axis not in (x_axis, y_axis)]
    parts: list[tuple[str, pd.DataFrame]] = [("", chosen)]
    if further:
        parts = [(", ".join(f"{axis}={value}" for axis, value in zip(further, values)), part)
                 for values, part in chosen.groupby(further, sort=False)][:MOST_PARTS]
    plots = []
    for where, part in parts:
        ending = f"-{slug(where)}" if where else ""
        title = group.title + (f", {where}" if where else "")
        means = part.groupby(["mechanism", y_axis, x_axis])["token_accuracy"].agg(["mean", "size"]).reset_index()
        means.columns = ["mechanism", y_axis, x_axis, "token_accuracy", "cells"]
        names = mechanisms_of(part)
        plots.append(_map(f"heat-{name}{ending}", f"Accuracy over the ladder: {title}", means, names, x_axis, y_axis,
                          "token_accuracy", "mean token accuracy"))
        if BASELINE in names and len(names) > 1:
            margin = _margins(part, names, x_axis, y_axis)
            others = [other for other in names if (margin["mechanism"] == other).any()]
            if others:
                plots.append(_map(f"margin-{name}{ending}", f"Margin over {BASELINE}: {title}", margin, others, x_axis,
                                  y_axis, "margin", f"token accuracy minus that of {BASELINE}"))
    return plots


def _margins(rows: pd.DataFrame, names: list[str], x_axis: str, y_axis: str) -> pd.DataFrame:
    keys = [y_axis, x_axis, "level", "seed"]
    by_seed = rows.groupby(["mechanism", *keys])["token_accuracy"].mean()
    parts = []
    for other in names:
        if other != BASELINE:
            gap = (by_seed[other] - by_seed[BASELINE]).dropna()  # only seeds that both have
            part = gap.groupby([y_axis, x_axis]).agg(["mean", "size"]).reset_index()
            parts.append(part.assign(mechanism=other))
    table = pd.concat(parts, ignore_index=True).rename(columns={"mean": "margin", "size": "cells"})
    return table[["mechanism", y_axis, x_axis, "margin", "cells"]]


def _map(name: str, title: str, table: pd.DataFrame, names: list[str], x_axis: str, y_axis: str, column: str,
         bar_label: str) -> Plot:
    xs = sorted(table[x_axis].unique(), key=sort_key)
    ys = sorted(table[y_axis].unique(), key=sort_key)
    columns = 1 if len(xs) > 10 else 2 if len(names) == 4 else min(3, len(names))
    rows = -(-len(names) // columns)
    width = max(2.0, min(8.0, 0.62 * len(xs) + 0.9))
    height = max(1.5, min(6.0, 0.42 * len(ys) + 0.8))
    figure = Figure(figsize=(max(4.2, columns * width + 0.9), rows * height + 0.3), layout="constrained")
    if column == "margin":
        # Symmetric about 0, and at least 0.05 wide, so that noise of 0.01 does not get a strong colour.
        reach = max(0.05, float(table[column].abs().max()))
        colours, scale = colormaps["PuOr_r"].resampled(21), Normalize(-reach, reach)
    else:
        colours, scale = colormaps["cividis"].resampled(20), Normalize(0, 1)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    mesh = None
    for panel, mechanism in zip(panels, names):
        mine = table[table["mechanism"] == mechanism]
        grid = np.full((len(ys), len(xs)), np.nan)
        for y_value, x_value, value in zip(mine[y_axis], mine[x_axis], mine[column]):
            grid[ys.index(y_value), xs.index(x_value)] = value
        mesh = panel.pcolormesh(np.ma.masked_invalid(grid), cmap=colours, norm=scale, edgecolors=GRID, linewidth=0.6)
        _dress(panel, grid, colours, scale, column == "margin", xs, ys)
        panel.set_title(label(mechanism) if column != "margin" else f"{label(mechanism)} - {BASELINE}")
        panel.set_xlabel(label(x_axis))
        panel.set_ylabel(label(y_axis))
    for panel in panels[len(names):]:
        panel.set_axis_off()
    bar = figure.colorbar(mesh, ax=list(panels), shrink=0.95, aspect=min(18 * rows, 40), pad=0.02)
    bar.set_label(bar_label, fontsize=9)
    bar.outline.set_visible(False)
    words = (f"One map per mechanism, {label(x_axis)} to the right and {label(y_axis)} upwards; blank cells were not "
             "run. "
             + "; ".join(_range(table[table["mechanism"] == mechanism], x_axis, y_axis, column) for mechanism in names)
             + ".")
    return Plot(name, title, words, figure, table)


def _range(cells: pd.DataFrame, x_axis: str, y_axis: str, column: str) -> str:
    """A map in words: its lowest and its highest cell."""
    form = "+.3f" if column == "margin" else ".3f"
    phrases = []
    for index in (cells[column].idxmin(), cells[column].idxmax()):
        cell = cells.loc[index]
        phrases.append(f"{cell[column]:{form}} (at {label(x_axis)}={label(cell[x_axis])}, "
                       f"{label(y_axis)}={label(cell[y_axis])})")
    return f"{label(cells['mechanism'].iloc[0])}: from {phrases[0]} to {phrases[1]}"


def _dress(panel: Axes, grid: np.ndarray, colours: object, scale: Normalize, signed: bool, xs: list[str],
           ys: list[str]) -> None:
    panel.grid(False)
    panel.spines[:].set_visible(False)
    panel.tick_params(length=0)
    every_x, every_y = -(-len(xs) // 16), -(-len(ys) // 16)
    panel.set_xticks(np.arange(0, len(xs), every_x) + 0.5, [label(value, 8) for value in xs[::every_x]])
    panel.set_yticks(np.arange(0, len(ys), every_y) + 0.5, [label(value, 8) for value in ys[::every_y]])
    if len(xs) > MOST_ANNOTATED or len(ys) > MOST_ANNOTATED:
        return
    for (row, column), value in np.ndenumerate(grid):
        if np.isfinite(value):
            red, green, blue, _ = colours(scale(value))
            # Black or white by the cell's relative luminance; the cell has the same colour in dark mode.
            bright = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.5
            shown = f"{value:+.2f}" if signed and abs(value) >= 0.005 else f"{abs(value):.2f}"
            panel.text(column + 0.5, row + 0.5, shown, ha="center", va="center", fontsize=8.5,
                       color="#000000" if bright else "#ffffff")
