"""scripts/explore --object size: the margin of the smallest models that solve a level, seed by seed."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sweeps import EABENCH, ROOT, needs_eabench, rows

sys.path.insert(0, str(ROOT / "scripts"))
from analysis.explore import Exploration  # noqa: E402
from analysis.explore_space import make_space  # noqa: E402
from analysis.report import main as report  # noqa: E402
from analysis.tables import DataError  # noqa: E402

WIDTHS = (8, 12, 16, 24)
SEEDS = range(1, 13)

SPEC = """[task recurrence]
basis = 4
delay = 1, 2
[model]
d_model = 4, 8
heads = 2
context = 12
[train]
mechanism = dpa, ea
lr = 1e-2, 2e-2
steps = 60
batch = 8
eval_every = 20
eval_tokens = 200
seed = 1:12
"""


def listing() -> pd.DataFrame:
    axes = itertools.product((1, 2, 3), WIDTHS, ("ea", "dpa"), (0.01, 0.02), SEEDS)
    return pd.DataFrame([{
        "cell": f"{number:016x}", "mechanism": name, "task": "recurrence", "level": f"basis={level}", "layers": "1",
        "d_model": str(width), "heads": "2", "context": "8", "batch": "4", "steps": "100", "lr": str(lr),
        "seed": str(seed), "flop": str(1e6 * width)} for number, (level, width, name, lr, seed) in enumerate(axes)])


def needed(mechanism: str, level: int, seed: int) -> float:
    """The least width that solves the level: ea needs 12 and dpa 16 of level 2, one more size with every third seed; of
    level 3 none is wide enough for dpa."""
    width = {("ea", 2): 12, ("dpa", 2): 16, ("ea", 3): 24, ("dpa", 3): math.inf}.get((mechanism, level), 8)
    return 24 if level == 2 and seed % 3 == 0 else width


class Known:
    """A lab whose cells solve their level at the better rate, 0.02 of the widths up to 12, where they are wide
    enough."""

    def __init__(self, lines: pd.DataFrame) -> None:
        self.trained, self.table = {}, {}
        for line in lines.to_dict("records"):
            good = (line["lr"] == "0.02") == (int(line["d_model"]) <= 12)
            solves = int(line["d_model"]) >= needed(line["mechanism"], int(line["level"][6:]), int(line["seed"]))
            self.table[line["cell"]] = (1.0 if good and solves else 0.5 if good else 0.2, float(good and solves))

    def train(self, cells: list[str], limit_s: float) -> bool:  # noqa: ARG002
        self.trained.update((cell, self.table[cell]) for cell in cells)
        return True

    def results(self) -> dict[str, tuple[float, float]]:
        return self.trained


def test_the_margin_is_of_the_smallest_widths_seed_by_seed() -> None:
    lines = listing()
    space = make_space(lines, ("ea", "dpa"), sizes=True)
    assert [setting.name for setting in space.settings] == ["basis=1", "basis=2", "basis=3"]
    lab = Known(lines)
    exploration = Exploration(space, lab, fit=False, object="size")
    while (setting := exploration.next()) is not None:
        cells = exploration.search_cells(setting)
        assert len(cells) == len(WIDTHS) * 2 * 2 * 2   # widths, rates, mechanisms, seeds
        lab.train(cells, 1e9)
        exploration.read()
    margins = [exploration.margin(place) for place in range(3)]
    assert margins == pytest.approx([0, math.log2(16 / 12), 1])   # no width: twice the largest counts
    finalists = exploration.finalists()
    assert {setting.name for setting in finalists} >= {"basis=2", "basis=3"}
    for setting in finalists:
        lab.train(exploration.confirmation_cells(setting), 1e9)
    verdicts = {verdict.setting.name: verdict for verdict in exploration.verdicts(finalists)}
    fresh = [seed for seed in SEEDS if seed > 2]
    expected = [math.log2(needed("dpa", 2, seed) / needed("ea", 2, seed)) for seed in fresh]
    assert list(verdicts["basis=2"].margins) == pytest.approx(expected) and 0 in expected
    assert verdicts["basis=3"].confirmed and list(verdicts["basis=3"].margins) == [1] * 10
    assert list(verdicts["basis=3"].measured.accuracy["dpa"]) == [-math.log2(48)] * 10


class Alike(Known):
    """Two mechanisms that are alike: the wider a model, the more of its seeds solve, at either rate."""

    def __init__(self, lines: pd.DataFrame, seed: int) -> None:
        self.trained = {}
        solved = np.random.default_rng([seed, 11]).random(len(lines)) < 0.2 + lines["d_model"].astype(int) / 40
        self.table = {cell: (0.5 + 0.5 * good, float(good)) for cell, good in zip(lines["cell"], solved)}


@pytest.mark.parametrize("both_sides", [False, True])
def test_no_difference_in_size_is_confirmed_where_none_is(both_sides: bool) -> None:
    """As test_explore.py's null explorations, with sizes."""
    lines, confirmed = listing(), 0
    space = make_space(lines, ("ea", "dpa"), sizes=True)
    for seed in range(200):
        lab = Alike(lines, seed)
        exploration = Exploration(space, lab, seed=seed, fit=False, object="size", both_sides=both_sides)
        while (setting := exploration.next()) is not None:
            lab.train(exploration.search_cells(setting), 1e9)
            exploration.read()
        finalists = exploration.finalists()
        for setting in finalists:
            lab.train(exploration.confirmation_cells(setting), 1e9)
        confirmed += any(verdict.confirmed for verdict in exploration.verdicts(finalists))
    assert confirmed <= 10   # 5 % of 200


def test_a_spec_needs_several_widths() -> None:
    lines = listing()
    with pytest.raises(DataError, match="--object size: the spec has one d_model; allowed: several"):
        make_space(lines[lines["d_model"] == "8"], ("ea", "dpa"), sizes=True)


@needs_eabench
def test_a_run_and_its_report(tmp_path: Path) -> None:
    spec, out = tmp_path / "small.ini", tmp_path / "run"
    spec.write_text(SPEC)
    done = subprocess.run(
        [ROOT / "scripts/explore", spec, "--object", "size", "--both-sides", "--pareto", "--out", out,
         "--budget", "2m"],
        check=False, capture_output=True, text=True, timeout=300,
        env={**os.environ, "EABENCH": EABENCH, "EAB_PYTHON": sys.executable})
    assert done.returncode == 0, done.stderr
    assert "ea: smallest d_model that solves for its cost" in done.stdout
    assert sum(" FLOP  " in line for line in done.stdout.splitlines()) >= 2
    found = rows(out / "explore.csv")
    assert {row["object"] for row in found} == {"size"} and "d_model" not in found[0]
    searched = [row for row in found if row["phase"] == "search"]
    assert len(searched) == 2
    values = np.array([[float(row["accuracy ea"]), float(row["accuracy dpa"])] for row in searched])
    assert ((-4 <= values) & (values <= -2)).all()   # widths 4, 8, or 16: none
    assert report([str(out)]) == 0
    assert "halvings of d_model that still solve" in (out / "report.html").read_text(encoding="utf-8")
