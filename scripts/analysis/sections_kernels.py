"""The sections about kernels and peers: measured points, points without a result, and ratios of speed."""

from __future__ import annotations

import math

import pandas as pd

from .figures_kernels import OURS
from .page import Cell, Row, Section, Table, data_table, heading, interval, number, text
from .tables import count_marks
from .tables_more import as_number

MOST_ROWS = 2000
# Rows that agree in these columns did the same work. `device` is not among them, since peers may spell it differently.
SAME_WORK = ["backend", "op", "mechanism", "dtype", "pass", "batch", "heads", "context", "head_dim", "causal",
             "position", "m", "n", "k", "transpose", "label", "cache", "run"]
RATIO_COLUMNS = ["ratio", "low", "high"]


def ratios_of(kernels: pd.DataFrame) -> pd.DataFrame:
    """Speed of ours over speed of theirs (above 1 ours is faster), where both did the same work in the same run; of
    points that were measured again the last ones count.

    The bounds combine the 5% and 95% quantiles of both times, so they are wider than an interval of the medians.
    """
    rows = kernels[(kernels["status"] == "ok") & (kernels["time_median_us"] > 0)]
    rows = rows.drop_duplicates([*SAME_WORK, "device", "implementation"], keep="last")
    ours, theirs = rows[rows["implementation"].isin(OURS)], rows[~rows["implementation"].isin(OURS)]
    if ours.empty or theirs.empty:
        return pd.DataFrame(columns=[*SAME_WORK, "ours", "theirs", *RATIO_COLUMNS])
    both = ours.merge(theirs, on=SAME_WORK, suffixes=("_ours", "_theirs"))
    both = both.rename(columns={"implementation_ours": "ours", "implementation_theirs": "theirs"})
    both["ratio"] = both["time_median_us_theirs"] / both["time_median_us_ours"]
    both["low"] = both["time_p05_us_theirs"] / both["time_p95_us_ours"]
    both["high"] = both["time_p95_us_theirs"] / both["time_p05_us_ours"]
    return both[[*SAME_WORK, "ours", "theirs", *RATIO_COLUMNS]]


def _peer(rows: pd.DataFrame) -> str:
    """The column that names the other implementation; `ours` and `theirs` may also hold the two speeds."""
    for name in ("theirs", "implementation", "peer"):
        if name in rows and rows[name].map(lambda value: math.isnan(as_number(str(value))) and value != "").any():
            return name
    return "op"


def _shown_columns(rows: pd.DataFrame) -> list[str]:
    """The columns that vary; the caption has those that do not."""
    return [name for name in rows.columns if name not in RATIO_COLUMNS and rows[name].fillna("").nunique() > 1]


def _ratio_table(rows: pd.DataFrame, caption: str) -> Table:
    always = {_peer(rows)}
    shown = [name for name in rows.columns if name not in RATIO_COLUMNS
             and (name in always or name in _shown_columns(rows))]
    fixed = [f"{name} {rows[name].iloc[0]}" for name in rows.columns
             if name not in (*RATIO_COLUMNS, *shown) and str(rows[name].iloc[0]) not in ("", "nan")]
    numeric = {name for name in shown
               if rows[name].map(lambda value: value == "" or not math.isnan(as_number(str(value)))).all()}
    if fixed:
        caption += f" (all: {', '.join(fixed)})"
    titles = [f"#{name}" if name in numeric else name for name in shown]
    table = Table(caption, heading(*titles, "#ratio", "#interval", "reading"), [])
    for row in rows.iloc[:MOST_ROWS].to_dict("records"):
        known = not (math.isnan(row["low"]) or math.isnan(row["high"]))
        reading = ("not judged" if not known else "ours is faster" if row["low"] > 1
                   else "theirs is faster" if row["high"] < 1 else "no clear difference")
        cells = [number(as_number(str(row[name])), "g") if name in numeric else text(row[name]) for name in shown]
        table.rows.append(Row([*cells, number(row["ratio"], ".2f"), interval(row["low"], row["high"], ".2f") if known
                               else Cell("", "", "number"),
                               text(reading, {"ours is faster": "good", "theirs is faster": "bad"}.get(reading, ""))]))
    return table


def _summary(rows: pd.DataFrame) -> list[str]:
    """The range of the ratios, and the number of shapes on which either side is faster, per op, pass and peer."""
    phrases = []
    keys = [name for name in dict.fromkeys(("op", "mechanism", "pass", _peer(rows))) if name in rows]
    for values, part in rows.groupby(keys, sort=True, dropna=False):
        what = ", ".join(str(value) for value in values if value != "")
        wins, losses = int((part["low"] > 1).sum()), int((part["high"] < 1).sum())
        phrases.append(f"{what}: ratio {part['ratio'].min():.2f} to {part['ratio'].max():.2f}, median "
                       f"{part['ratio'].median():.2f}; of {len(part)} shapes ours is faster on {wins}, theirs on "
                       f"{losses}.")
    return phrases


def ratio_section(ratios: pd.DataFrame, kernels: pd.DataFrame) -> Section | None:
    own = ratios_of(kernels)
    failed = ratios[~(ratios["ratio"] > 0)]
    ratios = ratios[ratios["ratio"] > 0].reset_index(drop=True)
    if len(ratios) + len(failed) + len(own) == 0:
        return None
    section = Section("ratios", "Ours against others")
    section.paragraphs.append("A ratio is the speed of ours divided by the speed of theirs at the same work in the "
                              "same run: above 1 ours is faster. A side is called faster only where the whole interval "
                              "lies on its side of 1.")
    for rows, caption in ((ratios, "From ratios.csv: both measured in turns, with the interval that was recorded"),
                          (own, "From kernels.csv: medians; the bounds are the 5% and 95% quantiles of the times "
                                "against each other")):
        if len(rows):
            found = _summary(rows)
            section.findings += found[:20] + ([f"and {len(found) - 20} more; see the table"] if len(found) > 20 else [])
            table = _ratio_table(rows, caption)
            table.after, table.folded = True, len(rows) > 40
            section.tables.append(table)
    if len(failed):
        keys = [name for name in ("op", "mechanism", "pass", _peer(failed), "status", "reason") if name in failed]
        table = data_table(failed.groupby(list(dict.fromkeys(keys))).size().reset_index(name="shapes"),
                           f"{len(failed)} shapes without a ratio, and why")
        table.after, table.folded = True, True
        section.tables.append(table)
    return section


def kernel_section(kernels: pd.DataFrame) -> Section:
    section = Section("kernels", "Kernels")
    ok = kernels[kernels["status"] == "ok"]
    section.paragraphs.append(f"{len(ok)} measured points of {', '.join(sorted(ok['op'].unique())) or 'nothing'}. "
                              "Speeds count the FLOP of the formulas, not those that an implementation executes.")
    throttled = int((~ok["throttled"].isin(["", "0", "off", "no", "false"])).sum())
    if throttled:
        section.findings.append(f"{throttled} points were measured while the clock was throttled: do not compare them.")
        section.warning = True
    if (ok["marks"] != "").any():
        section.findings.append(
            f"{int((ok['marks'] != '').sum())} points are marked: {count_marks(ok['marks'])}. busy: other processes "
            "used the cores during the point or its roof, so do not compare it; cached: above the roof of the memory, "
            "as its operands were in a cache; above_roof: above a roof, measured twice.")
        section.warning = section.warning or bool(ok["marks"].str.contains("busy|above_roof").any())
    wide = int((ok["error_ratio"] > 3).sum())
    if wide:
        section.findings.append(f"{wide} points have an error_ratio above 3, the bound for gradients.")
        section.warning = True
    lost = kernels[kernels["status"] != "ok"]
    if len(lost):
        reasons = lost.groupby(["status", "implementation", "mechanism", "reason"]).size().reset_index(name="points")
        table = data_table(reasons.sort_values("points", ascending=False),
                           f"{len(lost)} points without a result, and why")
        table.after, table.folded = True, True
        section.tables.append(table)
    shown = ok.loc[:, [name for name in ok.columns if name not in ("status", "reason")
                       and ok[name].astype(str).nunique() > 1]]
    table = data_table(shown, "Every measured point (columns that vary)")
    table.after, table.folded = True, True
    section.tables.append(table)
    return section
