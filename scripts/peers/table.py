"""Prints the tables of docs/benchmarks.md from a run's ratios.csv: python3 scripts/peers/table.py results/MACHINE/peers

A field of a table is eabench's speed over the peer's: the range over the shapes of its row, and in brackets the number
of shapes where the peer is faster (the interval lies below 1). A line for each goal follows: how many shapes reach it,
and the worst shape. Last comes every shape below its goal with the shares of the peak (kernels.csv, throughput.csv):
the ratio cannot exceed one over the peer's share.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

SDPA = ("torch-sdpa-flash", "torch-sdpa-efficient", "torch-sdpa-cudnn", "torch-sdpa-math")
ATTENTION = {"PyTorch's fused attention, its best": SDPA, "plain PyTorch": ("torch-eager",),
             "FlexAttention": ("torch-flex",), "JAX, jit": ("jax-jit",)}
TRAINING = {"PyTorch, eager": ("torch-eager", "torch-eager-sdpa"), "`torch.compile`": ("torch-compile",),
            "`torch.func.vmap`": ("torch-vmap",), "JAX, jit": ("jax-jit",), "JAX, jit(vmap)": ("jax-vmap",)}
TORCH = ("torch-eager", "torch-eager-sdpa", "torch-compile", "torch-vmap")
SHAPE = ("op", "mechanism", "dtype", "pass", "batch", "heads", "context", "head_dim", "causal", "position", "layers",
         "d_model")


def best(rows: Iterable[dict], peers: tuple[str, ...]) -> list[dict]:
    """The fastest of these peers for each shape: the one with the smallest ratio."""
    least: dict[tuple, dict] = {}
    for row in rows:
        if row["status"] != "ok" or row["implementation"] not in peers:
            continue
        shape = tuple(row[name] for name in SHAPE)
        if shape not in least or float(row["ratio"]) < float(least[shape]["ratio"]):
            least[shape] = row
    return list(least.values())


def digits(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.1f}" if ratio >= 1.05 else f"{ratio:.2f}"


def cell(rows: list[dict], peers: tuple[str, ...]) -> str:
    found = best(rows, peers)
    if not found:
        reasons = {row["reason"] for row in rows if row["implementation"] in peers and row["status"] != "ok"}
        return "cannot" if reasons else "not measured"
    ratios = sorted(float(row["ratio"]) for row in found)
    low, high = digits(ratios[0]), digits(ratios[-1])
    lost = sum(bool(row["ratio_high"]) and float(row["ratio_high"]) < 1 for row in found)
    return (low if low == high else f"{low} to {high}") + (f" (slower on {lost} of {len(found)})" if lost else "")


def table(rows: list[dict], heading: str, columns: dict[str, tuple[str, ...]],
          groups: dict[str, Callable[[dict], bool]]) -> list[str]:
    names = [name for name, peers in columns.items() if any(row["implementation"] in peers for row in rows)]
    lines = [f"| {heading} | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    for name, belongs in groups.items():
        own = [row for row in rows if belongs(row)]
        if own:
            lines.append(f"| {name} | {' | '.join(cell(own, columns[column]) for column in names)} |")
    return lines if len(lines) > 2 else []


def describe(row: dict) -> str:
    if row["op"] == "training":
        return f"{row['mechanism']}, d_model {row['d_model']}, layers {row['layers']}"
    heads = int(row["batch"]) * int(row["heads"])
    shape = f"{row['mechanism']} {row['pass']}, context {row['context']}, head_dim {row['head_dim']}"
    return shape + (f", {heads} heads" if heads > 1 else "")


def goal(rows: list[dict], what: str, least: float, peers: tuple[str, ...]) -> tuple[str, list[dict]]:
    """The goal's line, and the rows below the goal."""
    found = sorted(best(rows, peers), key=lambda row: float(row["ratio"]))
    if not found:
        return f"- {what}: not measured.", []
    below = [row for row in found if float(row["ratio"]) < least]
    worst = found[0]
    interval = f" [{float(worst['ratio_low']):.3g}, {float(worst['ratio_high']):.3g}]" if worst["ratio_low"] else ""
    return (f"- {what}, {least:g} times: {len(found) - len(below)} of {len(found)} shapes; the least is "
            f"{float(worst['ratio']):.3g}{interval} ({describe(worst)}; {worst['implementation']})."), below


def shares(folder: Path) -> Callable[[dict], tuple[float, float] | None]:
    """A function of a row of ratios.csv: the shares of the peak that eabench and the peer reach; None if unknown."""
    models = ("mechanism", "layers", "d_model", "context", "batch")
    kernels = {(*(row[name] for name in SHAPE[:10]), row["implementation"]): row["roof_fraction"]
               for row in read(folder / "kernels.csv")}
    steps: dict[tuple, str] = {}
    for row in read(folder / "throughput.csv"):
        key = (*(row[name] for name in models), row["implementation"])
        steps[key, row["fleet"]] = steps[key] = row["peak_fraction"]  # eabench's row is found for any fleet

    def of(row: dict) -> tuple[float, float] | None:
        if row["op"] == "training":
            key = tuple(row[name] for name in models)
            own, theirs = steps.get((*key, "eabench")), steps.get(((*key, row["implementation"]), row["fleet"]))
        else:
            key = tuple(row[name] for name in SHAPE[:10])
            own, theirs = kernels.get((*key, "fused")), kernels.get((*key, row["implementation"]))
        return (float(own), float(theirs)) if own and theirs else None

    return of


def peak_goals(kernels: list[dict]) -> list[str]:
    """The goals for eabench's own rows: forward 0.6, backward 0.5 of the peak, from head_dim 64 and context 512."""
    lines = []
    for direction, least in (("forward", 0.6), ("backward", 0.5)):
        rows = [row for row in kernels if row["implementation"] == "fused" and row["pass"] == direction
                and row["roof_fraction"] and int(row["head_dim"]) >= 64 and int(row["context"]) >= 512]
        if rows:
            worst = min(rows, key=lambda row: float(row["roof_fraction"]))
            met = sum(float(row["roof_fraction"]) >= least for row in rows)
            lines.append(f"- {direction}, {least:g} of the peak from head_dim 64 and context 512: {met} of {len(rows)} "
                         f"shapes; the least is {float(worst['roof_fraction']):.3g} "
                         f"({describe({'op': 'attention', **worst})}).")
    return lines


def below_the_goal(below: list[tuple[float, dict]],
                   shares_of: Callable[[dict], tuple[float, float] | None]) -> list[str]:
    lines = []
    for least, row in below:
        own, theirs = shares_of(row) or (None, None)
        known = f"{own:.2f} | {theirs:.2f} | {1 / theirs:.1f} | {least * theirs:.2f}" if theirs else " | | | "
        lines.append(f"| {describe(row)}, over {row['implementation']} | {float(row['ratio']):.2f} of {least:g} | "
                     f"{known} |")
    heading = ["| below the goal | ratio | eabench's share of the peak | the peer's | largest possible ratio | share "
               "that the goal needs |", "|---" * 6 + "|"]
    return heading + lines if lines else []


def markdown(rows: list[dict], shares_of: Callable[[dict], tuple[float, float] | None] = lambda row: None,
             kernels: Iterable[dict] = ()) -> str:
    attention, training = ([row for row in rows if row["op"] == op] for op in ("attention", "training"))
    kinds = sorted({(row["mechanism"], int(row["context"]), int(row["batch"]) * int(row["heads"]), row["pass"])
                    for row in attention},
                   key=lambda kind: (kind[0], kind[1], -kind[2], kind[3] == "backward"))
    by_shape = {f"{mechanism}, {direction}, context {context:,}" + (f", {heads} heads" if heads > 1 else ""):
                lambda row, kind=(mechanism, context, heads, direction):
                (row["mechanism"], int(row["context"]), int(row["batch"]) * int(row["heads"]), row["pass"]) == kind
                for mechanism, context, heads, direction in kinds}
    by_model = {f"{mechanism}, d_model {width}":
                lambda row, key=(mechanism, str(width)): (row["mechanism"], row["d_model"]) == key
                for mechanism in ("dpa", "ea") for width in sorted({int(row["d_model"]) for row in training})}
    head_dims = sorted({int(row["head_dim"]) for row in attention})
    layers = sorted({int(row["layers"]) for row in training})
    heading = "attention, head_dim " + (f"{head_dims[0]} to {head_dims[-1]}" if len(head_dims) > 1
                                        else "".join(map(str, head_dims)))
    parts = [table(attention, heading, ATTENTION, by_shape),
             table(training, f"training, layers {', '.join(map(str, layers))}", TRAINING, by_model)]
    pairs = sorted({int(row["pairs"]) for row in rows if row["status"] == "ok"})
    dpa, ea = ([row for row in attention if row["mechanism"] == mechanism] for mechanism in ("dpa", "ea"))
    goals, below = ["Goals:", ""], []
    text, drawn = ([row for row in training if (row["position"] == "learned") == wanted] for wanted in (True, False))
    for of, what, least, peers in ((drawn, "training, over PyTorch's best", 5, TORCH),
                                   (drawn, "training, over JAX's best", 3, ("jax-jit", "jax-vmap")),
                                   (text, "training on text, over PyTorch's best", 3, TORCH),
                                   (dpa, "dpa, over PyTorch's fused attention", 1.5, SDPA),
                                   (ea, "ea, over plain PyTorch", 5, ("torch-eager",))):
        line, missed = goal(of, what, least, peers)
        goals.append(line)
        below += [(least, row) for row in missed]
    goals += peak_goals(list(kernels))
    notes = [f"From {pairs[0]}{f' to {pairs[-1]}' if len(pairs) > 1 else ''} pairs a ratio."] if pairs else []
    return "\n\n".join("\n".join(part) for part in [*parts, notes, goals, below_the_goal(below, shares_of)] if part)


def read(path: Path) -> list[dict]:
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(f"usage: table.py FOLDER\n{__doc__}" if "--help" in sys.argv
                 else "table.py: no folder; one folder of a run of scripts/peers/run.sh is allowed")
    folder = Path(sys.argv[1])
    if not (folder / "ratios.csv").exists():
        sys.exit(f"table.py: {folder / 'ratios.csv'}: no such file; scripts/peers/run.sh writes it")
    print(markdown(read(folder / "ratios.csv"), shares(folder), read(folder / "kernels.csv")))


if __name__ == "__main__":
    main()
