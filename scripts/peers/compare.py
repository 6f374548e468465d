"""Runs ours and theirs in turn on the same cores (or GPU) and writes the tables; scripts/peers/run.sh calls it.

pairs.csv has every pair as it is known, and is where a run that was stopped goes on. From it come kernels.csv and
throughput.csv, in the columns of eabench's own tables, and ratios.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

from . import points, ratios

ROOT = Path(__file__).resolve().parents[2]
SHAPE = ("mechanism", "dtype", "pass", "batch", "heads", "context", "head_dim", "causal", "position", "layers", "d_model")
COLUMNS = ("op", *SHAPE, "implementation", "fleet", "pair", "status", "reason", "ours_us", "ours_p05_us", "ours_p95_us",
           "ours_samples", "theirs_us", "theirs_p05_us", "theirs_p95_us", "theirs_samples", "ours_tokens_per_s",
           "theirs_tokens_per_s")


class Worker:
    """A process of one framework on one core; started anew after it died."""

    def __init__(self, framework: str, core: int | None, gpu: bool) -> None:
        command = [sys.executable, "-m", "peers.worker", framework, "-" if core is None else str(core), "cuda" if gpu else "cpu"]
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
                                        cwd=ROOT / "scripts")
        self.hello = self.receive()

    def send(self, request: dict) -> None:
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass  # told by receive()

    def receive(self) -> dict:
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.process.wait()
        self.errors.seek(0)
        last = (self.errors.read().strip().splitlines() or [f"ended with {self.process.returncode}"])[-1]
        return {"status": "fail", "reason": last[:160], "dead": True}


class Workers:
    def __init__(self, cores: list[int] | None, gpu: bool) -> None:
        self.cores, self.gpu, self.running = cores, gpu, {}

    def ask(self, framework: str, requests: list[dict]) -> list[dict]:
        """One request for each core, at the same time."""
        workers = []
        for place in range(len(requests)):
            key = (framework, place)
            if key not in self.running:
                self.running[key] = Worker(framework, None if self.cores is None else self.cores[place], self.gpu)
            workers.append(self.running[key])
        answers = [worker.hello for worker in workers if worker.hello.get("dead")]
        if answers:
            return answers
        for worker, request in zip(workers, requests):
            worker.send(request)
        answers = [worker.receive() for worker in workers]
        for place, answer in enumerate(answers):
            if answer.get("dead"):
                del self.running[framework, place]
        return answers

    def details(self) -> dict[str, str]:
        return {key[0]: worker.hello["details"] for key, worker in self.running.items() if "details" in worker.hello}

    def close(self) -> None:
        for worker in self.running.values():
            worker.process.stdin.close()
            worker.process.wait()
        self.running = {}


class Run:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.a, self.out = arguments, arguments.out
        self.gpu = arguments.gpu
        cores = sorted(os.sched_getaffinity(0))[:2]
        self.cores = None if self.gpu else cores
        self.workers = Workers(self.cores, self.gpu)
        self.end_s = time.monotonic() + arguments.time_limit
        self.out.mkdir(parents=True, exist_ok=True)
        self.scratch = Path(tempfile.mkdtemp(prefix="eabench-peers-"))
        path = self.out / "pairs.csv"
        self.done: dict[tuple, str] = {}
        new = not path.exists() or path.stat().st_size == 0
        if not new:
            with open(path, newline="") as file:
                self.done = {self.key(row): row["status"] for row in csv.DictReader(file)}
        self.file = open(path, "a", newline="")
        self.table = csv.DictWriter(self.file, COLUMNS, restval="")
        if new:
            self.table.writeheader()

    @staticmethod
    def key(row: dict) -> tuple:
        return tuple(str(row.get(name, "")) for name in ("op", *SHAPE, "implementation", "fleet", "pair"))

    def add(self, row: dict) -> None:
        self.table.writerow(row)
        self.file.flush()
        self.done[self.key(row)] = row["status"]
        shape = " ".join(f"{name}={row[name]}" for name in SHAPE if row.get(name) not in ("", None))
        ours, theirs = row.get("ours_us") or row.get("ours_tokens_per_s"), row.get("theirs_us") or row.get("theirs_tokens_per_s")
        what = f"ours {ours:.6g}, theirs {theirs:.6g}" if row["status"] == "ok" else f"{row['status']}: {row['reason']}"
        print(f"{row['op']} {shape} {row['implementation']} {row['pair']}: {what}", file=sys.stderr, flush=True)

    def eabench(self, *arguments: object, core: int | None = None) -> None:
        start = None if core is None else lambda: os.sched_setaffinity(0, {core})
        done = subprocess.run([self.a.eabench, *map(str, arguments)], capture_output=True, text=True, check=False, preexec_fn=start)
        if done.returncode:
            sys.exit(f"eabench {' '.join(map(str, arguments))}: {done.stderr.strip()[-400:]}")

    def pairs(self, row: dict):
        """The pairs of a row that are still to be measured; one that cannot be is told once."""
        for pair in range(self.a.pairs):
            if time.monotonic() > self.end_s:
                raise TimeoutError
            status = self.done.get(self.key({**row, "pair": pair}))
            if status not in (None, "ok"):
                return
            if status is None:
                yield pair

    def wanted(self, implementation: str) -> bool:
        return not self.a.implementations or implementation in self.a.implementations.split(",")

    # ---- attention ------------------------------------------------------------------------------------------------

    def ours_attention(self, point: dict) -> dict:
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        axes = [word for name, value in point.items() for word in ("--" + name.replace("_", "-"), value)]
        self.eabench("bench", "--op", "attention", "--implementation", "fused", *axes, "--backend", "cuda" if self.gpu else "cpu",
                     "--max-seconds", self.a.seconds, "--out", folder, core=None if self.gpu else self.cores[0])
        with open(folder / "kernels.csv", newline="") as file:
            return next(csv.DictReader(file))

    def attention(self) -> None:
        for late, point in product((False, True), points.attention_points(self.gpu, self.a.quick)):
            for framework, implementation in points.attention_peers(self.gpu):
                if (implementation in points.COMPILED) != late or not self.wanted(implementation):
                    continue
                row = {"op": "attention", **point, "implementation": implementation}
                for pair in self.pairs(row):
                    ours = self.ours_attention(point)
                    request = {"op": "attention", "point": {**point, "implementation": implementation}, "max_s": self.a.seconds}
                    (theirs,) = self.workers.ask(framework, [request])
                    status, reason = theirs["status"], theirs.get("reason", "")
                    if ours["status"] != "ok":
                        status, reason = ours["status"], "eabench: " + ours["reason"]
                    line = {**row, "pair": pair, "status": status, "reason": reason}
                    if ours["status"] == "ok":
                        line.update({f"ours_{name}us": float(ours[f"time_{name or 'median_'}us"]) for name in ("", "p05_", "p95_")},
                                    ours_samples=ours["samples"])
                    if theirs["status"] == "ok":
                        line.update({f"theirs_{name}us": theirs[f"{name or 'median_'}us"] for name in ("", "p05_", "p95_")},
                                    theirs_samples=theirs["samples"])
                    self.add(line)
                    ratios.keep_template(self.out, ours)

    # ---- training -------------------------------------------------------------------------------------------------

    def spec(self, point: dict) -> Path:
        path = self.scratch / "spec.ini"
        options = {"train": {"mechanism": point["mechanism"], "batch": point["batch"], "steps": 1000000, "eval_every": 1000000,
                             "eval_tokens": 1, "stop_when_solved": "off"},
                   "model": {name: point[name] for name in ("layers", "d_model", "heads", "context")}}
        text = "[task recurrence]\nbasis = 16\ndelay = 4\n"
        for section, values in options.items():
            text += f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())
        path.write_text(text)
        return path

    def ours_training(self, point: dict, seeds: str, steps: int) -> float:
        """Tokens per second of all cells together: each core trains one, a GPU the fleet that fills it."""
        folder = tempfile.mkdtemp(dir=self.scratch)
        self.eabench("sweep", self.spec(point), "--out", folder, "--backend", "cuda" if self.gpu else "cpu", "--set",
                     f"train.seed={seeds}", "--set", f"train.steps={steps}", "--set", f"train.eval_every={steps}",
                     "--workers", 1 if self.gpu else len(self.cores))
        with open(Path(folder) / "throughput.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        ratios.keep_template(self.out, rows[0], "throughput")
        if self.gpu:
            return float(rows[0]["fleet_tokens_per_s"])
        return sum(float(row["tokens_per_s"]) for row in rows)

    def training(self) -> None:
        for late, point in product((False, True), points.training_points(self.a.quick)):
            trace, steps = None, 0
            seeds = "1:512" if self.gpu else f"1:{len(self.cores)}"
            tokens = point["batch"] * point["context"]
            for framework, implementation, fleet in points.training_peers(self.gpu):
                if (implementation in points.COMPILED) != late or not self.wanted(implementation):
                    continue
                row = {"op": "training", "dtype": "float32", **point, "position": "alibi", "implementation": implementation, "fleet": fleet}
                for pair in self.pairs(row):
                    if not trace:
                        trace = Path(tempfile.mkdtemp(dir=self.scratch))
                        self.eabench("trace", self.spec(point), "--steps", 64, "--out", trace)
                        rate = self.ours_training(point, seeds, 300) / (512 if self.gpu else len(self.cores))
                        steps = max(100, int(self.a.training_seconds * rate / tokens))
                    ours = self.ours_training(point, seeds, steps)
                    count = 1 if self.gpu else len(self.cores)
                    requests = [{"op": "training", "implementation": implementation, "folder": str(trace), "fleet": fleet,
                                 "max_s": self.a.training_seconds, "start": 0.0} for _ in range(count)]
                    if pair == 0:  # compiles
                        answers = self.workers.ask(framework, [{**request, "max_s": 0.05} for request in requests])
                    if pair or all(answer["status"] == "ok" for answer in answers):
                        start = time.time() + 0.05  # the other core's process begins at the same moment
                        answers = self.workers.ask(framework, [{**request, "start": start} for request in requests])
                    bad = [answer for answer in answers if answer["status"] != "ok"]
                    line = {**row, "pair": pair, "status": "ok", "ours_tokens_per_s": ours}
                    if bad:
                        line.update(status=bad[0]["status"], reason=bad[0]["reason"])
                    else:
                        line["theirs_tokens_per_s"] = sum(a["steps"] * tokens * fleet / a["seconds"] for a in answers)
                    self.add(line)


def write_manifest(run: Run) -> None:
    version = subprocess.run([run.a.eabench, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    lines = {"eabench": version, "python": sys.version.split()[0], "cpu": cpu, **run.workers.details(),
             "device": "gpu" if run.gpu else f"cores {run.cores}, one thread on each", "pairs": run.a.pairs,
             "seconds": run.a.seconds, "training_seconds": run.a.training_seconds,
             "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    path = run.out / "manifest.ini"
    old = dict(line.split(" = ", 1) for line in path.read_text().splitlines() if " = " in line) if path.exists() else {}
    path.write_text("[peers]\n" + "".join(f"{name} = {value}\n" for name, value in {**old, **lines}.items()))


def main() -> None:
    parser = argparse.ArgumentParser(prog="run.sh")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=("attention", "training"))
    parser.add_argument("--implementations", default="")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument("--training-seconds", type=float, default=0.5)
    parser.add_argument("--time-limit", type=float, default=1e9)
    parser.add_argument("--eabench", required=True)
    arguments = parser.parse_args()
    known = {peer[1] for peer in (*points.attention_peers(arguments.gpu), *points.training_peers(arguments.gpu))}
    unknown = sorted({*arguments.implementations.split(",")} - known - {""})
    if unknown:
        parser.exit(2, f"peers: unknown implementation '{unknown[0]}'; allowed: {', '.join(sorted(known))}\n")
    run = Run(arguments)
    code = 0
    try:
        if run.a.only != "attention":
            run.training()
        if run.a.only != "training":
            run.attention()
    except (TimeoutError, KeyboardInterrupt) as stop:
        print("stopped: the same line goes on", file=sys.stderr)
        code = 130 if isinstance(stop, KeyboardInterrupt) else 0
    write_manifest(run)
    run.workers.close()
    shutil.rmtree(run.scratch, ignore_errors=True)
    ratios.write(run.out, run.gpu)
    sys.exit(code)


if __name__ == "__main__":
    main()
