"""The section of the report on model size, of runs whose d_model varies: its table and the figure of the frontier."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from .claims import compare_group, only_mine
from .page import Row, Section, Table, heading, number, text
from .pool import BASELINE, SIZE, Group, mechanisms_of
from .sizes import Frontier, frontiers, solved_by_size
from .style import Looks, Plot, label, legend_above
from .tables import printable
from .tables_more import as_number

MOST_OPEN_ROWS = 24
MOST_SIZES = 12  # with a column of the table and a tick of the figure


def _span(found: Frontier) -> str:
    largest = max(found.shares)
    return (f"[{f'above {largest:g}' if math.isnan(found.low) else f'{found.low:g}'}, "
            f"{'none tried' if math.isnan(found.high) else f'{found.high:g}'}]")


def _some(found: Sequence[Frontier]) -> list[float]:
    """The sizes, or if there are many, every second, third, ... of them."""
    sizes = sorted({size for item in found for size in item.shares})
    return sizes[::-(-len(sizes) // MOST_SIZES) or 1]


def _alone(group: Group) -> list[str]:
    """For each size and mechanism: how many levels it alone solves, and the baseline alone."""
    sentences = []
    parts = {as_number(str(value)): rows for value, rows in group.rows.groupby(SIZE)}
    for mechanism in mechanisms_of(group.rows):
        if mechanism == BASELINE:
            continue
        phrases = []
        for size in sorted(size for size in parts if size > 0):
            levels = compare_group(Group(group.task, group.setting, parts[size], group.axes), mechanism).levels
            if levels:
                counts = [sum(only_mine(level, reverse) for level in levels) for reverse in (False, True)]
                phrases.append(f"{counts[0]} and {counts[1]} of {len(levels)} at {SIZE}={size:g}")
        if phrases:
            sentences.append(f"Levels that {mechanism} alone solves, and {BASELINE} alone: {', '.join(phrases)}.")
    return [printable(sentence, 400) for sentence in sentences]


def size_section(group: Group, index: int) -> tuple[Section, list[Frontier]]:
    found = frontiers(solved_by_size(group))
    section = Section(f"size-{index}", f"Model size: {group.title}")
    section.findings = _alone(group)
    section.paragraphs.append(
        f"The smallest {SIZE} with which at least half of the seeds solve a level, at the best learning rate of each "
        "mechanism, level and size; the choice among rates helps all mechanisms alike. Each end of an interval "
        "excludes the true size in at most one of twenty cases with one rate (Clopper and Pearson). Where several "
        "rates do equally well the luckiest is chosen, and the upper end errs more often: with five seeds in 6 % of "
        "cases for two rates, in 9 % for three. Sizes below the interval are too small, its upper end is large enough. "
        "With fewer than five seeds a size is never excluded. A size in parentheses was not trained at this level; a "
        "harder level was solved with it. Alone: at least half of its seeds solve the level, and none of the other's "
        "at any rate.")
    sizes = _some(found)
    table = Table("Smallest model that solves each level, and how many seeds solve it at each size",
                  heading("level", "#bits", "mechanism", f"#smallest {SIZE}", "#interval", "#parameters",
                          *(f"#{size:g}" for size in sizes)), [])
    for item in found:
        smallest = number(item.smallest, "g") if item.smallest > 0 else text("none tried", "number")
        if item.implied:
            smallest.text = f"({smallest.text})"
        table.rows.append(Row([text(item.level), number(item.bits, ".4g"), text(item.mechanism), smallest,
                               text(_span(item), "number"), number(item.parameters, ",.0f"),
                               *(text(f"{item.shares[size][0]} of {item.shares[size][1]}" if size in item.shares else
                                      "", "number") for size in sizes)]))
    table.after, table.folded = True, len(table.rows) > MOST_OPEN_ROWS
    section.tables.append(table)
    return section, found


def size_figure(group: Group, name: str, every: Sequence[Frontier], looks: Looks) -> Plot | None:
    """None where no level has a complexity."""
    found = [item for item in every if not math.isnan(item.bits)]
    if not found:
        return None
    figure = Figure(figsize=(7.4, 4.3), layout="constrained")
    axes = figure.add_subplot()
    sizes = sorted({size for item in found for size in item.shares})
    bits = [item.bits for item in found]
    step = 0.014 * ((max(bits) - min(bits)) or 4.0)
    above = sizes[-1] * 1.35
    names = mechanisms_of(group.rows)
    rows, phrases = [], []
    for place, mechanism in enumerate(names):
        mine = sorted((item for item in found if item.mechanism == mechanism), key=lambda item: (item.bits, item.level))
        if not mine:
            continue
        shift, colour, marker = (place - (len(names) - 1) / 2) * step, looks.colour(mechanism), looks.marker(mechanism)
        # The line breaks where no size solves a level.
        axes.plot([item.bits + shift for item in mine], [item.smallest for item in mine], color=colour, marker=marker,
                  label=label(mechanism), zorder=4)
        for item in mine:
            x = item.bits + shift
            low, high = (above if math.isnan(end) else end for end in (item.low, item.high))
            axes.plot([x, x], [low, high], color=colour, linewidth=1.1, alpha=0.6, zorder=3)
            if math.isnan(item.smallest):
                axes.plot(x, above, marker=marker, markerfacecolor="none", markeredgecolor=colour, linestyle="none")
                axes.annotate("", (x, above * 1.22), (x, above * 1.05),
                              arrowprops={"arrowstyle": "->", "color": colour})
            rows.append({"mechanism": mechanism, "level": item.level, "complexity_bits": item.bits,
                         "smallest": item.smallest, "low": item.low, "high": item.high})
        solved = [item for item in mine if item.smallest > 0]
        phrases.append(f"{label(mechanism)}: " + (", ".join(
            f"{item.smallest:g} at {item.bits:.4g} bits" for item in (solved[0], solved[-1])) if solved else
            "none solved"))
    axes.set_yscale("log", base=2)
    axes.set_yticks([*_some(found), above], [*(f"{size:g}" for size in _some(found)), "none"])
    axes.minorticks_off()
    axes.set_ylim(sizes[0] / 1.2, above * 1.3)
    axes.set_xlabel("complexity (bits: log2 of the number of distinct sequences)")
    axes.set_ylabel(f"smallest {SIZE} that solves the level")
    legend_above(figure, axes)
    words = (f"The smallest {SIZE} with which at least half of the seeds solve each level; a thin bar spans the sizes "
             "that are possible; a hollow mark with an arrow: none of the sizes tried solves the level. "
             + "; ".join(phrases) + ".")
    return Plot(name, f"Model size against complexity: {group.title}", words, figure, pd.DataFrame(rows))
