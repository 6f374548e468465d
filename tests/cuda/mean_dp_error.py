#!/usr/bin/env python3
"""How far ea's gradients are off in bf16 if D = sum_j a_ij dp_ij is taken from the rounded output, and if rows of few
keys take it from their weights (kernels/cuda/attention_flash_backward.h). Needs NumPy.

    mean_dp_error.py

150 random causal problems of context 130 and head_dim 64 in float64; only the inputs, and the output where D is taken
from it, are rounded. Prints the median and the largest error of dq and dk, relative to their norms.
"""

from __future__ import annotations

import numpy as np

CONTEXT, HEAD_DIM, PROBLEMS = 130, 64, 150
FLOOR = 2.0**-24


def rounded(values: np.ndarray) -> np.ndarray:
    """To bf16, to the nearest, ties to even."""
    bits = values.astype(np.float32).view(np.uint32)
    bits = (bits + ((bits >> 16 & 1) + 0x7FFF)) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)


def errors(generator: np.random.Generator, few_keys: int) -> tuple[float, float]:
    q, k, v, dout = (rounded(generator.standard_normal((CONTEXT, HEAD_DIM))) for _ in range(4))
    z, allowed = q @ k.T, np.tril(np.ones((CONTEXT, CONTEXT)))
    weight = (z * z / (1 + z * z) + FLOOR) * allowed
    share = 2 * z / (1 + z * z) ** 2 * allowed / weight.sum(axis=1, keepdims=True)
    a, dp = weight / weight.sum(axis=1, keepdims=True), dout @ v.T
    exact = (a * dp).sum(axis=1, keepdims=True)
    from_out = (dout * rounded(a @ v)).sum(axis=1, keepdims=True)
    taken = np.where(np.arange(CONTEXT)[:, None] < few_keys, exact, from_out)
    right, wrong = share * (dp - exact), share * (dp - taken)
    pairs = ((right @ k, wrong @ k), (right.T @ q, wrong.T @ q))
    dq, dk = (float(np.linalg.norm(good - bad) / np.linalg.norm(good)) for good, bad in pairs)
    return dq, dk


def main() -> None:
    for few_keys in (0, 16):
        generator = np.random.default_rng(1)
        found = np.array([errors(generator, few_keys) for _ in range(PROBLEMS)])
        print(f"D from the weights of rows of at most {few_keys:2} keys: " + ", ".join(
            f"{name} median {np.median(column):.1e}, largest {column.max():.1e}"
            for name, column in zip(("dq", "dk"), found.T)))


if __name__ == "__main__":
    main()
