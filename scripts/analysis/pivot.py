"""scripts/pivot: prints the results of runs as a small Markdown table, by the options of --rows and --columns."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from .arguments import Arguments
from .files import unusable
from .plain_csv import csv_text
from .pool import mechanisms_of, pool_runs, sort_key
from .stats import choose_rate
from .tables import DEFAULT_LIMIT_MB, DataError, printable, read_run

RUN = "run"  # the column with the folder's name


def parser() -> argparse.ArgumentParser:
    command = Arguments(
        prog="pivot",
        description="Prints the cells of runs as a table: a row for each value of the options that --rows names, a "
        "column for each of --columns. Diverged cells count as not solved and at chance.",
        epilog="Exit codes: 0 done, 2 bad input or usage.")
    command.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="run folder")
    command.add_argument("--rows", metavar="NAMES", default="level",
                         help="columns of accuracy.csv, separated by commas, or "
                         f"'{RUN}', the folder's name (default: level)")
    command.add_argument("--columns", metavar="NAMES", default="mechanism", help="likewise (default: mechanism)")
    command.add_argument("--show", choices=("solved", "accuracy"), default="accuracy",
                         help="solved: how many of the cells solved their level, and their median steps to solve; "
                         "accuracy: the mean token accuracy (default)")
    command.add_argument("--best", metavar="NAME",
                         help="for each level and each field of the table use only the value of this option (such as "
                         "lr) with the best mean validation accuracy over seeds")
    command.add_argument("--digits", metavar="N", type=int, choices=range(1, 9), default=4,
                         help="of an accuracy (default: 4)")
    command.add_argument("--csv", metavar="FILE", type=Path, help="write the table to FILE as well")
    command.add_argument("--max-mb", metavar="N", type=int, default=DEFAULT_LIMIT_MB,
                         help=f"largest CSV file that is read, in MiB (default: {DEFAULT_LIMIT_MB})")
    return command


def _names(text: str, frame: pd.DataFrame, option: str) -> list[str]:
    allowed = [name for name in frame.columns if not name.startswith("_")]
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in allowed:
            raise DataError(f"--{option} {printable(text, 60)}: the tables have no column '{printable(name, 40)}'; "
                            f"allowed: {RUN}, {', '.join(name for name in allowed if name != RUN)}")
    return names


def _cells(folders: Sequence[Path], limit_mb: int) -> pd.DataFrame:
    """Reads each folder separately, so that cells that are in two folders, such as a base setting, count in both."""
    frames, names = [], set()
    for folder in folders:
        name = folder.resolve().name
        if name in names:
            raise DataError(f"{folder}: a second folder called '{printable(name, 40)}'; names have to differ")
        names.add(name)
        frames.append(pool_runs([read_run(folder, limit_mb)]).rows.assign(**{RUN: name}))
    return pd.concat(frames, ignore_index=True)


def _ordered(values: pd.Series) -> list[object]:
    """The different values, numbers by value; without a value last."""
    return sorted(values.unique(), key=lambda value: (pd.isna(value) or value == "", sort_key(str(value)) if not
                                                      isinstance(value, float) else ((1, value, ""),)))


def take_best(cells: pd.DataFrame, keys: list[str], name: str) -> pd.DataFrame:
    """The cells with the best value of `name` for each level and each value of `keys`, of equals the innermost, as the
    report chooses rates."""
    keys = list(dict.fromkeys(["task", "level", *keys]))
    places = {value: place for place, value in enumerate(_ordered(cells[name]))}
    parts = []
    for _, part in cells.groupby(keys, dropna=False, sort=False):
        own = part[name].map(places)
        parts.append(part[own == choose_rate(part["validation_accuracy"], own)[0]])
    return pd.concat(parts, ignore_index=True)


def _field(cells: pd.DataFrame, show: str, digits: int) -> str:
    if cells.empty:
        return ""
    if show == "accuracy":
        return f"{cells['token_accuracy'].mean():.{digits}f}"
    solved = cells[cells["solved"] == 1]
    steps = f" ({solved['steps_to_solve'].median():,.0f})" if solved["steps_to_solve"].notna().any() else ""
    return f"{len(solved)} of {len(cells)}{steps}"


def _values(cells: pd.DataFrame, names: list[str]) -> list[tuple[str, ...]]:
    """The existing combinations, in order: numbers by value, mechanisms with the baseline first, levels by bits,
    folders as on the command line."""
    orders = {}
    for name in names:
        if name == "mechanism":
            order = mechanisms_of(cells)
        elif name == RUN:
            order = list(dict.fromkeys(cells[RUN]))
        elif name == "level":
            order = list(dict.fromkeys(cells.sort_values("complexity_bits", kind="stable")["level"]))
        else:
            order = _ordered(cells[name])
        orders[name] = {value: rank for rank, value in enumerate(order)}
    present = {tuple(row) for row in cells[names].itertuples(index=False)}
    return sorted(present, key=lambda row: tuple(orders[name][value] for name, value in zip(names, row)))


def _without_nan(cells: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """NaN, which does not equal itself, as an empty text."""
    return cells.assign(**{name: cells[name].astype(object).where(cells[name].notna(), "") for name in names})


def _text(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return printable(text, 200).replace("|", "\\|") or "(none)"


def table_of(cells: pd.DataFrame, rows: list[str], columns: list[str], show: str, digits: int) -> pd.DataFrame:
    across = _values(cells, columns)
    lines = []
    for row in _values(cells, rows):
        here = cells[(cells[rows] == list(row)).all(axis=1)]
        line = {name: _text(value) for name, value in zip(rows, row)}
        for column in across:
            cell = here[(here[columns] == list(column)).all(axis=1)]
            line[", ".join(map(_text, column))] = _field(cell, show, digits)
        lines.append(line)
    return pd.DataFrame(lines)


def markdown(table: pd.DataFrame) -> str:
    lines = [list(table.columns), ["---"] * len(table.columns), *table.values.tolist()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        cells = _cells(options.runs, options.max_mb)
        rows, columns = _names(options.rows, cells, "rows"), _names(options.columns, cells, "columns")
        if cells.empty:
            raise DataError(f"{options.runs[0]}: no measured cell; a run with results is needed")
        if len(set(rows + columns)) < len(rows + columns):
            raise DataError(f"--rows {options.rows} --columns {options.columns}: a name twice; each once")
        if options.best:
            cells = take_best(cells, rows + columns, _names(options.best, cells, "best")[0])
        table = table_of(_without_nan(cells, rows + columns), rows, columns, options.show, options.digits)
        print(markdown(table))
        if options.csv:
            options.csv.write_text(csv_text(table), encoding="utf-8")
    except DataError as error:
        print(f"pivot: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"pivot: {unusable(error, options.csv)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
