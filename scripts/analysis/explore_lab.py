"""What scripts/explore trains with: the program eabench, and explore.json: what was asked for and decided."""

from __future__ import annotations

import argparse
import ctypes
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import pandas as pd

from .explore_space import OBJECTS, Results
from .files import replace_file
from .tables import DataError, printable, read_csv

COLUMNS = ("cell", "status", "validation_accuracy", "token_accuracy", "chance_accuracy", "solved")
STATE = "explore.json"
CELLS = "cells (sha256)"
FOLDER = "explore"   # in the run's: lists of cells, and the locks of tasks (explore_shared.py)
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None   # loaded here: not between fork and exec
PR_SET_PDEATHSIG = 1
MOST_PARTS = 100_000   # as in eabench sweep (host/plan/shard.h)
GRACE_S = 120.0        # of an eabench that should have ended: it saves its cells first


def end_with_parent() -> None:
    """In a new process: SIGTERM as soon as its parent is gone, even if that was killed, so that eabench saves its cells
    and releases the folder. Linux only; elsewhere eabench runs on until its time limit. Behind a launcher it is the
    launcher that gets the signal."""
    if LIBC:
        LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))


Parsed = TypeVar("Parsed")


class Shard(NamedTuple):
    """--shard part/parts: one of several tasks."""

    part: int
    parts: int

    def __str__(self) -> str:
        return f"{self.part}/{self.parts}"


class Lab(Protocol):
    """Trains cells; tests have one that computes their results."""

    inherited: tuple[int, ...]   # descriptors that the program keeps open as long as it runs

    def listed(self) -> pd.DataFrame: ...
    def train(self, cells: Sequence[str], limit_s: float) -> bool: ...
    def results(self) -> Results: ...
    def speeds(self) -> dict[str, float]: ...
    def elsewhere(self) -> set[str]: ...
    def pause(self, time_s: float) -> None: ...
    def merge(self) -> None: ...


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

    def run(self, command: Sequence[str], inherited: Sequence[int] = (), limit_s: float | None = None
            ) -> tuple[int, str]:
        """The exit code and what the command says on stderr. One that hangs is killed, GRACE_S after its time."""
        self.check()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                              start_new_session=True, preexec_fn=end_with_parent,
                              pass_fds=inherited) as self.process:
            if self.received:
                self.process.terminate()
            try:
                _, errors = self.process.communicate(timeout=None if limit_s is None else limit_s + GRACE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                _, errors = self.process.communicate()
        code, self.process = self.process.returncode, None
        self.check()
        return code, errors


class EabenchLab:
    """The cells of a spec, trained by `eabench sweep --cells` in the run's folder, or in that of a part of it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.run: Path = options.out
        self.spec = [str(options.spec), *(word for item in options.set for word in ("--set", item))]
        self.program = options.eabench
        try:
            self.launcher = shlex.split(options.launcher)
        except ValueError as error:
            raise DataError(f"--launcher {printable(options.launcher, 60)}: {error}; words as in a shell are "
                            "allowed") from error
        self.more = ["--backend", options.backend, *(["--workers", str(options.workers)] if options.workers else []),
                     *(["--save-geometry"] if options.save_geometry else [])]
        self.column = OBJECTS[options.object].column
        self.shard: Shard | None = options.shard
        self.inherited: tuple[int, ...] = ()
        self.signals = Signals()
        self._parsed: dict[Path, tuple[tuple[int, ...], object]] = {}   # of a table as it was

    def listed(self) -> pd.DataFrame:
        """Every cell of the spec: the folder named here does not exist, so that none is done."""
        nowhere = str(self.run / FOLDER / "none")
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
        chosen = self.run / FOLDER / (f"cells-{self.shard.part}" if self.shard else "cells")
        chosen.parent.mkdir(parents=True, exist_ok=True)
        chosen.write_text("".join(f"{cell}\n" for cell in cells), encoding="ascii")
        command = [*self.launcher, self.program, "sweep", *self.spec, *self.more, "--cells", str(chosen),
                   "--out", str(self.run), "--progress", "off", "--time-limit", f"{max(limit_s, 0.1):.3f}",
                   *(["--shard", str(self.shard)] if self.shard else [])]
        began = time.monotonic()
        try:
            code, errors = self.signals.run(command, self.inherited, limit_s)
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

    def merge(self) -> None:
        """Makes one run of the parts that tasks have trained, if there are any. Most cells of the spec are in none."""
        if not any((self.run / "shards").glob("*-of-*/manifest.ini")):
            return
        command = [self.program, "merge", str(self.run)]
        code, errors = self.signals.run(command, self.inherited)
        if code not in (0, 1):
            print(errors, end="", file=sys.stderr)
            raise Interrupted(code if code > 0 else 3)
        print("".join(f"{line}\n" for line in errors.splitlines() if "results may differ" in line), end="",
              file=sys.stderr)

    def _tables(self, name: str, columns: tuple[str, ...], parse: Callable[[pd.DataFrame], Parsed]
                ) -> list[tuple[Path, Parsed]]:
        """The run's table of this name, and those of its parts, with their folders. A table is read again only after it
        has changed. It is opened first: on NFS, only that shows what another node wrote."""
        parts = range(1, self.shard.parts + 1) if self.shard else ()
        found = []
        for folder in (self.run, *(self.run / "shards" / f"{part}-of-{len(parts)}" for part in parts)):
            path = folder / name
            try:
                with path.open("rb") as file:
                    facts = os.fstat(file.fileno())
            except FileNotFoundError:
                continue
            version = facts.st_ino, facts.st_size, facts.st_mtime_ns
            if self._parsed.get(path, ((),))[0] != version:
                self._parsed[path] = version, parse(read_csv(path, columns)[0])  # without a last line that is cut off
            found.append((folder, self._parsed[path][1]))
        return found

    def _accuracy(self, rows: pd.DataFrame) -> tuple[Results, set[str]]:
        """The results, and all cells that have a row."""
        cells = set(rows["cell"])
        rows = rows[rows["status"].isin(("ok", "diverged"))].drop_duplicates("cell")
        chance, validation, score = (pd.to_numeric(rows[name], errors="coerce")
                                     for name in ("chance_accuracy", "validation_accuracy", self.column))
        gone = rows["status"] == "diverged"
        validation = validation.mask(gone, chance)
        score = score.mask(gone, 0.0 if self.column == "solved" else chance)
        known = validation.notna() & score.notna()
        return dict(zip(rows["cell"][known], zip(validation[known], score[known]))), cells

    def results(self) -> Results:
        found: Results = {}
        for _, (results, _) in self._tables("accuracy.csv", COLUMNS, self._accuracy):
            found |= results
        return found

    def elsewhere(self) -> set[str]:
        """The cells with a row, also a failed one, in another folder than the own part's: a cell must not be in two
        parts."""
        own = self.run / "shards" / f"{self.shard.part}-of-{self.shard.parts}" if self.shard else self.run
        return set().union(*(cells for folder, (_, cells) in self._tables("accuracy.csv", COLUMNS, self._accuracy)
                             if folder != own))

    def speeds(self) -> dict[str, float]:
        """Tokens per second of each cell that has them."""
        found: dict[str, float] = {}
        for _, speeds in self._tables("throughput.csv", ("cell", "tokens_per_s"), _speeds):
            found |= speeds
        return found

    def pause(self, time_s: float) -> None:
        self.signals.check()
        time.sleep(time_s)
        self.signals.check()


def _speeds(rows: pd.DataFrame) -> dict[str, float]:
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
    # Of an exploration that tasks share (explore_shared.py); None and empty in others:
    parts: int | None = None                              # the number of tasks
    claims: dict[str, str | None] = field(default_factory=dict)   # what each task that has begun trains; None: nothing
    waiting: list[str] = field(default_factory=list)      # tasks that have no time left for the search
    lost: list[str] = field(default_factory=list)         # pieces of the confirmation with a cell that failed

    @classmethod
    def read(cls, out: Path, asked: dict[str, object], parts: int | None = None) -> State:
        """parts: the number of tasks, None for a start that is alone."""
        state = cls(out / STATE, asked, parts=parts)
        if not state.path.exists():
            state.save()
            return state
        try:
            stored = json.loads(state.path.read_text(encoding="utf-8"))
            before = state._take(stored)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{state.path}: not a file of explore; allowed: the folder of an exploration, or a new "
                            "one") from error
        for name, value in asked.items():
            if before.get(name) != value:
                how = ("other cells of the spec" if name == CELLS else
                       f"{name} {_shown(before.get(name))}, not {_shown(value)}")
                raise DataError(f"{state.path}: this exploration began with {how}; another --out begins a new one")
        if parts and state.parts != parts:
            raise DataError(f"{state.path}: this exploration is shared by {state.parts} tasks, not {parts}; allowed: "
                            f"--shard I/{state.parts}, or another --out" if state.parts else
                            f"{state.path}: this exploration began without --shard; allowed: the same command without "
                            "it, or another --out")
        return state

    def _take(self, stored: dict) -> dict[str, object]:
        """Takes what the file has; returns what was asked for."""
        before, self.failed, self.finalists = stored["asked"], stored["failed"], stored["finalists"]
        self.proposals = stored.get("proposals", [])  # older files have none
        self.parts, self.claims = stored.get("parts"), stored.get("claims", {})
        self.waiting, self.lost = stored.get("waiting", []), stored.get("lost", [])
        lists = [self.failed, self.proposals, [] if self.finalists is None else self.finalists, self.waiting, self.lost]
        if not isinstance(before, dict) or not all(isinstance(keys, list) for keys in lists):
            raise TypeError
        held = [claim for claim in self.claims.values() if claim is not None]
        if not all(isinstance(key, str) for keys in (*lists, held) for key in keys):
            raise TypeError
        if not (self.parts is None or (type(self.parts) is int and 0 < self.parts <= MOST_PARTS)):
            raise TypeError
        if not all(task.isdecimal() and 0 < int(task) <= (self.parts or 0) for task in self.claims):
            raise ValueError
        return before

    def check(self, known: Collection[str]) -> None:
        """known: the keys of the spec's settings."""
        if not set(self.finalists or ()) <= set(known):
            raise DataError(f"{self.path}: a setting to confirm is none of the spec's; another --out begins a new one")

    def save(self) -> None:
        stored: dict[str, object] = {"asked": self.asked, "failed": sorted(self.failed), "finalists": self.finalists,
                                     "proposals": self.proposals}
        if self.parts:
            stored |= {"parts": self.parts, "claims": self.claims, "waiting": self.waiting, "lost": self.lost}
        replace_file(self.path, json.dumps(stored, indent=1) + "\n")


def _shown(value: object) -> str:
    return printable(json.dumps(value).replace('"', ""), 60)

