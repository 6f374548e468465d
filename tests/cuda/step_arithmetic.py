#!/usr/bin/env python3
"""The bytes and operations of a fleet's training step, and their times at an H200's documented peaks: the table of
docs/cuda.md. Nothing here is measured.

    python3 tests/cuda/step_arithmetic.py             prints the table
    python3 tests/cuda/step_arithmetic.py --check     compares it with docs/cuda.md; exit 1 if they differ

Bytes: each operand of an operation is read or written once, weights (13,808 reals a member) included. Data that the
next operation finds in the second-level cache (50 MB of about 200) count too. FLOPs: two for each multiply-add of a
product; for attention, lane instructions instead, because its weights are not products.
"""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs/cuda.md"
BYTES_PER_S, FLOP_PER_S = 4.8e12, 67e12
LANE_INSTRUCTIONS_PER_S = FLOP_PER_S / 2  # one multiply-add of a lane: 132 multiprocessors x 128 lanes x 1.98 GHz
MUFU_PER_S = FLOP_PER_S / 16  # 16 of 128 lanes
LAUNCH_S = 1.5e-6  # between two kernels of a graph: an assumption

MEMBERS, BATCH, CONTEXT, D, HEADS, MLP, VOCAB = 512, 32, 24, 32, 4, 128, 16
ROWS = MEMBERS * BATCH * CONTEXT
PARAMETERS = VOCAB * D + (2 * D + D * 3 * D + 3 * D + D * D + D) + (2 * D + D * MLP + MLP + MLP * D + D)
PARAMETERS += 2 * D + D * VOCAB + VOCAB
PAIRS = MEMBERS * BATCH * HEADS * CONTEXT * (CONTEXT + 1) // 2


def product(reads, writes, inner, outer, weights):
    """Reals read and written per row, the two sizes of the weight, and how often its reals are moved."""
    return {"reals": ROWS * (reads + writes) + weights * MEMBERS * inner * outer, "flop": 2 * ROWS * inner * outer}


def rows(reals, launches=1):
    return {"reals": ROWS * reals, "launches": launches}


def linear_backward(name, inner, outer, extra=0):
    """A linear map's backward pass: weights, bias, input (with `extra` reals a row for the activation's slope)."""
    return [
        (f"{name}: gradient of the weights", product(inner + outer, 0, inner, outer, 2)),
        (f"{name}: gradient of the bias", rows(outer)),
        (f"{name}: gradient of the input", product(outer + extra, inner, inner, outer, 1)),
    ]


NORM, NORM_BACKWARD = rows(3 * D + 1), rows(4 * D + 1, 2)
STEP = [
    ("draw tokens", {"reals": ROWS * 5, "launches": 2, "least_s": 10e-6}),
    ("embedding", rows(D + 1)),
    ("norm", NORM),
    ("q, k, v", product(D, 3 * D, D, 3 * D, 1)),
    ("attention", {"reals": ROWS * (4 * D + HEADS), "lanes": 30 * PAIRS, "mufu": PAIRS}),
    ("attention's output, added to x", product(2 * D, D, D, D, 1)),
    ("norm", NORM),
    ("up, relu", product(D, MLP, D, MLP, 1)),
    ("down, added to x", product(MLP + D, D, MLP, D, 1)),
    ("norm", NORM),
    ("logits", product(D, VOCAB, D, VOCAB, 1)),
    ("loss and its gradient", rows(2 * VOCAB + 1, 2)),
    *linear_backward("logits", D, VOCAB),
    ("zero dx", rows(D)),
    ("norm, backward", NORM_BACKWARD),
    *linear_backward("down", MLP, D, MLP),
    *linear_backward("up", D, MLP),
    ("norm, backward", NORM_BACKWARD),
    *linear_backward("attention's output", D, D),
    ("attention, backward", {"reals": ROWS * (8 * D + HEADS), "lanes": 96 * PAIRS, "mufu": 2 * PAIRS}),
    *linear_backward("q, k, v", D, 3 * D),
    ("norm, backward", NORM_BACKWARD),
    ("embedding, backward", rows(D + 1)),
    ("clip, AdamW", {"reals": 9 * MEMBERS * PARAMETERS, "launches": 3}),
]


def seconds(work):
    return max(
        4 * work["reals"] / BYTES_PER_S,
        work.get("flop", 0) / FLOP_PER_S,
        work.get("lanes", 0) / LANE_INSTRUCTIONS_PER_S,
        work.get("mufu", 0) / MUFU_PER_S,
        work.get("least_s", 0),
    )


def table():
    lines = ["| operation | launches | MB | GFLOP | us at the peaks | limit |", "|---|---|---|---|---|---|"]
    launches = moved = flop = time = 0
    for name, work in STEP:
        count, own_s = work.get("launches", 1), seconds(work)
        by_memory = own_s <= 4 * work["reals"] / BYTES_PER_S
        limit = "memory" if by_memory else "latency" if own_s == work.get("least_s") else "FMA"
        launches, moved = launches + count, moved + 4 * work["reals"]
        flop, time = flop + work.get("flop", 0), time + own_s
        gflop = f"{work['flop'] / 1e9:.1f}" if "flop" in work else ""
        lines.append(f"| {name} | {count} | {4 * work['reals'] / 1e6:.0f} | {gflop} | {own_s * 1e6:.0f} | {limit} |")
    lines.append(f"| **sum** | {launches} | {moved / 1e6:.0f} | {flop / 1e9:.1f} | {time * 1e6:.0f} | |")
    tokens = ROWS / 1e6
    for name, share in (("at the peaks", 1), ("at 70 % of each peak", 0.7), ("at 50 %", 0.5)):
        step_s = time / share + launches * LAUNCH_S
        rate = f"{tokens / step_s:.0f} million tokens/s"
        lines.append(f"| with {LAUNCH_S * 1e6:.1f} us a launch, {name} | | | | {step_s * 1e6:.0f} | {rate} |")
    return "\n".join(lines)


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        if table() in DOCS.read_text(encoding="utf-8"):
            return 0
        print(f"{DOCS.name} has a table that differs from this one:\n{table()}", file=sys.stderr)
        return 1
    print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
