"""Reads eabench's safetensors files with NumPy alone, so that the peers need no package beyond their frameworks."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

DTYPES = {"F32": np.float32, "F64": np.float64, "I32": np.int32, "I64": np.int64}


def read_header(path: Path) -> tuple[dict, int]:
    """The file's JSON header, and the offset of the tensors' bytes."""
    with open(path, "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        if length > path.stat().st_size:
            raise ValueError(f"{path}: not a safetensors file")
        return json.loads(file.read(length)), 8 + length


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    header, begin = read_header(path)
    data = path.read_bytes()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        first, last = (begin + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(data[first:last], DTYPES[entry["dtype"]]).reshape(entry["shape"]).copy()
    return tensors
