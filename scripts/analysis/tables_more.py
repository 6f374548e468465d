"""Reads the tables that only some runs have: kernels.csv, ratios.csv (bench), curves.csv, geometry.csv (sweep).

Each is optional, may lack optional columns and may have further ones; fields are checked as in accuracy.csv.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from .tables import DEFAULT_LIMIT_MB, NUMBER, Checker, DataError, canonical, printable, read_csv

KERNEL_TEXT = ("op", "implementation", "status")
KERNEL_KEY = ("backend", "device", "op", "implementation", "mechanism", "dtype", "pass", "batch", "heads", "context",
              "head_dim", "causal", "position", "m", "n", "k", "transpose", "label", "cache")
KERNEL_NUMBERS = ("time_median_us", "time_p05_us", "time_p95_us", "gflop", "gbyte", "tflop_per_s", "gbyte_per_s",
                  "roof_fraction", "error_ratio", "tokens_per_s")
KERNEL_REQUIRED = (*KERNEL_TEXT, "mechanism", "dtype", "pass", "context", "head_dim", "time_median_us")
RATIO_REQUIRED = ("op", "ratio")  # eabench's speed over the peer's; `theirs` or `implementation` names the peer
CURVE_REQUIRED = ("cell", "step", "loss_nats", "validation_accuracy")
GEOMETRY_REQUIRED = ("cell", "layer", "head", "quantity", "low", "high", "value")
FILES = ("kernels.csv", "ratios.csv", "curves.csv", "geometry.csv")
MOST_MAP_BYTES = 64 << 20


@dataclass
class More:
    """The tables of all runs; a table that no run has is empty. `maps`: the file of attention maps of each cell."""

    kernels: pd.DataFrame
    ratios: pd.DataFrame
    curves: pd.DataFrame
    geometry: pd.DataFrame
    maps: dict[str, Path] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def _kernels(path: Path, limit_mb: int) -> tuple[pd.DataFrame, list[str]]:
    frame, warnings = read_csv(path, KERNEL_REQUIRED, limit_mb)
    for name in (*KERNEL_KEY, *KERNEL_NUMBERS, "reason", "throttled", "marks"):
        if name not in frame:
            frame[name] = ""
    check = Checker(path, frame)
    for name in KERNEL_TEXT:
        check.text(name)
    for name in (*KERNEL_KEY, "reason", "throttled", "marks"):
        check.text(name, needed=False)
    for name in KERNEL_NUMBERS:
        check.number(name, 0)
    for name in ("batch", "heads", "context", "head_dim"):
        frame[name] = frame[name].map(canonical)
    return frame[[*KERNEL_KEY, "status", "reason", "throttled", "marks", *KERNEL_NUMBERS]], warnings


def _ratios(path: Path, limit_mb: int) -> tuple[pd.DataFrame, list[str]]:
    frame, warnings = read_csv(path, RATIO_REQUIRED, limit_mb)
    check = Checker(path, frame)
    for name in frame.columns:
        if name != "_line":
            check.text(name, needed=False)
    frame = frame.rename(columns={f"ratio_{name}": name for name in ("low", "high") if name not in frame})
    check.frame = frame
    for name in ("ratio", "low", "high"):
        if name not in frame:
            frame[name] = ""
        check.number(name, 0)
    return frame.drop(columns="_line"), warnings


def _curves(path: Path, limit_mb: int) -> tuple[pd.DataFrame, list[str]]:
    frame, warnings = read_csv(path, CURVE_REQUIRED, limit_mb)
    check = Checker(path, frame)
    check.text("cell")
    check.number("step", 0, needed=True, whole=True)
    check.number("loss_nats", -math.inf)
    check.number("validation_accuracy", 0, 1)
    return frame[[*CURVE_REQUIRED]], warnings


def _geometry(path: Path, limit_mb: int) -> tuple[pd.DataFrame, list[str]]:
    frame, warnings = read_csv(path, GEOMETRY_REQUIRED, limit_mb)
    check = Checker(path, frame)
    for name in ("cell", "quantity"):
        check.text(name)
    for name in ("layer", "head"):
        check.number(name, 0, 65536, needed=True, whole=True)
    for name in ("low", "high", "value"):
        check.number(name, -math.inf)
    return frame[[*GEOMETRY_REQUIRED]], warnings


READERS = dict(zip(FILES, (_kernels, _ratios, _curves, _geometry)))


def is_bench(path: Path) -> bool:
    """Whether the folder is one of eabench bench or of the peers, which have speeds and no accuracies."""
    return not (path / "accuracy.csv").exists() and any((path / name).is_file()
                                                        for name in ("kernels.csv", "ratios.csv"))


def read_more(paths: list[Path], limit_mb: int = DEFAULT_LIMIT_MB) -> More:
    frames: dict[str, list[pd.DataFrame]] = {name: [] for name in FILES}
    more = More(*(pd.DataFrame(columns=list(columns)) for columns in (
        (*KERNEL_KEY, "status", "reason", "throttled", "marks", *KERNEL_NUMBERS, "run"),
        (*RATIO_REQUIRED, "low", "high"), CURVE_REQUIRED, GEOMETRY_REQUIRED)))
    for path in dict.fromkeys(paths):
        for name, read in READERS.items():
            if (path / name).exists():
                frame, warnings = read(path / name, limit_mb)
                more.warnings += warnings
                if "cell" in frame:  # of a cell in several runs the first counts, as in the pool
                    frame = frame[~frame["cell"].isin({cell for part in frames[name] for cell in part["cell"]})]
                if name == "kernels.csv":  # times of different runs are not measured side by side
                    frame = frame.assign(run=printable(str(path), 200))
                if len(frame):
                    frames[name].append(frame)
        if (path / "geometry").is_dir():
            more.maps = {**{file.stem: file for file in sorted((path / "geometry").glob("*.safetensors"))}, **more.maps}
    for name, parts in frames.items():
        if parts:
            setattr(more, name.removesuffix(".csv"),
                    pd.concat(parts, ignore_index=True).drop_duplicates(ignore_index=True))
    return more


def read_attention(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Attention of the first example sequence [layers][heads][context][context] and its tokens [context + 1]."""
    from safetensors import SafetensorError, safe_open  # a report without maps does not need it

    try:
        if not path.is_file() or path.stat().st_size > MOST_MAP_BYTES:
            raise DataError(f"{path}: larger than {MOST_MAP_BYTES >> 20} MiB or not a regular file")
        with safe_open(path, framework="numpy") as file:
            maps = file.get_slice("attention")
            shape, kind = maps.get_shape(), maps.get_dtype()
            if len(shape) != 5 or min(shape) < 1 or shape[3] != shape[4] or kind != "F32":
                raise DataError(f"{path}: attention is {kind} {json.dumps(shape)}; float32 "
                                "[sequences][layers][heads][context][context] is needed")
            tokens = file.get_tensor("tokens") if "tokens" in file.keys() else np.zeros((0, 0))
            attention = np.asarray(maps[0:1])[0]
    except (SafetensorError, OSError, ValueError) as error:
        reason = printable(str(error), 120)
        raise DataError(f"{path}: {reason}; a safetensors file with float32 attention is needed") from None
    if not np.isfinite(attention).all():
        raise DataError(f"{path}: attention holds values that are not finite")
    return attention, tokens[0] if tokens.ndim == 2 and len(tokens) else np.zeros(0)


def as_number(text: str) -> float:
    return float(text) if NUMBER.fullmatch(text) else math.nan
