"""Reads and validates run folders: accuracy.csv, throughput.csv, manifest.ini.

A CSV file may be cut off, come from another program or hold text that a spreadsheet or a browser would run. All fields
are checked here, once; errors name the file and the line. Other modules rely on these checks.
"""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from .printable import CONTROL, printable

MEASURED = ("ok", "diverged")  # rows with a result; rows of the other statuses have none
STATUSES = (*MEASURED, "fail", "oom", "timeout")
DEFAULT_LIMIT_MB = 128
TEXT_LIMIT = 500  # characters of a name or a level; they become labels of figures

# Required columns. Any further column is accepted: between `parameters` and `layers` it is an option of a task,
# between `layers` and `tokens` one of the model or the training, elsewhere it is ignored.
ACCURACY_TEXT = ("cell", "status", "reason", "backend", "dtype", "task", "level", "mechanism")
ACCURACY_FRACTIONS = ("validation_accuracy", "token_accuracy", "sequence_accuracy", "rollout_accuracy",
                      "chance_accuracy", "seen_share")
ACCURACY_COUNTS = ("complexity_bits", "vocab", "parameters", "tokens", "steps_done", "steps_to_solve")
ACCURACY_OPTIONS = ("layers", "d_model", "heads", "context", "steps", "batch")
ACCURACY_REQUIRED = (*ACCURACY_TEXT, *ACCURACY_COUNTS, *ACCURACY_OPTIONS, *ACCURACY_FRACTIONS,
                     "lr", "seed", "loss_nats", "solved")
# Options that later versions of eabench added, by section or task, with their defaults, which count in older tables.
LATER_OPTIONS = {"recurrence": {"rule": "linear", "table_seed": "0"}, "recall": {"gaps": "none", "filler": "random"},
                 "selective_copy": {"places": "any"}, "induction": {"last": "any"},
                 "flip_flop": {"ignore_percent": "80", "test_ignore": "0"}, "counting": {"draw": "partition"},
                 "group": {"group": "S3", "length": "3"}, "congruential": {"period": "any"},
                 "distance": {"s_distance_min": "0", "s_distance_max": "0"},
                 "noisy_recall": {"noise": "16", "noise_percent": "20"}, "model": {"qk_norm": "off"},
                 "train": {"precision": "float32", "dropout": "0", "sequences": "0", "mix": "none"}}
THROUGHPUT_TEXT = ("cell", "backend", "device", "dtype", "mechanism", "task", "level")
THROUGHPUT_COUNTS = ("train_s", "wall_s", "tokens_per_s", "fleet_tokens_per_s", "flop_per_token", "gflop_per_s",
                     "peak_gflop_per_s", "peak_fraction", "memory_bytes")
THROUGHPUT_SHAPE = ("layers", "d_model", "heads", "context", "batch", "fleet", "workers")
THROUGHPUT_REQUIRED = (*THROUGHPUT_TEXT, *THROUGHPUT_COUNTS, *THROUGHPUT_SHAPE, "seed", "lr")
THROUGHPUT_LATER = ("other_cores", "steal_cores", "marks")  # older tables lack them
SLOWED = r"\b(?:busy|stopped)\b"  # the marks of rows whose speed is not that of the code

# Python's float() also accepts 'nan', 'inf', '1_0' and digits of other scripts, which eabench never writes.
NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class DataError(Exception):
    """A file that cannot be used; the message is one line 'FILE:LINE: what; what is allowed'."""


@dataclass
class Run:
    """One run folder. Frames keep the file's columns plus `_line`, the line the row starts on."""

    path: Path
    accuracy: pd.DataFrame
    throughput: pd.DataFrame
    environment: dict[str, str] = field(default_factory=dict)
    sections: dict[str, dict[str, str]] = field(default_factory=dict)
    task_options: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def canonical(text: str) -> str:
    """One spelling per value, so that 1e-2 and 0.01 are the same rate."""
    if not NUMBER.fullmatch(text):
        return text
    value = float(text)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _read_text(path: Path, limit_mb: int) -> str:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise DataError(f"{path}: not a regular file; a run folder holds plain files")
        if size > limit_mb << 20:
            raise DataError(f"{path}: {size >> 20} MiB; at most {limit_mb} MiB are read (--max-mb raises it)")
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; a readable file is needed") from None
    nul = raw.find(b"\0")
    if nul >= 0:
        raise DataError(f"{path}:{raw.count(10, 0, nul) + 1}: a NUL byte; the tables are UTF-8 text")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{raw.count(10, 0, error.start) + 1}: not UTF-8; the tables are UTF-8 text") from None


def read_csv(path: Path, required: tuple[str, ...], limit_mb: int = DEFAULT_LIMIT_MB
             ) -> tuple[pd.DataFrame, list[str]]:
    """The rows as text columns plus `_line`, and warnings. Drops an incomplete last line, which a running sweep may be
    writing."""
    text = _read_text(path, limit_mb)
    warnings: list[str] = []
    end = text.rfind("\n") + 1
    if end == 0:
        raise DataError(f"{path}:1: no complete header line; the header starts with {','.join(required[:4])}")
    if end < len(text):
        line = text.count("\n") + 1
        warnings.append(f"{path}:{line}: the last line is cut off and was dropped (a running sweep may be writing it)")
    reader = csv.reader(io.StringIO(text[:end], newline=""), strict=True)
    del text
    try:
        header = next(reader, [])
        _check_header(path, header, required)
        columns: list[list[str]] = [[] for _ in header]
        seen: list[dict[str, str]] = [{} for _ in header]  # one object per distinct value saves memory
        lines: list[int] = []
        line = reader.line_num + 1
        for row in reader:
            if len(row) != len(header):
                what = "an empty line" if not row else f"{len(row)} fields"
                raise DataError(f"{path}:{line}: {what}; the header has {len(header)} columns")
            for column, known, value in zip(columns, seen, row):
                column.append(known.setdefault(value, value))
            lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}; RFC 4180 is allowed: closed double quotes, "
                        f"fields up to {csv.field_size_limit()} characters") from None
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in zip(header, columns)})
    frame["_line"] = lines
    return frame, warnings


def _check_header(path: Path, header: list[str], required: tuple[str, ...]) -> None:
    missing = [name for name in required if name not in header]
    if missing:
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        raise DataError(f"{path}:1: foreign header, column {', '.join(missing[:4])}{more} missing; "
                        f"a header as eabench writes it is allowed ({','.join(required[:4])},...)")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}:1: column '{printable(twice[0])}' appears twice; each column once")


class Checker:
    """Checks columns of one table; errors name the line of the first bad field."""

    def __init__(self, path: Path, frame: pd.DataFrame) -> None:
        self.path = path
        self.frame = frame

    def fail(self, name: str, index: int, allowed: str) -> None:
        value = printable(str(self.frame[name].iloc[index]), 40)
        raise DataError(f"{self.path}:{self.frame['_line'].iloc[index]}: {name} is '{value}'; {allowed}")

    def text(self, name: str, needed: bool = True) -> None:
        for value in self.frame[name].unique():
            if (needed and not value.strip()) or len(value) > TEXT_LIMIT or CONTROL.search(value) or "\n" in value:
                index = int((self.frame[name] == value).to_numpy().argmax())
                self.fail(name, index, f"{1 if needed else 0} to {TEXT_LIMIT} printable characters are allowed")

    def one_of(self, name: str, allowed: tuple[str, ...]) -> None:
        bad = ~self.frame[name].isin(allowed)
        if bad.any():
            self.fail(name, int(bad.to_numpy().argmax()), f"{', '.join(allowed)} are allowed")

    def number(self, name: str, low: float, high: float = math.inf, *, needed: bool = False,
               open_low: bool = False, whole: bool = False) -> None:
        """Converts the column to floats; an empty field becomes NaN (not measured)."""
        left = "more than" if open_low else "from"
        kind = "a whole number" if whole else "a number"
        span = f"{left} {low:g}" + (f" to {high:g}" if high < math.inf else "") if low > -math.inf else "finite"
        allowed = f"{kind} {span}" + ("" if needed else ", or nothing where not measured")
        values: dict[str, float] = {}
        for text in self.frame[name].unique():
            value = math.nan if text == "" else float(text) if NUMBER.fullmatch(text) else math.inf
            bad = needed if text == "" else (math.isinf(value) or not low <= value <= high
                                             or (open_low and value == low) or (whole and not value.is_integer()))
            if bad:
                self.fail(name, int((self.frame[name] == text).to_numpy().argmax()), allowed)
            values[text] = value
        self.frame[name] = self.frame[name].map(values).astype(float)

    def unique(self, key: list[str]) -> None:
        duplicated = self.frame.duplicated(key, keep="first")
        if duplicated.any():
            index = int(duplicated.to_numpy().argmax())
            row = self.frame.iloc[index]
            same = (self.frame[key] == row[key]).all(axis=1)
            first = int(self.frame["_line"].iloc[int(same.to_numpy().argmax())])
            raise DataError(f"{self.path}:{row['_line']}: cell '{printable(row['cell'], 40)}' with this task and level "
                            f"is already on line {first}; one row for each ({', '.join(key)})")


def read_accuracy(path: Path, limit_mb: int = DEFAULT_LIMIT_MB) -> tuple[pd.DataFrame, list[str], list[str], list[str]]:
    """accuracy.csv: the frame, the task options, the other options and the warnings."""
    frame, warnings = read_csv(path, ACCURACY_REQUIRED, limit_mb)
    header = [name for name in frame.columns if name != "_line"]
    first, layers, last = header.index("parameters"), header.index("layers"), header.index("tokens")
    if not first < layers < last:
        raise DataError(f"{path}:1: columns parameters, layers, tokens are out of order; as eabench writes them")
    task_options, options = header[first + 1:layers], header[layers:last]
    check = Checker(path, frame)
    for name in ("cell", "task", "mechanism"):
        check.text(name)
    for name in ("level", *task_options, *options):
        check.text(name, needed=False)
    check.one_of("status", STATUSES)
    for name in ACCURACY_FRACTIONS:
        check.number(name, 0, 1)
    for name in ACCURACY_COUNTS:
        check.number(name, 0)
    check.number("loss_nats", -math.inf)
    check.number("solved", 0, 1, whole=True)
    check.number("lr", 0, needed=True, open_low=True)
    check.number("seed", 0, needed=True, whole=True)
    for name in (*task_options, *options):
        if name not in ("lr", "seed", "mechanism"):
            frame[name] = frame[name].map({text: canonical(text) for text in frame[name].unique()}).astype(object)
    for name in ("validation_accuracy", "token_accuracy", "solved"):
        empty = (frame["status"] == "ok") & frame[name].isna()
        if empty.any():
            line = frame["_line"].iloc[int(empty.to_numpy().argmax())]
            raise DataError(f"{path}:{line}: {name} is empty in a row with status ok; it is needed there")
    if "mix" in options:  # each value is a mechanism of its own: mix-0.25
        frame["mechanism"] = frame["mechanism"].mask(frame["mechanism"] == "mix", "mix-" + frame["mix"].astype(str))
        frame, options = frame.drop(columns="mix"), [name for name in options if name != "mix"]
    check.unique(["cell", "task", "level", "backend"])
    return frame, task_options, options, warnings


def read_throughput(path: Path, limit_mb: int = DEFAULT_LIMIT_MB) -> tuple[pd.DataFrame, list[str]]:
    frame, warnings = read_csv(path, THROUGHPUT_REQUIRED, limit_mb)
    for name in THROUGHPUT_LATER:
        if name not in frame:
            frame[name] = ""
    check = Checker(path, frame)
    for name in ("cell", "mechanism"):
        check.text(name)
    for name in ("backend", "device", "dtype", "task", "level", "marks", *THROUGHPUT_SHAPE):
        check.text(name, needed=False)
    for name in (*THROUGHPUT_COUNTS, "other_cores", "steal_cores", "seed", "lr"):
        check.number(name, 0)
    return frame, warnings


def slowed(rows: pd.DataFrame, column: str = "marks") -> pd.Series:
    """Which rows were measured on a busy machine or while the process was stopped."""
    return rows[column].str.contains(SLOWED).astype(bool)


def count_marks(marks: pd.Series) -> str:
    """'2 busy, 1 stopped'; '' without marks."""
    counts = marks.str.split().explode().value_counts().sort_index()
    return ", ".join(f"{count} {mark}" for mark, count in counts.items())


def read_manifest(path: Path) -> dict[str, dict[str, str]]:
    """Sections of an INI file in order, in the grammar of a spec."""
    sections: dict[str, dict[str, str]] = {}
    current: dict[str, str] | None = None
    for number, raw in enumerate(_read_text(path, 4).splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and line[-1] == "]":
            current = sections.setdefault(line[1:-1].strip(), {})
        elif "=" in line and current is not None:
            key, value = line.split("=", 1)
            current[key.strip()] = value.strip()
        else:
            raise DataError(f"{path}:{number}: '{printable(line, 40)}'; [section], key = value and # comments are "
                            "allowed")
    return sections


def empty_accuracy() -> pd.DataFrame:
    """The frame that read_accuracy returns for a table without rows."""
    text = (*ACCURACY_TEXT, *ACCURACY_OPTIONS)
    return pd.DataFrame({name: pd.Series(dtype=object if name in text else float)
                         for name in (*ACCURACY_REQUIRED, "_line")})


def read_run(path: Path, limit_mb: int = DEFAULT_LIMIT_MB, speeds_only: bool = False) -> Run:
    """Reads a run folder. accuracy.csv is required unless `speeds_only`; a missing other table gives a warning."""
    if not path.is_dir():
        what = "not a folder" if path.exists() else "no such folder"
        raise DataError(f"{path}: {what}; a RUN is a folder that eabench sweep wrote (it holds accuracy.csv)")
    table = path / "accuracy.csv"
    if speeds_only:
        accuracy, task_options, options, warnings = empty_accuracy(), [], [], []
    elif not table.exists():
        raise DataError(f"{table}: no such file; a RUN is a folder that eabench sweep wrote")
    else:
        accuracy, task_options, options, warnings = read_accuracy(table, limit_mb)
    no_speeds = pd.DataFrame({name: pd.Series(dtype=object) for name in (*THROUGHPUT_REQUIRED, *THROUGHPUT_LATER)})
    run = Run(path, accuracy, no_speeds, task_options=task_options, options=options, warnings=warnings)
    if (path / "throughput.csv").exists():
        run.throughput, more = read_throughput(path / "throughput.csv", limit_mb)
        run.warnings += more
        mixed = run.throughput["mechanism"] == "mix"   # this table has no mix
        run.throughput.loc[mixed, "mechanism"] = run.throughput["cell"][mixed].map(
            dict(zip(accuracy["cell"], accuracy["mechanism"]))).fillna("mix")
    elif not speeds_only:
        run.warnings.append(f"{path}: no throughput.csv; training speed is not shown")
    if (path / "manifest.ini").exists():
        run.sections = read_manifest(path / "manifest.ini")
        run.environment = run.sections.get("environment", {})
    else:
        run.warnings.append(f"{path}: no manifest.ini; version and machine are unknown")
    return run
