"""The geometry of attention: angles of queries and keys, attention mass by angle, entropy, norms, attention maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .pool import Group, levels_of, mechanisms_of
from .style import INK, MUTED, Looks, Plot, finish_panels, label
from .tables_more import read_attention

SCALARS = (("row_entropy_share", "entropy of a row / its maximum"),
           ("determining_mass", "mass on determining positions"),
           ("query_norm", "norm of queries"), ("key_norm", "norm of keys"))
MOST_LAYERS, MOST_HEADS, MOST_CONTEXT = 4, 8, 64
MOST_COLUMNS = 4
WANTED_SKILL = 0.7   # of the shown level: learned, but not solved by all, so that the mechanisms differ


def shown_level(chosen: pd.DataFrame, cells: set[str]) -> str | None:
    """The level of the angles and maps: with cells of the most mechanisms, and skill nearest to WANTED_SKILL."""
    rows = chosen[chosen["cell"].isin(cells)]
    best: tuple[float, float] | None = None
    found = None
    for level in levels_of(rows):
        part = rows[rows["level"] == level]
        chance = float(part["chance_accuracy"].mean())
        skill = (float(part["token_accuracy"].mean()) - chance) / max(1e-9, 1 - chance)
        rank = (-part["mechanism"].nunique(), abs(skill - WANTED_SKILL))
        if best is None or rank < best:
            best, found = rank, level
    return found


def _of(geometry: pd.DataFrame, chosen: pd.DataFrame, quantities: tuple[str, ...]) -> pd.DataFrame:
    rows = geometry[geometry["quantity"].isin(quantities) & geometry["value"].notna()]
    about = chosen[["cell", "mechanism", "level", "complexity_bits", "seed"]].drop_duplicates("cell")
    return rows.merge(about, on="cell")


def angle_plot(group: Group, name: str, chosen: pd.DataFrame, geometry: pd.DataFrame, looks: Looks) -> Plot | None:
    """Share of pairs and of attention mass per angle: mechanisms in at most MOST_COLUMNS columns, layers in rows."""
    rows = _of(geometry, chosen, ("angle_density", "angle_mass"))
    rows = rows[rows["low"].notna() & rows["high"].notna()]
    level = shown_level(chosen, set(rows["cell"]))
    if level is None:
        return None
    rows = rows[rows["level"] == level]
    table = rows.groupby(["mechanism", "layer", "quantity", "low", "high"])["value"].agg(["mean", "min", "max"])
    table = table.reset_index()
    names = mechanisms_of(rows)
    layers = sorted(rows["layer"].unique())[:MOST_LAYERS]
    columns = min(len(names), MOST_COLUMNS)
    blocks = -(-len(names) // columns)  # of rows, where there are more mechanisms than columns
    figure = Figure(figsize=(max(4.6, 2.7 * columns + 0.6), 2.0 * blocks * len(layers) + 0.9), layout="constrained")
    panels = figure.subplots(blocks * len(layers), columns, squeeze=False, sharex=True, sharey=True)
    for panel in panels[(blocks - 1) * len(layers):, len(names) - (blocks - 1) * columns:].flat:
        panel.set_axis_off()
    phrases = []
    for line, layer in enumerate(layers):
        for index, mechanism in enumerate(names):
            panel = panels[index // columns * len(layers) + line, index % columns]
            colour = looks.colour(mechanism)
            for quantity in ("angle_density", "angle_mass"):
                part = table[(table["mechanism"] == mechanism) & (table["layer"] == layer)
                             & (table["quantity"] == quantity)]
                if part.empty:
                    continue
                part = part.sort_values("low")
                edges = np.append(part["low"].to_numpy(), part["high"].iloc[-1])
                mass = quantity == "angle_mass"
                panel.stairs(part["mean"], edges, color=colour if mass else MUTED, fill=not mass,
                             alpha=1 if mass else 0.35, linewidth=1.7)
                if mass:
                    middle = (part["low"] + part["high"]) / 2
                    folded = np.abs(middle - 90)
                    below, between, above = (part.loc[where, "mean"].sum()
                                             for where in (middle < 60, folded <= 30, middle > 120))
                    phrases.append(f"{label(mechanism)}, layer {layer:.0f}: {below:.0%} of the attention below 60 "
                                   f"degrees, {between:.0%} between 60 and 120, {above:.0%} above")
            panel.set_xlim(0, 180)
            panel.set_xticks([0, 45, 90, 135, 180])
            if line == 0:
                panel.set_title(label(mechanism))
            if index % columns == 0:
                panel.set_ylabel(f"layer {layer:.0f}")
    figure.legend(handles=[Patch(color=MUTED, alpha=0.35, label="share of pairs"),
                           Line2D([], [], color=INK, linewidth=1.7, label="share of attention")],
                  loc="outside upper center", ncols=2)
    figure.supxlabel("angle between query and key (degrees): parallel, orthogonal, antiparallel", fontsize=10)
    words = (f"At {label(level, 80)}, mean over seeds and heads at each mechanism's best rate. Grey: how many allowed "
             f"pairs of query and key have an angle; line: how much attention goes there. {'; '.join(phrases)}.")
    return Plot(name, f"Angles of queries and keys: {group.title}", words, figure, table)


def scalar_plot(group: Group, name: str, chosen: pd.DataFrame, geometry: pd.DataFrame, looks: Looks) -> Plot | None:
    """Entropy, determining mass and norms over complexity: mean over layers and heads; the band spans the seeds."""
    rows = _of(geometry, chosen, tuple(quantity for quantity, _ in SCALARS))
    rows = rows[rows["complexity_bits"].notna()]
    if rows.empty:
        return None
    cells = rows.groupby(["quantity", "mechanism", "complexity_bits", "cell"])["value"].mean()
    table = (cells.groupby(["quantity", "mechanism", "complexity_bits"]).agg(["mean", "min", "max", "size"])
             .rename(columns={"size": "seeds"}).reset_index())
    shown = [(quantity, text) for quantity, text in SCALARS if (table["quantity"] == quantity).any()]
    columns = min(2, len(shown))
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(3.7 * columns + 0.2, 2.3 * lines + 0.9), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True).flatten()
    phrases = []
    for panel, (quantity, text) in zip(panels, shown):
        for mechanism in mechanisms_of(rows):
            part = table[(table["quantity"] == quantity) & (table["mechanism"] == mechanism)]
            part = part.sort_values("complexity_bits")
            if part.empty:
                continue
            colour = looks.colour(mechanism)
            panel.fill_between(part["complexity_bits"], part["min"], part["max"], color=colour, alpha=0.15, linewidth=0)
            panel.plot(part["complexity_bits"], part["mean"], color=colour, marker=looks.marker(mechanism),
                       markersize=4.5, linewidth=1.5, label=label(mechanism))
            phrases.append(f"{text}, {label(mechanism)}: {part['mean'].min():.3g} to {part['mean'].max():.3g}")
        panel.set_ylabel(text, fontsize=9)
        panel.set_ylim(0, 1.04 if quantity in ("row_entropy_share", "determining_mass") else None)
    finish_panels(figure, panels, len(shown))
    figure.supxlabel("complexity (bits)", fontsize=10)
    words = ("Mean over layers, heads and seeds at each mechanism's best rate; the band spans the seeds. "
             f"{'; '.join(phrases)}.")
    return Plot(name, f"Entropy, determining mass and norms: {group.title}", words, figure, table)


def best_cells(chosen: pd.DataFrame, maps: dict[str, Path]) -> tuple[str | None, dict[str, str]]:
    """The level of the maps, and per mechanism its seed with the best validation accuracy there."""
    level = shown_level(chosen, set(maps))
    rows = chosen[(chosen["level"] == level) & chosen["cell"].isin(maps)] if level is not None else chosen.iloc[:0]
    rows = rows.sort_values(["validation_accuracy", "seed"], ascending=[False, True], kind="stable")
    return level, {mechanism: rows.loc[rows["mechanism"] == mechanism, "cell"].iloc[0]
                   for mechanism in mechanisms_of(rows)}


def map_plot(group: Group, name: str, chosen: pd.DataFrame, maps: dict[str, Path]) -> Plot | None:
    """Attention of one example sequence: a row per mechanism and layer, a column per head. DataError on a bad file."""
    level, cells = best_cells(chosen, maps)
    if not cells:
        return None
    lines: list[tuple[str, int, np.ndarray]] = []
    tokens: dict[str, str] = {}
    for mechanism, cell in cells.items():
        attention, sequence = read_attention(maps[cell])
        tokens[mechanism] = " ".join(f"{value:.0f}" for value in sequence[:MOST_CONTEXT])
        lines += [(mechanism, layer, attention[layer][:MOST_HEADS, :MOST_CONTEXT, :MOST_CONTEXT])
                  for layer in range(min(MOST_LAYERS, len(attention)))]
    columns = max(len(maps_of_layer) for _, _, maps_of_layer in lines)
    figure = Figure(figsize=(max(4.2, 1.7 * columns + 1.2), 1.75 * len(lines) + 0.5), layout="constrained")
    panels = figure.subplots(len(lines), columns, squeeze=False)
    records = []
    mesh = None
    for line, (row, (mechanism, layer, heads)) in enumerate(zip(panels, lines)):
        for index, panel in enumerate(row):
            panel.grid(False)
            if index >= len(heads):
                panel.set_axis_off()
                continue
            # Square roots make faint attention visible; the colour bar is labelled accordingly.
            mesh = panel.imshow(np.sqrt(np.clip(heads[index], 0, 1)), cmap=colormaps["cividis"], vmin=0, vmax=1,
                                interpolation="nearest")
            panel.set_xticks([])
            panel.set_yticks([])
            if index == 0:
                panel.set_ylabel(f"{label(mechanism, 14)}\nlayer {layer}", fontsize=8.5)
            if line == 0:
                panel.set_title(f"head {index}", fontsize=9)
            mean = heads[index]
            rows = np.arange(len(mean))
            back = np.bincount((rows[:, None] - rows[None, :])[np.tril_indices(len(mean))],
                               mean[np.tril_indices(len(mean))], minlength=len(mean)) / len(mean)
            records += [{"mechanism": mechanism, "cell": cells[mechanism], "layer": layer, "head": index,
                         "distance": distance, "mean_attention": value} for distance, value in enumerate(back)]
    bar = figure.colorbar(mesh, ax=list(panels.flatten()), shrink=min(0.9, 3 / len(lines)), aspect=20, pad=0.02)
    bar.set_ticks(np.sqrt([0, 0.05, 0.25, 0.5, 1]), labels=["0", "0.05", "0.25", "0.5", "1"])
    bar.set_label("attention (root scale)", fontsize=9)
    bar.outline.set_visible(False)
    table = pd.DataFrame(records)
    strongest = table.loc[table.groupby(["mechanism", "layer", "head"], sort=False)["mean_attention"].idxmax()]
    same = "" if len(set(tokens.values())) > 1 else f", tokens {next(iter(tokens.values()))}"
    words = (f"The first example sequence of {label(str(level), 80)}, each mechanism's best seed: queries downwards, "
             f"keys to the right{same}. Strongest distance per head: "
             + "; ".join(f"{label(row.mechanism)} layer {row.layer} head {row.head}: {row.distance} back "
                         f"({row.mean_attention:.2f})" for row in strongest.itertuples())
             + ". The table has the mean attention per distance.")
    return Plot(name, f"Attention maps: {group.title}", words, figure, table)
