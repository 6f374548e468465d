"""Injects faults into sweeps at random instants, resumes the sweeps to their end, and compares their tables with those
of an undisturbed sweep: no row may be lost, doubled or different (timing columns aside).

    faults.py [--rounds N] [--seed S] [--kinds KIND,...] [--program FILE] [--shim FILE] [--folder DIR]

Each round is one start of the sweep with one fault (the kinds below). At random rounds, and at the last, the sweep is
resumed to its end without a fault and compared, and the next round begins a new sweep. Instants are drawn from --seed
(printed) within the seconds, bytes, syncs and renames of the undisturbed sweep on this machine. Exit codes: 0 no
finding, 1 a finding, 2 misuse.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/scripts"))
import launchers  # noqa: E402

SPEC = """[task recurrence]
basis = 4
delay = 2, 3
[task mixture]
parts = recurrence(basis=4 delay=2) + parity
[model]
d_model = 8
heads = 2
context = 12
[train]
mechanism = dpa, ea
optimizer = sgd
clip = 0
# At the third rate all cells diverge.
lr = 0.01, 0.05, 10
steps = 400
stop_when_solved = off
batch = 8
eval_every = 100
eval_tokens = 200
seed = 1:2
"""
TABLES = ("accuracy.csv", "throughput.csv", "curves.csv", "geometry.csv")
TIMING = {"train_s", "wall_s", "tokens_per_s", "fleet_tokens_per_s", "gflop_per_s", "peak_gflop_per_s", "peak_fraction",
          "memory_bytes", "fleet", "workers", "other_cores", "steal_cores", "marks"}
NOBODY = 65534
TIMEOUT_S = 600


class Finding(Exception):
    """A sweep behaved wrongly."""


@dataclass
class World:
    """A sweep under test, its folders, and the measurements that instants are drawn from."""

    program: str
    shim: str
    base: Path
    instants: random.Random
    small_disk: bool  # the run's folder is on a small file system, which can be filled
    seconds: float = 0
    counts: dict[str, int] = field(default_factory=dict)
    stderr: str = ""  # of the last sweep

    @property
    def run(self) -> Path:
        return self.base / "disk/run"

    def command(self, *options: str) -> list[str]:
        return [self.program, "sweep", str(self.base / "spec.ini"), "--backend", "cpu", "--out", str(self.run),
                "--save-curves", "--save-models", "--save-geometry", *options]

    def random_options(self) -> list[str]:
        """Options that do not change results."""
        choose = self.instants.choice
        return ["--workers", choose("123"), "--fleet", choose("1123"), "--checkpoint-every",
                choose(["0", "0.001", "0.01"])]

    def start(self, *options: str, before: tuple[str, ...] = (), **keywords) -> subprocess.Popen:
        environment = {**os.environ, **keywords.pop("environment", {})}
        with (self.base / "stderr").open("w") as stderr:
            return subprocess.Popen([*before, *self.command(*(options or self.random_options()))],
                                    stdout=subprocess.DEVNULL, stderr=stderr, env=environment, **keywords)

    def wait(self, process: subprocess.Popen, *allowed: int) -> int:
        code = process.wait(timeout=TIMEOUT_S)
        self.stderr = (self.base / "stderr").read_text(errors="replace")
        if code not in allowed:
            raise Finding(f"exit code {code}, not one of {allowed}: {self.stderr[-400:]}")
        if code not in (0, -signal.SIGKILL) and not self.stderr.strip().splitlines()[-1].startswith(("eabench", " ")):
            raise Finding(f"exit code {code} without a message: {self.stderr[-400:]!r}")
        return code

    def pause(self, most: float = 0.9) -> None:
        time.sleep(self.instants.uniform(0, most * self.seconds))

    def with_shim(self, fault: str, what: str) -> subprocess.Popen:
        at = self.instants.randrange(max(1, self.counts[what]))
        return self.start(environment={"LD_PRELOAD": self.shim, "EAB_FAULT": fault, "EAB_FAULT_AT": str(at),
                                       "EAB_FAULT_FOLDER": str(self.run)})

    def is_locked_by(self, processes: Collection[int]) -> bool:
        """Whether one of them holds the run's lock. A file that a killed sweep left names another process."""
        try:
            return (self.run / ".lock").read_text().split()[:1] in [[str(process)] for process in processes]
        except OSError:
            return False

    def has_lock(self, process: subprocess.Popen) -> bool:
        """Whether this sweep holds the run's lock; on a busy machine it may not have started yet."""
        return process.poll() is None and self.is_locked_by([process.pid])

    def rows_are_missing(self) -> bool:
        table, whole = self.run / "accuracy.csv", self.base / "whole/accuracy.csv"
        return table.exists() and table.read_bytes().count(b"\n") < whole.read_bytes().count(b"\n")

    def expect_second_refused(self) -> None:
        second = subprocess.run(self.command("--workers", "1"), check=False, capture_output=True, text=True,
                                timeout=TIMEOUT_S)
        if second.returncode != 2 or "is in use by" not in second.stderr:
            raise Finding(f"a second sweep was not refused: exit code {second.returncode}: {second.stderr[-400:]}")


# ---- kinds of fault: each is injected into one start -----------------------------------------------------------------

KINDS: dict[str, Callable[[World], None]] = {}


def kind(inject: Callable[[World], None]) -> Callable[[World], None]:
    KINDS[inject.__name__.replace("_", "-")] = inject
    return inject


@kind
def kill(world: World) -> None:
    """SIGKILL at any instant."""
    process = world.start()
    world.pause()
    process.kill()
    world.wait(process, 0, -signal.SIGKILL)


def start_ranks(world: World, *options: str) -> subprocess.Popen:
    return world.start("--workers", "1", *options, start_new_session=True,
                       before=("mpirun", "--oversubscribe", "-n", "2"),
                       environment={"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"})


def signal_rank(world: World, launcher: subprocess.Popen, number: int) -> int:
    """Signals a random rank and returns its process id, or 0 if it had ended."""
    try:
        chosen = world.instants.choice(launchers.ranks_of(launcher.pid, world.program))
        os.kill(chosen, number)
        return chosen
    except (IndexError, ProcessLookupError):
        return 0


def continue_at_its_end(world: World, launcher: subprocess.Popen, rank: int) -> None:
    """Continues a stopped rank if the others have ended without it: it was stopped after the last message, within
    MPI_Finalize, when all rows are written and only the launcher waits for it."""
    seconds = 0  # the others having ended; a launcher that ends the sweep has killed the rank by then
    for _ in range(TIMEOUT_S):
        if launcher.poll() is not None:
            return
        if seconds == 10:
            os.kill(rank, signal.SIGCONT)
            return
        time.sleep(1)
        seconds = seconds + 1 if launchers.ranks_of(launcher.pid, world.program) == [rank] else 0


@kind
def kill_rank(world: World) -> None:
    """SIGKILL of one rank of a sweep with two ranks by MPI."""
    launcher = start_ranks(world)
    world.pause()
    signal_rank(world, launcher, signal.SIGKILL)
    launchers.finish(launcher, world.program, TIMEOUT_S)


@kind
def stopped_rank(world: World) -> None:
    """SIGSTOP of one rank of a sweep with two ranks by MPI; then SIGCONT, and the sweep ends normally, SIGKILL, or
    nothing, and the other rank ends the sweep."""
    launcher = start_ranks(world, "--rank-timeout", "5")
    then = world.instants.choice([signal.SIGCONT, signal.SIGKILL, None])
    while not then and launcher.poll() is None and not world.is_locked_by(
            launchers.ranks_of(launcher.pid, world.program)):
        time.sleep(0.001)  # the ranks are not connected yet: MPI_Init has no time limit
    world.pause()
    rank = signal_rank(world, launcher, signal.SIGSTOP)
    world.pause(0.5)
    try:
        if rank and then:
            os.kill(rank, then)
            os.kill(rank, signal.SIGCONT)
    except ProcessLookupError:
        pass
    if rank and not then:
        continue_at_its_end(world, launcher, rank)
    launchers.finish(launcher, world.program, TIMEOUT_S)
    stderr = (world.base / "stderr").read_text(errors="replace")
    if launcher.returncode not in (0, -signal.SIGKILL) and then == signal.SIGCONT:
        raise Finding(f"exit code {launcher.returncode} after SIGCONT: {stderr[-400:]}")
    if launcher.returncode not in (0, -signal.SIGKILL) and not then and "--rank-timeout" not in stderr:
        raise Finding(f"exit code {launcher.returncode} without a line on the rank that hangs: {stderr[-400:]}")


@kind
def kill_in_a_row(world: World) -> None:
    """Killed within a write, of which only a part reaches the file."""
    world.wait(world.with_shim("kill-write", "bytes"), 0, -signal.SIGKILL)


@kind
def kill_at_a_sync(world: World) -> None:
    """Killed between a write and its fsync."""
    world.wait(world.with_shim("kill-sync", "syncs"), 0, -signal.SIGKILL)


@kind
def kill_at_a_rename(world: World) -> None:
    """Killed right before or after the rename of a complete file."""
    world.wait(world.with_shim("kill-rename", "renames"), 0, -signal.SIGKILL)


@kind
def disk_full(world: World) -> None:
    """ENOSPC after a random number of bytes."""
    world.wait(world.with_shim("full", "bytes"), 0, 1, 3)


@kind
def small_disk_full(world: World) -> None:
    """A small file system that another file leaves little room on."""
    ballast = world.base / "disk/ballast"
    space = os.statvfs(world.base / "disk")
    room = world.instants.randrange(max(1, world.counts["bytes"]))
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, space.f_bavail * space.f_frsize - room))
    code = world.wait(world.start(), 0, 1, 3)
    ballast.unlink()
    if code == 3 and "space" not in world.stderr:
        raise Finding(f"a full disk is not reported: {world.stderr[-400:]}")


@kind
def write_error(world: World) -> None:
    """EIO from a write."""
    world.wait(world.with_shim("write-error", "bytes"), 0, 1, 3)


@kind
def sync_error(world: World) -> None:
    """EIO from an fsync: written bytes may not be on the disk."""
    world.wait(world.with_shim("sync-error", "syncs"), 0, 1, 3)


@kind
def rename_error(world: World) -> None:
    """Renaming fails."""
    world.wait(world.with_shim("rename-error", "renames"), 0, 1, 3)


@kind
def files_forbidden(world: World) -> None:
    """From some byte on no file can be opened for writing."""
    world.wait(world.with_shim("forbidden", "bytes"), 0, 1, 3)


@kind
def folder_forbidden(world: World) -> None:
    """The folder becomes read-only; as root the sweep runs as another user."""
    world.run.mkdir(exist_ok=True)
    other = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    if other:
        for path in (world.run, *world.run.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    process = world.start(**other)
    world.pause()
    world.run.chmod(0o555)
    world.wait(process, 0, 1, 3)
    if world.wait(world.start(**other), 3) == 3 and "ermission" not in world.stderr:
        raise Finding(f"a read-only folder is not reported: {world.stderr[-400:]}")
    world.run.chmod(0o755)


@kind
def tail_corrupted(world: World) -> None:
    """The last bytes of a table are lost, zeros, or anything but a newline, as after a crash of the machine."""
    tables = [world.run / name for name in TABLES if (world.run / name).exists()]
    if tables:
        table = world.instants.choice(tables)
        text = table.read_bytes()
        body = len(text) - text.find(b"\n") - 1
        if body > 0:
            lost = world.instants.randrange(1, min(body, 3000) + 1)
            # If all rows of a cell are lost, its curves look as if it had been trained without --save-curves.
            if table.name in ("curves.csv", "geometry.csv") and text[len(text) - lost - 1:len(text) - lost] == b"\n":
                lost -= 1 if lost > 1 else -1
            noise = bytes(b for b in world.instants.randbytes(lost) if b not in b"\r\n") or b"x"
            table.write_bytes(text[:len(text) - lost] + world.instants.choice([b"", bytes(lost), noise]))
    kill(world)


@kind
def lock_removed(world: World) -> None:
    """The lock file of a running sweep is removed; a second sweep must still be refused."""
    process = world.start()
    while process.poll() is None and not world.has_lock(process):
        time.sleep(0.001)
    world.pause(0.5)
    (world.run / ".lock").unlink(missing_ok=True)
    process.send_signal(signal.SIGSTOP)
    try:
        if process.poll() is None and world.rows_are_missing():  # otherwise the sweep may have released the lock
            (world.run / ".lock").unlink(missing_ok=True)
            world.expect_second_refused()
    finally:
        process.send_signal(signal.SIGCONT)
    world.wait(process, 0)


@kind
def lock_stale(world: World) -> None:
    """A lock file that another process left."""
    world.run.mkdir(exist_ok=True)
    (world.run / ".lock").write_bytes(world.instants.choice([b"", b"1 elsewhere 2020-01-01T00:00:00Z\n",
                                                             b"\xff\x00" * 500]))
    kill(world)


@kind
def stopped(world: World) -> None:
    """SIGSTOP; a second sweep is refused; then SIGCONT or SIGKILL."""
    process = world.start()
    world.pause(0.5)
    process.send_signal(signal.SIGSTOP)
    try:
        if world.has_lock(process) and (world.run / "accuracy.csv").exists():
            world.expect_second_refused()
    finally:
        if world.instants.random() < 0.5:
            process.kill()
        process.send_signal(signal.SIGCONT)
    world.wait(process, 0, -signal.SIGKILL)


@kind
def interrupted(world: World) -> None:
    """SIGTERM, in half of the rounds twice."""
    process = world.start()
    world.pause()
    process.terminate()
    if world.instants.random() < 0.5:
        world.pause(0.02)
        process.terminate()
    world.wait(process, 0, 130, -signal.SIGTERM)


# ---- rounds ----------------------------------------------------------------------------------------------------------

def table_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [{key: value for key, value in row.items() if key not in TIMING}
                for row in csv.DictReader(file, strict=True)]


def compare(world: World) -> None:
    whole, run = world.base / "whole", world.run
    names = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) for folder in (whole, run)]
    if names[0] != names[1]:
        raise Finding(f"different files: {sorted(set(names[0]) ^ set(names[1]))}")
    for name in names[0]:
        if name == "throughput.csv":
            same = table_rows(whole / name) == table_rows(run / name)
        else:
            same = (name == "manifest.ini" or (whole / name).is_dir()
                    or (whole / name).read_bytes() == (run / name).read_bytes())
        if not same:
            raise Finding(f"{name} differs")


def finish(world: World) -> None:
    world.wait(world.start("--workers", "2"), 0)
    compare(world)
    shutil.rmtree(world.run)


def measure(world: World) -> None:
    """Runs the undisturbed sweep: its tables, and the ranges that instants are drawn from."""
    began = time.monotonic()
    world.wait(world.start("--workers", "2"), 0)
    world.seconds = time.monotonic() - began
    shutil.rmtree(world.run)
    counts = world.base / "counts"
    world.wait(world.start("--workers", "2", "--checkpoint-every", "0.01", environment={
        "LD_PRELOAD": world.shim, "EAB_FAULT_FOLDER": str(world.run), "EAB_FAULT_COUNTS": str(counts)}), 0)
    world.counts = dict(zip(("bytes", "syncs", "renames"), map(int, counts.read_text().split())))
    if not all(world.counts.values()):
        raise Finding(f"the shim is not loaded or counts nothing: {world.counts}")
    shutil.move(world.run, world.base / "whole")


def usable_kinds(world: World) -> tuple[list[str], list[str]]:
    """The kinds that work on this machine, and a line for each of the others."""
    lacking = {}
    if not world.small_disk:
        lacking["small-disk-full"] = "no small file system can be mounted"
    if not shutil.which("mpirun") or not list(Path(world.program).resolve().parent.glob("libeabench_mpi*")):
        lacking["kill-rank"] = lacking["stopped-rank"] = "no mpirun, or a program without MPI"
    if os.geteuid() == 0:
        for path in (world.base, world.base / "disk"):
            path.chmod(0o755)
        probe = subprocess.run([world.program, "--version"], check=False, capture_output=True, user=NOBODY,
                               group=NOBODY, extra_groups=[]) if os.access(world.program, os.X_OK) else None
        if probe is None or probe.returncode:
            lacking["folder-forbidden"] = "other users cannot run the program"
    return [name for name in KINDS if name not in lacking], [f"{name}: skipped, {why}" for name, why in lacking.items()]


def rounds(world: World, count: int, chosen: list[str]) -> int:
    done = dict.fromkeys(chosen, 0)
    findings = compared = 0
    order: list[str] = []
    for number in range(1, count + 1):
        if not order:  # each kind as often as the others
            order = world.instants.sample(chosen, len(chosen))
        name = order.pop()
        try:
            KINDS[name](world)
            done[name] += 1
            if (world.run / "accuracy.csv").exists() and world.instants.random() < 0.4 or number == count:
                finish(world)
                compared += 1
        except (Finding, subprocess.TimeoutExpired, OSError, ValueError, csv.Error) as error:
            findings += 1
            print(f"FINDING in round {number}, {name}: {error}", flush=True)
            kept = world.base / f"finding-{number}"
            world.run.chmod(0o755)
            shutil.move(world.run, kept)
            print(f"  kept in {kept}", flush=True)
    width = max(map(len, done))
    for name, times in done.items():
        print(f"  {name:{width}} {times:4}  {KINDS[name].__doc__.strip().splitlines()[0]}")
    print(f"faults: {sum(done.values())} rounds of {sum(map(bool, done.values()))} kinds, {compared} times compared, "
          f"{findings} findings")
    return findings


def mount_small_disk(base: Path) -> bool:
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "eabench-faults", base / "disk"]
    return os.geteuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--kinds", default="")
    parser.add_argument("--program", default=os.environ.get("EABENCH", str(ROOT / "build/release/eabench")))
    parser.add_argument("--shim", default=None)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    unknown = [name for name in filter(None, options.kinds.split(",")) if name not in KINDS]
    if unknown:
        parser.error(f"unknown kind {unknown[0]}; allowed: {', '.join(KINDS)}")
    program = str(Path(options.program).resolve())
    shim = options.shim or str(Path(program).parent / "tests/fault_shim.so")
    for path in (program, shim):
        if not Path(path).exists():
            parser.error(f"{path} does not exist")
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    base = Path(tempfile.mkdtemp(prefix="eabench-faults-", dir=options.folder))
    (base / "spec.ini").write_text(SPEC)
    (base / "disk").mkdir()
    world = World(program, shim, base, random.Random(seed), mount_small_disk(base))
    findings = 1
    try:
        measure(world)
        chosen, skipped = usable_kinds(world)
        if options.kinds:
            chosen = [name for name in chosen if name in options.kinds.split(",")]
        print(f"seed {seed}; {shlex.join([program])}: {world.seconds:.2f} s, {world.counts}")
        print("".join(f"  {line}\n" for line in skipped), end="", flush=True)
        findings = rounds(world, options.rounds, chosen)
    finally:
        if world.small_disk:
            subprocess.run(["umount", base / "disk"], check=False)
        if not findings:
            shutil.rmtree(base)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
