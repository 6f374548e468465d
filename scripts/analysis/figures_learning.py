"""Learning curves: validation accuracy against steps, per level, each mechanism at its best rate."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from .pool import Group, levels_of, mechanisms_of
from .style import MUTED, Looks, Plot, finish_panels, label

MOST_LEVELS = 12


def learning_table(chosen: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Median and quartiles over the seeds per mechanism, level and step.

    Training stops when a level is solved. Such a seed keeps its last value; without it the median would fall whenever a
    good seed stops.
    """
    columns = ["mechanism", "level", "step", "seeds", "median", "low", "high"]
    points = curves[curves["validation_accuracy"].notna()].drop_duplicates(["cell", "step"], keep="last")
    points = points.merge(chosen[["cell", "mechanism", "level"]].drop_duplicates("cell"), on="cell")
    parts = []
    for (mechanism, level), part in points.groupby(["mechanism", "level"], sort=False):
        wide = part.pivot(index="step", columns="cell", values="validation_accuracy").sort_index().ffill()
        wide = wide.dropna()  # start at the step where every seed has been evaluated
        if len(wide):
            parts.append(pd.DataFrame({"mechanism": mechanism, "level": level, "step": wide.index,
                                       "seeds": wide.shape[1], "median": wide.median(axis=1),
                                       "low": wide.quantile(0.25, axis=1), "high": wide.quantile(0.75, axis=1)}))
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def learning_plot(group: Group, name: str, chosen: pd.DataFrame, curves: pd.DataFrame, looks: Looks) -> Plot | None:
    """One panel per level; a long ladder is represented by MOST_LEVELS levels spread over it. None without curves."""
    table = learning_table(chosen, curves)
    if table.empty:
        return None
    levels = [level for level in levels_of(chosen) if level in set(table["level"])]
    every = len(levels)
    if every > MOST_LEVELS:
        levels = [levels[round(index * (every - 1) / (MOST_LEVELS - 1))] for index in range(MOST_LEVELS)]
    columns = min(4, len(levels))
    rows = -(-len(levels) // columns)
    figure = Figure(figsize=(max(4.2, 2.3 * columns + 0.5), 1.9 * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    chance = chosen.groupby("level")["chance_accuracy"].mean()
    for panel, level in zip(panels, levels):
        for mechanism in mechanisms_of(chosen):
            part = table[(table["mechanism"] == mechanism) & (table["level"] == level)]
            if part.empty:
                continue
            colour = looks.colour(mechanism)
            panel.fill_between(part["step"], part["low"], part["high"], color=colour, alpha=0.18, linewidth=0)
            panel.plot(part["step"], part["median"], color=colour, linewidth=1.5, label=label(mechanism),
                       marker=looks.marker(mechanism) if len(part) <= 16 else "", markersize=3)
        panel.axhline(chance[level], linestyle=":", color=MUTED, linewidth=1.1)
        panel.set_title(label(level, 30), fontsize=8.5)
        panel.set_ylim(-0.03, 1.05)
        panel.xaxis.get_major_locator().set_params(nbins=4)
    finish_panels(figure, panels, len(levels))
    figure.supxlabel("training step", fontsize=10)
    figure.supylabel("validation accuracy", fontsize=10)
    last = table.loc[table.groupby(["mechanism", "level"], sort=False)["step"].idxmax()]
    last = last.groupby("mechanism", sort=False)
    words = ("Median over seeds at each mechanism's best rate, with the quartiles as a band; a seed that stopped "
             "because it solved the level keeps its last value; dotted: chance."
             + (f" {len(levels)} of {every} levels, spread over the ladder; the CSV has all." if every > len(levels)
                else "")
             + " Mean over levels of the last medians: "
             + ", ".join(f"{label(str(mechanism))} {part['median'].mean():.3f}" for mechanism, part in last) + ".")
    return Plot(name, f"Learning curves: {group.title}", words, figure, table)
