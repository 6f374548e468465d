"""scripts/cluster/simulate_queue.py: cases with known answers, and the figure of docs/cluster.md."""

from __future__ import annotations

import csv
import importlib.util
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sweeps import EABENCH, ROOT, needs_eabench

SCRIPT = ROOT / "scripts/cluster/simulate_queue.py"
SPEC = importlib.util.spec_from_file_location("simulate_queue", SCRIPT)
simulator = importlib.util.module_from_spec(SPEC)
sys.modules["simulate_queue"] = simulator
SPEC.loader.exec_module(simulator)
RUNS = [ROOT / "results/epyc-zen5" / name for name in ("quick", "long", "recurrence")]  # as in docs/cluster.md
HEADER = "order,fleet,cell,steps,flop,flop_with_evaluation\n"


def test_equal_cells_fill_the_ranks():
    for ranks in (1, 3, 8):
        assert simulator.queue_makespan([2.0] * 24, ranks) == pytest.approx(2 * 24 / ranks)
        assert simulator.queue_makespan([2.0] * 25, ranks) == pytest.approx(2 * (24 // ranks + 1))


def test_one_rank_pays_every_fetch():
    makespan_s = simulator.queue_makespan([1.0] * 10, 1, fetch_s=0.25, latency_s=0.5, startup_s=3)
    assert makespan_s == pytest.approx(3 + 10 * 1.75)


def test_the_leader_answers_one_request_at_a_time():
    """A hundred ranks send requests at once: the last of them starts after a hundred answers."""
    assert simulator.queue_makespan([5.0] * 100, 100, fetch_s=0.1) == pytest.approx(100 * 0.1 + 5)
    assert simulator.queue_makespan([5.0] * 100, 100, fetch_s=0.1, latency_s=0.2) == pytest.approx(100 * 0.1 + 0.2 + 5)


def test_the_longest_first():
    """Graham's example for two ranks: 7/6 of the optimum, which is 6."""
    assert simulator.queue_makespan([3, 3, 2, 2, 2], 2) == 7
    assert simulator.queue_makespan([1, 1, 1, 1, 4], 2) == 6 and simulator.queue_makespan([4, 1, 1, 1, 1], 2) == 4


def test_the_heap_agrees_with_a_plain_simulation():
    drawn = random.Random(3)
    for _ in range(30):
        times = [drawn.uniform(0, 3) for _ in range(drawn.randrange(1, 40))]
        ranks = drawn.randrange(1, 9)
        ends = [0.0] * ranks
        for time_s in times:
            first = ends.index(min(ends))
            ends[first] += time_s
        assert simulator.queue_makespan(times, ranks) == pytest.approx(max(ends))


def test_shards_are_split_by_predicted_work():
    assert simulator.shard_makespan([1, 1, 1, 1], [4, 3, 2, 1], 2) == 2
    assert simulator.shard_makespan([9, 1, 1, 1], [1, 1, 1, 1], 2) == 10  # the long one was predicted like the others
    assert simulator.shard_makespan([2, 2], [1, 1], 4, startup_s=1) == 3


@needs_eabench
def test_shards_are_split_as_eabench_does(tmp_path: Path):
    spec = tmp_path / "lengths.ini"
    spec.write_text("[task recurrence]\nbasis = 4, 8\n[train]\nsteps = 10, 25, 70\nseed = 1:7\n")

    def work_of(*options: str) -> list[float]:
        listed = subprocess.run([EABENCH, "sweep", spec, "--backend", "cpu", "--dry-run", "--list", *options],
                                check=True, capture_output=True, text=True).stdout
        return [float(row["flop"]) for row in csv.DictReader(listed.splitlines())]

    work = work_of()
    longest = max(sum(work_of("--shard", f"{part}/5")) for part in range(1, 6))
    assert simulator.shard_makespan(work, work, 5) == pytest.approx(longest)


def test_prediction_takes_the_nearest_size():
    measured = simulator.Measured(np.array([1e6, 1e8]), np.array([10.0, 20.0]), np.array([1.0]))
    assert measured.predict(np.array([100.0, 100.0, 100.0]), np.array([1e5, 0.9e7, 1.1e7])).tolist() == [10, 10, 5]


def test_cells_without_spread_have_no_loss(tmp_path: Path):
    cells = tmp_path / "cells.csv"
    cells.write_text(HEADER + "".join(f"{i},{i},c{i},10,1000,1200\n" for i in range(1, 65)))
    measured = simulator.Measured(np.array([100.0]), np.array([1.0]), np.array([1.0]))
    outcomes, total_s = simulator.simulate(cells, measured, (1, 8, 64, 128), 2, 1, 0, 0, 0)
    assert total_s == pytest.approx(64 * 1200)
    assert [float(one.queue.mean()) for one in outcomes] == pytest.approx([1, 1, 1, 0.5])
    assert [float(one.bound.mean()) for one in outcomes] == pytest.approx([1, 1, 1, 0.5])


@needs_eabench
def test_the_paper_ladder_at_512_ranks(tmp_path: Path):
    cells = tmp_path / "cells.csv"
    with cells.open("w") as output:
        subprocess.run([EABENCH, "sweep", ROOT / "tasks/ladders/paper.ini", "--backend", "cpu", "--dry-run", "--list"],
                       check=True, stdout=output)
    measured = simulator.read_measured(RUNS)
    assert len(measured.ratios) > 500
    outcomes, _ = simulator.simulate(cells, measured, (8, 512, 4096), 3, 1, 20e-6, 3000e-6, 2)
    efficiency = [float(one.queue.min()) for one in outcomes]
    assert efficiency[1] >= 0.95
    assert efficiency[0] > efficiency[1] > efficiency[2]
    assert all((one.queue <= one.bound + 1e-12).all() for one in outcomes)
    assert all((one.queue > one.shards).all() for one in outcomes)


@needs_eabench
def test_the_script(tmp_path: Path):
    spec, cells, picture = tmp_path / "few.ini", tmp_path / "cells.csv", tmp_path / "queue.svg"
    spec.write_text("[task recurrence]\n[train]\nsteps = 1000\nseed = 1:20\n")
    with cells.open("w") as output:
        subprocess.run([EABENCH, "sweep", spec, "--backend", "cpu", "--dry-run", "--list"], check=True, stdout=output)
    done = subprocess.run([sys.executable, SCRIPT, cells, *RUNS, "--ranks", "1", "20", "--plot", picture], check=False,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6 and picture.read_text().startswith("<?xml")
    assert subprocess.run([sys.executable, SCRIPT, cells, "nowhere"], check=False, capture_output=True).returncode == 1
    assert subprocess.run([sys.executable, SCRIPT, cells, *RUNS, "--ranks", "0"], check=False,
                          capture_output=True).returncode == 2
    wrong = subprocess.run([sys.executable, SCRIPT, spec, *RUNS], check=False, capture_output=True, text=True)
    assert wrong.returncode == 1 and wrong.stderr.startswith("simulate_queue: ") and wrong.stderr.count("\n") == 1
