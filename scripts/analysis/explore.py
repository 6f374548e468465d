"""scripts/explore: looks in a spec's settings for those where two mechanisms differ, and confirms what it finds.

The settings (level, model, training) are those of the spec's cells. Each proposal trains both mechanisms at all their
rates with a few seeds; a surrogate (explore_model.py) learns from all results and proposes the next setting, in few
steps or in all of them. The best settings are then trained again at all rates, with seeds that the search has not used;
only these count as results. With them the search of a folder is closed: a second look at the results, with another
choice of the best, would be a second chance for a false one.

Proposals are cells of an ordinary run. What is proposed depends on the results in the run's folder and on --seed, so
that the same command goes on where it was stopped; explore.json has what was asked for and what was decided.
With --shard several tasks share one exploration (explore_shared.py).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np

from . import explore_model as model
from .arguments import Arguments, seconds
from .explore_lab import CELLS, EabenchLab, Interrupted, Lab, State
from .explore_output import (pareto, report, report_closed, report_failed, report_late, report_lost, report_measured,
                             report_space, show, write_table)
from .explore_shared import Task, begin_alone, shard
from .explore_space import (ENDS, INSTRUMENT, MIX, NUMBER, OBJECTS, SIZE, Measured, Setting, Space, make_space, measure,
                            mechanisms_between, share_of)
from .stats import bootstrap_mean, holm, sign_flip
from .tables import DataError, printable

ROOT = Path(__file__).resolve().parents[2]
FRESH_SEEDS = 10         # fewest seeds of a confirmation
SIGNIFICANT = 0.04       # for 5 % of false ones: the fresh seeds also choose the rates, which the test ignores
LEAST_NOISE = 1e-4       # standard deviation of an accuracy: two equal seeds prove nothing
SEARCH_SHARE = 0.5       # of the budget; the rest is for the confirmation


@dataclass
class Verdict:
    """A confirmed setting: its margin over the fresh seeds."""

    setting: Setting
    measured: Measured
    margins: np.ndarray
    mean: float
    low: float
    high: float
    p_value: float
    p_adjusted: float = 1.0
    confirmed: bool = False
    region: str = ""   # of a confirmed one: Exploration.region


@dataclass
class Pace:
    """FLOP per second of this start."""

    flop: float = 0.0
    time_s: float = 0.0

    def add(self, flop: float, time_s: float) -> None:
        self.flop += flop
        self.time_s += time_s

    def estimate(self, flop: float) -> str:
        return f", about {flop * self.time_s / self.flop:.0f} s" if self.flop > 0 else ""


@dataclass
class Exploration:
    """One exploration: what it has measured, and its decisions. The decisions depend on the results and the seed."""

    space: Space
    lab: Lab
    search_seeds: int = 2
    confirm: int = 3
    both_sides: bool = False
    seed: int = 1
    object: str = "accuracy"   # of OBJECTS
    measured: dict[int, Measured] = field(default_factory=dict)   # by the setting's place
    failed: set[int] = field(default_factory=set)   # places of settings with a cell that has no result
    pending: list[int] = field(default_factory=list)   # places of settings that other tasks train, if there are any
    fit: bool = True
    pace: Pace = field(default_factory=Pace)
    kernel: model.Kernel | None = None   # of the last learn(): the surrogate is not fitted again
    _fitted: tuple[int, model.Surrogate] | None = None   # for so many measured settings

    @property
    def pair(self) -> tuple[str, str]:
        return self.space.mechanisms[0], self.space.mechanisms[1]

    @property
    def trained(self) -> tuple[str, ...]:
        """The mechanisms of the search: the pair, and those between."""
        return (*self.space.mechanisms, *self.space.walk)

    def seeds(self) -> tuple[list[int], list[int]]:
        """Those of the search and those of the confirmation."""
        return self.space.seeds[:self.search_seeds], self.space.seeds[self.search_seeds:]

    def read(self) -> None:
        """Adds the settings that are complete."""
        results = self.lab.results()
        for setting in self.space.settings:
            if setting.place not in self.measured:
                found = measure(setting, results, self.trained, self.seeds()[0])
                if found:
                    self.measured[setting.place] = found

    def order(self, keys: Sequence[str]) -> None:
        """Puts the measured settings in the order of their keys; others follow."""
        rank = {key: number for number, key in enumerate(keys)}
        places = sorted(self.measured, key=lambda place: rank.get(self.space.settings[place].key, len(rank)))
        self.measured = {place: self.measured[place] for place in places}

    def margin(self, place: int) -> float:
        return float(self.measured[place].margins(*self.pair).mean())

    def surrogate(self) -> model.Surrogate:
        if self._fitted is None or self._fitted[0] != len(self.measured):
            self._fitted = len(self.measured), self._fit()
        return self._fitted[1]

    def learn(self) -> None:
        """Fits the surrogate to all that is measured, in seconds if that is hundreds of settings. What is measured
        later is added to it, without another fit, until the next call."""
        self.kernel = self._fitted = None
        if self.measured:
            self.kernel = self.surrogate().process.kernel_

    def _fit(self) -> model.Surrogate:
        places = sorted(self.measured)
        points = self.space.points[places]
        values = [[float(self.measured[place].accuracy[name].mean()) for place in places] for name in self.trained]
        deviations = [self.measured[place].accuracy[name].std(ddof=1) if self.search_seeds > 1 else 0.0
                      for name in self.trained for place in places]
        pooled = max(float(np.sqrt(np.mean(np.square(deviations)))), LEAST_NOISE)
        count = len(places)
        way = [share_of(name) if self.pair == ENDS else 1 - share_of(name) for name in self.space.walk]
        return model.Surrogate(np.vstack([points] * len(self.trained)), np.repeat([0, 1, *way], count),
                               np.concatenate(values),
                               np.full(len(values) * count, pooled**2 / self.search_seeds), self.fit, self.kernel)

    def expected(self, surrogate: model.Surrogate | None = None, more: Sequence[int] = ()) -> dict[int, float]:
        """Of the settings that are measured in full (and of `more`): the margin that the surrogate expects. It is
        nearer to the truth than the measured one, which is the best of many with its luck."""
        places = [place for place in (*self.measured, *more) if self.space.rivals[place] == place]
        if not places:
            return {}
        means = (surrogate or self.surrogate()).margin(self.space.points[places])[0]
        return dict(zip(places, map(float, means)))

    def next(self) -> Setting | None:
        """The setting to train next, given those that are measured and those that others train; None if none is
        left."""
        space, cheapest = self.space, self.space.cheapest
        begun = len(self.measured) + len(self.pending)
        generator = np.random.default_rng([self.seed, begun])
        done = sorted({*self.measured, *self.failed, *self.pending})
        taken = [cheapest.index(place) for place in done if place in cheapest]
        first = model.FIRST + model.FIRST_EACH * space.points.shape[1]
        if (begun < first or not self.measured) and len(taken) < len(cheapest):
            return space.settings[cheapest[model.spread(space.points[cheapest], taken, generator)]]
        if not self.measured:
            return None
        surrogate = self.surrogate()
        if self.pending:
            surrogate = surrogate.believing(space.points[self.pending])
        expected = self.expected(surrogate, self.pending)
        best = max((abs(mean) if self.both_sides else mean for mean in expected.values()), default=0.0)
        place = model.propose(surrogate, space.points, space.rivals, space.flop, done,
                              max(best, 0.0), self.both_sides, generator)
        return None if place is None else space.settings[place]

    def work(self, setting: Setting, cells: Sequence[str]) -> float:
        """FLOP of the setting's cells that have no result yet."""
        results = self.lab.results()
        return setting.work(cell for cell in cells if cell not in results)

    def search_cells(self, setting: Setting) -> list[str]:
        return [cell for name in self.trained for cell in setting.ids(name, setting.ways(name), self.seeds()[0])]

    def leaders(self, count: int) -> list[Setting]:
        """Those measured in full with a positive margin expected, the largest first. With both_sides, those of the two
        mechanisms alternate; that with the largest margin comes first."""
        expected = self.expected()

        def best(sign: int) -> list[int]:
            return sorted((place for place in expected if sign * expected[place] > 0),
                          key=lambda place: (-sign * expected[place], place))

        sides = [best(1), best(-1) if self.both_sides else []]
        sides.sort(key=lambda side: -abs(expected[side[0]]) if side else 0.0)
        turns = [place for pair in zip_longest(*sides) for place in pair if place is not None]
        return [self.space.settings[place] for place in turns[:count]]

    def finalists(self) -> list[Setting]:
        """The settings to confirm."""
        return self.leaders(self.confirm)

    def region(self, verdict: Verdict) -> str:
        """For the level and each option that varies: its values at which, all else equal, the surrogate expects at
        least half of the margin that it expects at the setting; such as "d_model 8 or 12; model.norm none". "" where it
        expects a margin of the other sign than the one confirmed."""
        space, setting = self.space, verdict.setting
        expected = self.surrogate().margin(space.points)[0]
        size = expected[setting.place]
        if size * verdict.mean <= 0:
            return ""
        everywhere = set.intersection(*(set(other.options["level"].split()) for other in space.settings))
        region = []
        for name, own in setting.options.items():
            alike = [other for other in space.settings if all(
                other.options[key] == value for key, value in setting.options.items() if key != name)]
            if name != INSTRUMENT and len(alike) > 1:
                values = [other.options[name] for other in alike
                          if other is setting or expected[other.place] * np.sign(size) >= abs(size) / 2]
                if name == "level":
                    values = [" ".join(word for word in value.split() if word not in everywhere) for value in values]
                values.sort(key=lambda value: [(float(part), "") if NUMBER.fullmatch(part) else (0.0, part)
                                               for part in re.split(r"[ =]", value)])
                region.append(f"{name} {' or '.join(values)}")
        return "; ".join(region)

    def confirmation_cells(self, setting: Setting) -> list[str]:
        """All rates again: a rate that two seeds chose by chance would show as a margin of the other mechanism."""
        return [cell for name in self.space.mechanisms
                for cell in setting.ids(name, setting.ways(name), self.seeds()[1])]

    def verdicts(self, settings: Sequence[Setting]) -> list[Verdict]:
        """Of the settings whose fresh cells are complete; p-values are adjusted for the number of all (Holm)."""
        results, found = self.lab.results(), []
        for setting in settings:
            fresh = measure(setting, results, self.pair, self.seeds()[1])
            if fresh:
                margins = fresh.margins(*self.pair)
                mean, low, high = bootstrap_mean([margins])
                found.append(Verdict(setting, fresh, margins, mean, low, high, sign_flip(margins)))
        open_ones = [1.0] * (len(settings) - len(found))
        for verdict, adjusted in zip(found, holm([verdict.p_value for verdict in found] + open_ones)):
            verdict.p_adjusted = adjusted
            verdict.confirmed = adjusted <= SIGNIFICANT and (self.both_sides or verdict.mean > 0)
            if verdict.confirmed and self.measured:
                verdict.region = self.region(verdict)
        return found


# ---- the command ---------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    command = Arguments(
        prog="explore",
        description="Looks in the settings of a spec for those where one mechanism learns more than another, and "
        "confirms the best ones with fresh seeds. The run is resumed by the same command.",
        epilog="Exit codes: 0 done, 1 cells failed, 2 bad input or usage, 3 something is missing, 130 stopped.")
    command.add_argument("spec", metavar="SPEC.ini", type=Path,
                         help="its ranges are the space; its rates are tried for each mechanism; its seeds: those of "
                         f"the search, then at least {FRESH_SEEDS} fresh ones")
    command.add_argument("--compare", metavar="A,B", default="ea,dpa",
                         help="two mechanisms; the margin is A's accuracy less B's (default: ea,dpa)")
    command.add_argument("--object", choices=OBJECTS, default="accuracy", help="what the margin is of: the token "
                         "accuracy, the share of seeds that solve the level, or the size: how often d_model can be "
                         "halved and still solve it (default: accuracy)")
    command.add_argument("--out", metavar="RUN", type=Path, required=True, help="the run's folder")
    command.add_argument("--shard", metavar="I/N", type=shard, help="this is task I of N that share the exploration, "
                         "each started with the same command but for I")
    command.add_argument("--budget", metavar="TIME", type=seconds, default=3600.0,
                         help=f"of this start, like 90s, 10m, 1h30m; {100 * SEARCH_SHARE:.0f} %% for the search, "
                         "the rest for the confirmation (default: 1h)")
    command.add_argument("--proposals", metavar="N", type=int, help="end the search after N settings in all")
    command.add_argument("--search-seeds", metavar="N", type=int, default=2, help="seeds of a proposal (default: 2)")
    command.add_argument("--confirm", metavar="N", type=int, default=3, help="settings to confirm (default: 3)")
    command.add_argument("--both-sides", action="store_true", help="look for large margins of either mechanism")
    command.add_argument("--walk", action="store_true", help="between dpa and ea-scaled the search also trains the "
                         "spec's mechanism mix, with each of its values of mix, which is never reported as a result")
    command.add_argument("--pareto", action="store_true", help="show the best accuracy for its cost at the end")
    command.add_argument("--seed", metavar="N", type=int, default=1, help="of the proposals (default: 1)")
    command.add_argument("--set", metavar="SECTION.KEY=VALUE", action="append", default=[], help="as in eabench sweep")
    command.add_argument("--backend", default="auto", help="as in eabench sweep")
    command.add_argument("--workers", metavar="N", type=int, help="as in eabench sweep")
    command.add_argument("--save-geometry", action="store_true", help="as in eabench sweep; the report then asks "
                         "whether angles and entropies of attention predict the margin, too")
    command.add_argument("--launcher", metavar="COMMAND", default="", help="before eabench, such as 'mpirun -n 8'")
    command.add_argument("--eabench", metavar="PROGRAM", default=os.environ.get("EABENCH",
                         str(ROOT / "build/release/eabench")), help="(default: $EABENCH or build/release/eabench)")
    return command


def check(options: argparse.Namespace, space: Space) -> None:
    fresh = len(space.seeds) - options.search_seeds
    if options.search_seeds < 1 or options.confirm < 1 or (options.proposals is not None and options.proposals < 1):
        raise DataError("--search-seeds, --confirm and --proposals: at least 1 is allowed")
    if not 0 <= options.seed < 2**32:
        raise DataError(f"--seed {options.seed}; 0 to {2**32 - 1} is allowed")
    if options.shard and options.launcher:
        raise DataError("--launcher with --shard: a task is one process; one of the two is allowed")
    if fresh < FRESH_SEEDS:
        raise DataError(f"{printable(str(options.spec), 60)}: {len(space.seeds)} seeds; allowed: at least "
                        f"{options.search_seeds + FRESH_SEEDS}, {options.search_seeds} for the search and "
                        f"{FRESH_SEEDS} to confirm, such as seed = 1:{options.search_seeds + FRESH_SEEDS}")
    if options.object != "accuracy" and any(setting.options["task"] == "text" for setting in space.settings):
        raise DataError(f"--object {options.object}: a text is never solved; allowed: accuracy")
    if len(space.cheapest) < 2:
        raise DataError(f"{printable(str(options.spec), 60)}: one setting; allowed: a spec with several levels, models "
                        "or options to choose from")


def compared(text: str) -> tuple[str, str]:
    names = text.split(",")
    if len(names) != 2 or names[0] == names[1] or not all(names):
        raise DataError(f"--compare {printable(text, 40)}; two mechanisms are allowed, such as ea,dpa")
    for name in names:
        if name.startswith(MIX):
            raise DataError(f"--compare {printable(text, 40)}: {name} is a mix, which only the search trains; "
                            "allowed: --compare dpa,ea-scaled --walk, or other mechanisms")
    return names[0], names[1]


def search(exploration: Exploration, options: argparse.Namespace, until_s: float, state: State) -> None:
    """Trains proposals until the time or their number is used up."""
    shown: list[Setting] = []
    while options.proposals is None or len(exploration.measured) < options.proposals:
        setting = exploration.next()
        left_s = until_s - time.monotonic()
        if setting is None or left_s <= 0:
            break
        cells, began_s = exploration.search_cells(setting), time.monotonic()
        if not exploration.lab.train(cells, left_s):
            break
        exploration.read()
        if setting.place not in exploration.measured:
            exploration.failed.add(setting.place)
            state.failed.append(setting.key)
            state.save()
            report_failed(setting, options.out)
            continue
        exploration.pace.add(setting.work(cells), time.monotonic() - began_s)
        state.proposals.append(setting.key)
        state.save()
        shown = report_measured(exploration, setting, shown, until_s, options.out)
    if shown:
        show(exploration, shown)


def confirm(exploration: Exploration, finalists: Sequence[Setting], until_s: float) -> tuple[list[Verdict], int]:
    """The verdicts, and how many of the settings have a cell that failed."""
    trained = 0
    for setting in finalists:
        cells, began_s = exploration.confirmation_cells(setting), time.monotonic()
        left_s, work = until_s - began_s, exploration.work(setting, cells)
        print(f"confirming {setting.name}: {len(cells)} cells{exploration.pace.estimate(work)}; "
              f"{max(0.0, left_s):.0f} s left", flush=True)
        if left_s <= 0 or not exploration.lab.train(cells, left_s):
            report_late(setting)
            break
        exploration.pace.add(work, time.monotonic() - began_s)
        trained += 1
    verdicts = exploration.verdicts(finalists)
    known = [verdict.setting for verdict in verdicts]
    lost = [setting for setting in finalists[:trained] if setting not in known]
    for setting in lost:
        report_lost(setting)
    return verdicts, len(lost)


def explore(options: argparse.Namespace) -> int:
    started_s = time.monotonic()
    mechanisms = compared(options.compare)
    if options.out.exists() and not options.out.is_dir():
        raise DataError(f"--out {printable(str(options.out), 80)}: a file; a folder, or a new name, is allowed")
    lab = EabenchLab(options)
    listed = lab.listed()
    walk = mechanisms_between(listed, mechanisms) if options.walk else ()
    space = make_space(listed, mechanisms, walk, options.object == SIZE)
    check(options, space)
    exploration = Exploration(space, lab, options.search_seeds, options.confirm, options.both_sides, options.seed,
                              options.object)
    options.out.mkdir(parents=True, exist_ok=True)
    asked = {
        "compare": options.compare, "object": options.object, "seed": options.seed, "confirm": options.confirm,
        "both-sides": options.both_sides, "walk": options.walk, "search seeds": exploration.seeds()[0],
        CELLS: hashlib.sha256("\n".join(sorted(listed["cell"])).encode()).hexdigest()[:16]}
    if options.shard:
        return share(exploration, options, asked, started_s)
    state, descriptor = begin_alone(options.out, asked, lab.pause)
    if descriptor is not None:  # tasks began it: this start has it for itself
        lab.inherited = (descriptor,)
        lab.merge()
    by_key = {setting.key: setting for setting in space.settings}
    exploration.failed = {by_key[key].place for key in state.failed if key in by_key}
    state.check(by_key)
    finalists = [by_key[key] for key in state.finalists or ()]
    exploration.read()
    exploration.order(state.proposals)
    state.proposals = [space.settings[place].key for place in exploration.measured]  # one may be missing after a kill
    write_table(exploration, exploration.verdicts(finalists), options.out)  # a start that is stopped soon loses no row
    report_space(exploration)
    if state.finalists is None:
        search(exploration, options, started_s + SEARCH_SHARE * options.budget, state)
        finalists = exploration.finalists()
        if finalists:  # else the next start searches on
            state.finalists = [setting.key for setting in finalists]
            state.save()
    else:
        report_closed()
    verdicts, lost = confirm(exploration, finalists, started_s + options.budget)
    conclude(exploration, options, finalists, verdicts)
    return 1 if lost or exploration.failed else 0


def conclude(exploration: Exploration, options: argparse.Namespace, finalists: Sequence[Setting],
             verdicts: Sequence[Verdict]) -> None:
    path = write_table(exploration, verdicts, options.out)
    report(exploration, finalists, verdicts)
    if options.pareto:
        pareto(exploration)
    print(f"{path}: every setting that was measured", flush=True)


def share(exploration: Exploration, options: argparse.Namespace, asked: dict[str, object], started_s: float) -> int:
    """One of several tasks (explore_shared.py): trains what the others do not. The last of them reports."""
    until_s, end_s = started_s + SEARCH_SHARE * options.budget, started_s + options.budget
    task, shown = Task(exploration, options.out, options.shard, asked), []
    report_space(exploration)
    if task.state.finalists is not None:
        report_closed()

    def measured(setting: Setting) -> None:
        shown[:] = report_measured(exploration, setting, shown, until_s, options.out)

    def finish() -> int:
        exploration.lab.merge()
        verdicts = exploration.verdicts(finalists)
        known = [verdict.setting for verdict in verdicts]
        lost = [setting for setting in finalists if task.is_lost(setting)]
        for setting in finalists:
            if setting not in known:
                (report_lost if setting in lost else report_late)(setting)
        conclude(exploration, options, finalists, verdicts)
        return 1 if lost or exploration.failed else 0

    finalists = task.search(options.proposals, until_s, end_s, measured,
                            lambda setting: report_failed(setting, options.out / "shards" / task.folder))
    exploration.learn()
    task.confirm(finalists, end_s, lambda: write_table(exploration, exploration.verdicts(finalists), options.out))
    return task.leave(finish)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return explore(options)
    except DataError as error:
        print(f"explore: {error}", file=sys.stderr)
        return 2
    except Interrupted as error:
        code = int(error.args[0])
        if code == 130:
            print("explore: stopped; the same command goes on", file=sys.stderr)
        return code
    except OSError as error:
        print(f"explore: {error.filename or options.out}: {error.strerror}; allowed: a folder that can be written",
              file=sys.stderr)
        return 2


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
