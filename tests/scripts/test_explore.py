"""scripts/explore: the search against known functions, its verdicts, and runs that are stopped and resumed."""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sweeps import EABENCH, ROOT, needs_eabench, rows

sys.path.insert(0, str(ROOT / "scripts"))
from analysis import explore_lab  # noqa: E402
from analysis.explore import Exploration, search  # noqa: E402
from analysis.explore_lab import State  # noqa: E402
from analysis.report import main as report  # noqa: E402
from analysis.explore_space import Results, Space, make_space, mechanisms_between  # noqa: E402
from analysis.tables import DataError  # noqa: E402

Margin = Callable[[float, float], float]


@functools.cache
def listing(side: int) -> pd.DataFrame:
    axes = itertools.product(range(side), range(side), (100, 1000), ("ea", "dpa"), (0.01, 0.02), range(1, 13))
    return pd.DataFrame([{
        "cell": f"{number:016x}", "mechanism": name, "task": "recurrence", "level": f"basis={x + 1}", "layers": "1",
        "d_model": str(8 + y), "heads": "2", "context": "8", "batch": "4", "steps": str(steps), "lr": str(lr),
        "seed": str(seed), "flop": str(1e6 * steps)} for number, (x, y, steps, name, lr, seed) in enumerate(axes)])


@functools.cache
def space(side: int) -> Space:
    return make_space(listing(side), ("ea", "dpa"))


class Simulated:
    """A lab of side x side settings, each with few and with all steps: accuracies of a known margin, with noise. Half
    of its variance is the seed's luck, which validation and evaluation share."""

    def __init__(self, margin: Margin, noise: float = 0.01, seed: int = 1, side: int = 10) -> None:
        self.side, self.trained, self.proposals = side, {}, []
        lines = listing(side)
        x, y = lines["level"].str[6:].astype(int) - 1, lines["d_model"].astype(int) - 8
        sizes = {place: margin(place[0] / (side - 1), place[1] / (side - 1)) for place in set(zip(x, y))}
        size = np.array([sizes[place] for place in zip(x, y)]) * np.where(lines["steps"] == "1000", 1, 0.5)
        best = lines["lr"].astype(float) == np.where((x + y) % 2, 0.01, 0.02)
        accuracy = 0.5 + np.where(lines["mechanism"] == "ea", size, 0) - np.where(best, 0, 0.1)
        drawn = np.random.default_rng(seed).normal(0, noise * 0.5**0.5, (3, len(lines)))
        accuracy += drawn[2]
        self.table = dict(zip(lines["cell"], zip(accuracy + drawn[0], accuracy + drawn[1])))

    def listed(self) -> pd.DataFrame:
        return listing(self.side)

    def train(self, cells, limit_s: float) -> bool:  # noqa: ARG002
        self.proposals.append(sorted(cells))
        self.trained.update((cell, self.table[cell]) for cell in cells)
        return True

    def results(self) -> Results:
        return self.trained

    def speeds(self) -> dict[str, float]:
        return {}


def begin(lab: Simulated, seed: int = 1, fit: bool = True, **options) -> Exploration:
    return Exploration(space(lab.side), lab, seed=seed, fit=fit, **options)


def step(exploration: Exploration) -> int:
    exploration.read()
    setting = exploration.next()
    exploration.lab.train(exploration.search_cells(setting), 1e9)
    exploration.read()
    return setting.place


def hill(x: float, y: float) -> float:
    return 0.2 * float(np.exp(-((x - 0.75) ** 2 + (y - 0.3) ** 2) / 0.05))


def found(place: int) -> bool:
    """Whether the margin of `hill` at the setting is within a tenth of the largest."""
    setting = space(10).settings[place]
    x, y = (int(setting.options["level"][6:]) - 1) / 9, (int(setting.options["d_model"]) - 8) / 9
    return setting.rival == place and hill(x, y) > 0.9 * hill(7 / 9, 3 / 9)


def test_finds_a_maximum_sooner_than_chance():
    """Evaluations, in few steps and in all, until one of the best settings is measured with all steps; chance measures
    settings in any order, each with all steps."""
    lasted, drawn, limit = [], [], 60
    best = [place for place in space(10).cheapest if found(space(10).rivals[place])]
    for seed in range(30):
        exploration = begin(Simulated(hill, seed=seed), seed, fit=False)
        lasted.append(next((count for count in range(1, limit + 1) if found(step(exploration))), 2 * limit))
        order = np.random.default_rng(seed).permutation(space(10).cheapest)
        drawn.append(1 + min(list(order).index(place) for place in best))
    assert np.mean(lasted) < np.mean(drawn) * 0.8, (lasted, drawn)


def explore(lab: Simulated, proposals: int, seed: int, fit: bool, **options):
    exploration = begin(lab, seed, fit, **options)
    for _ in range(proposals):
        step(exploration)
    finalists = exploration.finalists()
    for setting in finalists:
        lab.train(exploration.confirmation_cells(setting), 1e9)
    return exploration.verdicts(finalists)


def test_a_planted_margin_is_found_and_confirmed():
    found = [any(verdict.confirmed and verdict.mean > 0.1
                 for verdict in explore(Simulated(hill, 0.02, seed=seed), 32, seed, True)) for seed in range(4)]
    assert sum(found) >= 3


def bimodal(seed: int, solves: float) -> Simulated:
    """Two mechanisms that are alike: at one rate every seed has 0.6, at the other a share of them solves the level and
    the rest has 0.5. Two seeds often choose the worse rate."""
    lab, lines = Simulated(lambda x, y: 0.0, seed=seed, side=3), listing(3)
    generator = np.random.default_rng([seed, 7])
    solved = generator.random(len(lines)) < solves
    accuracy = np.where(lines["lr"] == "0.01", 0.6, np.where(solved, 1.0, 0.5))
    drawn = generator.normal(0, 0.002, (2, len(lines)))
    lab.table = dict(zip(lines["cell"], zip(accuracy + drawn[0], accuracy + drawn[1])))
    return lab


def solving(seed: int) -> Simulated:
    """Scores as of --object solved, of mechanisms that are alike: 40 % of the seeds solve each setting at each rate."""
    lab, generator = Simulated(lambda x, y: 0.0, seed=seed, side=3), np.random.default_rng([seed, 9])
    solved = generator.random(len(lab.table)) < 0.4
    lab.table = {cell: (0.5 + 0.5 * good, float(good)) for cell, good in zip(lab.table, solved)}
    return lab


NULLS: dict[str, Callable[[int], Simulated]] = {
    "solved": solving,
    "noise": lambda seed: Simulated(lambda x, y: 0.0, 0.03, seed=seed, side=3),
    "bimodal 0.4": lambda seed: bimodal(seed, 0.4), "bimodal 0.6": lambda seed: bimodal(seed, 0.6)}


@pytest.mark.parametrize("both_sides", [False, True])
@pytest.mark.parametrize("null", NULLS)
def test_no_margin_is_confirmed_where_none_is(null: str, both_sides: bool):
    confirmed = sum(any(verdict.confirmed for verdict in explore(NULLS[null](seed), 14, seed, False,
                                                                 both_sides=both_sides)) for seed in range(200))
    assert confirmed <= 10  # 5 % of 200


def test_a_margin_of_the_other_mechanism_counts_only_with_both_sides():
    lab = Simulated(lambda x, y: -hill(x, y), side=4)
    assert not any(verdict.confirmed for verdict in explore(lab, 20, 1, False))
    lab = Simulated(lambda x, y: -hill(x, y), side=4)
    assert any(verdict.confirmed and verdict.mean < 0 for verdict in explore(lab, 20, 1, False, both_sides=True))


def test_the_region_is_where_the_surrogate_expects_half_of_the_margin():
    """The hill falls by half within 0.19 of its top in each direction; it is known everywhere."""
    lab = Simulated(hill, 0.001, side=8)
    exploration = begin(lab)
    lab.trained = lab.table
    exploration.read()
    top = exploration.finalists()[0]
    assert top.options["level"] == "basis=6" and top.options["d_model"] == "10"
    region, = (exploration.region(verdict) for verdict in exploration.verdicts([top]))
    assert region == "level basis=5 or basis=6 or basis=7; d_model 9 or 10 or 11"
    lab.table = {cell: (1 - first, 1 - second) for cell, (first, second) in lab.table.items()}
    other = begin(lab, both_sides=True)
    lab.trained = lab.table
    other.read()
    verdict, = other.verdicts([top])
    assert verdict.mean < 0 and other.region(verdict) == region
    assert exploration.region(verdict) == ""  # its surrogate expects the other sign


def test_the_best_settings_of_both_sides_take_turns():
    lab = Simulated(lambda x, y: 0.2 * hill(x, y) - hill(1 - x, y), 0.001, side=6)
    lab.trained = lab.table
    for both_sides, signs in ((True, [-1, 1, -1, 1]), (False, [1, 1, 1, 1])):
        exploration = begin(lab, both_sides=both_sides)
        exploration.read()
        expected = exploration.expected()
        leaders = [expected[setting.place] for setting in exploration.leaders(4)]
        assert [np.sign(margin) for margin in leaders] == signs
        assert abs(leaders[0]) >= abs(leaders[2]) and abs(leaders[1]) >= abs(leaders[3])


def test_the_order_of_the_proposals_is_kept():
    exploration = begin(Simulated(hill, side=3), fit=False)
    places = [step(exploration) for _ in range(6)]
    again = begin(exploration.lab, fit=False)
    again.read()
    assert list(again.measured) == sorted(places) != places
    again.order([space(3).settings[place].key for place in places])
    assert list(again.measured) == places


def test_confirmations_use_seeds_that_the_search_left_and_all_rates():
    lab = Simulated(hill, side=4)
    exploration = begin(lab, fit=False)
    for _ in range(20):
        step(exploration)
    searched = set(lab.trained)
    setting = exploration.finalists()[0]
    cells = exploration.confirmation_cells(setting)
    assert len(cells) == 2 * 2 * 10 and not searched & set(cells)
    assert not set(listing(4).set_index("cell").loc[cells, "seed"]) & {"1", "2"}
    exploration.measured[setting.place].rate.update(ea=0.5, dpa=0.5)  # what the search chose has no part in a verdict
    lab.train(cells, 1e9)
    verdict = exploration.verdicts([setting])[0]
    assert verdict.measured.rate["ea"] == verdict.measured.rate["dpa"] in (0.01, 0.02)


def test_an_open_confirmation_counts_in_the_correction():
    lab = Simulated(hill, side=4)
    exploration = begin(lab, fit=False)
    for _ in range(20):
        step(exploration)
    finalists = exploration.finalists()
    lab.train(exploration.confirmation_cells(finalists[0]), 1e9)
    verdict, = exploration.verdicts(finalists)
    assert len(finalists) == 3 and verdict.p_adjusted == pytest.approx(3 * verdict.p_value)


@pytest.mark.parametrize("killed_at", [1, 5, 15])
def test_a_resumed_search_makes_the_same_proposals(killed_at: int):
    whole, parts = Simulated(hill, side=4), Simulated(hill, side=4)
    exploration = begin(whole)
    for _ in range(18):  # the surrogate proposes from the eleventh on
        step(exploration)
    exploration = begin(parts)
    for _ in range(killed_at):
        step(exploration)
    cells = exploration.search_cells(exploration.next())
    for cell in cells[:3]:  # killed in the middle of a proposal
        parts.trained[cell] = parts.table[cell]
    exploration = begin(parts)
    for _ in range(18 - killed_at):
        step(exploration)
    assert parts.proposals == whole.proposals


def test_each_mechanism_has_its_own_best_rate():
    lab = Simulated(lambda x, y: 0.0, 0.0, side=2)
    exploration = begin(lab, fit=False)
    for _ in range(8):
        step(exploration)
    assert len(exploration.measured) == 8 and exploration.next() is None
    assert all(abs(exploration.margin(place)) < 1e-12 for place in exploration.measured)


@pytest.mark.parametrize("fails", ["8", "10", "everywhere"])
def test_a_setting_whose_cells_fail_is_left_out(fails: str, capsys: pytest.CaptureFixture, tmp_path: Path):
    """At one width, the search goes on with the others and never proposes the setting again; where the cheapest version
    of every setting fails, it ends."""
    lab = Simulated(hill, side=3)
    lines = listing(3)
    failing = set(lines[(lines["d_model"] == fails) | (fails == "everywhere")]["cell"])
    lab.table = {cell: None if cell in failing else result for cell, result in lab.table.items()}
    exploration = begin(lab, fit=False)
    state = State.read(tmp_path, {"seed": 1})
    search(exploration, argparse.Namespace(proposals=None, out=tmp_path), time.monotonic() + 600, state)
    assert len(state.failed) == len(exploration.failed)
    assert State.read(tmp_path, {"seed": 1}).failed == sorted(state.failed)
    failed, measured = (9, 0) if fails == "everywhere" else (6, 12)
    assert len(exploration.failed) == failed and len(exploration.measured) == measured
    assert len(lab.proposals) == failed + measured and capsys.readouterr().err.count("left out") == failed
    assert all(setting.options["d_model"] != fails for setting in exploration.finalists())
    assert bool(exploration.finalists()) == (fails != "everywhere")


def test_a_space_needs_every_mechanism_and_seed():
    with pytest.raises(DataError, match="no cell of sigmoid or linear"):
        make_space(listing(2), ("sigmoid", "linear"))
    with pytest.raises(DataError, match="dpa lacks seeds"):
        lines = listing(2)
        make_space(lines.drop(index=lines[lines["mechanism"] == "dpa"].index[0]), ("ea", "dpa"))


SPEC = """[task recurrence]
basis = 4, 8
[model]
d_model = 8, 12
heads = 2
context = 10
[train]
mechanism = dpa, ea
lr = 1e-2
steps = 20, 40
batch = 4
eval_every = 20
eval_tokens = 100
seed = 1:12
"""


def command(spec: Path, *options) -> list[str]:
    return [str(ROOT / "scripts/explore"), str(spec), "--backend", "cpu", *map(str, options)]


def run(spec: Path, *options) -> subprocess.CompletedProcess:
    return subprocess.run(command(spec, *options), check=False, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "EABENCH": EABENCH})


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.ini"
    path.write_text(SPEC)
    return path


@needs_eabench
def test_a_run_is_explored_stopped_and_resumed(small: Path, tmp_path: Path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done = run(small, "--out", whole, "--proposals", "6", "--pareto")
    assert done.returncode == 0, done.stderr
    assert "8 settings of 3 coordinates, 4 of them with all steps" in done.stdout
    table = without_speeds(whole)
    assert [row["phase"] for row in table].count("search") == 6
    assert {row["seeds"] for row in table if row["phase"] == "confirmation"} == {"10"}
    kill_once_begun(parts, signal.SIGINT, command(small, "--out", parts, "--proposals", "6"))
    again = run(small, "--out", parts, "--proposals", "6", "--workers", "2")
    assert again.returncode == 0, again.stderr
    assert (parts / "accuracy.csv").read_bytes() == (whole / "accuracy.csv").read_bytes()
    assert without_speeds(parts) == table  # in the order of the proposals
    both = subprocess.run([str(ROOT / "scripts/compare"), "--no-throughput", str(whole), str(parts)], check=False,
                          capture_output=True)   # cells of milliseconds have no speed to judge
    assert both.returncode == 0, both.stderr
    # The search of a folder ends with its confirmation; other questions need another folder.
    more = run(small, "--out", parts, "--proposals", "8")
    assert more.returncode == 0 and "the search of this folder has ended" in more.stdout
    assert sorted(map(str, without_speeds(parts))) == sorted(map(str, table))
    broken = run(small, "--out", parts, "--proposals", "6", "--launcher", "sh -c 'exit 5' sh")
    assert broken.returncode == 5
    assert sorted(map(str, without_speeds(parts))) == sorted(map(str, table))  # a start that fails loses no row
    for options, name in ((["--both-sides"], "both-sides false, not true"),
                          (["--search-seeds", "1", "--set", "train.seed=1:11"], "search seeds [1, 2], not [1]"),
                          (["--set", "train.lr=1e-2,2e-2"], "other cells of the spec")):
        refused = run(small, "--out", parts, *options)
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and name in refused.stderr, refused.stderr
    for content in ("{", '{"asked": {}, "failed": [1], "finalists": null}',
                    '{"asked": {}, "failed": [], "finalists": null, "proposals": 5}'):
        (parts / "explore.json").write_text(content)
        refused = run(small, "--out", parts, "--proposals", "6")
        assert refused.returncode == 2 and "explore.json: not a file of explore" in refused.stderr, refused.stderr


@needs_eabench
def test_the_report_of_an_exploration(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    """Its verdicts are those of the fresh seeds; there are none on the claims, for the settings are a selection."""
    out = tmp_path / "out"
    assert run(small, "--out", out, "--proposals", "8").returncode == 0
    assert report([str(out)]) == 0 and not (out / "claims.csv").exists()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "What the exploration found" in page
    searched, fresh = ([row for row in rows(out / "explore.csv") if row["phase"] == phase]
                       for phase in ("search", "confirmation"))
    assert "Trained again with fresh seeds" in page and "at least as good" not in page
    assert len(fresh) > 0
    assert page.count("not confirmed</td>") + page.count(">confirmed</td>") == len(fresh)
    assert f"{len(searched)} settings were measured in the search" in page
    points = rows(out / "plots" / "explore.csv")
    assert sorted(row["setting"] for row in points) == sorted(row["setting"] for row in searched)
    assert report(["--index", str(out), "--out", str(tmp_path)]) == 0
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert f"{len(searched)} settings searched" in index
    capsys.readouterr()
    assert report([str(out), str(out)]) == 2
    assert "one exploration alone" in capsys.readouterr().err
    whole = (out / "explore.csv").read_text(encoding="utf-8")
    for old, new, said in (("accuracy dpa", "accurate dpa", "explore.csv:1: 1 columns of accuracies"),
                           (",margin,", ",margins,", "margin"), ("\nsearch,", "\nlook,", ":2: phase is 'look'"),
                           (",True,accuracy", ",True,speed", "object is 'speed'")):
        (out / "explore.csv").write_text(whole.replace(old, new, 1))
        assert report([str(out)]) == 2
        errors = capsys.readouterr().err
        assert said in errors and errors.count("\n") == 1, errors
    for kept in (1, 3):  # nothing is measured yet; two settings in few steps
        (out / "explore.csv").write_text("".join(whole.splitlines(keepends=True)[:kept]))
        assert report([str(out), "--out", str(tmp_path / "part")]) == 0
        assert "yet" in (tmp_path / "part" / "report.html").read_text(encoding="utf-8")


def without_speeds(folder: Path) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if not name.startswith("tokens_per_s")}
            for row in rows(folder / "explore.csv")]


def kill_once_begun(folder: Path, number: int, words: list[str]) -> None:
    """Sends the signal to the script alone, once a cell is done: eabench must end, too."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env={**os.environ, "EABENCH": EABENCH}) as process:
        while not (folder / "accuracy.csv").exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        if number == signal.SIGKILL:
            return
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and errors.splitlines()[-1] == "explore: stopped; the same command goes on"


@needs_eabench
def test_margins_of_solved_and_a_signal_to_the_script(small: Path, tmp_path: Path):
    words = ["--out", tmp_path / "run", "--proposals", "6", "--object", "solved"]
    kill_once_begun(tmp_path / "run", signal.SIGTERM, command(small, *words))
    done = run(small, *words)
    assert done.returncode == 0, done.stderr
    assert {row["accuracy ea"] for row in rows(tmp_path / "run" / "explore.csv")} == {"0"}  # 40 steps solve nothing
    assert "no setting was measured in full, or none has an expected margin above 0" in done.stdout


@needs_eabench
def test_killed_outright_it_frees_the_folder(small: Path, tmp_path: Path):
    """eabench ends with the script that started it, and long before its cells would."""
    folder, slow = tmp_path / "run", ("--set", "train.steps=40,200000", "--set", "train.stop_when_solved=off")
    kill_once_begun(folder, signal.SIGKILL, command(small, "--out", folder, "--search-seeds", "2", *slow))
    began, done = time.monotonic(), None
    while time.monotonic() - began < 60 and (done is None or "in use" in done.stderr):
        done = run(small, "--out", folder, "--budget", "0.001", *slow)
    assert done is not None and done.returncode == 0, done.stderr


@needs_eabench
def test_the_geometry_of_attention_is_kept_if_asked_for(small: Path, tmp_path: Path):
    assert run(small, "--out", tmp_path / "run", "--proposals", "1", "--save-geometry").returncode == 0
    assert {row["cell"] for row in rows(tmp_path / "run" / "geometry.csv")} == {
        row["cell"] for row in rows(tmp_path / "run" / "accuracy.csv")}


@needs_eabench
def test_a_text_is_never_solved(small: Path, tmp_path: Path):
    (tmp_path / "text").write_text("abcde" * 3000)
    text = SPEC.replace("task recurrence", "task text").replace("basis = 4, 8", f"file = {tmp_path}/text")
    small.write_text(text)
    done = run(small, "--out", tmp_path / "run", "--object", "solved")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "never solved" in done.stderr, done.stderr


@needs_eabench
def test_no_time_is_no_result(small: Path, tmp_path: Path):
    done = run(small, "--out", tmp_path / "run", "--budget", "0.001", "--pareto")
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path / "run" / "explore.csv") == []
    assert run(small, "--out", tmp_path / "run", "--proposals", "6").returncode == 0  # the search was not closed
    assert len(rows(tmp_path / "run" / "explore.csv")) >= 6


@needs_eabench
@pytest.mark.parametrize(("options", "parts"), [
    (["--compare", "ea"], ("--compare ea", "two mechanisms")),
    (["--compare", "ea,ea-scaled"], ("ea-scaled lacks seeds",)),
    (["--compare", "mix,dpa"], ("--compare mix,dpa", "only the search trains", "--walk")),
    (["--budget", "soon"], ("--budget", "'soon'", "90s")),
    (["--object", "speed"], ("--object", "'speed'", "accuracy")),
    (["--set", "train.seed=1:5"], ("5 seeds", "at least 12")),
    (["--set", "train.seed=1:5", "--set", "x.y=1"], ("x.y",)),
    (["--walk"], ("--walk with --compare ea,dpa", "dpa,ea-scaled")),
    (["--set", "train.mechanism=mix", "--set", "train.mix=0.5"], ("no cell of ea or dpa",)),
    (["--set", "train.mechanism=mix", "--set", "train.mix=0.5", "--walk", "--compare", "dpa,ea-scaled"],
     ("no cell of dpa or ea-scaled",)),
    (["--set", "train.scale[ea]=0.3"], ("lacks seeds", "values of its own for lr only")),
    (["--walk", "--compare", "dpa,ea-scaled"], ("no cell of mechanism mix", "mix = 0.25")),
    (["--search-seeds", "0"], ("at least 1",)),
    (["--seed", "-1"], ("--seed -1", "0 to 4294967295")),
    (["--launcher", "mpirun 'x"], ("--launcher mpirun 'x", "No closing quotation")),
    (["--set", "task.basis=4", "--set", "model.d_model=8", "--set", "train.steps=20"], ("one setting",)),
])
def test_bad_input_is_one_line(small: Path, tmp_path: Path, options: list[str], parts: tuple[str, ...]):
    done = run(small, "--out", tmp_path / "run", *options)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done
    assert all(part in done.stderr for part in parts), done.stderr
    assert not (tmp_path / "run").exists()


def test_a_file_as_the_folder_is_one_line(small: Path, tmp_path: Path):
    (tmp_path / "run").write_text("mine")
    done = run(small, "--out", tmp_path / "run")
    assert done.returncode == 2 and done.stderr.startswith("explore: --out ") and done.stderr.count("\n") == 1
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.parametrize(("compare", "way"), [(("dpa", "ea-scaled"), [0, 1, 0.25, 0.75]),
                                              (("ea-scaled", "dpa"), [0, 1, 0.75, 0.25])])
def test_a_walk_informs_the_surrogate(compare: tuple[str, str], way: list[float]):
    """The accuracy is half of t: a surrogate that has t right knows it between, too."""
    t = {"dpa": 0, "mix-0.75": 0.75, "mix-0.25": 0.25, "ea-scaled": 1}
    lines = pd.concat([listing(2)[listing(2)["mechanism"] == "ea"].assign(
        mechanism=name.split("-0")[0], **{"train.mix": str(t[name]) if "mix" in name else "none"}) for name in t])
    lines["cell"] = [f"{number:016x}" for number in range(len(lines))]
    lab = Simulated(hill, side=2)
    names = np.repeat(list(t), len(lines) // 4)
    lab.table = {cell: (t[name] / 2, t[name] / 2) for cell, name in zip(lines["cell"], names)}
    plain = make_space(lines, compare)
    walked = make_space(lines, compare, mechanisms_between(lines, compare))
    assert walked.walk == ("mix-0.25", "mix-0.75") and list(walked.flop) == list(plain.flop)
    exploration = Exploration(walked, lab, fit=False)
    assert {step(exploration) for _ in range(4)} == set(walked.cheapest)
    process = exploration.surrogate().process
    assert list(dict.fromkeys(process.X_train_[:, -1])) == way
    half = process.predict(np.append(walked.points[walked.cheapest[0]], 0.5)[None])[0]
    assert exploration.surrogate().mean + half * exploration.surrogate().scale == pytest.approx(0.25, abs=0.02)
    assert {name for place in exploration.measured for name in exploration.measured[place].accuracy} == set(t)
    confirmed = set(exploration.confirmation_cells(walked.settings[walked.cheapest[0]]))
    assert set(lines[lines["cell"].isin(confirmed)]["mechanism"]) == {"dpa", "ea-scaled"}


@needs_eabench
def test_a_walk_is_in_no_result(small: Path, tmp_path: Path):
    small.write_text(SPEC.replace("dpa, ea", "dpa, ea-scaled, mix\nmix = 0.4, 0.6"))
    out = tmp_path / "run"
    done = run(small, "--out", out, "--proposals", "6", "--walk", "--compare", "ea-scaled,dpa", "--pareto")
    assert done.returncode == 0, done.stderr
    trained = {(row["mechanism"], row["mix"], row["seed"]) for row in rows(out / "accuracy.csv")}
    for share in ("0.4", "0.6"):
        assert {seed for name, mix, seed in trained if (name, mix) == ("mix", share)} == {"1", "2"}
    assert {seed for name, _, seed in trained if name == "dpa"} >= {"1", "2"}
    assert "mix" not in done.stdout and "mix" not in (out / "explore.csv").read_text()


def test_a_program_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(explore_lab, "GRACE_S", 0.2)
    assert explore_lab.Signals().run(["sleep", "60"], limit_s=0.1)[0] == -signal.SIGKILL


def test_a_program_that_is_not_built(small: Path, tmp_path: Path):
    done = run(small, "--out", tmp_path / "run", "--eabench", tmp_path / "none")
    assert done.returncode == 2 and "--eabench names the program" in done.stderr, done
