"""scripts/explore --shard I/N: several tasks, such as those of a Slurm array, share one exploration in one folder.

No task leads. What they have in common is RUN/explore.json, which a task reads and writes only while it holds the lock
of RUN/explore/lock. There it also decides what to train next: it reads the results of all parts (RUN/shards/I-of-N) and
what others are training, notes its own choice as its claim, and releases the lock. Then it trains the claim's cells in
its own part. A claim is a setting of the search, or a piece of the confirmation: a setting, a mechanism and a rate
(with --object size: also a width).

A task is alive as long as it, or the eabench that it started, holds the lock of RUN/explore/task-I. The kernel releases
that lock however the two end, and no earlier than the last row is written. What a dead task had claimed is taken by the
next one that looks for work; cells that it has finished are not trained again. A task that starts again goes on with
its own claim, if no other has taken it.

The search ends for all as soon as one task has used its time for it. The finalists are decided once, under the lock,
when no living task trains a setting of the search. The last task to leave makes one run of the parts and reports.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .explore_lab import FOLDER, MOST_PARTS, Shard, State
from .explore_space import Setting, Way, way_name
from .tables import DataError, printable

if TYPE_CHECKING:
    from .explore import Exploration

POLL_S = 1.0           # how often a task that waits for others reads the state
LOCK_POLL_S = 0.1
PATIENCE_S = 5.0       # for the eabench of a task that was killed: it saves its cells and ends
ALONE = 0              # the number of a start without --shard, which has the folder for itself


def shard(text: str) -> Shard:
    """For argparse's `type`: I/N."""
    numbers = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text, re.ASCII)
    part, parts = map(int, numbers.groups()) if numbers else (0, 0)
    if not 1 <= part <= parts <= MOST_PARTS:
        raise argparse.ArgumentTypeError(f"'{printable(text, 40)}' is no part; I/N is allowed, such as 2/8: 1..N of "
                                         f"1..{MOST_PARTS}")
    return Shard(part, parts)


class Locks:
    """Locks of files (flock) in the folder: the kernel releases them when the last process that has them ends."""

    def __init__(self, folder: Path, pause: Callable[[float], None]) -> None:
        """pause: sleeps for a time in seconds, and ends this process if it got a signal."""
        self.folder, self.pause = folder, pause
        folder.mkdir(parents=True, exist_ok=True)

    def _take(self, path: Path) -> int | None:
        """The descriptor that holds the lock; None if another has it."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return None
            raise DataError(f"{path}: cannot be locked: {error.strerror}; a disk with file locks that all nodes see is "
                            "allowed") from error
        return descriptor

    @contextmanager
    def state(self) -> Iterator[None]:
        """Of explore.json; waits for it, and says so if that takes long."""
        waited_s, next_s = 0.0, PATIENCE_S
        while (descriptor := self._take(self.folder / "lock")) is None:
            self.pause(LOCK_POLL_S)
            waited_s += LOCK_POLL_S
            if waited_s >= next_s:
                print(f"waiting for {self.folder / 'lock'}, which another task has held for {waited_s:.0f} s",
                      file=sys.stderr, flush=True)
                next_s *= 4
        try:
            yield
        finally:
            os.close(descriptor)

    # A task's lock is tested by taking it for a moment: only within state(), so that no other test sees that.

    def _path(self, task: int | str) -> Path:
        return self.folder / f"task-{task}"

    def begin_task(self, task: int | str) -> int | None:
        """The descriptor to keep as long as the task runs; None if it runs already."""
        return self._take(self._path(task))

    def is_alive(self, task: int | str) -> bool:
        if not self._path(task).exists():
            return False
        descriptor = self._take(self._path(task))
        if descriptor is not None:
            os.close(descriptor)
        return descriptor is None

    def alive(self) -> list[int]:
        """The numbers of all that run."""
        names = [path.name.removeprefix("task-") for path in self.folder.glob("task-*")]
        return [int(name) for name in names if name.isdecimal() and self.is_alive(name)]


def begin_alone(out: Path, asked: dict[str, object], pause: Callable[[float], None]) -> tuple[State, int | None]:
    """For a start without --shard: the state, and in a folder that tasks have filled a descriptor to keep, as long as
    which no task begins. What tasks had claimed is free again."""
    if not (out / FOLDER).exists():
        return State.read(out, asked), None
    locks = Locks(out / FOLDER, pause)
    with locks.state():
        state = State.read(out, asked)
        if not state.parts:
            return state, None
        running = locks.alive()
        descriptor = None if running else locks.begin_task(ALONE)
        if descriptor is None:
            raise DataError(f"{out}: {_tasks(running)} of this exploration is running; allowed: a start after its end")
        state.claims, state.waiting = {}, []
        state.save()
    return state, descriptor


def _tasks(names: Sequence[int | str]) -> str:
    """ "tasks 1, 3"."""
    numbers = sorted(map(int, names))
    if numbers == [ALONE]:
        return "a start without --shard"
    return f"task{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


class Piece(NamedTuple):
    """Of the confirmation: a setting's fresh cells of one mechanism trained one way."""

    setting: Setting
    mechanism: str
    way: Way
    cells: list[str]

    @property
    def key(self) -> str:
        return self.cells[0]


class Task:
    """One of the tasks that share an exploration."""

    def __init__(self, exploration: Exploration, out: Path, own: Shard, asked: dict[str, object]) -> None:
        self.exploration, self.out, self.own, self.asked = exploration, out, own, asked
        self.name, self.folder = str(own.part), f"{own.part}-of-{own.parts}"
        self.settings = {setting.key: setting for setting in exploration.space.settings}
        self.others: dict[str, str | None] = {}   # the claims of the other living tasks
        self.dead: list[str] = []                 # the claims of dead ones
        for path in sorted(out.glob("shards/*-of-*")):
            if re.fullmatch(r"[0-9]+-of-[0-9]+", path.name) and not path.name.endswith(f"-of-{own.parts}"):
                raise DataError(f"--shard {own}: {path} is a part of another number; allowed: "
                                f"I/{path.name.rpartition('-')[2]}, or another --out")
        self.locks = Locks(out / FOLDER, exploration.lab.pause)
        self.life = self._begin()
        exploration.lab.inherited = (self.life,)

    def _begin(self) -> int:
        until_s = time.monotonic() + PATIENCE_S
        while True:
            with self.locks.state():
                self.state = State.read(self.out, self.asked, self.own.parts)
                if self.locks.is_alive(ALONE):
                    raise DataError(f"{self.out}: scripts/explore without --shard runs in it; allowed: a start after "
                                    "its end")
                life = self.locks.begin_task(self.name)
                if life is not None:
                    self._read()
                    if not self.others:  # a proposal without results and claim: its rows were lost
                        known = {self.settings[key].place for key in self.dead if key in self.settings}
                        known |= set(self.exploration.measured)
                        self.state.proposals = [key for key in self.state.proposals
                                                if self.settings[key].place in known or key == self._claimed()]
                    self._claim(self._claimed())
                    return life
            if time.monotonic() >= until_s:
                raise DataError(f"--shard {self.own}: this task is running already in {self.out}; allowed: another I")
            self.exploration.lab.pause(POLL_S / 5)

    # ---- the common state; call these only within self.locks.state() ----

    def _read(self) -> None:
        """Reads explore.json and the results, and finds out which tasks live."""
        self.state = state = State.read(self.out, self.asked, self.own.parts)
        state.check(self.settings)
        others = {task: claim for task, claim in state.claims.items() if task != self.name}
        self.others = {task: claim for task, claim in others.items() if self.locks.is_alive(task)}
        self.dead = [claim for task, claim in others.items() if task not in self.others and claim]
        state.waiting = [task for task in state.waiting if task in self.others]
        state.proposals = [key for key in state.proposals if key in self.settings]
        exploration = self.exploration
        exploration.failed = {self.settings[key].place for key in state.failed if key in self.settings}
        exploration.read()
        exploration.order(state.proposals)
        places = [self.settings[key].place for key in state.proposals]
        exploration.pending = [place for place in places if place not in exploration.measured]

    def _claimed(self) -> str | None:
        return self.state.claims.get(self.name)

    def _claim(self, key: str | None) -> None:
        """The claim of a dead task passes to this one."""
        claims = {task: claim for task, claim in self.state.claims.items()
                  if task in self.others or (claim and claim != key)}
        self.state.claims = claims | {self.name: key}
        self.state.save()

    def _proposal(self, most: int | None) -> Setting | None:
        """The setting to train next: a claim of its own or of a dead task, or another one; None if none is left."""
        exploration = self.exploration
        for key in (self._claimed(), *self.dead):
            if key in self.settings and self.settings[key].place in exploration.pending:
                return self.settings[key]
        if most is not None and len(exploration.measured) + len(exploration.pending) >= most:
            return None
        return exploration.next()

    def _decide(self) -> list[Setting]:
        self.exploration.learn()
        finalists = self.exploration.finalists()
        if finalists:  # else a later start searches on
            self.state.finalists = [setting.key for setting in finalists]
            self.state.proposals = [key for key in self.state.proposals
                                    if self.settings[key].place in self.exploration.measured]
            self.state.claims = {**dict.fromkeys(self.others), self.name: None}
            self.state.waiting = []
            self.state.save()
        return finalists

    def _train(self, cells: Sequence[str], limit_s: float) -> bool:
        """False if the time was not enough."""
        elsewhere = self.exploration.lab.elsewhere()
        todo = [cell for cell in cells if cell not in elsewhere]
        return not todo or (limit_s > 0 and self.exploration.lab.train(todo, limit_s))

    # ---- the search ----

    def search(self, most: int | None, until_s: float, end_s: float, measured: Callable[[Setting], None],
               failed: Callable[[Setting], None]) -> list[Setting]:
        """Trains proposals until the time of one task, or their number, is used up; then the finalists, which are those
        of all tasks. measured, failed: called within the lock, with a setting that this task has trained."""
        said = ""
        if self.state.finalists is None:
            self._learn()
        while True:
            with self.locks.state():
                self._read()
                if self.state.finalists is not None:
                    return [self.settings[key] for key in self.state.finalists]
                is_over = time.monotonic() >= until_s
                setting = None if is_over or self.state.waiting else self._proposal(most)
                if setting and setting.key not in self.state.proposals:
                    self.state.proposals.append(setting.key)
                if is_over:
                    self.state.waiting.append(self.name)
                self._claim(setting.key if setting else None)
                busy = [task for task, claim in self.others.items() if claim]
                if not setting and not busy:
                    return self._decide()
            if setting:
                self._try(setting, until_s, measured, failed)
                continue
            if time.monotonic() >= end_s:
                return []
            if said != (said := f"waiting for the proposals of {_tasks(busy)}"):
                print(said, flush=True)
            self.exploration.lab.pause(POLL_S)

    def _learn(self) -> None:
        """Not within the lock, since it takes seconds if hundreds of settings are measured."""
        self.exploration.read()
        self.exploration.learn()

    def _try(self, setting: Setting, until_s: float, measured: Callable[[Setting], None],
             failed: Callable[[Setting], None]) -> None:
        """Trains a setting that is claimed, and releases the claim."""
        exploration, began_s = self.exploration, time.monotonic()
        cells = exploration.search_cells(setting)
        done = self._train(cells, until_s - began_s)
        time_s = time.monotonic() - began_s
        self._learn()
        with self.locks.state():
            self._read()
            complete = setting.place in exploration.measured
            if not complete:
                self.state.proposals.remove(setting.key)
                exploration.pending.remove(setting.place)
            if not complete and done:
                exploration.failed.add(setting.place)
                self.state.failed.append(setting.key)
            self._claim(None)
            if complete:
                exploration.pace.add(setting.work(cells), time_s)
                measured(setting)
            elif done:
                failed(setting)

    # ---- the confirmation ----

    def pieces(self, finalists: Sequence[Setting]) -> list[Piece]:
        fresh = self.exploration.seeds()[1]
        return [Piece(setting, name, way, setting.ids(name, [way], fresh)) for setting in finalists
                for name in self.exploration.pair for way in setting.ways(name)]

    def confirm(self, finalists: Sequence[Setting], end_s: float, trained: Callable[[], None]) -> None:
        """Trains pieces that no other task trains, until none is left or the time is over. trained: called within the
        lock, after each piece."""
        exploration, pieces = self.exploration, self.pieces(finalists)
        while True:
            with self.locks.state():
                self._read()
                open_ones = [] if time.monotonic() >= end_s else self._open(pieces)
                piece = open_ones[0] if open_ones else None
                self._claim(piece.key if piece else None)
            if not piece:
                return
            work, began_s = exploration.work(piece.setting, piece.cells), time.monotonic()
            print(f"confirming {piece.setting.name}, {piece.mechanism} at {way_name(piece.way)}: {len(piece.cells)} "
                  f"cells{exploration.pace.estimate(work)}; {max(0.0, end_s - began_s):.0f} s left", flush=True)
            done = self._train(piece.cells, end_s - began_s)
            with self.locks.state():
                self._read()
                if done and not self._is_complete(piece):
                    self.state.lost.append(piece.key)
                self._claim(None)
                trained()
            exploration.pace.add(work if done else 0.0, time.monotonic() - began_s if done else 0.0)

    def _is_complete(self, piece: Piece) -> bool:
        results = self.exploration.lab.results()
        return all(cell in results for cell in piece.cells)

    def _open(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Those that are neither complete, lost nor claimed by a living task; that of the own claim first."""
        taken, own = {*self.state.lost, *self.others.values()}, self._claimed()
        left = [piece for piece in pieces if piece.key not in taken and not self._is_complete(piece)]
        return sorted(left, key=lambda piece: piece.key != own)

    # ---- the end ----

    def leave(self, finish: Callable[[], int]) -> int:
        """The exit code. The last task finishes, within the lock; the others say that they end."""
        with self.locks.state():
            self._read()
            self.state.claims = {task: claim for task, claim in self.state.claims.items() if task != self.name}
            self.state.save()
            if not self.others:
                return finish()
        print(f"task {self.own} ends; the last of the tasks reports, now running: {_tasks(list(self.others))}")
        return 0

    def is_lost(self, setting: Setting) -> bool:
        """Whether a cell of the setting's confirmation failed."""
        return any(piece.key in self.state.lost and not self._is_complete(piece) for piece in self.pieces([setting]))
