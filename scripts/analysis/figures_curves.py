"""Curves against complexity: token accuracy, share of seeds solved, steps to solve."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .pool import Group, mechanisms_of
from .style import INK, MUTED, Looks, Plot, label, legend_above

X_LABEL = "complexity (bits: log2 of the number of distinct sequences)"
SIZE = (7.4, 4.3)
DENSE = 24  # rungs; beyond, bars and counts would overlap: intervals become bands, and the table has the counts


def _canvas(x_values: np.ndarray) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    low, high = float(x_values.min()), float(x_values.max())
    margin = 0.06 * (high - low) or 1.0
    axes.set_xlim(low - margin, high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    axes.set_xlabel(X_LABEL)
    return figure, axes


def _offsets(names: list[str], x_values: np.ndarray) -> dict[str, float]:
    """Horizontal shifts: mechanisms stand side by side at each rung, since equal points would hide each other."""
    if len(np.unique(x_values)) > DENSE:
        return dict.fromkeys(names, 0.0)
    # Many mechanisms stay inside the margin of the axis.
    step = min(0.017, 0.1 / max(1, len(names) - 1)) * ((float(x_values.max()) - float(x_values.min())) or 4.0)
    return {name: (index - (len(names) - 1) / 2) * step for index, name in enumerate(names)}


def _line(axes: Axes, points: pd.DataFrame, shift: float, columns: tuple[str, str, str], mechanism: str, looks: Looks
          ) -> None:
    """A mechanism's line with its interval as bars or as a band; `columns`: middle, low, high."""
    middle, low, high = (points[column] for column in columns)
    x_values = points["complexity_bits"] + shift
    dense = len(points) > DENSE
    # No bar where there is no interval; rounding may make a length slightly negative.
    lengths = np.clip(np.nan_to_num(np.vstack([middle - low, high - middle])), 0, None)
    axes.errorbar(x_values, middle, yerr=None if dense else lengths, color=looks.colour(mechanism),
                  marker=looks.marker(mechanism), markersize=3.5 if dense else 6, linewidth=1.2 if dense else 1.8,
                  capsize=3, elinewidth=1.2, label=label(mechanism), zorder=4)
    if dense:
        axes.fill_between(x_values, low, high, color=looks.colour(mechanism), alpha=0.15, linewidth=0)


def _spread(count: int, width: float) -> np.ndarray:
    """Small fixed shifts, so that equal seeds can be counted by eye."""
    return np.zeros(1) if count == 1 else np.linspace(-width, width, count)


def _mark_edges(axes: Axes, points: pd.DataFrame, x_shift: float, column: str, first: bool) -> bool:
    edge = points[points["lr_at_edge"] & points[column].notna()]
    if edge.empty:
        return first
    axes.plot(edge["complexity_bits"] + x_shift, edge[column], linestyle="none", marker="o", markersize=13,
              markerfacecolor="none", markeredgecolor=INK, markeredgewidth=0.9, zorder=5,
              label="rate at grid edge" if first else None)
    return False


def _in_words(curve: pd.DataFrame, column: str, form: str) -> str:
    """The curve in words: its first, middle and last rung."""
    sentences = []
    for mechanism, points in curve.groupby("mechanism", sort=False):
        points = points[points[column].notna()]
        if points.empty:
            sentences.append(f"{label(mechanism)}: nowhere")
            continue
        picks = sorted({0, len(points) // 2, len(points) - 1})
        phrases = ", ".join(f"{points[column].iloc[i]:{form}} at {points['complexity_bits'].iloc[i]:.4g} bits"
                         for i in picks)
        sentences.append(f"{label(mechanism)}: {phrases}")
    return "; ".join(sentences) + "."


def accuracy_plot(group: Group, name: str, chosen: pd.DataFrame, curve: pd.DataFrame, looks: Looks) -> Plot:
    x_values = curve["complexity_bits"].to_numpy(dtype=float)
    figure, axes = _canvas(x_values)
    names = mechanisms_of(chosen)
    shift = _offsets(names, x_values)
    width = 0.35 * (abs(shift[names[1]] - shift[names[0]]) if len(names) > 1 else 0.0)
    first = True
    for mechanism in names:
        points = curve[curve["mechanism"] == mechanism]
        colour, marker = looks.colour(mechanism), looks.marker(mechanism)
        for bits, cells in chosen[chosen["mechanism"] == mechanism].groupby("complexity_bits"):
            axes.plot(bits + shift[mechanism] + _spread(len(cells), width), cells["token_accuracy"].sort_values(),
                      linestyle="none", marker=marker, markersize=5, color=colour, alpha=0.4, markeredgewidth=0)
        _line(axes, points, shift[mechanism], ("token_accuracy", "low", "high"), mechanism, looks)
        first = _mark_edges(axes, points, shift[mechanism], "token_accuracy", first)
    chance = curve.groupby("complexity_bits")["chance_accuracy"].mean()
    axes.plot(chance.index, chance, linestyle=":", color=MUTED, linewidth=1.4, label="chance",
              marker="_" if len(chance) <= DENSE else "", markersize=10)
    axes.set_ylim(-0.04, 1.06)
    axes.set_ylabel("token accuracy (held out)")
    legend_above(figure, axes)
    words = ("Mean token accuracy of each mechanism at its own best learning rate, with the 95% bootstrap interval "
             "over seeds; a faint dot is one seed; "
             "a ring says that the best rate is at the edge of its grid. " + _in_words(curve, "token_accuracy", ".3f"))
    data = curve[["mechanism", "complexity_bits", "levels", "cells", "token_accuracy", "low", "high",
                  "chance_accuracy", "lr_at_edge"]]
    return Plot(name, f"Accuracy against complexity: {group.title}", words, figure, data)


def solved_plot(group: Group, name: str, chosen: pd.DataFrame, curve: pd.DataFrame, looks: Looks) -> Plot:
    x_values = curve["complexity_bits"].to_numpy(dtype=float)
    figure, axes = _canvas(x_values)
    names = mechanisms_of(chosen)
    shift = _offsets(names, x_values)
    for mechanism in names:
        points = curve[curve["mechanism"] == mechanism]
        _line(axes, points, shift[mechanism], ("solved_share", "solved_low", "solved_high"), mechanism, looks)
    axes.set_ylim(-0.04, 1.06)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))
    axes.set_ylabel("share of seeds that solved the level")
    legend_above(figure, axes)
    words = ("Share of seeds that solved the level, with Wilson's 95% interval. "
             + _in_words(curve, "solved_share", ".0%"))
    data = curve[["mechanism", "complexity_bits", "cells", "solved", "solved_share", "solved_low", "solved_high"]]
    return Plot(name, f"Share of seeds solved: {group.title}", words, figure, data)


def steps_plot(group: Group, name: str, chosen: pd.DataFrame, curve: pd.DataFrame, looks: Looks) -> Plot | None:
    """None if nothing was solved; the page then says so in a sentence."""
    solved = chosen[chosen["steps_to_solve"].notna() & chosen["complexity_bits"].notna()]
    if solved.empty:
        return None
    x_values = curve["complexity_bits"].to_numpy(dtype=float)
    figure, axes = _canvas(x_values)
    names = mechanisms_of(chosen)
    shift = _offsets(names, x_values)
    dense = curve["complexity_bits"].nunique() > DENSE
    for mechanism in names:
        points = curve[curve["mechanism"] == mechanism]
        colour, marker = looks.colour(mechanism), looks.marker(mechanism)
        mine = solved[solved["mechanism"] == mechanism].drop_duplicates(["complexity_bits", "steps_to_solve"])
        axes.plot(mine["complexity_bits"] + shift[mechanism], mine["steps_to_solve"], linestyle="none", marker=marker,
                  markersize=4, color=colour, alpha=0.4, markeredgewidth=0)
        axes.plot(points["complexity_bits"] + shift[mechanism], points["median_steps"], color=colour, marker=marker,
                  markersize=3.5 if dense else 6, label=label(mechanism))
    # Unsolved seeds are drawn above all solved ones.
    top = float(solved["steps_to_solve"].max())
    rank = {mechanism: index for index, mechanism in enumerate(names)}
    unsolved = chosen[chosen["steps_to_solve"].isna() & chosen["complexity_bits"].notna()]
    ceiling = 1.12 * top
    for (mechanism, bits), cells in unsolved.groupby(["mechanism", "complexity_bits"]):
        axes.plot(bits + shift[mechanism], ceiling, linestyle="none", marker=looks.marker(mechanism), markersize=6,
                  markerfacecolor="none", markeredgecolor=looks.colour(mechanism), markeredgewidth=1.1)
        if dense:
            continue
        # Counts of neighbours stand at two heights, so that they do not overlap.
        axes.annotate(str(len(cells)), (bits + shift[mechanism], ceiling), (0, 6 + 9 * (rank[mechanism] % 2)),
                      textcoords="offset points", ha="center", fontsize=7.5, color=looks.colour(mechanism))
    axes.set_ylim(0, 1.3 * top if len(unsolved) else 1.08 * top)
    ticks = [tick for tick in MaxNLocator(nbins=6, integer=True).tick_values(0, top) if tick <= top]
    names_of_ticks = [f"{tick:g}" for tick in ticks]
    if len(unsolved):
        ticks.append(ceiling)
        names_of_ticks.append("not solved")
    axes.set_yticks(ticks, names_of_ticks)
    axes.set_ylabel("training steps until solved")
    legend_above(figure, axes)
    words = ("Steps until solved; a dot is one seed, the line the median over all seeds, drawn where more than half of "
             "them solved the level; hollow marks count the seeds that did not. "
             + _in_words(curve, "median_steps", ".0f"))
    data = chosen[["mechanism", "level", "complexity_bits", "seed", "lr", "solved", "steps_to_solve"]]
    return Plot(name, f"Steps to solve: {group.title}", words, figure, data)


def has_curves(curve: pd.DataFrame) -> bool:
    return len(curve) > 0 and math.isfinite(curve["complexity_bits"].min())
