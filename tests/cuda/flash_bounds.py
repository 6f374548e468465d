#!/usr/bin/env python3
"""Upper bounds of the flash kernels' speed on an H100, from the instructions of their main loops for sm_90a.

    flash_bounds.py --check CSV OBJECTS VERSION   exit 1 if a bound is more than 1 % below the table's, or a kernel is
                                                  missing in either; 77 without cuobjdump
    flash_bounds.py --write CSV OBJECTS VERSION   writes the table
    flash_bounds.py --few-keys OBJECTS            what D costs in rows of few keys (attention_flash_backward.h)

OBJECTS is the folder of the objects, VERSION is nvcc's. Bounds are compared only if the same version wrote the table.

The main loop adds one tile of columns to a warp's rows. Counted is the path with all matrix instructions and all
asynchronous copies and the fewest others: full tiles, no mask, the default scale, no rescaling. A multiprocessor
issues 4 instructions a clock; it executes 16 lanes of MUFU, moves 128 bytes of shared memory (a shuffle counts as 128),
and computes 2,048 multiply-adds of 16 bits, of which mma.sync reaches 62 % (README.md). The resource that needs the
most clocks sets the bound. Waiting for results, for memory and for other warps only adds.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter
from pathlib import Path

import sass
from resources import demangle

FILES = ("attention_flash_forward_bf16.cu.o", "attention_flash_backward_bf16.cu.o")
CLOCKS = ("issue", "mufu", "shared", "tensor")
COLUMNS = ["kernel", "instructions", "hmma", "mufu_instructions", "shared_bytes", *(f"{name}_clk" for name in CLOCKS),
           "limit", "tflop_per_s"]
# H100 SXM: 132 multiprocessors; the data sheet's 989.4 TFLOP/s of dense bf16 are 2,048 multiply-adds at 1.83 GHz.
MULTIPROCESSORS, HERTZ, MULTIPLY_ADDS = 132, 1.83e9, 2048
MMA_SYNC = 0.62
TOLERANCE = 0.01


def shared_bytes(instruction: sass.Instruction) -> int:
    """Bytes that a warp moves."""
    parts = instruction.opcode.split(".")
    if parts[0] == "LDSM":  # the last part is the number of 8 x 8 matrices
        return 128 * int(parts[-1])
    if parts[0] in ("LDS", "STS", "LDGSTS") and not instruction.operands.startswith("RZ"):  # @!PT LDS RZ never runs
        bits = [int(match[1]) for part in parts if (match := re.fullmatch(r"[US]?(8|16|32|64|128)", part))]
        return 32 * (bits[0] if bits else 32) // 8
    return 128 if parts[0] == "SHFL" else 0


def products_a_tile(name: str) -> tuple[int, int]:
    """mma instructions of a warp and tile of columns, and columns of a tile per span, from a kernel's name."""
    dim, _, tiles, columns, span, *_ = map(int, re.search(r"eab_flash_shape<([\d, ]+)>", name)[1].split(","))
    products = 2 if "forward" in name else 4 if name.rstrip("> ").endswith("true") else 3
    return products * 16 * tiles * columns * dim // (16 * 8 * 16), columns // span


def main_loop(name: str, code: list[sass.Instruction]) -> Counter[str]:
    """Opcodes of the main loop's path for one tile of columns; `shared_bytes` among them."""
    found = [loop for loop in sass.loops(code) if any(code[i].word == "HMMA" for i in range(loop.first, loop.last))]
    tile = found[0]  # the spans of a tile may be a loop inside it
    expected, spans = products_a_tile(name)
    inner = range(found[1].first, found[1].last + 1) if len(found) > 1 else range(0)

    def value(i: int) -> tuple[int, int, int]:
        times = spans if i in inner else 1
        return times * (code[i].word == "HMMA"), code[i].word == "LDGSTS", -times

    counts: Counter[str] = Counter()
    for i in sass.path(code, tile, value):
        times = spans if i in inner else 1
        counts[code[i].word] += times
        counts["instructions"] += times
        counts["shared_bytes"] += times * shared_bytes(code[i])
    if counts["HMMA"] != expected:
        sys.exit(f"flash_bounds.py: {name}: {counts['HMMA']} matrix instructions a tile, not {expected}: "
                 f"the main loop is not recognized")
    return counts


def row_of(name: str, code: list[sass.Instruction]) -> dict[str, str]:
    counts = main_loop(name, code)
    hmma, clocks = counts["HMMA"], {}
    clocks["issue"] = counts["instructions"] / 4
    clocks["mufu"] = counts["MUFU"] * 32 / 16
    clocks["shared"] = counts["shared_bytes"] / 128
    clocks["tensor"] = hmma / MMA_SYNC  # one instruction is 2,048 multiply-adds
    limit = max(clocks, key=lambda resource: clocks[resource])
    speed = MULTIPROCESSORS * HERTZ * 2 * MULTIPLY_ADDS * hmma / clocks[limit] / 1e12
    return {"kernel": name, "instructions": str(counts["instructions"]), "hmma": str(hmma),
            "mufu_instructions": str(counts["MUFU"]), "shared_bytes": str(counts["shared_bytes"]),
            **{f"{resource}_clk": f"{clock:.0f}" for resource, clock in clocks.items()},
            "limit": limit, "tflop_per_s": f"{speed:.0f}"}


def functions(folder: Path) -> dict[str, list[sass.Instruction]]:
    found = {name: code for file in FILES for path in sorted(folder.rglob(file))
             for name, code in sass.disassemble(path).items()}
    names = demangle(list(found))
    return {names[name]: code for name, code in found.items()}


def measure(folder: Path) -> list[dict[str, str]]:
    return [row_of(name, code) for name, code in sorted(functions(folder).items()) if "eab_flash_shape<" in name]


def check(table: Path, folder: Path, version: str) -> int:
    lines = table.read_text().splitlines()
    built_by = lines[0].removeprefix("# nvcc ").split(",")[0]
    if built_by != version:
        print(f"nvcc {built_by} wrote {table.name}, this is {version}: the bounds are not compared")
        return 0
    known = {row["kernel"]: row for row in csv.DictReader(lines[1:])}
    found = {row["kernel"]: row for row in measure(folder)}
    wrong = [f"{name} is not in the table" for name in found.keys() - known.keys()]
    wrong += [f"{name} is in the table, but was not built" for name in known.keys() - found.keys()]
    for name in found.keys() & known.keys():
        now, before = float(found[name]["tflop_per_s"]), float(known[name]["tflop_per_s"])
        if now < before * (1 - TOLERANCE):
            wrong.append(f"{name}: at most {now:.0f} TFLOP/s by {found[name]['limit']}, {before:.0f} in the table")
    for line in sorted(wrong):
        print(line)
    print(f"{len(found)} kernels, {len(wrong)} findings; flash_bounds.py --write renews {table.name}")
    return 1 if wrong or not found else 0


def write(table: Path, folder: Path, version: str) -> int:
    rows = measure(folder)
    with table.open("w", newline="") as file:
        file.write(f"# nvcc {version}, sm_90a, of a warp and tile of columns; renewed by tests/cuda/flash_bounds.py "
                   "--write\n")
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} kernels in {table}")
    return 0 if rows else 1


def few_keys(folder: Path) -> int:
    """Instructions of eab_flash_mean_dp a key, of rows that compute D from their weights."""
    for name, code in sorted(functions(folder).items()):
        if "eab_flash_mean_dp" not in name:
            continue
        every = sass.loops(code)
        outer = [loop for loop in every if any(loop.first < other.first and other.last < loop.last for other in every)]
        for loop in outer:
            inside = [other for other in every if loop.first < other.first and other.last < loop.last]
            once = len(sass.path(code, loop, lambda i: (any(o.first <= i <= o.last for o in inside), -1)))
            bodies = [len(sass.path(code, other, lambda i: (-1,))) for other in inside]
            print(f"{name}: a key takes {once - sum(bodies)} instructions, and {sum(bodies)} for each 32 elements of "
                  f"head_dim")
    return 0


def main(arguments: list[str]) -> int:
    if not (len(arguments) == 4 and arguments[0] in ("--check", "--write") or
            len(arguments) == 2 and arguments[0] == "--few-keys"):
        print(__doc__, file=sys.stderr)
        return 2
    if not sass.tool("cuobjdump") or not sass.tool("nvdisasm"):
        print("skipped: no cuobjdump and nvdisasm; scripts/requirements-dev.txt names packages that have them")
        return 77
    if arguments[0] == "--few-keys":
        return few_keys(Path(arguments[1]))
    return (check if arguments[0] == "--check" else write)(Path(arguments[1]), Path(arguments[2]), arguments[3])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
