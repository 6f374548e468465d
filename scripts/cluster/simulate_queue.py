#!/usr/bin/env python3
"""Simulates a sweep by MPI, event by event, with measured times: how efficient is its queue on many ranks?

    eabench sweep tasks/ladders/paper.ini --dry-run --list >cells.csv
    .venv/bin/python scripts/cluster/simulate_queue.py cells.csv results/epyc-zen5/{quick,long,recurrence}

CELLS is the output of `eabench sweep --dry-run --list`: the cells in the order of training, with their work. RUNs are
run folders with measured cells. A cell's predicted time is its work divided by the rate of the measured cells of the
nearest size. Its simulated time is the prediction times the ratio of a randomly drawn measured cell's time to its own
prediction; most of the variation comes from solved cells, which stop early.

A free rank requests the next fleet. The leader answers one request after another, in --fetch-us each, and an answer
arrives after --latency-us (by default the time measured where one core both trains and passes messages). A rank starts
after --startup-s. Efficiency is the sum of the cells' times divided by (ranks times makespan).
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
    """Measurements of a machine: rates by the work of a step, and the ratios of times to predicted times."""

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
    """Work of a step, rate, work of all steps (as --list counts it) and time of each cell; [cells][4].

    Only cells that were trained one by one count, since a fleet's members share their time.
    """
    measured: list[tuple[float, float, float, float]] = []
    if not (run / "accuracy.csv").exists() or not (run / "throughput.csv").exists():
        return np.empty((0, 4))
    options: dict[str, dict[str, str]] = {}
    for row in read_rows(run / "accuracy.csv"):
        options.setdefault(row["cell"], row)  # a mixture's first row is the whole
    for row in read_rows(run / "throughput.csv"):
        cell = options.get(row["cell"])
        if not cell or row["fleet"] != "1" or not row["gflop_per_s"] or not row["wall_s"]:
            continue
        token, steps = float(row["flop_per_token"]), int(cell["steps"])
        step = token * int(row["batch"]) * int(row["context"])
        evaluations = (math.ceil(steps / int(cell["eval_every"])) + 8) * (row["level"].count(" + ") + 1)
        measured.append((step, float(row["gflop_per_s"]) * 1e9,
                         step * steps + evaluations * int(cell["eval_tokens"]) * token / 3, float(row["wall_s"])))
    return np.array(measured).reshape(-1, 4)


def read_measured(runs: Sequence[Path]) -> Measured:
    """The measurements of all runs together.

    Ratios are relative to the same run's rates, so a machine that was slow throughout adds no spread. Where several
    runs have cells of one size, the fastest run's rate counts.
    """
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
        raise SystemExit("simulate_queue: no measured cells in these runs; folders with accuracy.csv and "
                         "throughput.csv of a sweep on processors are allowed")
    shapes = sorted(rates)
    return Measured(np.array(shapes), np.array([rates[shape] for shape in shapes]), np.concatenate(ratios))


def read_cells(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The fleet of each cell, its work and the work of a step, in the order of the queue."""
    rows = read_rows(path)
    if not rows or "flop_with_evaluation" not in rows[0]:
        raise SystemExit(f"simulate_queue: {path}: no cells; the output of eabench sweep --dry-run --list is allowed")
    return (np.array([int(row["fleet"]) for row in rows]),
            np.array([float(row["flop_with_evaluation"]) for row in rows]),
            np.array([float(row["flop"]) / int(row["steps"]) for row in rows]))


def queue_makespan(times: Sequence[float], ranks: int, fetch_s: float = 0, latency_s: float = 0,
                   startup_s: float = 0) -> float:
    """The makespan of a queue of fleets with these times, each assigned to the first free rank.

    The leader answers one request at a time. The last requests, which get no fleet, add no time.
    """
    free = [startup_s] * ranks  # when each rank sends its next request
    leader_s = makespan_s = 0.0
    for time_s in times:
        request_s = heapq.heappop(free)
        leader_s = max(leader_s, request_s) + fetch_s
        ended_s = leader_s + latency_s + time_s
        makespan_s = max(makespan_s, ended_s)
        heapq.heappush(free, ended_s)
    return makespan_s


def shard_makespan(times: Sequence[float], work: Sequence[float], parts: int, startup_s: float = 0) -> float:
    """The makespan of `parts` shards (eabench sweep --shard): the longest fleets first, each to the part with the least
    predicted work so far."""
    loads = [(0.0, part) for part in range(parts)]
    ends = [startup_s] * parts
    for index in sorted(range(len(times)), key=lambda i: (-work[i], i)):
        load, part = loads[0]
        heapq.heapreplace(loads, (load + work[index], part))
        ends[part] += times[index]
    return max(ends)


@dataclass(frozen=True)
class Outcome:
    """Mean makespan, and the efficiencies of each draw."""

    ranks: int
    makespan_s: float
    queue: np.ndarray
    any_order: np.ndarray
    shards: np.ndarray
    bound: np.ndarray  # of any order: the ranks have to start, and one rank trains the longest fleet


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
        makespans, efficiencies = [], []
        for times in drawn:
            fleets = np.bincount(places, times).tolist()
            total_s = sum(fleets)
            shuffled = np.random.default_rng(seed).permutation(fleets).tolist()
            ends_s = np.array([queue_makespan(fleets, count, fetch_s, latency_s, startup_s),
                               queue_makespan(shuffled, count, fetch_s, latency_s, startup_s),
                               shard_makespan(fleets, fleet_work.tolist(), count, startup_s),
                               startup_s + max(total_s / count, max(fleets))])
            makespans.append(ends_s[0])
            efficiencies.append(total_s / count / ends_s)
        outcomes.append(Outcome(count, float(np.mean(makespans)), *np.transpose(efficiencies)))
    return outcomes, total_s


def duration(seconds: float) -> str:
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.1f} s"


def print_table(outcomes: Sequence[Outcome]) -> None:
    print(f"{'ranks':>6}  {'makespan':>9}  {'queue':>7}  {'worst draw':>10}  {'bound':>7}  {'any order':>9}  "
          f"{'shards':>7}")
    for one in outcomes:
        print(f"{one.ranks:>6}  {duration(one.makespan_s):>9}  {one.queue.mean():>7.2%}  {one.queue.min():>10.2%}  "
              f"{one.bound.mean():>7.2%}  {one.any_order.mean():>9.2%}  {one.shards.mean():>7.2%}")


def plot(outcomes: Sequence[Outcome], path: Path) -> None:
    import matplotlib
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "eabench"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    ranks = [one.ranks for one in outcomes]
    for label, marker, values in (("queue, the longest first", "o", [one.queue.mean() for one in outcomes]),
                                  ("queue in any order", "s", [one.any_order.mean() for one in outcomes]),
                                  ("one shard for each rank", "^", [one.shards.mean() for one in outcomes])):
        axes.plot(ranks, values, marker=marker, label=label)
    axes.axhline(0.95, color="0.6", linewidth=0.8, linestyle="--")
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [f"{count:,}" for count in ranks])
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("ranks")
    axes.set_ylabel("efficiency: sum of cells' times\n/ (ranks times makespan)")
    axes.legend(loc="lower left", frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0],
                                     epilog="Exit codes: 0 done, 1 an input is missing or unusable, 2 misuse.")
    parser.add_argument("cells", type=Path, help="the output of eabench sweep SPEC --dry-run --list")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders with measured cells")
    parser.add_argument("--ranks", type=int, nargs="+", default=RANKS, help="default: 1 8 64 512 4096")
    parser.add_argument("--fetch-us", type=float, default=20, help="the leader's time for a request (default: 20)")
    parser.add_argument("--latency-us", type=float, default=3000, help="further time of a request (default: 3000)")
    parser.add_argument("--startup-s", type=float, default=2, help="time before a rank's first request (default: 2)")
    parser.add_argument("--draws", type=int, default=5, help="how many times to draw the times (default: 5)")
    parser.add_argument("--seed", type=int, default=1, help="of the draws (default: 1)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the efficiencies (.svg, .png)")
    a = parser.parse_args(arguments)
    if min(a.ranks) < 1 or a.draws < 1 or min(a.fetch_us, a.latency_us, a.startup_s) < 0:
        parser.error("ranks and draws from 1 and times from 0 are allowed")
    for path in (a.cells, *a.runs):
        if not path.exists():
            print(f"simulate_queue: {path}: no such file", file=sys.stderr)
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
