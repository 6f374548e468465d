"""Disturbs sweeps at random instants, resumes them to their end, and compares their tables with those of an undisturbed
sweep: no row lost, doubled or different, timing aside.

    faults.py [--rounds N] [--seed S] [--kinds KIND,...] [--program FILE] [--shim FILE] [--folder DIR]

Each round is one start of the sweep and one disturbance (a kind, below). When the sweep is done, and sometimes earlier,
it is run to its end and compared, and a new one begins. Instants are drawn from --seed (printed) within the
measurements of the undisturbed sweep on this machine: seconds, bytes, syncs and renames. Exit codes: 0 no
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
from collections.abc import Callable
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
# At the third rate all cells diverge: that workers return NaN is no less common than that they do not.
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
          "memory_bytes", "fleet", "workers"}
NOBODY = 65534
PATIENCE_S = 600


class Finding(Exception):
    """What a sweep did that it should not have done."""


@dataclass
class World:
    """One machine with a sweep on it."""

    program: str
    shim: str
    base: Path
    instants: random.Random
    small_disk: bool  # the run's folder is on a file system of its own, which can be filled
    seconds: float = 0
    counts: dict[str, int] = field(default_factory=dict)
    started: int = 0
    told: str = ""

    @property
    def run(self) -> Path:
        return self.base / "disk/run"

    def command(self, *options: str) -> list[str]:
        return [self.program, "sweep", str(self.base / "spec.ini"), "--backend", "cpu", "--out", str(self.run),
                "--save-curves",
                "--save-models", "--save-geometry", *options]

    def variety(self) -> list[str]:
        """Options that no result depends on."""
        choose = self.instants.choice
        return ["--workers", choose("123"), "--fleet", choose("1123"), "--checkpoint-every",
                choose(["0", "0.001", "0.01"])]

    def start(self, *options: str, before: tuple[str, ...] = (), **keywords) -> subprocess.Popen:
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.base / "cache"), **keywords.pop("environment", {})}
        self.started += 1
        with (self.base / "stderr").open("w") as stderr:
            return subprocess.Popen([*before, *self.command(*(options or self.variety()))], stdout=subprocess.DEVNULL,
                                    stderr=stderr, env=environment, **keywords)

    def wait(self, process: subprocess.Popen, *allowed: int) -> int:
        code = process.wait(timeout=PATIENCE_S)
        self.told = (self.base / "stderr").read_text(errors="replace")
        if code not in allowed:
            raise Finding(f"exit code {code}, not one of {allowed}: {self.told[-400:]}")
        if code not in (0, -signal.SIGKILL) and not self.told.strip().splitlines()[-1].startswith(("eabench", " ")):
            raise Finding(f"exit code {code} without a line that says why: {self.told[-400:]!r}")
        return code

    def pause(self, most: float = 0.9) -> None:
        time.sleep(self.instants.uniform(0, most * self.seconds))

    def with_shim(self, fault: str, what: str) -> subprocess.Popen:
        at = self.instants.randrange(max(1, self.counts[what]))
        return self.start(environment={"LD_PRELOAD": self.shim, "EAB_FAULT": fault, "EAB_FAULT_AT": str(at),
                                       "EAB_FAULT_FOLDER": str(self.run)})

    def has_lock(self, process: subprocess.Popen) -> bool:
        """Whether the run is locked by this sweep, which a busy machine may not have let come so far."""
        try:
            return process.poll() is None and (self.run / ".lock").read_text().split()[:1] == [str(process.pid)]
        except OSError:
            return False

    def rows_are_missing(self) -> bool:
        table, whole = self.run / "accuracy.csv", self.base / "whole/accuracy.csv"
        return table.exists() and table.read_bytes().count(b"\n") < whole.read_bytes().count(b"\n")

    def second_is_refused(self) -> None:
        second = subprocess.run(self.command("--workers", "1"), check=False, capture_output=True, text=True,
                                timeout=PATIENCE_S)
        if second.returncode != 2 or "is in use by" not in second.stderr:
            raise Finding(f"a second sweep was not refused: exit code {second.returncode}: {second.stderr[-400:]}")


# ---- the kinds: each disturbs one start ------------------------------------------------------------------------------

KINDS: dict[str, Callable[[World], None]] = {}


def kind(disturb: Callable[[World], None]) -> Callable[[World], None]:
    KINDS[disturb.__name__.replace("_", "-")] = disturb
    return disturb


@kind
def kill(world: World) -> None:
    """SIGKILL at any instant."""
    process = world.start()
    world.pause()
    process.kill()
    world.wait(process, 0, -signal.SIGKILL)


def start_ranks(world: World) -> subprocess.Popen:
    return world.start("--workers", "1", before=("mpirun", "--oversubscribe", "-n", "2"), start_new_session=True,
                       environment={"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"})


def signal_rank(world: World, launcher: subprocess.Popen, number: int) -> int:
    """One of them, or 0 where it has ended before."""
    try:
        chosen = world.instants.choice(launchers.ranks_of(launcher.pid, world.program))
        os.kill(chosen, number)
        return chosen
    except (IndexError, ProcessLookupError):
        return 0


@kind
def kill_rank(world: World) -> None:
    """SIGKILL of one rank of a sweep of two by MPI, and of all that the launcher leaves."""
    launcher = start_ranks(world)
    world.pause()
    signal_rank(world, launcher, signal.SIGKILL)
    launchers.finish(launcher, world.program, PATIENCE_S)


@kind
def stopped_rank(world: World) -> None:
    """SIGSTOP of one rank of a sweep of two by MPI; then it goes on, and the sweep ends well, or it is killed."""
    launcher = start_ranks(world)
    world.pause()
    rank = signal_rank(world, launcher, signal.SIGSTOP)
    world.pause(0.5)
    kill = world.instants.random() < 0.5
    try:
        if rank and kill:
            os.kill(rank, signal.SIGKILL)
        if rank:
            os.kill(rank, signal.SIGCONT)
    except ProcessLookupError:
        pass
    launchers.finish(launcher, world.program, PATIENCE_S)
    if launcher.returncode not in (0, -signal.SIGKILL) and not kill:
        told = (world.base / "stderr").read_text(errors="replace")
        raise Finding(f"exit code {launcher.returncode} though the rank went on: {told[-400:]}")


@kind
def kill_in_a_row(world: World) -> None:
    """Killed in the middle of a write, of which only a part reaches the file."""
    world.wait(world.with_shim("kill-write", "bytes"), 0, -signal.SIGKILL)


@kind
def kill_at_a_sync(world: World) -> None:
    """Killed between what was written and its fsync."""
    world.wait(world.with_shim("kill-sync", "syncs"), 0, -signal.SIGKILL)


@kind
def kill_at_a_rename(world: World) -> None:
    """Killed right before or behind the rename of a whole file."""
    world.wait(world.with_shim("kill-rename", "renames"), 0, -signal.SIGKILL)


@kind
def disk_full(world: World) -> None:
    """ENOSPC from some byte on."""
    world.wait(world.with_shim("full", "bytes"), 0, 1, 3)


@kind
def disk_full_in_fact(world: World) -> None:
    """A file system with little room left, by another file on it."""
    ballast = world.base / "disk/ballast"
    space = os.statvfs(world.base / "disk")
    room = world.instants.randrange(max(1, world.counts["bytes"]))
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, space.f_bavail * space.f_frsize - room))
    code = world.wait(world.start(), 0, 1, 3)
    ballast.unlink()
    if code == 3 and "space" not in world.told:
        raise Finding(f"a full disk is not told: {world.told[-400:]}")


@kind
def write_error(world: World) -> None:
    """EIO of a write."""
    world.wait(world.with_shim("write-error", "bytes"), 0, 1, 3)


@kind
def sync_error(world: World) -> None:
    """EIO of an fsync: what was written may not be on the disk."""
    world.wait(world.with_shim("sync-error", "syncs"), 0, 1, 3)


@kind
def rename_error(world: World) -> None:
    """Renaming fails."""
    world.wait(world.with_shim("rename-error", "renames"), 0, 1, 3)


@kind
def files_forbidden(world: World) -> None:
    """No file can be opened for writing any more."""
    world.wait(world.with_shim("forbidden", "bytes"), 0, 1, 3)


@kind
def folder_forbidden(world: World) -> None:
    """The folder's permission to write is revoked; as root, of a sweep that somebody else runs."""
    world.run.mkdir(exist_ok=True)
    other = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    if other:
        for path in (world.run, *world.run.rglob("*"), world.base / "cache", *(world.base / "cache").rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    process = world.start(**other)
    world.pause()
    world.run.chmod(0o555)
    world.wait(process, 0, 1, 3)
    if world.wait(world.start(**other), 3) == 3 and "ermission" not in world.told:
        raise Finding(f"a folder that cannot be written is not told: {world.told[-400:]}")
    world.run.chmod(0o755)


@kind
def tail_corrupted(world: World) -> None:
    """The last bytes of a table are gone, zeros, or anything but a line's end, as after a crash of the machine."""
    tables = [world.run / name for name in TABLES if (world.run / name).exists()]
    if tables:
        table = world.instants.choice(tables)
        text = table.read_bytes()
        body = len(text) - text.find(b"\n") - 1
        if body > 0:
            lost = world.instants.randrange(1, min(body, 3000) + 1)
            # Curves and geometry of a cell that are gone to the last byte cannot be told from a cell trained without
            # them.
            if table.name in ("curves.csv", "geometry.csv") and text[len(text) - lost - 1:len(text) - lost] == b"\n":
                lost -= 1 if lost > 1 else -1
            way = world.instants.choice(["gone", "zeros", "noise"])
            tail = {"gone": b"", "zeros": bytes(lost),
                    "noise": bytes(b for b in world.instants.randbytes(lost) if b not in b"\r\n") or b"x"}[way]
            table.write_bytes(text[:len(text) - lost] + tail)
    kill(world)


@kind
def lock_removed(world: World) -> None:
    """The lock's file is removed under a sweep; still no second one may write there."""
    process = world.start()
    while process.poll() is None and not world.has_lock(process):
        time.sleep(0.001)
    world.pause(0.5)
    (world.run / ".lock").unlink(missing_ok=True)
    process.send_signal(signal.SIGSTOP)
    try:
        if process.poll() is None and world.rows_are_missing():  # else it may be behind its work, and the folder free
            (world.run / ".lock").unlink(missing_ok=True)
            world.second_is_refused()
    finally:
        process.send_signal(signal.SIGCONT)
    world.wait(process, 0)


@kind
def lock_stale(world: World) -> None:
    """A lock's file that somebody left."""
    world.run.mkdir(exist_ok=True)
    (world.run / ".lock").write_bytes(world.instants.choice([b"", b"1 elsewhere 2020-01-01T00:00:00Z\n",
                                                             b"\xff\x00" * 500]))
    kill(world)


@kind
def stopped(world: World) -> None:
    """SIGSTOP; a second sweep is refused; then it goes on or is killed."""
    process = world.start()
    world.pause(0.5)
    process.send_signal(signal.SIGSTOP)
    try:
        if world.has_lock(process) and (world.run / "accuracy.csv").exists():
            world.second_is_refused()
    finally:
        if world.instants.random() < 0.5:
            process.kill()
        process.send_signal(signal.SIGCONT)
    world.wait(process, 0, -signal.SIGKILL)


@kind
def interrupted(world: World) -> None:
    """SIGTERM, and half of the times once more."""
    process = world.start()
    world.pause()
    process.terminate()
    if world.instants.random() < 0.5:
        world.pause(0.02)
        process.terminate()
    world.wait(process, 0, 130, -signal.SIGTERM)


# ---- the rounds ------------------------------------------------------------------------------------------------------

def table_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [{key: value for key, value in row.items() if key not in TIMING}
                for row in csv.DictReader(file, strict=True)]


def compare(world: World) -> None:
    whole, run = world.base / "whole", world.run
    names = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) for folder in (whole, run)]
    if names[0] != names[1]:
        raise Finding(f"other files: {sorted(set(names[0]) ^ set(names[1]))}")
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
    """The undisturbed sweep: its tables, and what instants are drawn from."""
    began = time.monotonic()
    world.wait(world.start("--workers", "2"), 0)
    world.seconds = time.monotonic() - began
    shutil.rmtree(world.run)
    counts = world.base / "counts"
    world.wait(world.start("--workers", "2", "--checkpoint-every", "0.01", environment={
        "LD_PRELOAD": world.shim, "EAB_FAULT_FOLDER": str(world.run), "EAB_FAULT_COUNTS": str(counts)}), 0)
    world.counts = dict(zip(("bytes", "syncs", "renames"), map(int, counts.read_text().split())))
    if not all(world.counts.values()):
        raise Finding(f"the shim sees nothing: {world.counts}")
    shutil.move(world.run, world.base / "whole")


def usable_kinds(world: World) -> tuple[list[str], list[str]]:
    """Those that can be had here, and why the others cannot."""
    lacking = {}
    if not world.small_disk:
        lacking["disk-full-in-fact"] = "no file system of its own can be mounted"
    if not shutil.which("mpirun") or not list(Path(world.program).resolve().parent.glob("libeabench_mpi*")):
        lacking["kill-rank"] = lacking["stopped-rank"] = "no mpirun, or a program without MPI"
    if os.geteuid() == 0:
        for path in (world.base, world.base / "disk"):
            path.chmod(0o755)
        probe = subprocess.run([world.program, "--version"], check=False, capture_output=True, user=NOBODY,
                               group=NOBODY,
                               extra_groups=[]) if os.access(world.program, os.X_OK) else None
        if probe is None or probe.returncode:
            lacking["folder-forbidden"] = "nobody else can run the program"
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
    return os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "eabench-faults",
                                                 base / "disk"],
                                                check=False, capture_output=True).returncode == 0


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
            parser.error(f"{path} is not there")
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    base = Path(tempfile.mkdtemp(prefix="eabench-faults-", dir=options.folder))
    (base / "spec.ini").write_text(SPEC)
    (base / "disk").mkdir()
    (base / "cache").mkdir()
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
