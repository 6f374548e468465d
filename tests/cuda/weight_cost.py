#!/usr/bin/env python3
"""Counts the instructions of a weight in the flash kernels, in the machine code of weight_cost.cu.

    weight_cost.py [ARCHITECTURE]      default: sm_90a

Needs nvcc, cuobjdump and nvdisasm on the PATH (or named by NVCC and so on). Prints a Markdown table: instructions per
weight, less those of a kernel that only moves the same data, and the clocks that a Hopper multiprocessor needs to
issue them (128 lane instructions a clock) and to execute their MUFU (16 a clock). kernels/cuda/README.md has the
results and conclusions.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import sass

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = 64  # a thread
SHOWN = ("MUFU", "FFMA", "FMUL", "FADD", "FMNMX")
LANES_PER_CLOCK, MUFU_PER_CLOCK = 128, 16


def disassemble(architecture: str) -> dict[str, list[sass.Instruction]]:
    nvcc = sass.tool("nvcc") or sys.exit("weight_cost.py: no nvcc on the PATH; NVCC names one")
    with tempfile.TemporaryDirectory() as folder:
        cubin = str(Path(folder) / "weight_cost.cubin")
        subprocess.run([nvcc, "-std=c++17", "-cubin", f"-arch={architecture}", f"-I{ROOT}", "-o", cubin,
                        str(ROOT / "tests/cuda/weight_cost.cu")], check=True)
        return sass.disassemble(cubin, architecture)


def count(functions: dict[str, list[sass.Instruction]]) -> dict[str, Counter[str]]:
    """Instructions of each way_ kernel by their first word, from its entry to the last EXIT."""
    counts: dict[str, Counter[str]] = {}
    for name, code in functions.items():
        words = [instruction.word for instruction in code]
        end = max(i for i, word in enumerate(words) if word == "EXIT")
        counts[name.removeprefix("way_")] = Counter(word for word in words[:end] if word not in ("NOP", "BRA"))
    return counts


def main(arguments: list[str]) -> int:
    counts = count(disassemble(arguments[0] if arguments else "sm_90a"))
    base = counts.pop("nothing")
    print("| weight | " + " | ".join(SHOWN) + " | other | all | issue, clk | MUFU, clk |")
    print("|---|" + "---|" * (len(SHOWN) + 4))
    for name, found in counts.items():
        extra = Counter({word: (found[word] - base[word]) / WEIGHTS for word in found.keys() | base.keys()})
        total, mufu = sum(extra.values()), extra["MUFU"]
        other = total - sum(extra[word] for word in SHOWN)
        cells = [f"{extra[word]:.2f}" for word in SHOWN] + [f"{other:.2f}", f"{total:.2f}",
                 f"{total / LANES_PER_CLOCK:.3f}", f"{mufu / MUFU_PER_CLOCK:.3f}"]
        print(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
