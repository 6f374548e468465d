"""Renders plain data structures to one self-contained HTML page. All text passes through autoescape."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .style import Plot
from .tables import printable

HERE = Path(__file__).parent
MOST_ROWS = 1000  # of a table on the page; the CSV has them all


@dataclass
class Cell:
    text: str
    value: str | None = None  # sort key; None: the text
    kind: str = ""
    chip: str = ""  # colour of a frame around the text: yes, no, open, thin
    note: str = ""  # a line in small print below


@dataclass
class Row:
    cells: list[Cell]
    kind: str = ""


@dataclass
class Column:
    title: str
    number: bool = False


@dataclass
class Table:
    caption: str
    columns: list[Column]
    rows: list[Row]
    sortable: bool = True
    folded: bool = False
    after: bool = False  # below the section's figures


@dataclass
class Drawing:
    """A plot in the form that the template needs."""

    name: str
    title: str
    words: str
    svg: Markup
    link: str
    table: Table


@dataclass
class Section:
    id: str
    title: str
    findings: list[str] = field(default_factory=list)
    paragraphs: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    plots: list[Drawing] = field(default_factory=list)
    warning: bool = False
    tables_first: bool = False  # before the paragraphs


def text(value: object, kind: str = "") -> Cell:
    shown = printable(str(value), 300)
    return Cell(shown, kind=kind or ("long" if len(shown) > 48 else ""))


def _unsigned_zero(shown: str) -> str:
    """Removes the sign of '+0.000' and '-0.000'."""
    return shown.lstrip("+-") if shown[:1] in ("+", "-") and not shown.strip("+-0.%") else shown


def number(value: float, form: str = ".3f", mark: str = "") -> Cell:
    """A right-aligned number that sorts by its value; empty if unknown."""
    if value is None or math.isnan(value):
        return Cell("", "", "number")
    return Cell(_unsigned_zero(f"{value:{form}}") + mark, repr(float(value)), "number")


def interval(low: float, high: float, form: str = ".3f") -> Cell:
    if math.isnan(low):
        return Cell("", "", "number")
    return Cell(f"[{_unsigned_zero(f'{low:{form}}')}, {_unsigned_zero(f'{high:{form}}')}]", repr(float(low)), "number")


def heading(*titles: str) -> list[Column]:
    """Columns with these titles; '#title' is a column of numbers."""
    return [Column(title.lstrip("#"), title.startswith("#")) for title in titles]


def data_table(data: pd.DataFrame, caption: str) -> Table:
    """A frame as a table, the text alternative of a figure."""
    shown = data.iloc[:MOST_ROWS]
    if len(data) > MOST_ROWS:
        caption += f" (the first {MOST_ROWS} of {len(data)} rows; the CSV has all)"
    numeric = [pd.api.types.is_numeric_dtype(data[name]) and not pd.api.types.is_bool_dtype(data[name])
               for name in data.columns]
    columns = [Column(str(name).replace("_", " "), is_number) for name, is_number in zip(data.columns, numeric)]
    rows = [Row([number(value, ".5g" if abs(value) < 1e5 else ".0f") if is_number
                 else text({True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value)
                 for value, is_number in zip(row, numeric)])
            for row in shown.itertuples(index=False, name=None)]
    return Table(caption, columns, rows)


def drawing(plot: Plot) -> Drawing:
    coded = base64.b64encode(plot.csv.encode("utf-8")).decode("ascii")
    # The SVG was written by matplotlib, which escapes every text, and style.inline_svg; the rest is escaped here.
    return Drawing(plot.name, plot.title, plot.words, Markup(plot.svg), f"data:text/csv;charset=utf-8;base64,{coded}",
                   data_table(plot.data, f"Numbers of: {plot.title}"))


def fill(template: str, trim: bool, **values: object) -> str:
    """The template with these values and the pages' style; `trim`: without the blanks and line ends of its blocks."""
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=trim, lstrip_blocks=trim, keep_trailing_newline=True)
    style = Markup((HERE / "style.css").read_text(encoding="utf-8"))
    return environment.get_template(template).render(css=style, **values)


def render(title: str, lead: Sequence[str], sections: Sequence[Section]) -> str:
    script = (HERE / "sort.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return fill("template.html", False, title=title, lead=lead, sections=sections, script=Markup(script),
                script_hash=digest)
