"""scripts/explore: looks in a spec's settings for those where two mechanisms differ, and confirms what it finds.

The settings (level, model, training) are those of the spec's cells. Each proposal trains both mechanisms at all their
rates with a few seeds; a surrogate (explore_model.py) learns from all results and proposes the next setting, in few
steps or in all of them. The best settings are then trained again, with seeds that the search has not used, at the rates
that it chose; only these count as results.

Proposals are cells of an ordinary run. What is proposed depends on the results in the run's folder and on --seed, so
that the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import io
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from . import explore_model as model
from .duration import seconds
from .explore_space import ENDS, WALK, Measured, Results, Setting, Space, make_space, measure, mechanisms_between
from .plain_csv import csv_text
from .stats import bootstrap_mean, holm, sign_flip
from .tables import DataError, printable

ROOT = Path(__file__).resolve().parents[2]
FRESH_SEEDS = 10         # fewest seeds of a confirmation
SIGNIFICANT = 0.05
LEAST_NOISE = 1e-4       # standard deviation of an accuracy: two equal seeds prove nothing
SEARCH_SHARE = 0.7       # of the budget; the rest is for the confirmation


class Lab(Protocol):
    """Trains cells; tests have one that computes their results."""

    def listed(self) -> pd.DataFrame: ...
    def train(self, cells: Sequence[str], limit_s: float) -> bool: ...
    def results(self) -> Results: ...


class Interrupted(Exception):
    """A signal, or an error of eabench, which has printed its line: the exit code."""


class EabenchLab:
    """The cells of a spec, trained by `eabench sweep --cells` in the run's folder."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.run: Path = options.out
        self.spec = [str(options.spec), *(word for item in options.set for word in ("--set", item))]
        self.program = options.eabench
        self.launcher = shlex.split(options.launcher)
        self.more = ["--backend", options.backend, *(["--workers", str(options.workers)] if options.workers else [])]

    def listed(self) -> pd.DataFrame:
        """Every cell of the spec: the folder named here does not exist, so that none is done."""
        nowhere = str(self.run / "explore" / "none")
        command = [self.program, "sweep", *self.spec, *self.more, "--dry-run", "--list", "--out", nowhere]
        try:
            done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        except OSError as error:
            raise DataError(f"{command[0]}: {error.strerror}; --eabench names the program") from error
        if done.returncode:
            raise Interrupted(done.returncode)
        return pd.read_csv(io.StringIO(done.stdout), dtype=str, keep_default_na=False)

    def train(self, cells: Sequence[str], limit_s: float) -> bool:
        """False if the time was not enough. A cell that fails has no row; its setting is then never complete."""
        chosen = self.run / "explore" / "cells"
        chosen.parent.mkdir(parents=True, exist_ok=True)
        chosen.write_text("".join(f"{cell}\n" for cell in cells), encoding="ascii")
        command = [*self.launcher, self.program, "sweep", *self.spec, *self.more, "--cells", str(chosen),
                   "--out", str(self.run), "--progress", "off", "--time-limit", f"{max(limit_s, 0.1):.3f}"]
        # A signal to the group reaches eabench, too, which saves its cells; this process waits for that.
        received: list[int] = []
        handlers = {number: signal.signal(number, lambda number, _: received.append(number))
                    for number in (signal.SIGINT, signal.SIGTERM)}
        started = time.monotonic()
        try:
            done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        if received:
            raise Interrupted(130)
        if done.returncode == 130 and time.monotonic() - started >= limit_s:
            return False
        if done.returncode not in (0, 1):
            if done.returncode != 130:
                print(done.stderr, end="", file=sys.stderr)
            raise Interrupted(done.returncode)
        return True

    def results(self) -> Results:
        path = self.run / "accuracy.csv"
        if not path.exists():
            return {}
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
        rows = rows[rows["status"].isin(("ok", "diverged"))].drop_duplicates("cell")
        numbers = [pd.to_numeric(rows[name], errors="coerce")
                   for name in ("validation_accuracy", "token_accuracy", "chance_accuracy")]
        validation, accuracy = (column.fillna(numbers[2]) for column in numbers[:2])  # diverged: at chance
        return dict(zip(rows["cell"], zip(validation, accuracy)))


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


@dataclass
class Exploration:
    """One exploration: what it has measured, and its decisions. The decisions depend on the results and the seed."""

    space: Space
    lab: Lab
    search_seeds: int = 2
    confirm: int = 3
    both_sides: bool = False
    seed: int = 1
    measured: dict[int, Measured] = field(default_factory=dict)   # by the setting's place, in the order of measuring
    failed: set[int] = field(default_factory=set)   # places of settings with a cell that has no result
    fit: bool = True

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

    def margin(self, place: int) -> float:
        return float(self.measured[place].margins(*self.pair).mean())

    def surrogate(self) -> model.Surrogate:
        places = sorted(self.measured)
        points = self.space.points[places]
        values = [[float(self.measured[place].accuracy[name].mean()) for place in places] for name in self.trained]
        deviations = [self.measured[place].accuracy[name].std(ddof=1) if self.search_seeds > 1 else 0.0
                      for name in self.trained for place in places]
        pooled = max(float(np.sqrt(np.mean(np.square(deviations)))), LEAST_NOISE)
        count = len(places)
        way = [WALK[name] if self.pair == ENDS else 1 - WALK[name] for name in self.space.walk]
        return model.Surrogate(np.vstack([points] * len(self.trained)), np.repeat([0, 1, *way], count),
                               np.concatenate(values),
                               np.full(len(values) * count, pooled**2 / self.search_seeds), self.fit)

    def next(self) -> Setting | None:
        """The setting to train next; None if none is left."""
        space, cheapest = self.space, self.space.cheapest
        generator = np.random.default_rng([self.seed, len(self.measured)])
        done = sorted({*self.measured, *self.failed})
        taken = [cheapest.index(place) for place in done if place in cheapest]
        first = model.FIRST + model.FIRST_EACH * space.points.shape[1]
        if len(self.measured) < first and len(taken) < len(cheapest):
            return space.settings[cheapest[model.spread(space.points[cheapest], taken, generator)]]
        if not self.measured:
            return None
        best = max((abs(self.margin(place)) if self.both_sides else self.margin(place)
                    for place in self.measured if space.rivals[place] == place), default=0.0)
        place = model.propose(self.surrogate(), space.points, space.rivals, space.flop, done,
                              max(best, 0.0), self.both_sides, generator)
        return None if place is None else space.settings[place]

    def search_cells(self, setting: Setting) -> list[str]:
        return [cell for name in self.trained for cell in setting.ids(name, setting.rates(name), self.seeds()[0])]

    def finalists(self) -> list[Setting]:
        """The settings to confirm: measured in full, the largest margins first."""
        full = [place for place in self.measured if self.space.rivals[place] == place]
        size = {place: abs(self.margin(place)) if self.both_sides else self.margin(place) for place in full}
        best = sorted((place for place in full if size[place] > 0), key=lambda place: (-size[place], place))
        return [self.space.settings[place] for place in best[:self.confirm]]

    def confirmation_cells(self, setting: Setting) -> list[str]:
        rate = self.measured[setting.place].rate
        return [cell for name in self.space.mechanisms for cell in setting.ids(name, [rate[name]], self.seeds()[1])]

    def verdicts(self, settings: Sequence[Setting]) -> list[Verdict]:
        """Of the settings whose fresh cells are complete; p-values are adjusted for their number (Holm)."""
        results, found = self.lab.results(), []
        for setting in settings:
            fresh = measure(setting, results, self.pair, self.seeds()[1],
                            self.measured[setting.place].rate)
            if fresh:
                margins = fresh.margins(*self.pair)
                mean, low, high = bootstrap_mean([margins])
                found.append(Verdict(setting, fresh, margins, mean, low, high, sign_flip(margins)))
        for verdict, adjusted in zip(found, holm([verdict.p_value for verdict in found])):
            verdict.p_adjusted = adjusted
            verdict.confirmed = adjusted <= SIGNIFICANT and (self.both_sides or verdict.mean > 0)
        return found


# ---- the command ---------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="explore",
        description="Looks in the settings of a spec for those where one mechanism learns more than another, and "
        "confirms the best ones with fresh seeds. The run is resumed by the same command.",
        epilog="Exit codes: 0 done, 1 cells failed, 2 bad input or usage, 3 something is missing, 130 stopped.")
    command.add_argument("spec", metavar="SPEC.ini", type=Path,
                         help="its ranges are the space; its rates are tried for each mechanism; its seeds: those of "
                         f"the search, then at least {FRESH_SEEDS} fresh ones")
    command.add_argument("--compare", metavar="A,B", default="ea,dpa",
                         help="two mechanisms; the margin is A's token accuracy less B's (default: ea,dpa)")
    command.add_argument("--out", metavar="RUN", type=Path, required=True, help="the run's folder")
    command.add_argument("--budget", metavar="TIME", type=seconds, default=3600.0,
                         help=f"of this start, like 90s, 10m, 1h30m; {100 * SEARCH_SHARE:.0f} %% for the search, "
                         "the rest for the confirmation (default: 1h)")
    command.add_argument("--proposals", metavar="N", type=int, help="end the search after N settings in all")
    command.add_argument("--search-seeds", metavar="N", type=int, default=2, help="seeds of a proposal (default: 2)")
    command.add_argument("--confirm", metavar="N", type=int, default=3, help="settings to confirm (default: 3)")
    command.add_argument("--both-sides", action="store_true", help="look for large margins of either mechanism")
    command.add_argument("--walk", action="store_true", help="between dpa and ea-scaled the search also trains the "
                         "spec's mix-25, mix-50 and mix-75; no result is theirs")
    command.add_argument("--pareto", action="store_true", help="show the best accuracy for its cost at the end")
    command.add_argument("--seed", metavar="N", type=int, default=1, help="of the proposals (default: 1)")
    command.add_argument("--set", metavar="SECTION.KEY=VALUE", action="append", default=[], help="as in eabench sweep")
    command.add_argument("--backend", default="auto", help="as in eabench sweep")
    command.add_argument("--workers", metavar="N", type=int, help="as in eabench sweep")
    command.add_argument("--launcher", metavar="COMMAND", default="", help="before eabench, such as 'mpirun -n 8'")
    command.add_argument("--eabench", metavar="PROGRAM", default=os.environ.get("EABENCH",
                         str(ROOT / "build/release/eabench")), help="(default: $EABENCH or build/release/eabench)")
    return command


def check(options: argparse.Namespace, space: Space) -> None:
    fresh = len(space.seeds) - options.search_seeds
    if options.search_seeds < 1 or options.confirm < 1 or (options.proposals is not None and options.proposals < 1):
        raise DataError("--search-seeds, --confirm and --proposals: at least 1 is allowed")
    if fresh < FRESH_SEEDS:
        raise DataError(f"{printable(str(options.spec), 60)}: {len(space.seeds)} seeds; allowed: at least "
                        f"{options.search_seeds + FRESH_SEEDS}, {options.search_seeds} for the search and "
                        f"{FRESH_SEEDS} to confirm, such as seed = 1:{options.search_seeds + FRESH_SEEDS}")
    if len(space.cheapest) < 2:
        raise DataError(f"{printable(str(options.spec), 60)}: one setting; allowed: a spec with several levels, models "
                        "or options to choose from")


def compared(text: str) -> tuple[str, str]:
    names = text.split(",")
    if len(names) != 2 or names[0] == names[1] or not all(names):
        raise DataError(f"--compare {printable(text, 40)}; two mechanisms are allowed, such as ea,dpa")
    return names[0], names[1]


def search(exploration: Exploration, options: argparse.Namespace, until_s: float) -> None:
    """Trains proposals until the time or their number is used up."""
    first, second = exploration.pair
    exploration.read()
    while options.proposals is None or len(exploration.measured) < options.proposals:
        setting = exploration.next()
        left_s = until_s - time.monotonic()
        if setting is None or left_s <= 0:
            break
        if not exploration.lab.train(exploration.search_cells(setting), left_s):
            break
        known = len(exploration.measured)
        exploration.read()
        if setting.place not in exploration.measured:
            exploration.failed.add(setting.place)
            print(f"{setting.name}: left out, for a cell without a result; {options.out}/accuracy.csv says why",
                  file=sys.stderr)
            continue
        best = exploration.finalists()[:1]
        leader = f"; best {exploration.margin(best[0].place):+.4f} at {best[0].name}" if best else ""
        print(f"{known + 1}  {setting.name}  {first} - {second} {exploration.margin(setting.place):+.4f}{leader}; "
              f"{max(0.0, until_s - time.monotonic()):.0f} s left", flush=True)


def confirm(exploration: Exploration, until_s: float) -> list[Verdict]:
    finalists = exploration.finalists()
    for setting in finalists:
        left_s = until_s - time.monotonic()
        if left_s <= 0 or not exploration.lab.train(exploration.confirmation_cells(setting), left_s):
            print(f"the time was not enough to confirm {setting.name}", file=sys.stderr)
            break
    return exploration.verdicts(finalists)


def table(exploration: Exploration, verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """explore.csv: a row for each setting of the search and for each confirmation."""
    rows = []
    for place, found in exploration.measured.items():
        setting = exploration.space.settings[place]
        rows.append({"phase": "search", **setting.options, **_accuracies(found, exploration.pair),
                     "margin": exploration.margin(place), "seeds": exploration.search_seeds,
                     "flop_per_cell": setting.flop})
    for verdict in verdicts:
        rows.append({"phase": "confirmation", **verdict.setting.options,
                     **_accuracies(verdict.measured, exploration.pair), "margin": verdict.mean,
                     "seeds": len(verdict.margins), "flop_per_cell": verdict.setting.flop, "low": verdict.low,
                     "high": verdict.high, "p_value": verdict.p_value,
                     "p_adjusted": verdict.p_adjusted, "confirmed": verdict.confirmed})
    return pd.DataFrame(rows)


def _accuracies(found: Measured, mechanisms: Sequence[str]) -> dict[str, float]:
    return {f"{what} {name}": value for name in mechanisms
            for what, value in (("rate", found.rate[name]), ("accuracy", float(found.accuracy[name].mean())))}


def report(exploration: Exploration, verdicts: Sequence[Verdict]) -> None:
    first, second = exploration.pair
    print(f"\nConfirmed with fresh seeds ({first} - {second}, mean [95 % interval], p adjusted for their number):")
    for verdict in verdicts:
        word = "confirmed" if verdict.confirmed else "not confirmed"
        print(f"  {verdict.setting.name}  {verdict.mean:+.4f} [{verdict.low:+.4f}, {verdict.high:+.4f}] "
              f"p {verdict.p_adjusted:.3g}, {len(verdict.margins)} seeds: {word}")
    if not verdicts:
        print("  none: no setting was measured in full, or none has a margin above 0")


def pareto(exploration: Exploration) -> None:
    """The settings of each mechanism that no cheaper one beats."""
    for name in exploration.space.mechanisms:
        print(f"\n{name}: accuracy for its cost (search seeds)")
        best = -1.0
        for place in sorted(exploration.measured, key=lambda place: exploration.space.settings[place].flop):
            accuracy = float(exploration.measured[place].accuracy[name].mean())
            if accuracy > best:
                best = accuracy
                setting = exploration.space.settings[place]
                print(f"  {setting.flop:.3g} FLOP  {accuracy:.4f}  {setting.name}")


def explore(options: argparse.Namespace) -> int:
    started_s = time.monotonic()
    mechanisms = compared(options.compare)
    if options.out.exists() and not options.out.is_dir():
        raise DataError(f"--out {printable(str(options.out), 80)}: a file; a folder, or a new name, is allowed")
    lab = EabenchLab(options)
    listed = lab.listed()
    space = make_space(listed, mechanisms, mechanisms_between(listed, mechanisms) if options.walk else ())
    check(options, space)
    exploration = Exploration(space, lab, options.search_seeds, options.confirm, options.both_sides, options.seed)
    print(f"{len(space.settings)} settings of {len(space.names)} coordinates, {len(space.cheapest)} of them with all "
          f"steps; {' and '.join(mechanisms)}", flush=True)
    search(exploration, options, started_s + SEARCH_SHARE * options.budget)
    verdicts = confirm(exploration, started_s + options.budget)
    path = options.out / "explore.csv"
    path.write_text(csv_text(table(exploration, verdicts)), encoding="utf-8")
    report(exploration, verdicts)
    if options.pareto:
        pareto(exploration)
    print(f"{path}: every setting that was measured")
    return 0


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
        print(f"explore: {error.filename}: {error.strerror}; --out takes a folder that can be written", file=sys.stderr)
        return 2


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
