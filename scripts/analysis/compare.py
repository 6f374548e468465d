"""scripts/compare: reports where a run is worse than a baseline, exactly for equal CPU runs, else statistically."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from .arguments import Arguments
from .compare_rules import Finding, compare_exact, compare_statistical, compare_throughput, missing_and_new
from .files import unusable
from .plain_csv import csv_text
from .pool import sort_key
from .tables import DEFAULT_LIMIT_MB, DataError, Run, printable, read_run
from .tables_more import as_number

EXACT_TOLERANCE, STATISTICAL_TOLERANCE, THROUGHPUT_TOLERANCE = 0.0, 0.005, 20.0
MOST_BETWEEN_PEAKS = 1.5  # of one machine, on which other jobs run at times
MOST_LINES = 60  # lines without a regression; --csv has all


def parser() -> argparse.ArgumentParser:
    command = Arguments(
        prog="compare",
        description="Compares a run of eabench with a baseline. Two CPU runs of the same version and compiler at the "
        "same SIMD level are compared exactly, row by row; others by differences paired over cells, pooled over levels "
        "and seeds per task and mechanism, with a 95% bootstrap interval, a sign-flip permutation test and Holm's "
        "correction.",
        epilog="Exit codes: 0 no regression, 1 a regression or missing cells, 2 bad input or usage.")
    command.add_argument("base", metavar="BASE", type=Path, help="run folder of the baseline")
    command.add_argument("new", metavar="NEW", type=Path, help="run folder to compare with it")
    kind = command.add_mutually_exclusive_group()
    kind.add_argument("--exact", action="store_true", help="compare row by row, whatever the manifests say")
    kind.add_argument("--statistical", action="store_true", help="compare statistically, whatever the manifests say")
    command.add_argument("--tolerance", metavar="X", type=_fraction,
                         help="allowed difference in accuracy "
                         f"(0 to 1; default: {EXACT_TOLERANCE:g} exact, {STATISTICAL_TOLERANCE:g} statistical)")
    command.add_argument("--throughput-tolerance", metavar="PERCENT", type=_percent,
                         help=f"allowed slowdown of training (default: {THROUGHPUT_TOLERANCE:g}, and speeds are "
                         "judged only between runs on one machine; with this option always)")
    command.add_argument("--no-throughput", action="store_true", help="leave the training speed out")
    command.add_argument("--csv", metavar="FILE", type=Path, help="write the table to FILE as well")
    command.add_argument("--max-mb", metavar="N", type=_megabytes, default=DEFAULT_LIMIT_MB,
                         help=f"largest CSV file that is read, in MiB (default: {DEFAULT_LIMIT_MB})")
    return command


def _number(value: str, low: float, high: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not low <= number <= high:
        raise argparse.ArgumentTypeError(f"'{value}'; a number from {low:g} to {high:g} is allowed")
    return number


def _fraction(value: str) -> float:
    return _number(value, 0, 1)


def _percent(value: str) -> float:
    return _number(value, 0, 100)


def _megabytes(value: str) -> int:
    return int(_number(value, 1, 1_000_000))


def exact_or_why_not(base: Run, new: Run) -> str:
    """Empty if the two runs must agree bit for bit, else the reason why they may differ."""
    for run in (base, new):
        if run.environment.get("backend") != "cpu":
            return f"backend of {run.path} is '{run.environment.get('backend', '')}', not cpu"
    for name in ("version", "isa", "compiler", "flags"):  # another compiler may contract or reorder a sum
        values = [run.environment.get(name, "") for run in (base, new)]
        if "" in values or values[0] != values[1]:
            return f"{name} is '{values[0]}' and '{values[1]}'"
    return ""


def same_machine(base: Run, new: Run) -> bool:
    """Virtual machines hide the processor's generation: the measured peaks must be alike, too, where both are known."""
    names = [(run.environment.get("cpu"), run.environment.get("device")) for run in (base, new)]
    peaks = [as_number(run.environment.get("peak_gflop_per_s", "")) for run in (base, new)]
    return names[0] == names[1] and any(names[0]) and not max(peaks) > MOST_BETWEEN_PEAKS * min(peaks)


def print_table(rows: list[Finding]) -> None:
    header = ("verdict", "what", "where", "base", "new", "difference", "note")
    lines = [(row.verdict, row.what, printable(row.where, 90), row.base, row.new, row.difference,
              printable(row.note, 160))
             for row in rows]
    widths = [max(len(line[column]) for line in (header, *lines)) for column in range(len(header))]
    for line in (header, *lines):
        # Numbers are right-aligned, so that digits stand under digits.
        print("  ".join(text.rjust(width) if 3 <= column <= 5 else text.ljust(width)
                        for column, (text, width) in enumerate(zip(line, widths))).rstrip())


def shorten(findings: list[Finding]) -> tuple[list[Finding], int]:
    """The findings to print, and the number of others: regressions first, then up to MOST_LINES."""
    failing = [row for row in findings if row.fails]
    others = [row for row in findings if not row.fails]
    kept = failing[:500] + others[:max(0, MOST_LINES - len(failing))]
    return kept, len(findings) - len(kept)


def _run(options: argparse.Namespace) -> int:
    base, new = read_run(options.base, options.max_mb), read_run(options.new, options.max_mb)
    for warning in (*base.warnings, *new.warnings):
        print(f"compare: warning: {warning}", file=sys.stderr)
    if base.accuracy.empty:
        raise DataError(f"{base.path / 'accuracy.csv'}:1: no rows; a baseline needs at least one")
    why_not = "" if options.exact else "--statistical" if options.statistical else exact_or_why_not(base, new)
    pairs, findings = missing_and_new(base, new)
    tolerance = options.tolerance
    if not why_not:
        findings += compare_exact(pairs, EXACT_TOLERANCE if tolerance is None else tolerance)
        print("exact, row by row"
              + (" (--exact)" if options.exact else ": both runs are cpu, same isa, version and compiler"))
    else:
        findings += compare_statistical(pairs, STATISTICAL_TOLERANCE if tolerance is None else tolerance)
        print(f"statistical, paired by cell: {why_not}")
    if not options.no_throughput:
        slack = options.throughput_tolerance
        judged = slack is not None or same_machine(base, new)
        findings += compare_throughput(base, new, (THROUGHPUT_TOLERANCE if slack is None else slack) / 100, judged)
    order = {name: rank for rank, name in enumerate(("missing", "worse", "better", "new", "same"))}
    findings.sort(key=lambda row: (not row.fails, order[row.verdict], row.what != "cell", sort_key(row.where)))
    shown, hidden = shorten(findings)
    print_table(shown)
    if hidden:
        print(f"and {hidden} more rows (--csv FILE writes all)")
    code = _verdict(findings)
    if options.csv:
        options.csv.write_text(csv_text(pd.DataFrame([vars(row) for row in findings])), encoding="utf-8")
    return code


def _verdict(findings: list[Finding]) -> int:
    counts = {name: sum(row.count for row in findings if row.verdict == name)
              for name in ("better", "same", "worse", "missing", "new")}
    summary = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing to compare"
    failing = [row for row in findings if row.fails]
    if not failing:
        print(f"verdict: no regression ({summary})")
        return 0
    names = "; ".join(printable(f"{row.verdict} {row.what} {row.where}", 100) for row in failing[:5])
    more = f"; and {len(failing) - 5} more" if len(failing) > 5 else ""
    print(f"verdict: REGRESSION ({summary}): {names}{more}")
    return 1


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return _run(options)
    except DataError as error:
        print(f"compare: {error}", file=sys.stderr)
    except OSError as error:
        print(f"compare: {unusable(error, options.csv)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
