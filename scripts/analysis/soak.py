"""scripts/soak: one sweep for an hour, watched: does its memory grow, does it slow down, does it keep files or threads?"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from scipy import stats

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = 12  # a trend is judged by means over so many pieces of the time: neighbouring samples are not independent
MOST_KIB_AN_HOUR = 1024.0
MOST_RATE_CHANGE = 0.05
WIDEST_RATE_INTERVAL = 0.3
MAX_CELLS = 1_000_000


@dataclass
class Sample:
    """What /proc said at one moment, and how far the sweep was."""

    seconds: float
    cells: int
    cpu_s: float  # of all threads, user and system
    rss_kib: int
    anonymous_kib: int  # of it, what is no file's
    threads: int
    open_files: int
    checkpoints: int
    load: float  # of the machine, all its programs


@dataclass
class Trend:
    """The change of a mean between two moments of the run, by a straight line through the means of pieces of it."""

    change: float
    low: float
    high: float


def trend(seconds: Sequence[float], values: Sequence[float], span_s: float) -> Trend:
    """The line's change over `span_s`, with its 95 % interval."""
    pieces = np.array_split(np.arange(len(seconds)), min(BLOCKS, len(seconds)))
    x = np.array([np.mean(np.asarray(seconds)[piece]) for piece in pieces])
    y = np.array([np.mean(np.asarray(values, float)[piece]) for piece in pieces])
    if len(x) < 3:
        raise ValueError("fewer than 3 samples")
    if np.ptp(y) == 0:
        return Trend(0.0, 0.0, 0.0)
    line = stats.linregress(x, y)
    half = float(stats.t.ppf(0.975, len(x) - 2)) * line.stderr
    return Trend(line.slope * span_s, (line.slope - half) * span_s, (line.slope + half) * span_s)


def rates(samples: Sequence[Sample], what: str) -> tuple[list[float], list[float]]:
    """Cells for each unit of `what` ("seconds" or "cpu_s"), in pieces of the run; and the middle of each piece."""
    pieces = min(BLOCKS, len(samples) - 1)
    places = [round(i * (len(samples) - 1) / pieces) for i in range(pieces + 1)]
    middles, found = [], []
    for begin, end in zip(places, places[1:]):
        first, last = samples[begin], samples[end]
        spent = getattr(last, what) - getattr(first, what)
        if spent > 0:
            middles.append((first.seconds + last.seconds) / 2)
            found.append((last.cells - first.cells) / spent)
    return middles, found


def judge(samples: Sequence[Sample]) -> tuple[list[tuple[str, str, str]], bool]:
    """Rows of the report (what, figures, verdict), and whether all is flat. The first minute (of short runs the
    first half) is not judged: the C library's heap takes some cells to reach its size."""
    start_s = samples[0].seconds + min(60.0, 0.5 * (samples[-1].seconds - samples[0].seconds))
    judged = [sample for sample in samples if sample.seconds >= start_s]
    seconds = [sample.seconds for sample in judged]
    span_s = seconds[-1] - seconds[0]
    table: list[tuple[str, str, str]] = []
    flat = True

    def add(what: str, figures: str, good: bool) -> None:
        nonlocal flat
        flat = flat and good
        table.append((what, figures, "flat" if good else "NOT FLAT"))

    for what, name in (("memory (RSS)", "rss_kib"), ("of it anonymous", "anonymous_kib")):
        values = [getattr(sample, name) for sample in judged]
        grown = trend(seconds, values, 3600)
        add(what, f"{np.mean(values) / 1024:.1f} MiB; {grown.change:+.0f} KiB an hour, 95 % {grown.low:+.0f} to {grown.high:+.0f}",
            grown.low <= MOST_KIB_AN_HOUR)
    for what, name in (("threads", "threads"), ("open files", "open_files")):
        values = [getattr(sample, name) for sample in judged]
        grown = trend(seconds, values, span_s)
        # Files are open for a moment at a time: what counts is whether there are more of them later.
        add(what, f"{min(values)} to {max(values)}; {grown.change:+.2f} over the run, 95 % {grown.low:+.2f} to {grown.high:+.2f}",
            grown.low < 0.5)
    for what, name, unit, scale in (("cells per CPU-second", "cpu_s", "a CPU-second", 1.0),
                                    ("cells per hour", "seconds", "an hour", 3600.0)):
        middles, found = rates(judged, name)
        mean = float(np.mean(found))
        change = trend(middles, [value / mean for value in found], span_s)
        text = (f"{mean * scale:.4g} {unit}; {100 * change.change:+.1f} % over the run, 95 % {100 * change.low:+.1f} to "
                f"{100 * change.high:+.1f} %")
        if name == "cpu_s" and change.high - change.low <= WIDEST_RATE_INTERVAL:
            add(what, text, change.high >= -MOST_RATE_CHANGE)
        elif name == "cpu_s":
            table.append((what, text, "too short to tell"))
        else:
            table.append((what, text, "depends on what else runs"))
    return table, flat


def read_proc(process: int, run: Path, started_s: float, cells: int) -> Sample:
    folder = Path(f"/proc/{process}")
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
    times = (folder / "stat").read_text().rsplit(")", 1)[1].split()
    return Sample(seconds=round(time.monotonic() - started_s, 2), cells=cells,
                  cpu_s=(int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK"),
                  rss_kib=int(status["VmRSS"].split()[0]), anonymous_kib=int(status["RssAnon"].split()[0]),
                  threads=int(status["Threads"]), open_files=len(os.listdir(folder / "fd")),
                  checkpoints=len(list((run / "checkpoints").glob("*.ckpt"))), load=os.getloadavg()[0])


class RowCounter:
    """Counts the lines of a growing table without reading any twice."""

    def __init__(self, path: Path) -> None:
        self.path, self.read, self.lines = path, 0, 0

    def cells(self) -> int:
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self.read)
                while block := file.read(1 << 20):
                    self.read += len(block)
                    self.lines += block.count(b"\n")
        return max(0, self.lines - 1)


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="soak", description="Lets one eabench sweep run for a time and samples its memory, threads, open files and progress; "
        "ends with a table and a verdict. Meant for an hour; --minutes 2 is a trial. An interrupt ends it early.",
        epilog="Exit codes: 0 flat, 1 not flat or the sweep failed, 2 bad usage, 3 the environment lacks something.")
    command.add_argument("spec", metavar="SPEC", type=Path, nargs="?", default=ROOT / "tasks/ladders/soak.ini",
                         help="spec whose cells are about equally long (default: tasks/ladders/soak.ini)")
    command.add_argument("--minutes", metavar="N", type=float, default=60.0, help="how long (default: 60)")
    command.add_argument("--every", metavar="SECONDS", type=float, default=5.0, help="between samples (default: 5)")
    command.add_argument("--workers", metavar="N", type=int, default=1, help="of the sweep (default: 1)")
    command.add_argument("--checkpoint-every", metavar="SECONDS", type=float, default=0.2,
                         help="of the sweep: short, so that cells of a second have some, too (default: 0.2)")
    command.add_argument("--out", metavar="DIR", type=Path, help="where samples.csv, soak.txt and manifest.ini go (default: "
                         "they are printed only)")
    command.add_argument("--eabench", metavar="FILE", default=os.environ.get("EABENCH", str(ROOT / "build/release/eabench")),
                         help="the program (default: $EABENCH, else build/release/eabench)")
    return command


def sweep_command(args: argparse.Namespace, run: Path, seeds: int) -> list[str]:
    return [args.eabench, "sweep", str(args.spec), "--backend", "cpu", "--out", str(run), "--workers", str(args.workers),
            "--checkpoint-every", str(args.checkpoint_every), "--set", f"train.seed=1:{seeds}"]


def wanted_seeds(args: argparse.Namespace, folder: Path) -> int:
    """Seeds for several times the cells that the time takes, from a trial of some seconds."""
    trial = folder / "trial"
    dry = subprocess.run([*sweep_command(args, trial, 1), "--dry-run"], check=False, capture_output=True, text=True)
    if dry.returncode:
        sys.stderr.write(dry.stderr)
        raise SystemExit(dry.returncode)
    cells = next(int(line.split()[1].rstrip(",")) for line in dry.stdout.splitlines() if line.startswith("cells "))
    trial_s = min(10.0, 30 * args.minutes)
    subprocess.run([*sweep_command(args, trial, 2000), "--time-limit", f"{trial_s}s"], check=False, capture_output=True)
    done = max(1, RowCounter(trial / "accuracy.csv").cells())
    shutil.rmtree(trial, ignore_errors=True)
    return int(min(MAX_CELLS // cells, 1 + 5 * done * 60 * args.minutes / trial_s / cells))


def watch(args: argparse.Namespace, run: Path, seeds: int) -> tuple[list[Sample], int, str]:
    """Samples, how the sweep ended, and what it said last."""
    samples: list[Sample] = []
    counter = RowCounter(run / "accuracy.csv")
    with (run.parent / "stderr").open("w+") as said:
        process = subprocess.Popen(sweep_command(args, run, seeds), stdout=subprocess.DEVNULL, stderr=said)
        started_s = time.monotonic()
        ended = False

        def end(*_: object) -> None:
            nonlocal ended
            ended = True

        for number in (signal.SIGINT, signal.SIGTERM):  # what was sampled until then is judged
            signal.signal(number, end)
        try:
            while not ended and process.poll() is None and time.monotonic() - started_s < 60 * args.minutes:
                time.sleep(args.every)
                try:
                    samples.append(read_proc(process.pid, run, started_s, counter.cells()))
                except (FileNotFoundError, ProcessLookupError, KeyError):  # it has just ended
                    break
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            code = process.wait()
        said.seek(0)
        lines = said.read().splitlines()
    return samples, code, lines[-1] if lines else ""


def report(args: argparse.Namespace, samples: Sequence[Sample], table: Sequence[tuple[str, str, str]], flat: bool) -> str:
    last = samples[-1]
    width = max(len(row[0]) for row in table)
    figures = max(len(row[1]) for row in table)
    name = args.spec.resolve()
    lines = [f"soak of eabench sweep: {name.relative_to(ROOT) if name.is_relative_to(ROOT) else name.name}, "
             f"{args.workers} worker(s), a checkpoint every {args.checkpoint_every:g} s",
             f"{last.seconds / 60:.1f} minutes, {last.cells} cells, {last.cpu_s:.0f} CPU-seconds, {len(samples)} samples, "
             f"{sum(sample.checkpoints > 0 for sample in samples)} of them with a checkpoint in the folder, mean load of the machine "
             f"{np.mean([sample.load for sample in samples]):.1f}", ""]
    lines += [f"{what:<{width}}  {text:<{figures}}  {verdict}" for what, text, verdict in table]
    lines += ["", "FLAT" if flat else "NOT FLAT", ""]
    return "\n".join(lines)


def main() -> int:
    args = parser().parse_args()
    for name, value, low, high in (("minutes", args.minutes, 0.05, 10_000), ("every", args.every, 0.01, 3600),
                                   ("workers", args.workers, 1, 4096)):
        if not low <= value <= high:
            print(f"soak: --{name} is {value:g}; {low:g}..{high:g} is allowed", file=sys.stderr)
            return 2
    if not args.spec.is_file():
        print(f"soak: {args.spec}: no such file; a spec is allowed", file=sys.stderr)
        return 2
    if not os.access(args.eabench, os.X_OK):
        print(f"soak: {args.eabench} is not built; EABENCH or --eabench names the program", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory(prefix="eabench-soak-") as temporary:
        folder = Path(temporary)
        run = folder / "run"
        samples, code, said = watch(args, run, wanted_seeds(args, folder))
        if code not in (0, 130):
            print(f"soak: the sweep ended with {code}: {said}", file=sys.stderr)
            return 1
        if len(samples) < 20:
            print(f"soak: {len(samples)} samples; at least 20 are needed: more --minutes or a smaller --every", file=sys.stderr)
            return 2
        table, flat = judge(samples)
        text = report(args, samples, table, flat)
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            with (args.out / "samples.csv").open("w", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow([field.name for field in fields(Sample)])
                writer.writerows(astuple(sample) for sample in samples)
            (args.out / "soak.txt").write_text(text)
            manifest = (run / "manifest.ini").read_text()
            (args.out / "manifest.ini").write_text(manifest.replace(str(folder), "soak").replace(f"{ROOT}/", ""))
    print(text, end="")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
