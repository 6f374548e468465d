"""The common style of all figures, and their files: PNG, SVG, CSV, and an inline SVG in the page's colours.

A mechanism has the same colour and marker everywhere. The colours are Okabe and Ito's, darkened where thin lines on
white need it; the marker carries the same information, so that no reader depends on colour.
"""

from __future__ import annotations

import io
import logging
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("Agg")
from matplotlib.axes import Axes  # noqa: E402  (the backend must be chosen first)
from matplotlib.container import Container  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from .plain_csv import csv_text  # noqa: E402
from .tables import printable  # noqa: E402

# In the inline SVG each of these becomes a CSS variable of the page.
INK, MUTED, GRID, PAPER = "#1b1f24", "#5d6673", "#d9dde3", "#fffffe"
KNOWN = {"dpa": ("#0072b2", "o"), "ea": ("#c8500a", "s"), "ea-scaled": ("#00875f", "^"), "ea-softmax": ("#b0508f", "D"),
         "ea-parallel": ("#8a6d00", "v"), "square": ("#4b5fc4", "P"), "ea-quartic": ("#a03030", "X"),
         "sigmoid": ("#3f7f8c", "*"), "mix": ("#2e6fd0", "h")}
FURTHER_COLOURS, FURTHER_MARKERS = ("#6b4f2a", "#666666"), ("<", ">", "H", "8", "d")  # 10 pairs: 2 and 5 are coprime
VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", PAPER: "paper",
             **{colour: f"c{index}"
                for index, colour in enumerate((*(look[0] for look in KNOWN.values()), *FURTHER_COLOURS))}}

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # no warnings about missing glyphs
matplotlib.rcdefaults()  # a user's matplotlibrc must not change a committed figure
matplotlib.rcParams.update({
    "svg.fonttype": "none", "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans", "Verdana"],
    "text.parse_math": False,  # a '$' in a label is a dollar sign
    "font.size": 10, "axes.titlesize": 10.5, "axes.labelsize": 10, "legend.fontsize": 9.5,
    "text.color": INK, "axes.labelcolor": INK, "axes.titlecolor": INK, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "axes.edgecolor": MUTED, "grid.color": GRID,
    "axes.grid": True, "grid.linewidth": 0.7, "axes.axisbelow": True, "axes.spines.top": False,
    "axes.spines.right": False, "figure.facecolor": PAPER, "axes.facecolor": PAPER, "savefig.facecolor": PAPER,
    "legend.frameon": False, "lines.linewidth": 1.8, "lines.markersize": 6,
})


@dataclass
class Plot:
    """A figure with its description and its numbers, for readers who cannot see it."""

    name: str           # of its files
    title: str
    words: str          # what the figure shows, with its main numbers
    figure: Figure
    data: pd.DataFrame
    svg: str = field(default="", repr=False)
    csv: str = field(default="", repr=False)


class Looks:
    """Colour and marker of each mechanism of a report; unknown mechanisms get further ones, by name."""

    def __init__(self, mechanisms: list[str]) -> None:
        unknown = sorted(set(mechanisms) - set(KNOWN))
        self._of = {**KNOWN, **{name: (FURTHER_COLOURS[index % len(FURTHER_COLOURS)],
                                       FURTHER_MARKERS[index % len(FURTHER_MARKERS)])
                                for index, name in enumerate(unknown)}}

    def colour(self, mechanism: str) -> str:
        return self._of[mechanism][0]

    def marker(self, mechanism: str) -> str:
        return self._of[mechanism][1]


def label(text: str, limit: int = 34) -> str:
    return printable(text, limit)


def slug(text: str) -> str:
    """A file name from any text: lower-case ASCII letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "x"


def legend_above(figure: Figure, axes: Axes) -> None:
    entries = list(zip(*axes.get_legend_handles_labels()))
    if entries:
        entries.sort(key=lambda entry: not isinstance(entry[0], Container))  # the mechanisms' lines first
        handles, names = zip(*entries)
        figure.legend(handles, names, loc="outside upper center", ncols=len(handles) if len(handles) <= 6 else 4,
                      handletextpad=0.5, columnspacing=1.4)


def finish_panels(figure: Figure, panels: Sequence[Axes], used: int) -> None:
    """Hides the panels behind the first `used` ones, and draws one legend for all."""
    for panel in panels[used:]:
        panel.set_axis_off()
    entries = {name: handle for panel in panels for handle, name in zip(*panel.get_legend_handles_labels())}
    needed = sum(0.55 + 0.075 * len(name) for name in entries)  # inches of a key and its name
    lines = max(1, math.ceil(needed / figure.get_figwidth()))
    figure.legend(entries.values(), entries.keys(), loc="outside upper center",
                  ncols=max(1, math.ceil(len(entries) / lines)))


def save(plot: Plot, folder: Path) -> None:
    """Writes NAME.png, NAME.svg and NAME.csv into `folder` and keeps the inline SVG and the CSV for the page."""
    plot.csv = csv_text(plot.data)
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.hashsalt": plot.name}):
        warnings.simplefilter("ignore")  # missing glyphs, labels that are too long: the page has the table
        plot.figure.savefig(folder / f"{plot.name}.png", dpi=150, metadata={"Software": None})
        buffer = io.StringIO()
        plot.figure.savefig(buffer, format="svg",
                            metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = re.sub(r"<!DOCTYPE[^>]*>\s*|<metadata>.*?</metadata>\s*", "", buffer.getvalue(), flags=re.S)
    (folder / f"{plot.name}.svg").write_text(svg, encoding="utf-8")
    (folder / f"{plot.name}.csv").write_text(plot.csv, encoding="utf-8")
    plot.svg = inline_svg(svg, plot.name)


def inline_svg(svg: str, name: str) -> str:
    """The drawing as part of an HTML page: unique ids, the page's colours, no references outside."""
    svg = re.sub(r"<\?xml[^>]*\?>\s*", "", svg)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg, count=2)
    svg = svg.replace("xlink:href", "href")
    # Tags are matched as a whole, so that text that looks like an attribute is not changed.
    svg = re.sub(r"<[a-zA-Z][^<>]*>", lambda tag: _inline_tag(tag.group(), name), svg)
    size = re.match(r'<svg[^>]*? width="([0-9.]+)pt"', svg)
    width = float(size.group(1)) if size else 500.0
    svg = re.sub(r'^<svg([^>]*?) height="[^"]*"', r"<svg\1", svg)
    svg = re.sub(r'^<svg([^>]*?) width="[^"]*"',
                 rf'<svg\1 role="img" aria-labelledby="{name}-title" style="width: {width * 4 / 3:.0f}px"', svg)
    return svg.strip()


def _inline_tag(tag: str, name: str) -> str:
    tag = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', tag)
    tag = re.sub(r'\bhref="#([^"]*)"', rf'href="#{name}-\1"', tag)
    tag = re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", tag)
    return re.sub(r"#[0-9a-f]{6}\b", lambda hit: f"var(--{VARIABLES[hit.group()]})"
                  if hit.group() in VARIABLES else hit.group(), tag)
