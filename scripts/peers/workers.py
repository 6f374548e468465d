"""Starts the processes that time the peers, one for each framework and core, and sends them requests."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1]


class Worker:
    def __init__(self, framework: str, core: int | None, device: str) -> None:
        command = [sys.executable, "-m", "peers.worker", framework, "-" if core is None else str(core), device]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (lives as long as the process)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                        text=True, cwd=SCRIPTS)
        self.hello = self.receive()

    def send(self, request: dict) -> None:
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass  # receive() reports it

    def receive(self) -> dict:
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        code = self.process.wait()
        self.errors.seek(0)
        last = (self.errors.read().strip().splitlines() or [f"ended with {code}"])[-1]
        return {"status": "oom" if code == -9 else "unsupported", "reason": last[:160], "dead": True}


class Workers:
    def __init__(self, cores: list[int] | None, device: str) -> None:
        self.cores, self.device, self.running = cores, device, {}
        self.details: dict[str, str] = {}
        self.absent: dict[str, dict] = {}  # frameworks that cannot be started, and the answer to all their requests

    def _get(self, framework: str, place: int) -> Worker | None:
        if framework in self.absent:
            return None
        key = (framework, place)
        if key not in self.running:
            worker = Worker(framework, None if self.cores is None else self.cores[place], self.device)
            if worker.hello.get("dead"):
                self.absent[framework] = worker.hello
                return None
            self.details[framework] = worker.hello["details"]
            self.running[key] = worker
        return self.running[key]

    def ask(self, framework: str, requests: list[dict]) -> list[dict]:
        """Sends one request to each core at the same time. A process that died is restarted by the next call."""
        workers = [self._get(framework, place) for place in range(len(requests))]
        if None in workers:
            return [self.absent[framework]]
        for worker, request in zip(workers, requests):
            worker.send(request)
        answers = [worker.receive() for worker in workers]
        for place, answer in enumerate(answers):
            if answer.get("dead"):
                del self.running[framework, place]
        return answers

    def close(self, kill: bool = False) -> None:
        for worker in self.running.values():
            if kill:
                worker.process.kill()
            worker.process.stdin.close()
            worker.process.wait()
        self.running = {}
