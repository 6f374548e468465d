#!/usr/bin/env python3
"""How well cells are dealt to many ranks, on paper: an event simulator fed with measured times.

    eabench sweep tasks/ladders/paper.ini --dry-run --list >cells.csv
    .venv/bin/python scripts/cluster/simulate_dealing.py cells.csv results/epyc-zen5/{quick,long,recurrence}

CELLS is the output of `eabench sweep --dry-run --list`: the cells in the order of training, with their work. RUNs are
run folders with measured cells. A cell's predicted time is its work divided by the rate of the measured cells of the
nearest size. Its simulated time is the prediction times the ratio of a randomly drawn measured cell's time to its own
prediction; most of the variation comes from solved cells, which stop early.

A rank that is free asks for the next fleet: the leader answers requests one after another, --fetch-us each, and the
answer is on its way for --latency-us (by default what was measured where one core trains and passes messages). A rank
starts after --startup-s. Efficiency is the sum of the cells' times by ranks times makespan.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

RANKS = (1, 8, 64, 512, 4096)


@dataclass(frozen=True)
class Measured:
    """What a machine was seen to do: rates by the work of a step, and the ratios of times to predicted times."""

    step_flop: np.ndarray  # of each shape, ascending
    flop_per_s: np.ndarray
    ratios: np.ndarray

    def predict(self, flop: np.ndarray, step_flop: np.ndarray) -> np.ndarray:
        """Seconds for this much work, in steps of this size."""
        distance = np.abs(np.log(step_flop)[:, None] - np.log(self.step_flop)[None, :])
        return flop / self.flop_per_s[np.argmin(distance, axis=1)]


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, strict=True))


def read_run(run: Path) -> np.ndarray:
    """Of cells that were trained one by one (a fleet's members share their time): a step's work, the rate, all work if
    not stopped, counted as --list does, and the time; [cells][4]."""
    seen: list[tuple[float, float, float, float]] = []
    if not (run / "accuracy.csv").exists() or not (run / "throughput.csv").exists():
        return np.empty((0, 4))
    options: dict[str, dict[str, str]] = {}
    for row in read_rows(run / "accuracy.csv"):
        options.setdefault(row["cell"], row)  # of a mixture the whole comes first
    for row in read_rows(run / "throughput.csv"):
        cell = options.get(row["cell"])
        if not cell or row["fleet"] != "1" or not row["gflop_per_s"] or not row["wall_s"]:
            continue
        token, steps = float(row["flop_per_token"]), int(cell["steps"])
        step = token * int(row["batch"]) * int(row["context"])
        evaluations = (math.ceil(steps / int(cell["eval_every"])) + 8) * (row["level"].count(" + ") + 1)
        seen.append((step, float(row["gflop_per_s"]) * 1e9,
                     step * steps + evaluations * int(cell["eval_tokens"]) * token / 3, float(row["wall_s"])))
    return np.array(seen).reshape(-1, 4)


def read_measured(runs: Sequence[Path]) -> Measured:
    """Ratios are to what the same run's rates predict: a machine that was busy throughout shows no spread by that. Of
    runs that have the same size the fastest tells its rate."""
    rates: dict[float, float] = {}
    ratios = []
    for run in runs:
        table = read_run(run)
        if not len(table):
            continue
        shapes = np.unique(table[:, 0])
        own = Measured(shapes, np.array([np.median(table[table[:, 0] == shape, 1]) for shape in shapes]), np.empty(0))
        ratios.append(table[:, 3] / own.predict(table[:, 2], table[:, 0]))
        for shape, rate in zip(own.step_flop, own.flop_per_s, strict=True):
            rates[shape] = max(rates.get(shape, 0.0), rate)
    if not ratios:
        raise SystemExit("simulate_dealing: no measured cells in these runs; folders with accuracy.csv and "
                         "throughput.csv of a sweep on processors are allowed")
    shapes = sorted(rates)
    return Measured(np.array(shapes), np.array([rates[shape] for shape in shapes]), np.concatenate(ratios))


def read_cells(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The fleet of each cell, its work and the work of a step, in the order of dealing."""
    rows = read_rows(path)
    if not rows or "flop_with_evaluation" not in rows[0]:
        raise SystemExit(f"simulate_dealing: {path}: no cells; what eabench sweep --dry-run --list prints is allowed")
    return (np.array([int(row["fleet"]) for row in rows]),
            np.array([float(row["flop_with_evaluation"]) for row in rows]),
            np.array([float(row["flop"]) / int(row["steps"]) for row in rows]))


def deal(times: Sequence[float], ranks: int, fetch_s: float = 0, latency_s: float = 0, startup_s: float = 0) -> float:
    """The makespan of dealing these fleets, in this order, to whoever is free first. Requests that come together wait
    for each other; the last one, which learns that nothing is left, costs nobody anything."""
    free = [startup_s] * ranks  # when each rank asks
    leader_s = makespan_s = 0.0
    for time_s in times:
        asked_s = heapq.heappop(free)
        leader_s = max(leader_s, asked_s) + fetch_s
        ended_s = leader_s + latency_s + time_s
        makespan_s = max(makespan_s, ended_s)
        heapq.heappush(free, ended_s)
    return makespan_s


def split(times: Sequence[float], work: Sequence[float], parts: int, startup_s: float = 0) -> float:
    """The makespan of that many shards (eabench sweep --shard), divided by the predicted work, the longest first."""
    loads = [(0.0, part) for part in range(parts)]
    spent = [startup_s] * parts
    for index in sorted(range(len(times)), key=lambda i: (-work[i], i)):
        load, part = loads[0]
        heapq.heapreplace(loads, (load + work[index], part))
        spent[part] += times[index]
    return max(spent)


@dataclass(frozen=True)
class Outcome:
    """Efficiencies of several draws; the makespan's mean."""

    ranks: int
    makespan_s: float
    dealt: np.ndarray
    any_order: np.ndarray
    shards: np.ndarray
    at_best: np.ndarray  # no order does better: the longest fleet takes its time, the ranks have to start


def simulate(cells: Path, measured: Measured, ranks: Sequence[int], draws: int, seed: int, fetch_s: float,
             latency_s: float, startup_s: float) -> tuple[list[Outcome], float]:
    fleet, work, step_flop = read_cells(cells)
    predicted = measured.predict(work, step_flop)
    generator = np.random.default_rng(seed)
    places = np.unique(fleet, return_inverse=True)[1]
    fleet_work = np.bincount(places, work)
    outcomes, total_s = [], 0.0
    drawn = [predicted * generator.choice(measured.ratios, len(predicted)) for _ in range(draws)]
    for count in ranks:
        dealt, shuffled, shards, at_best, makespans = [], [], [], [], []
        for times in drawn:
            fleets = np.bincount(places, times).tolist()
            total_s = sum(fleets)
            makespan_s = deal(fleets, count, fetch_s, latency_s, startup_s)
            unsorted = np.random.default_rng(seed).permutation(fleets).tolist()
            makespans.append(makespan_s)
            dealt.append(total_s / count / makespan_s)
            shuffled.append(total_s / count / deal(unsorted, count, fetch_s, latency_s, startup_s))
            shards.append(total_s / count / split(fleets, fleet_work.tolist(), count, startup_s))
            at_best.append(total_s / count / (startup_s + max(total_s / count, max(fleets))))
        outcomes.append(Outcome(count, float(np.mean(makespans)), *map(np.array, (dealt, shuffled, shards, at_best))))
    return outcomes, total_s


def duration(seconds: float) -> str:
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.1f} s"


def print_table(outcomes: Sequence[Outcome]) -> None:
    print(f"{'ranks':>6}  {'makespan':>9}  {'dealt':>7}  {'worst draw':>10}  {'at best':>7}  {'any order':>9}  "
          f"{'shards':>7}")
    for one in outcomes:
        print(f"{one.ranks:>6}  {duration(one.makespan_s):>9}  {one.dealt.mean():>7.2%}  {one.dealt.min():>10.2%}  "
              f"{one.at_best.mean():>7.2%}  {one.any_order.mean():>9.2%}  {one.shards.mean():>7.2%}")


def plot(outcomes: Sequence[Outcome], path: Path) -> None:
    import matplotlib
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "eabench"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    ranks = [one.ranks for one in outcomes]
    for label, marker, values in (("dealt, the longest first", "o", [one.dealt.mean() for one in outcomes]),
                                  ("dealt in any order", "s", [one.any_order.mean() for one in outcomes]),
                                  ("one shard for each rank", "^", [one.shards.mean() for one in outcomes])):
        axes.plot(ranks, values, marker=marker, label=label)
    axes.axhline(0.95, color="0.6", linewidth=0.8, linestyle="--")
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [f"{count:,}" for count in ranks])
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("ranks")
    axes.set_ylabel("efficiency: sum of cells' times\nby ranks times makespan")
    axes.legend(loc="lower left", frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0],
                                     epilog="Exit codes: 0 done, 1 an input is missing or of no use, 2 misuse.")
    parser.add_argument("cells", type=Path, help="what eabench sweep SPEC --dry-run --list prints")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders with measured cells")
    parser.add_argument("--ranks", type=int, nargs="+", default=RANKS, help="default: 1 8 64 512 4096")
    parser.add_argument("--fetch-us", type=float, default=20, help="the leader's time for a request (default: 20)")
    parser.add_argument("--latency-us", type=float, default=3000, help="what else a request takes (default: 3000)")
    parser.add_argument("--startup-s", type=float, default=2, help="before a rank asks first (default: 2)")
    parser.add_argument("--draws", type=int, default=5, help="how often times are drawn (default: 5)")
    parser.add_argument("--seed", type=int, default=1, help="of the draws (default: 1)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the efficiencies (.svg, .png)")
    a = parser.parse_args(arguments)
    if min(a.ranks) < 1 or a.draws < 1 or min(a.fetch_us, a.latency_us, a.startup_s) < 0:
        parser.error("ranks and draws from 1 and times from 0 are allowed")
    for path in (a.cells, *a.runs):
        if not path.exists():
            print(f"simulate_dealing: {path}: not here", file=sys.stderr)
            return 1
    measured = read_measured(a.runs)
    outcomes, total_s = simulate(a.cells, measured, a.ranks, a.draws, a.seed, a.fetch_us * 1e-6, a.latency_us * 1e-6,
                                 a.startup_s)
    low, middle, high = np.percentile(measured.ratios, (5, 50, 95))
    print(f"{len(measured.ratios)} measured cells of {len(measured.step_flop)} sizes; a cell takes {low:.2f} to "
          f"{high:.2f} (5 and 95 %), {middle:.2f} in the middle, of its predicted time")
    print(f"all cells by one rank: {duration(total_s)}\n")
    print_table(outcomes)
    if a.plot:
        plot(outcomes, a.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
