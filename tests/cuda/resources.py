#!/usr/bin/env python3
"""Each CUDA kernel's registers, shared memory and spills, as ptxas reports them. The table is for sm_90a.

    resources.py --check CSV OBJECTS VERSION   exit 1 if a kernel spills on any architecture that was built, or if the
                                               table differs from the build
    resources.py --write CSV OBJECTS VERSION   writes the table

OBJECTS is the folder of the objects; kernels/cuda/keep_resources.sh writes a .ptxas file beside each. VERSION is
nvcc's. Numbers are compared only if the same version of nvcc wrote the table; spills always fail.
"""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

ARCHITECTURE = "sm_90a"
COLUMNS = ["file", "kernel", "registers", "shared_bytes", "stack_bytes", "spill_store_bytes", "spill_load_bytes"]


def demangle(names: list[str]) -> dict[str, str]:
    """Names as in the source, without anonymous namespace, return type, parameters; unchanged without c++filt."""
    try:
        text = subprocess.run(["c++filt"], input="\n".join(names), text=True, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return dict(zip(names, names))
    plain = (re.sub(r"\(anonymous namespace\)::|^void ", "", line) for line in text.splitlines())
    return dict(zip(names, (re.sub(r"\(.*", "", line) for line in plain)))


def read(path: Path) -> list[dict[str, str]]:
    """A row for each kernel and architecture."""
    rows, row = [], None
    for line in path.read_text().splitlines():
        if match := re.search(r"Compiling entry function '(\w+)' for '(\w+)'", line):
            row = {"file": path.name.removesuffix(".o.ptxas"), "kernel": match[1], "architecture": match[2]}
            rows.append(row)
        elif row is None:
            continue
        elif match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            if "stack_bytes" not in row:  # later lines are for functions that it calls
                row.update(stack_bytes=match[1], spill_store_bytes=match[2], spill_load_bytes=match[3])
        elif match := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            row.update(registers=match[1], shared_bytes=shared[1] if shared else "0")
    return rows


def collect(folder: Path) -> list[dict[str, str]]:
    rows = [row for path in sorted(folder.rglob("*.ptxas")) for row in read(path)]
    names = demangle([row["kernel"] for row in rows])
    for row in rows:
        row["kernel"] = names[row["kernel"]]
    return sorted(rows, key=lambda row: (row["file"], row["kernel"], row["architecture"]))


def of_table(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [row for row in rows if row["architecture"] == ARCHITECTURE]


def key(row: dict[str, str]) -> tuple[str, str]:
    return row["file"], row["kernel"]


def check(table: Path, rows: list[dict[str, str]], version: str) -> int:
    wrong = [f"{row['file']}: {row['kernel']} spills {row['spill_store_bytes']} bytes on {row['architecture']}"
             for row in rows if int(row["spill_store_bytes"]) or int(row["spill_load_bytes"])]
    lines = table.read_text().splitlines() if table.exists() else ["", ""]
    built_by = lines[0].removeprefix("# nvcc ").split(",")[0]
    if built_by == version:
        known = {key(row): row for row in csv.DictReader(lines[1:])}
        found = {key(row): row for row in of_table(rows)}
        wrong += [f"{k[0]}: {k[1]} is not in the table" for k in found.keys() - known.keys()]
        wrong += [f"{k[0]}: {k[1]} is in the table, but was not built" for k in known.keys() - found.keys()]
        wrong += [f"{k[0]}: {k[1]}: {column} is {found[k][column]}, {known[k][column]} in the table"
                  for k in found.keys() & known.keys() for column in COLUMNS[2:]
                  if found[k][column] != known[k][column]]
    else:
        print(f"nvcc {built_by} wrote the table, this is {version}: only spills are checked")
    for line in sorted(wrong):
        print(line)
    architectures = sorted({row["architecture"] for row in rows})
    print(f"{len(of_table(rows))} kernels on {' '.join(architectures)}, {len(wrong)} findings; "
          f"resources.py --write renews {table.name}")
    return 1 if wrong or not of_table(rows) else 0


def write(table: Path, rows: list[dict[str, str]], version: str) -> int:
    with table.open("w", newline="") as file:
        file.write(f"# nvcc {version}, {ARCHITECTURE}; renewed by tests/cuda/resources.py --write\n")
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(of_table(rows))
    print(f"{len(of_table(rows))} kernels in {table}")
    return 0 if of_table(rows) else 1


def main(arguments: list[str]) -> int:
    if len(arguments) != 4 or arguments[0] not in ("--check", "--write"):
        print(__doc__, file=sys.stderr)
        return 2
    table, folder, version = Path(arguments[1]), Path(arguments[2]), arguments[3]
    if not any(folder.rglob("*.ptxas")):
        print(f"no .ptxas files under {folder}", file=sys.stderr)
        return 3
    return (check if arguments[0] == "--check" else write)(table, collect(folder), version)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
