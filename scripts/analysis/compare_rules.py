"""The rules of scripts/compare: what counts as better, same, worse, missing and new."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from . import stats
from .pool import MIXTURE, RESULTS, count_diverged_as_chance, mechanisms_of, mixture_cells
from .tables import MEASURED, Run, count_marks, slowed

KEY = ["cell", "task", "level"]  # without the backend, so that a cell on a GPU is compared with the same on a CPU
SIGNIFICANT = 0.05
LOWER_IS_BETTER = ("loss_nats", "steps_to_solve")


@dataclass
class Finding:
    """One line of the table, about `count` cells; `fails` makes the exit code 1."""

    verdict: str
    what: str
    where: str
    base: str = ""
    new: str = ""
    difference: str = ""
    note: str = ""
    count: int = 1
    fails: bool = False


def _where(row: pd.Series, side: str = "") -> str:
    return (f"{row['task']} {row['level']} {row['mechanism' + side]} lr={row['lr' + side]:g} "
            f"seed={row['seed' + side]:.0f} [{row['cell'][:8]}]")


def _one_per_key(run: Run) -> pd.DataFrame:
    """One row per cell. A run that was resumed on another backend may hold a cell twice; the first measured row
    counts."""
    rows = run.accuracy.assign(_unmeasured=~run.accuracy["status"].isin(MEASURED))
    return rows.sort_values("_unmeasured", kind="stable").drop_duplicates(KEY).sort_index().drop(columns="_unmeasured")


def missing_and_new(base: Run, new: Run) -> tuple[pd.DataFrame, list[Finding]]:
    """Cells of both runs side by side (columns ending in _base and _new), and those of only one."""
    left, right = _one_per_key(base), _one_per_key(new)
    merged = left.merge(right, on=KEY, how="outer", suffixes=("_base", "_new"), indicator=True, sort=False)
    findings = [Finding("missing", "cell", _where(row, "_base"), base=row["status_base"], fails=True,
                        note="in BASE, not in NEW")
                for _, row in merged[merged["_merge"] == "left_only"].iterrows()]
    findings += [Finding("new", "cell", _where(row, "_new"), new=row["status_new"], note="not in BASE")
                 for _, row in merged[merged["_merge"] == "right_only"].iterrows()]
    return merged[merged["_merge"] == "both"].reset_index(drop=True), findings


def _status_change(row: pd.Series) -> Finding | None:
    """A cell that has a result in only one of the runs."""
    before, after = row["status_base"], row["status_new"]
    if before in MEASURED and after not in MEASURED:
        return Finding("worse", "status", _where(row, "_base"), before, after, note=str(row["reason_new"]), fails=True)
    if before not in MEASURED and after in MEASURED:
        return Finding("better", "status", _where(row, "_base"), before, after)
    if before not in MEASURED:
        return Finding("same", "status", _where(row, "_base"), before, after, note="no result in either run")
    return None


def _equal(before: object, after: object) -> bool:
    return before == after or (pd.isna(before) and pd.isna(after))


def _text(value: object) -> str:
    return "" if pd.isna(value) else f"{value:.9g}" if isinstance(value, float) else str(value)


def compare_exact(pairs: pd.DataFrame, tolerance: float) -> list[Finding]:
    findings: list[Finding] = []
    touched = ~pairs["status_base"].isin(MEASURED)
    for name in RESULTS:
        before, after = pairs[f"{name}_base"], pairs[f"{name}_new"]
        touched |= ~((before == after) | (before.isna() & after.isna()))
    same = int((~touched).sum())
    for _, row in pairs[touched].iterrows():
        change = _status_change(row) or _exact_row(row, tolerance)
        if change is None:
            same += 1
        else:
            findings.append(change)
    if same:
        findings.append(Finding("same", "cells", "all columns of accuracy.csv" if tolerance == 0 else
                                f"accuracies within {tolerance:g}", note=f"{same} rows", count=same))
    return findings


def _exact_row(row: pd.Series, tolerance: float) -> Finding | None:
    where = _where(row, "_base")
    if row["status_base"] != row["status_new"]:
        worse = row["status_new"] == "diverged"
        return Finding("worse" if worse else "better", "status", where, row["status_base"], row["status_new"],
                       fails=worse)
    changed = [name for name in RESULTS if not _equal(row[f"{name}_base"], row[f"{name}_new"])]
    if tolerance > 0:
        # With a tolerance only the accuracies are compared.
        changed = [name for name in changed if name.endswith("_accuracy")
                   and not abs(row[f"{name}_new"] - row[f"{name}_base"]) <= tolerance]
    if not changed:
        return None
    # The first changed column of this order decides whether the row is better or worse. A change without a direction
    # counts as worse, since no change is allowed.
    order = ["token_accuracy", "solved", "rollout_accuracy", "sequence_accuracy", "validation_accuracy", "loss_nats",
             "steps_to_solve"]
    name = next((column for column in order if column in changed), changed[0])
    before, after = row[f"{name}_base"], row[f"{name}_new"]
    known = isinstance(before, float) and isinstance(after, float) and not (math.isnan(before) or math.isnan(after))
    rises = known and after > before
    better = name in order and known and (rises != (name in LOWER_IS_BETTER))
    others = [column for column in changed if column != name]
    return Finding("better" if better else "worse", name, where, _text(before), _text(after),
                   f"{after - before:+.3g}" if known else "", fails=not better,
                   note=f"also differ: {', '.join(others)}" if others else "")


def compare_statistical(pairs: pd.DataFrame, tolerance: float) -> list[Finding]:
    findings: list[Finding] = []
    measured = pairs["status_base"].isin(MEASURED) & pairs["status_new"].isin(MEASURED)
    findings += [change for _, row in pairs[~measured].iterrows() if (change := _status_change(row))]
    rows = pairs[measured].copy()
    if rows.empty:
        return findings
    for side in ("_base", "_new"):
        columns = ["status", "validation_accuracy", "token_accuracy", "chance_accuracy", "solved", "steps_to_solve",
                   "vocab"]
        filled = count_diverged_as_chance(rows[[name + side for name in columns]].set_axis(columns, axis=1))
        for name in ("token_accuracy", "solved"):
            rows[name + side] = filled[name]
    rows["_trained"] = rows["cell"].map(pairs.groupby("cell")["level"].agg(lambda levels: "\n".join(sorted(levels))))
    tests: list[tuple[Finding, float, float, float, float, int]] = []
    # Parts of mixtures make groups of their own: learning beside other tasks differs from learning alone.
    part = rows["cell"].isin(mixture_cells(pairs)) & (rows["task"] != MIXTURE)
    for task, family in rows.groupby(rows["task"].mask(part, rows["task"] + " in mixtures"), sort=True):
        for mechanism in mechanisms_of(family.rename(columns={"mechanism_base": "mechanism"})):
            cells = family[family["mechanism_base"] == mechanism]
            for name in ("token_accuracy", "solved"):
                # One unit per trained level and seed: neither cells that differ only in the learning rate nor rows of
                # one model (parts of a mixture, further levels it was evaluated at) are independent evidence.
                means = cells.groupby(["_trained", "seed_base"])[[f"{name}_base", f"{name}_new"]].mean()
                units = means[f"{name}_new"] - means[f"{name}_base"]
                mean, low, high = stats.bootstrap_mean([units.to_numpy()], bounds=(-1, 1))
                finding = Finding("same", name, f"{task} {mechanism}", f"{means[f'{name}_base'].mean():.4f}",
                                  f"{means[f'{name}_new'].mean():.4f}", f"{mean:+.4f}")
                tests.append((finding, stats.sign_flip(units.to_numpy()), mean, low, high, int((units != 0).sum())))
                finding.note = f"{len(units)} pairs (trained level, seed)"
    for (finding, raw, mean, low, high, changed), adjusted in zip(tests, stats.holm([test[1] for test in tests])):
        interval = "" if math.isnan(low) else f" [{low:+.4f}, {high:+.4f}]"
        finding.note += f",{interval} p={raw:.3g}, Holm {adjusted:.3g}"
        if abs(mean) > tolerance and adjusted < SIGNIFICANT:
            finding.verdict, finding.fails = ("better", False) if mean > 0 else ("worse", True)
        elif abs(mean) > tolerance:
            finding.note += f"; not proven ({changed} of the pairs differ)"
        findings.append(finding)
    return findings


def compare_throughput(base: Run, new: Run, tolerance: float, judged: bool) -> list[Finding]:
    """Ratio of the medians of tokens_per_s per mechanism, over the cells that both runs measured undisturbed."""
    tables = [run.throughput[run.throughput["tokens_per_s"].notna()].drop_duplicates(KEY, keep="last")
              if len(run.throughput) else run.throughput for run in (base, new)]
    if tables[0].empty:
        return [Finding("same", "tokens_per_s", "all", note="BASE has no throughput; nothing to compare", count=0)]
    both = tables[0].merge(tables[1], on=KEY, suffixes=("_base", "_new"))
    findings: list[Finding] = []
    for mechanism in mechanisms_of(tables[0]):
        cells = both[both["mechanism_base"] == mechanism]
        if cells.empty:
            findings.append(Finding("missing", "tokens_per_s", mechanism, fails=judged, note="no cell with a "
                                    "throughput in both runs (--no-throughput leaves the speed out)"))
            continue
        disturbed = slowed(cells, "marks_base") | slowed(cells, "marks_new")
        marks = (cells["marks_base"] + " " + cells["marks_new"])[disturbed].map(lambda text: " ".join(
            mark for mark in ("busy", "stopped") if mark in text.split()))
        fair = not disturbed.all()
        if fair:
            cells = cells[~disturbed]
        before, after = float(cells["tokens_per_s_base"].median()), float(cells["tokens_per_s_new"].median())
        ratio = after / before if before > 0 else math.nan
        finding = Finding("same", "tokens_per_s", mechanism, f"{before:.0f}", f"{after:.0f}", f"{ratio:.3f}x",
                          f"{len(cells)} cells, tolerance {100 * tolerance:g}%")
        if disturbed.any():
            finding.note += f"; {count_marks(marks)}, not judged"
        if not judged:
            finding.note += "; not judged, the runs are from different machines, or their measured peaks differ"
        elif fair and ratio < 1 - tolerance:
            finding.verdict, finding.fails = "worse", True
        elif fair and ratio > 1 + tolerance:
            finding.verdict = "better"
        findings.append(finding)
    return findings
