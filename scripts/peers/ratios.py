"""Computes ratios with intervals, and the rows of kernels.csv and throughput.csv, from pairs.csv.

For the folder of a run on another machine: cd scripts && python3 -m peers.ratios FOLDER
"""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path

import numpy as np

SHAPE = ("op", "mechanism", "dtype", "pass", "batch", "heads", "context", "head_dim", "causal", "position", "layers",
         "d_model")
RATIO_COLUMNS = (*SHAPE, "implementation", "fleet", "status", "reason", "pairs", "ratio", "ratio_low", "ratio_high",
                 "ours", "theirs", "unit")


def keep_template(out: Path, row: dict, name: str = "kernels") -> None:
    """Keeps a row that eabench wrote. The peers' rows take its columns, its device and the cost of a shape from it."""
    path = out / f"{name}-ours.csv"
    new = not path.exists()
    with open(path, "a", newline="") as file:
        table = csv.DictWriter(file, list(row))
        if new:
            table.writeheader()
        table.writerow(row)


def student_t(freedom: int) -> float:
    """The 97.5 % quantile of Student's t; NaN where SciPy is missing (then compute the intervals elsewhere)."""
    try:
        from scipy import stats
    except ImportError:
        return math.nan
    return float(stats.t.ppf(0.975, freedom))


def interval(ratios: list[float]) -> tuple[float, float, float]:
    """Geometric mean and its 95 % interval by Student's t on the logarithms, since pairs are few; NaN for one pair."""
    logs = np.log(np.asarray(ratios))
    mean, count = float(logs.mean()), len(logs)
    half = student_t(count - 1) * float(logs.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def read(path: Path) -> list[dict]:
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def number(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def ratio_rows(pairs: list[dict]) -> list[dict]:
    """One row for each shape and peer; above 1 eabench is that many times as fast."""
    groups: dict[tuple, list[dict]] = {}
    for pair in pairs:
        groups.setdefault(tuple(pair[name] for name in (*SHAPE, "implementation", "fleet")), []).append(pair)
    rows = []
    for key, group in groups.items():
        row = dict(zip((*SHAPE, "implementation", "fleet"), key))
        good = [pair for pair in group if pair["status"] == "ok"]
        if not good:
            rows.append({**row, "status": group[-1]["status"], "reason": group[-1]["reason"], "pairs": 0})
            continue
        training = row["op"] == "training"
        ours, theirs = (np.array([float(pair[f"{who}_{'tokens_per_s' if training else 'us'}"]) for pair in good])
                        for who in ("ours", "theirs"))
        mean, low, high = interval(list(ours / theirs if training else theirs / ours))
        rows.append({**row, "status": "ok", "reason": "", "pairs": len(good), "ratio": number(mean),
                     "ratio_low": number(low), "ratio_high": number(high), "ours": number(float(np.median(ours))),
                     "theirs": number(float(np.median(theirs))), "unit": "tokens/s" if training else "us"})
    return rows


def _write(path: Path, columns: list[str], rows: list[dict]) -> None:
    with open(path, "w", newline="") as file:
        table = csv.DictWriter(file, columns, restval="", extrasaction="ignore", lineterminator="\r\n")
        table.writeheader()
        table.writerows(rows)


def _median(rows: list[dict], name: str) -> float:
    return float(np.median([float(row[name]) for row in rows]))


def kernel_rows(pairs: list[dict], ours: list[dict]) -> tuple[list[str], list[dict]]:
    """One row for each shape and implementation: medians over its pairs; eabench counts the cost of a shape."""
    if not ours:
        return [], []
    key = ("mechanism", "dtype", "pass", "batch", "heads", "context", "head_dim", "causal", "position")
    by_shape: dict[tuple, list[dict]] = {}
    for row in ours:
        by_shape.setdefault(tuple(row[name] for name in key), []).append(row)
    rows, times = [], ("time_median_us", "time_p05_us", "time_p95_us")
    for shape, measured in by_shape.items():
        good = [row for row in measured if row["status"] == "ok"]
        if not good:
            rows.append(measured[-1])
            continue
        samples = sum(int(row["samples"]) for row in good)
        own = {**good[0], "samples": samples, "throttled": max(row["throttled"] for row in good),
               "marks": " ".join(sorted({mark for row in good for mark in row.get("marks", "").split()}))}
        for name in (*times, "tflop_per_s", "gbyte_per_s", "roof_fraction", "median_error"):
            known = [row for row in good if row[name]]
            own[name] = number(_median(known, name)) if known else ""
        rows.append(own)
        mine = [pair for pair in pairs if pair["op"] == "attention" and tuple(pair[name] for name in key) == shape]
        for implementation in dict.fromkeys(pair["implementation"] for pair in mine):
            group = [pair for pair in mine if pair["implementation"] == implementation]
            theirs = [pair for pair in group if pair["status"] == "ok"]
            row = {**own, "implementation": implementation, "memory_bytes": "", "error_ratio": "", "throttled": "",
                   "marks": "", "median_error": ""}
            if theirs:
                row.update({name: number(_median(theirs, "theirs_" + name[5:].replace("median_", "")))
                            for name in times})
                slower = float(row["time_median_us"]) / float(own["time_median_us"])
                for name in ("tflop_per_s", "gbyte_per_s", "roof_fraction"):
                    row[name] = number(float(own[name]) / slower) if own[name] else ""
                row["samples"] = sum(int(pair["theirs_samples"]) for pair in theirs)
            else:
                row = {name: value if name in (*key, "backend", "device", "op", "implementation", "cache") else ""
                       for name, value in row.items()}
                row.update(status=group[-1]["status"], reason=group[-1]["reason"])
            rows.append(row)
    return list(ours[0]), rows


def throughput_rows(ratios: list[dict], ours: list[dict]) -> tuple[list[str], list[dict]]:
    """One row for each model and implementation, `tokens_per_s` of one core; eabench has one row for each model."""
    if not ours:
        return [], []
    columns, rows = [*ours[0], "implementation"], []
    key = ("mechanism", "layers", "d_model", "context", "batch")
    cost = {tuple(row[name] for name in key): row for row in ours}
    peaks: dict[str, float] = {}  # the largest measured peak: other programs only lower it
    for row in ours:
        peaks[row["device"]] = max(float(row["peak_gflop_per_s"] or 0), peaks.get(row["device"], 0.0))
    written = set()
    for ratio in (row for row in ratios if row["op"] == "training" and row["status"] == "ok"):
        shape = tuple(ratio[name] for name in key)
        template = cost[shape]
        workers = int(template["workers"]) if template["backend"] == "cpu" else 1
        for who, name, fleet in (("ours", "eabench", template["fleet"]),
                                 ("theirs", ratio["implementation"], ratio["fleet"])):
            if name == "eabench" and shape in written:
                continue
            written.add(shape)
            fleet_rate = float(ratio[who]) / workers
            gflop = fleet_rate * float(template["flop_per_token"]) / 1e9
            peak = peaks[template["device"]] or math.nan
            rows.append({**template, "peak_gflop_per_s": number(peak), "implementation": name, "fleet": fleet,
                         "train_s": "", "wall_s": "", "memory_bytes": "", "other_cores": "", "steal_cores": "",
                         "marks": "",
                         "tokens_per_s": number(fleet_rate / int(fleet)), "fleet_tokens_per_s": number(fleet_rate),
                         "gflop_per_s": number(gflop), "peak_fraction": number(gflop / peak)})
    return columns, rows


def show(rows: list[dict]) -> None:
    print("eabench's speed over the peer's, with a 95 % interval (Student's t over pairs); below 1 the peer is faster")
    for row in rows:
        if row["op"] == "training":
            shape = f"training  {row['mechanism']:10} d_model {row['d_model']:>3} layers {row['layers']}"
        else:
            shape = (f"attention {row['mechanism']:10} {row['pass']:8} {row['dtype']:7} context {row['context']:>5} "
                     f"head_dim {row['head_dim']:>3}")
        name = row["implementation"] + (f" x{row['fleet']}" if row["fleet"] not in ("", "1") else "")
        if row["status"] != "ok":
            found = f"{row['status']}: {row['reason']}"
        else:
            spread = f"[{float(row['ratio_low']):.3g}, {float(row['ratio_high']):.3g}]" if row["ratio_low"] else ""
            found = f"{float(row['ratio']):8.3g} {spread} {row['pairs']} pairs"
        print(f"{shape}  {name:18} {found}")


def write(out: Path) -> None:
    pairs = read(out / "pairs.csv")
    rows = ratio_rows(pairs)
    _write(out / "ratios.csv", list(RATIO_COLUMNS), rows)
    for name, (columns, lines) in (("kernels", kernel_rows(pairs, read(out / "kernels-ours.csv"))),
                                   ("throughput", throughput_rows(rows, read(out / "throughput-ours.csv")))):
        if lines:
            _write(out / f"{name}.csv", columns, lines)
    show(rows)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "pairs.csv").exists():
        sys.exit("peers.ratios: no pairs.csv; one folder of a run of scripts/peers/run.sh is allowed")
    write(Path(sys.argv[1]))
