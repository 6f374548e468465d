"""Measures eabench and a peer in turn on the same cores (or GPU) and writes the tables; scripts/peers/run.sh calls it.

Each measured pair is appended to pairs.csv, from which --resume continues. At the end kernels.csv and throughput.csv
(with the columns of eabench's own tables) and ratios.csv are computed from it. In all names `ours` is eabench and
`theirs` the peer.
"""

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
from collections.abc import Callable, Iterator
from pathlib import Path

from analysis.arguments import seconds

from . import points, ratios
from .points import Job
from .workers import Workers

SHAPE = ("mechanism", "dtype", "pass", "batch", "heads", "context", "head_dim", "causal", "position", "layers",
         "d_model")
KEY = ("op", *SHAPE, "implementation", "fleet")
COLUMNS = (*KEY, "pair", "status", "reason", "ours_us", "ours_p05_us", "ours_p95_us", "ours_samples", "theirs_us",
           "theirs_p05_us", "theirs_p95_us", "theirs_samples", "ours_tokens_per_s", "theirs_tokens_per_s", "spent_s")
SLOW_S, SLOW_PAIRS = 3.0, 3  # a pair that takes longer than SLOW_S is slow; SLOW_PAIRS slow pairs are enough
MEASURED = ("pairs.csv", "kernels-ours.csv", "throughput-ours.csv")  # the other tables are computed from these


def key(row: dict) -> tuple:
    return tuple(str(row.get(name, "")) for name in KEY)


class TimeLimit(Exception):
    """--time-limit was reached."""


class EabenchFailed(Exception):
    """eabench ended with an error, which becomes a row as a peer's error does."""


class Stopped(Exception):
    """A signal arrived."""


def expected_s(jobs: list[Job], pairs: int, known: dict[tuple, float]) -> float:
    """Expected time of jobs, from the times of earlier pairs: of the same job, else of its operation, else 3 s."""
    by_op: dict[str, list[float]] = {}
    for row, spent_s in known.items():
        by_op.setdefault(row[0], []).append(spent_s)
    usual = {op: sum(values) / len(values) for op, values in by_op.items()}
    return sum(pairs * known.get(key(job.row()), usual.get(job.op, 3.0)) for job in jobs)


class Run:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.a, self.out, self.gpu = arguments, arguments.out, arguments.gpu
        self.cores = None if self.gpu else sorted(os.sched_getaffinity(0))[:2]
        self.backend = "cuda" if arguments.device == "cuda" else "cpu"
        self.workers = Workers(self.cores, arguments.device)
        self.begin_s = time.monotonic()
        self.end_s = self.begin_s + arguments.time_limit
        self.scratch = Path(tempfile.mkdtemp(prefix="eabench-peers-"))
        self.done: dict[tuple, dict[int, str]] = {}  # status of the measured pairs
        self.known: dict[tuple, float] = {}  # mean time of a pair in s
        self.traces: dict[tuple, tuple[Path, int]] = {}
        self.number = 0
        self.read(self.out / "pairs.csv", arguments.resume)

    # ---- the table of pairs -----------------------------------------------------------------------------------------

    def read(self, path: Path, resume: bool) -> None:
        """Reads how long the pairs of an earlier run took; with `resume` these pairs also count as done."""
        spent: dict[tuple, list[float]] = {}
        for row in ratios.read(path):
            if row.get("spent_s"):
                spent.setdefault(key(row), []).append(float(row["spent_s"]))
            if resume and row["status"] in ("ok", "unsupported"):
                self.done.setdefault(key(row), {})[int(row["pair"])] = row["status"]
        self.known = {row: sum(values) / len(values) for row, values in spent.items()}

    def open(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / "pairs.csv"
        if path.exists() and not self.a.resume:
            before = self.out / "before"
            before.mkdir(exist_ok=True)
            for name in MEASURED:
                (before / name).unlink(missing_ok=True)
                if (self.out / name).exists():
                    (self.out / name).rename(before / name)
            say(f"the tables of an earlier run were moved to {before} (--resume would have continued that run)")
        new = not path.exists() or path.stat().st_size == 0
        if not new:
            with open(path, newline="") as file:
                if next(csv.reader(file), []) != list(COLUMNS):
                    sys.exit(f"peers: {path} has the columns of another version; start a new run without --resume")
        self.file = open(path, "a", newline="")  # noqa: SIM115  (lives as long as the run)
        self.table = csv.DictWriter(self.file, COLUMNS, restval="")
        if new:
            self.table.writeheader()

    def add(self, row: dict) -> None:
        self.table.writerow(row)
        self.file.flush()
        os.fsync(self.file.fileno())
        self.done.setdefault(key(row), {})[row["pair"]] = row["status"]
        shape = " ".join(f"{name}={row[name]}" for name in SHAPE if row.get(name) not in ("", None))
        ours = row.get("ours_us") or row.get("ours_tokens_per_s")
        theirs = row.get("theirs_us") or row.get("theirs_tokens_per_s")
        what = f"ours {ours:.6g}, theirs {theirs:.6g}" if row["status"] == "ok" else f"{row['status']}: {row['reason']}"
        say(f"{time.monotonic() - self.begin_s:5.0f} s {row['op']} {shape} {row['implementation']} {row['pair']}: "
            f"{what}")

    # ---- eabench ----------------------------------------------------------------------------------------------------

    def eabench(self, *arguments: object, core: int | None = None, allowed: tuple[int, ...] = (0,)) -> None:
        start = None if core is None else lambda: os.sched_setaffinity(0, {core})
        done = subprocess.run([self.a.eabench, *map(str, arguments)], capture_output=True, text=True, check=False,
                              preexec_fn=start)
        if done.returncode not in allowed:
            printed = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
            raise EabenchFailed(f"eabench {arguments[0]}: {printed[-1][-200:]}")

    def ours_attention(self, point: dict) -> dict:
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        axes = [word for name, value in point.items() for word in ("--" + name.replace("_", "-"), value)]
        self.eabench("bench", "--op", "attention", "--implementation", "fused", *axes, "--backend", self.backend,
                     "--max-seconds", self.a.seconds, "--out", folder,
                     core=None if self.gpu else self.cores[0], allowed=(0, 1, 3))
        measured = ratios.read(folder / "kernels.csv")
        if not measured:
            raise EabenchFailed("eabench bench: no row")
        return measured[0]

    def spec(self, point: dict) -> Path:
        path = self.scratch / "spec.ini"
        options = {"train": {"mechanism": point["mechanism"], "batch": point["batch"], "steps": 1000000,
                             "eval_every": 1000000, "eval_tokens": 1, "stop_when_solved": "off"},
                   "model": {name: point[name] for name in ("layers", "d_model", "heads", "context", "position")}}
        text = "[task recurrence]\nbasis = 16\ndelay = 4\n"
        if point["position"] == "learned":  # points.text
            options["model"]["activation"] = "gelu"
            text = f"[task text]\nfile = {self.a.text}\n"
        for section, values in options.items():
            text += f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())
        path.write_text(text)
        return path

    def ours_training(self, point: dict, steps: int, keep: bool = True) -> float:
        """Tokens per second of all cells together: one cell on each core, or on a GPU a fleet of --fleet cells."""
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        members, workers = (self.a.fleet, 1) if self.gpu else (len(self.cores), len(self.cores))
        self.eabench("sweep", self.spec(point), "--out", folder, "--backend", self.backend, "--workers", workers,
                     "--set", f"train.seed=1:{members}" if members > 1 else "train.seed=1",
                     "--set", f"train.steps={steps}", "--set", f"train.eval_every={steps}")
        rows = ratios.read(folder / "throughput.csv")
        if keep:
            ratios.keep_template(self.out, rows[0], "throughput")
        shutil.rmtree(folder, ignore_errors=True)
        return float(rows[0]["fleet_tokens_per_s"]) if self.gpu else sum(float(row["tokens_per_s"]) for row in rows)

    # ---- a job ------------------------------------------------------------------------------------------------------

    def attention(self, point: dict, job: Job) -> tuple[dict, Callable[[], dict]]:
        """The worker's answer to the preparation, and a function that measures a pair."""
        request = {"op": "attention", "point": {**point, "implementation": job.implementation}, "max_s": self.a.seconds,
                   "prepare": False}
        (ready,) = self.workers.ask(job.framework, [{**request, "prepare": True}])

        def pair() -> dict:
            ours = self.ours_attention(point)
            if ours["status"] != "ok":
                return {"status": ours["status"], "reason": "eabench: " + ours["reason"]}
            ratios.keep_template(self.out, ours)
            line = {f"ours_{name}us": float(ours[f"time_{name or 'median_'}us"]) for name in ("", "p05_", "p95_")}
            (theirs,) = self.workers.ask(job.framework, [request])
            if theirs["status"] == "ok":
                line.update({f"theirs_{name}us": theirs[f"{name or 'median_'}us"] for name in ("", "p05_", "p95_")},
                            theirs_samples=theirs["samples"])
            return {**line, "ours_samples": ours["samples"], "status": theirs["status"],
                    "reason": theirs.get("reason", "")}

        return ready, pair

    def training(self, point: dict, job: Job) -> tuple[dict, Callable[[], dict]]:
        count, tokens = 1 if self.gpu else len(self.cores), point["batch"] * point["context"]
        where = tuple(point.values())
        if where not in self.traces:
            trace = Path(tempfile.mkdtemp(dir=self.scratch)) / "trace"
            self.eabench("trace", self.spec(point), "--steps", 64, "--out", trace)
            models = self.a.fleet if self.gpu else count
            rate = 1.0 if self.a.prepare else self.ours_training(point, 100, keep=False) / models
            self.traces[where] = trace, max(100, int(self.a.training_seconds * rate / tokens))
        trace, steps = self.traces[where]
        request = {"op": "training", "implementation": job.implementation, "folder": str(trace), "fleet": job.fleet,
                   "max_s": self.a.training_seconds, "prepare": False}
        ready = self.workers.ask(job.framework, [{**request, "prepare": True}] * count)

        def pair() -> dict:
            line = {"ours_tokens_per_s": self.ours_training(point, steps)}
            start = time.time() + 0.05  # the processes on all cores start at this time
            answers = self.workers.ask(job.framework, [{**request, "start": start}] * count)
            bad = [answer for answer in answers if answer["status"] != "ok"]
            if bad:
                return {**line, **bad[0]}
            return {**line, "status": "ok",
                    "theirs_tokens_per_s": sum(a["steps"] * tokens * job.fleet / a["seconds"] for a in answers)}

        return next((answer for answer in ready if answer["status"] != "ok"), ready[0]), pair

    def pairs(self, job: Job) -> Iterator[int]:
        """The pairs still to be measured: none after a row without a result, fewer for slow shapes."""
        done = self.done.get(key(job.row()), {})
        if len(done) >= SLOW_PAIRS and self.known.get(key(job.row()), 0) > SLOW_S:
            return
        if all(status == "ok" for status in done.values()):
            yield from (pair for pair in range(self.a.pairs) if pair not in done)

    def do(self, job: Job) -> None:
        ready, pair, point = None, None, dict(job.point)
        for number in self.pairs(job):
            if time.monotonic() > self.end_s:
                raise TimeLimit
            before_s = time.monotonic()
            try:
                if ready is None:
                    ready, pair = (self.attention if job.op == "attention" else self.training)(point, job)
                found = ready if self.a.prepare or ready["status"] != "ok" else pair()
            except EabenchFailed as reason:
                found = {"status": "fail", "reason": str(reason)}
            if self.a.prepare:
                say(f"{time.monotonic() - self.begin_s:5.0f} s {' '.join(map(str, key(job.row())))}: {found['status']}")
                return
            line = {name: value for name, value in found.items() if name in COLUMNS}
            spent_s = time.monotonic() - before_s
            self.add({**job.row(), "pair": number, "reason": "", **line, "spent_s": f"{spent_s:.3f}"})
            if found["status"] != "ok" or (spent_s > SLOW_S and number + 1 >= SLOW_PAIRS):
                return

    # ---- all --------------------------------------------------------------------------------------------------------

    def plan(self) -> list[points.Stage]:
        names = self.a.implementations.split(",") if self.a.implementations else (*points.ATTENTION, *points.TRAINING)

        def wanted(job: Job) -> bool:
            return (job.implementation in names and self.a.only in (None, job.op, "text" if job.on_text else "")
                    and (job.compiled or not self.a.prepare))

        stages = [(title, [job for job in jobs if wanted(job)])
                  for title, jobs in points.plan(self.gpu, self.a.quick, self.a.text is not None)]
        return [(title, jobs) for title, jobs in stages if jobs]

    def show_plan(self) -> None:
        for title, jobs in self.plan():
            print(f"{title}: {len(jobs)} ratios of {self.a.pairs} pairs, about "
                  f"{expected_s(jobs, self.a.pairs, self.known):.0f} s"
                  + ("" if self.known else " (a guess: the folder holds no earlier run)"))

    def go(self) -> None:
        stages = self.plan()
        for number, (title, jobs) in enumerate(stages):
            left = [job for _, others in stages[number:] for job in others if key(job.row()) not in self.done]
            rest = f"; about {expected_s(left, self.a.pairs, self.known):.0f} s to go" if self.known else ""
            say(f"{number + 1} of {len(stages)}: {title}{rest}; {max(0, self.end_s - time.monotonic()):.0f} s are "
                "allowed")
            for job in jobs:
                self.do(job)
            self.read(self.out / "pairs.csv", resume=False)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def write_manifest(run: Run) -> None:
    version = subprocess.run([run.a.eabench, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
               "unknown")
    lines = {"eabench": version, "python": sys.version.split()[0], "cpu": cpu, **run.workers.details,
             "device": "gpu" if run.gpu else f"cores {run.cores}, one thread on each", "pairs": run.a.pairs,
             "seconds": run.a.seconds, "training_seconds": run.a.training_seconds, "time_limit": run.a.time_limit,
             "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    path = run.out / "manifest.ini"
    old = dict(line.split(" = ", 1) for line in path.read_text().splitlines()
               if " = " in line) if path.exists() and run.a.resume else {}
    if old.get("eabench", version) != version:  # earlier rows are of another version
        lines["eabench_of_earlier_rows"] = " ".join(filter(None, (old.get("eabench_of_earlier_rows"), old["eabench"])))
    path.write_text("[peers]\n" + "".join(f"{name} = {value}\n" for name, value in {**old, **lines}.items()))


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.sh")
    for name in ("gpu", "quick", "resume", "prepare", "dry-run"):
        parser.add_argument("--" + name, action="store_true")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="cpu with --gpu: tests the GPU's plan on a processor")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=("attention", "training", "text"))
    parser.add_argument("--implementations", default="")
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--fleet", type=int, default=512, help="models that eabench trains at once on a GPU")
    parser.add_argument("--seconds", type=seconds, default=0.1)
    parser.add_argument("--training-seconds", type=seconds, default=0.4)
    parser.add_argument("--time-limit", type=seconds, default=2100)
    parser.add_argument("--text", type=Path, help="a text for the setting of tasks/ladders/text.ini")
    parser.add_argument("--eabench", required=True)
    arguments = parser.parse_args(words)
    arguments.device = arguments.device or ("cuda" if arguments.gpu else "cpu")
    arguments.pairs = arguments.pairs or (3 if arguments.gpu else 5)
    if arguments.text:
        arguments.text = arguments.text.resolve()
        if arguments.gpu:
            parser.exit(2, "peers: --text with --gpu; the text's setting is measured on a processor only\n")
        if not arguments.text.is_file():
            parser.exit(2, f"peers: --text {arguments.text}: no such file; a text of UTF-8 characters is allowed\n")
    known = {*points.ATTENTION, *points.TRAINING}
    unknown = sorted({*arguments.implementations.split(",")} - known - {""})
    if unknown:
        parser.exit(2, f"peers: unknown implementation '{unknown[0]}'; allowed: {', '.join(sorted(known))}\n")
    return arguments


def stop(number: int, frame: object) -> None:  # noqa: ARG001
    raise Stopped


def main() -> None:
    run, code, kill = Run(parse()), 0, False
    if run.a.dry_run:
        run.show_plan()
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        if not run.a.prepare:
            run.open()
        run.go()
    except TimeLimit:
        say("the time limit is reached: --resume continues")
    except Stopped:
        say("stopped: --resume continues")
        code, kill = 130, True
    finally:
        run.workers.close(kill or sys.exc_info()[0] is not None)
        shutil.rmtree(run.scratch, ignore_errors=True)
    if not run.a.prepare:
        write_manifest(run)
        ratios.write(run.out)
    sys.exit(code)


if __name__ == "__main__":
    main()
