"""Computes the numbers of figures and tables from the rows of a group."""

from __future__ import annotations

import math

import pandas as pd

from . import stats
from .pool import BASELINE, Group, levels_of, mechanisms_of
from .tables import slowed


def at_best_rate(group: Group) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows at each mechanism's own best rate per level, and a table of those rates.

    Rates are chosen by validation accuracy and reported by held-out accuracy. With one accuracy for both, trying more
    rates would raise the result.
    """
    parts: list[pd.DataFrame] = []
    rates: list[dict[str, object]] = []
    for (mechanism, level), cells in group.rows.groupby(["mechanism", "level"], sort=False):
        rate, edge, grid = stats.choose_rate(cells["validation_accuracy"], cells["lr"])
        parts.append(cells[cells["lr"] == rate])
        rates.append({"mechanism": mechanism, "level": level, "lr": rate, "edge": edge, "rates_tried": grid,
                      "uneven": cells.groupby("lr")["seed"].nunique().nunique() > 1})
    chosen = pd.concat(parts, ignore_index=True) if parts else group.rows.iloc[:0]
    return chosen, pd.DataFrame(rates, columns=["mechanism", "level", "lr", "edge", "rates_tried", "uneven"])


def level_table(chosen: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
    """One row per level and mechanism, at the best rate."""
    table: list[dict[str, object]] = []
    rate_of = {(row.mechanism, row.level): row for row in rates.itertuples()}
    for level in levels_of(chosen):
        for mechanism in mechanisms_of(chosen):
            cells = chosen[(chosen["level"] == level) & (chosen["mechanism"] == mechanism)]
            if cells.empty:
                continue
            mean, low, high = stats.bootstrap_mean([cells["token_accuracy"]], bounds=(0, 1))
            solved = int(cells["solved"].sum())
            share_low, share_high = stats.wilson(solved, len(cells))
            rate = rate_of[mechanism, level]
            table.append({
                "level": level, "complexity_bits": cells["complexity_bits"].iloc[0], "mechanism": mechanism,
                "seeds": len(cells), "diverged": int((cells["status"] == "diverged").sum()),
                "lr": rate.lr, "rates_tried": rate.rates_tried, "lr_at_edge": bool(rate.edge),
                "token_accuracy": mean, "token_accuracy_low": low, "token_accuracy_high": high,
                "sequence_accuracy": cells["sequence_accuracy"].mean(),
                "rollout_accuracy": cells["rollout_accuracy"].mean(),
                "chance_accuracy": cells["chance_accuracy"].mean(), "seen_share": cells["seen_share"].mean(),
                "solved": solved, "solved_share": solved / len(cells),
                "solved_low": share_low, "solved_high": share_high,
                "median_steps_to_solve": stats.censored_median(cells["steps_to_solve"].to_numpy()),
            })
    return pd.DataFrame(table)


def curve_table(chosen: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
    """One row per complexity and mechanism: the points of the curves.

    Levels of equal complexity are one rung; their seeds are resampled level by level.
    """
    edges = set(rates.loc[rates["edge"], ["mechanism", "level"]].itertuples(index=False, name=None))
    table: list[dict[str, object]] = []
    known = chosen[chosen["complexity_bits"].notna()]
    for (bits, mechanism), cells in known.groupby(["complexity_bits", "mechanism"]):
        levels = [part for _, part in cells.groupby("level", sort=False)]
        mean, low, high = stats.bootstrap_mean([part["token_accuracy"] for part in levels], bounds=(0, 1))
        solved = int(cells["solved"].sum())
        share_low, share_high = stats.wilson(solved, len(cells))
        table.append({
            "mechanism": mechanism, "complexity_bits": bits, "levels": len(levels), "cells": len(cells),
            "token_accuracy": mean, "low": low, "high": high, "solved": solved, "solved_share": solved / len(cells),
            "solved_low": share_low, "solved_high": share_high, "chance_accuracy": cells["chance_accuracy"].mean(),
            "median_steps": stats.censored_median(cells["steps_to_solve"].to_numpy()),
            "lr_at_edge": any((mechanism, level) in edges for level in cells["level"].unique()),
        })
    order = {name: index for index, name in enumerate(mechanisms_of(chosen))}
    table.sort(key=lambda row: (order[row["mechanism"]], row["complexity_bits"]))
    return pd.DataFrame(table, columns=list(table[0]) if table else ["mechanism", "complexity_bits"])


def pair_table(chosen: pd.DataFrame) -> pd.DataFrame:
    """Differences to the baseline, paired by level and seed; level None is the mean over rungs of equal weight."""
    columns = ["mechanism", "level", "complexity_bits", "pairs", "baseline_accuracy", "accuracy", "difference",
               "low", "high"]
    table: list[dict[str, object]] = []
    by_seed = chosen.groupby(["mechanism", "level", "seed"], sort=False)["token_accuracy"].mean()
    names = mechanisms_of(chosen)
    for mechanism in names:
        if mechanism == BASELINE or BASELINE not in names:
            continue
        both = pd.concat({"base": by_seed[BASELINE], "new": by_seed[mechanism]}, axis=1, join="inner")
        both["difference"] = both["new"] - both["base"]
        parts: list[pd.DataFrame] = []
        rungs: list[dict[str, object]] = []
        bits_of = chosen.drop_duplicates("level").set_index("level")["complexity_bits"]
        for level in levels_of(chosen):
            if level not in both.index.get_level_values("level"):
                continue
            part = both.xs(level, level="level")
            parts.append(part)
            rungs.append(_pair_row(mechanism, level, bits_of[level], [part]))
        if parts:
            table += [_pair_row(mechanism, None, math.nan, parts), *rungs]
    return pd.DataFrame(table, columns=columns).astype({"level": object})


def _pair_row(mechanism: str, level: str | None, bits: float, parts: list[pd.DataFrame]) -> dict[str, object]:
    mean, low, high = stats.bootstrap_mean([part["difference"] for part in parts], bounds=(-1, 1))
    return {"mechanism": mechanism, "level": level, "complexity_bits": bits, "pairs": sum(map(len, parts)),
            "baseline_accuracy": sum(part["base"].mean() for part in parts) / len(parts),
            "accuracy": sum(part["new"].mean() for part in parts) / len(parts),
            "difference": mean, "low": low, "high": high}


FEW_PAIRS = 5       # a single rung with fewer pairs is not judged
NEGLIGIBLE = 0.005  # a smaller difference in accuracy does not count, even if significant


def verdict(row: object) -> str:
    """A row of pair_table in words."""
    if row.pairs < FEW_PAIRS:
        return "too few pairs"
    if math.isnan(row.low):
        return "one seed: no interval"
    if abs(row.difference) < NEGLIGIBLE:
        return "no clear difference"
    return "higher" if row.low > 0 else "lower" if row.high < 0 else "no clear difference"


THROUGHPUT_SETTING = ["backend", "device", "isa", "dtype", "layers", "d_model", "heads", "context", "batch", "fleet",
                      "workers"]


def throughput_groups(throughput: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each configuration, the largest first; the label names only the options that vary."""
    if throughput.empty:
        return []
    varying = [name for name in THROUGHPUT_SETTING if throughput[name].nunique() > 1]
    if not varying:
        return [("", throughput)]
    parts = []
    for values, part in throughput.groupby(varying, sort=False):
        parts.append((", ".join(f"{name}={value or '(none)'}" for name, value in zip(varying, values)), part))
    return sorted(parts, key=lambda item: (-len(item[1]), item[0]))


def median(values: pd.Series) -> float:
    """The median, or NaN if all are NaN (without numpy's warning)."""
    return float(values.median()) if values.notna().any() else math.nan


def undisturbed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that were not measured on a busy machine or while stopped; all of them if there are no others."""
    kept = rows[~slowed(rows)]
    return kept if len(kept) else rows


def throughput_table(label: str, rows: pd.DataFrame) -> pd.DataFrame:
    table: list[dict[str, object]] = []
    for mechanism in mechanisms_of(rows):
        every = rows[rows["mechanism"] == mechanism]
        cells = undisturbed(every)
        speed, share = cells["tokens_per_s"], cells["peak_fraction"]
        table.append({"configuration": label, "mechanism": mechanism, "cells": len(every),
                      "marked": int((every["marks"] != "").sum()),
                      "tokens_per_s": median(speed), "tokens_per_s_min": speed.min(), "tokens_per_s_max": speed.max(),
                      "fleet_tokens_per_s": median(cells["fleet_tokens_per_s"]),
                      "gflop_per_s": median(cells["gflop_per_s"]),
                      "peak_fraction": median(share), "peak_fraction_min": share.min(),
                      "peak_fraction_max": share.max()})
    return pd.DataFrame(table)
