"""What scripts/explore trains with: the program eabench, and explore.json: what was asked for and decided."""

from __future__ import annotations

import argparse
import ctypes
import io
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pandas as pd

from .explore_space import Results
from .files import replace_file
from .tables import DataError, printable, read_csv

OBJECTS = {"accuracy": "token_accuracy", "solved": "solved"}   # what a margin is of, and its column
COLUMNS = ("cell", "status", "validation_accuracy", "token_accuracy", "chance_accuracy", "solved")
STATE = "explore.json"
CELLS = "cells (sha256)"
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None   # loaded here: not between fork and exec
PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """In a new process: SIGTERM as soon as its parent is gone, even if that was killed, so that eabench saves its cells
    and releases the folder. Linux only; elsewhere eabench runs on until its time limit. Behind a launcher it is the
    launcher that gets the signal."""
    if LIBC:
        LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))


class Lab(Protocol):
    """Trains cells; tests have one that computes their results."""

    def listed(self) -> pd.DataFrame: ...
    def train(self, cells: Sequence[str], limit_s: float) -> bool: ...
    def results(self) -> Results: ...
    def speeds(self) -> dict[str, float]: ...


class Interrupted(Exception):
    """A signal, or an error of eabench, which has printed its line: the exit code."""


class Signals:
    """Ctrl-C, SIGTERM and a closed terminal: remembered, and handed to eabench, which has a session of its own, so that
    each signal reaches it once and it saves its cells."""

    def __init__(self) -> None:
        self.received = False
        self.process: subprocess.Popen | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._take)

    def _take(self, _: int, __: object) -> None:
        self.received = True
        if self.process:
            self.process.terminate()

    def check(self) -> None:
        if self.received:
            raise Interrupted(130)

    def run(self, command: Sequence[str]) -> tuple[int, str]:
        """The exit code and what the command says on stderr."""
        self.check()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                              start_new_session=True, preexec_fn=end_with_parent) as self.process:
            if self.received:
                self.process.terminate()
            _, errors = self.process.communicate()
        code, self.process = self.process.returncode, None
        self.check()
        return code, errors


class EabenchLab:
    """The cells of a spec, trained by `eabench sweep --cells` in the run's folder."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.run: Path = options.out
        self.spec = [str(options.spec), *(word for item in options.set for word in ("--set", item))]
        self.program = options.eabench
        self.launcher = shlex.split(options.launcher)
        self.more = ["--backend", options.backend, *(["--workers", str(options.workers)] if options.workers else []),
                     *(["--save-geometry"] if options.save_geometry else [])]
        self.column = OBJECTS[options.object]
        self.signals = Signals()

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
        try:
            listed = pd.read_csv(io.StringIO(done.stdout), dtype=str, keep_default_na=False)
        except ValueError:  # pandas' errors are of this kind
            listed = pd.DataFrame()
        if not {"cell", "mechanism", "task", "lr", "seed", "flop"} <= set(listed.columns):
            raise DataError(f"{command[0]}: prints no list of cells; --eabench names the program")
        return listed

    def train(self, cells: Sequence[str], limit_s: float) -> bool:
        """False if the time was not enough. A cell that fails has no row; its setting is then never complete."""
        chosen = self.run / "explore" / "cells"
        chosen.parent.mkdir(parents=True, exist_ok=True)
        chosen.write_text("".join(f"{cell}\n" for cell in cells), encoding="ascii")
        command = [*self.launcher, self.program, "sweep", *self.spec, *self.more, "--cells", str(chosen),
                   "--out", str(self.run), "--progress", "off", "--time-limit", f"{max(limit_s, 0.1):.3f}"]
        began = time.monotonic()
        try:
            code, errors = self.signals.run(command)
        except OSError as error:
            raise DataError(f"{command[0]}: {error.strerror}; --launcher and --eabench name programs") from error
        if code == 130 and time.monotonic() - began >= limit_s:
            return False
        if code not in (0, 1):
            print(errors, end="", file=sys.stderr)
            if code < 0:
                raise DataError(f"{command[0]}: ended by signal {-code}; the same command goes on")
            raise Interrupted(code)
        return True

    def results(self) -> Results:
        path = self.run / "accuracy.csv"
        if not path.exists():
            return {}
        rows, _ = read_csv(path, COLUMNS)  # without a last line that is cut off
        rows = rows[rows["status"].isin(("ok", "diverged"))].drop_duplicates("cell")
        chance, validation, score = (pd.to_numeric(rows[name], errors="coerce")
                                     for name in ("chance_accuracy", "validation_accuracy", self.column))
        gone = rows["status"] == "diverged"
        validation = validation.mask(gone, chance)
        score = score.mask(gone, 0.0 if self.column == "solved" else chance)
        known = validation.notna() & score.notna()
        return dict(zip(rows["cell"][known], zip(validation[known], score[known])))

    def speeds(self) -> dict[str, float]:
        """Tokens per second of each cell that has them."""
        path = self.run / "throughput.csv"
        if not path.exists():
            return {}
        rows, _ = read_csv(path, ("cell", "tokens_per_s"))
        speeds = pd.to_numeric(rows["tokens_per_s"], errors="coerce")
        return dict(zip(rows["cell"][speeds > 0], speeds[speeds > 0]))


@dataclass
class State:
    """What the first start of an exploration asked for, and its decisions: later starts must not ask for other things,
    or the fresh seeds would not be fresh and the verdicts would be the best of several."""

    path: Path
    asked: dict[str, object]
    failed: list[str] = field(default_factory=list)       # keys of settings
    finalists: list[str] | None = None                    # None: the search has not ended
    proposals: list[str] = field(default_factory=list)    # keys of the settings that were measured, in their order

    @classmethod
    def read(cls, out: Path, asked: dict[str, object]) -> State:
        state = cls(out / STATE, asked)
        if not state.path.exists():
            state.save()
            return state
        try:
            stored = json.loads(state.path.read_text(encoding="utf-8"))
            before, state.failed, state.finalists = stored["asked"], stored["failed"], stored["finalists"]
            state.proposals = stored.get("proposals", [])  # older files have none
            lists = [state.failed, state.proposals, [] if state.finalists is None else state.finalists]
            if not isinstance(before, dict) or not all(isinstance(keys, list) for keys in lists):
                raise TypeError
            if not all(isinstance(key, str) for keys in lists for key in keys):
                raise TypeError
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{state.path}: not a file of explore; allowed: the folder of an exploration, or a new "
                            "one") from error
        for name, value in asked.items():
            if before.get(name) != value:
                how = ("other cells of the spec" if name == CELLS else
                       f"{name} {_shown(before.get(name))}, not {_shown(value)}")
                raise DataError(f"{state.path}: this exploration began with {how}; another --out begins a new one")
        return state

    def save(self) -> None:
        stored = {"asked": self.asked, "failed": sorted(self.failed), "finalists": self.finalists,
                  "proposals": self.proposals}
        replace_file(self.path, json.dumps(stored, indent=1) + "\n")


def _shown(value: object) -> str:
    return printable(json.dumps(value).replace('"', ""), 60)

