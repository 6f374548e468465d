"""Helpers of the tests with MPI: the ranks of a launcher, and waiting for its end."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path


def ranks_of(launcher: int, program: str) -> list[int]:
    """The process ids of a launcher's running ranks, at any depth below it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                name = os.readlink(entry / "exe")
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1]), name
    found = []
    for pid, (parent, name) in parents.items():
        while parent in parents and parent != launcher:
            parent = parents[parent][0]
        if parent == launcher and name == os.path.realpath(program):
            found.append(pid)
    return sorted(found)


def finish(launcher: subprocess.Popen, program: str, seconds: float) -> tuple[str, str]:
    """Waits for the launcher and returns its output. Open MPI's launcher may hang after its ranks have ended (seen in
    4.1.4, within PMIx_server_finalize); it is then killed, since only the end of all ranks matters."""
    deadline, alone = time.monotonic() + seconds, 0
    while True:
        try:
            return launcher.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            alone = 0 if ranks_of(launcher.pid, program) else alone + 1
            if alone == 4:
                launcher.kill()
            elif not alone and time.monotonic() > deadline:
                raise TimeoutError(f"ranks are left after {seconds} s: {ranks_of(launcher.pid, program)}") from None
