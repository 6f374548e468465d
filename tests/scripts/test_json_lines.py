"""eabench sweep --progress json: each line on stderr is an object of a known event, whatever goes wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from sweeps import EABENCH, LONG, ROOT, TINY, command, needs_eabench, start, sweep, wait_until

pytestmark = needs_eabench
EVENTS = {"start", "cell", "progress", "note", "error", "end"}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.ini"
    path.write_text(TINY)
    return path


def events(stderr: str) -> list[dict]:
    found = [json.loads(line) for line in stderr.splitlines()]
    for event in found:
        assert event["event"] in EVENTS and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event["time"]), event
    return found


def last_text(stderr: str, event: str) -> str:
    return [one["text"] for one in events(stderr) if one["event"] == event][-1]


@pytest.mark.parametrize("options,code,part", [
    (["--worker", "2"], 2, "nearest: --workers"),
    (["--progress", "line", "--progress=json", "--fleet", "x"], 2, "Cannot parse integer value"),
    (["--workers", "0"], 2, "--workers is 0"),
    (["--backend", "cud"], 2, "nearest: cuda"),
    (["second.ini"], 2, "a second spec"),
    (["--set", "train.stepz=3"], 2, "steps"),
    (["--set", "train.lr=\x01\udcff"], 2, "lr"),
    (["--device", "7"], 3, "7"),
    (["--out", "/dev/null/run"], 3, "/dev/null/run"),
    (["--out", "/proc/\x01"], 3, "/proc/"),
])
def test_misuse(spec: Path, options: list[str], code: int, part: str):
    done = sweep(spec, "--progress", "json", *options, errors="replace", cwd=spec.parent)
    assert done.returncode == code, done.stderr
    assert [event["event"] for event in events(done.stderr)] == ["error"] and part in last_text(done.stderr, "error")


def test_a_spec_that_cannot_be_read(tmp_path: Path):
    (tmp_path / "bad.ini").write_bytes(b"[task recurrence\x00\xff\n")
    for name in ("bad.ini", "missing.ini"):
        done = sweep(tmp_path / name, "--progress", "json", errors="replace")
        assert done.returncode == 2 and name in last_text(done.stderr, "error")


# Steps of a minute, so that the sweep is still stopping when the next signal comes.
SLOW = ("--set", "model.d_model=512", "--set", "model.layers=4", "--set", "model.context=128", "--set",
        "train.batch=8192", *LONG)


def is_training(run: Path) -> bool:
    done = subprocess.run([EABENCH, "status", "--json", run], check=False, capture_output=True, text=True, timeout=60)
    return (run / ".state").exists() and done.returncode == 0 and json.loads(done.stdout)["running"] == 2


@pytest.mark.parametrize("pauses,last", [((), "end"), ((1.1,), "error"), ((1.1, 0), "error")])
def test_interrupts(spec: Path, tmp_path: Path, pauses: tuple[float, ...], last: str):
    """Once, again after more than a second (the waiting loop ends the sweep), and a third time (the handler does)."""
    process = start(spec, "--out", tmp_path / "run", "--progress", "json", "--workers", "2",
                    *(SLOW if pauses else LONG))
    wait_until(lambda: is_training(tmp_path / "run"))
    time.sleep(2)  # the weights are drawn, and the first step runs
    process.send_signal(signal.SIGINT)
    for pause in pauses:
        time.sleep(pause)
        process.send_signal(signal.SIGTERM if pause else signal.SIGHUP)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and events(stderr)[-1]["event"] == last, stderr
    assert ("interrupted again" in stderr) == bool(pauses)


def test_time_limit(spec: Path, tmp_path: Path):
    done = sweep(spec, "--out", tmp_path / "run", "--progress", "json", "--time-limit", "1", *LONG)
    assert done.returncode == 130 and events(done.stderr)[-1]["status"] == "time_limit"


def test_diverged_cells(spec: Path, tmp_path: Path):
    done = sweep(spec, "--out", tmp_path / "run", "--progress", "json", "--set", "train.lr=10", "--set",
                 "train.optimizer=sgd", "--set", "train.clip=0")
    assert done.returncode == 0 and events(done.stderr)[-1]["diverged"] > 0, done.stderr


def test_an_output_that_is_full(spec: Path, tmp_path: Path):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command(spec, "--out", tmp_path / "run", "--progress", "json"), check=False, stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 3 and "standard output could not be written" in last_text(done.stderr, "error")


def test_a_disk_that_is_full(spec: Path, tmp_path: Path):
    shim = Path(EABENCH).resolve().parent / "tests/fault_shim.so"
    if not shim.exists():
        pytest.skip(f"{shim} is not built")
    for fault in ("full", "sync-error", "rename-error", "forbidden"):
        for at in (0, 3, 3000):
            environment = {**os.environ, "LD_PRELOAD": str(shim), "EAB_FAULT": fault, "EAB_FAULT_AT": str(at),
                           "EAB_FAULT_FOLDER": str(tmp_path / "run")}
            done = sweep(spec, "--out", tmp_path / "run", "--progress", "json", "--save-models", "--checkpoint-every",
                         "0.001", "--workers", "2", env=environment)
            assert done.returncode in (0, 1, 3), done.stderr
            found = events(done.stderr)
            assert done.returncode == 0 or found[-1]["event"] in ("error", "end"), done.stderr


def test_too_little_memory(tmp_path: Path):
    """Cells that do not fit, and a program that has no memory left: GLib ends it, with an object."""
    path = tmp_path / "large.ini"
    path.write_text("[task recurrence]\nbasis = 4\n[model]\nd_model = 512\nheads = 8\nlayers = 4\ncontext = 64\n"
                    "[train]\nsteps = 1\nbatch = 64\neval_tokens = 100\nseed = 1:2\n")
    ends = set()
    for megabytes in (20, 28, 60, 150):
        arguments = command(path, "--workers", "2", "--out", tmp_path / str(megabytes), "--progress", "json")
        done = subprocess.run(["bash", "-c", f'ulimit -v {1024 * megabytes}; exec "$@"', "bash", *arguments],
                              check=False, capture_output=True, text=True, timeout=120)
        ends.add((done.returncode, tuple(event["event"] for event in events(done.stderr))[-1:]))
    assert (1, ("end",)) in ends, ends


def test_a_worker_reports_a_damaged_checkpoint(spec: Path, tmp_path: Path):
    options = (spec, "--out", tmp_path / "run", "--progress", "json", "--workers", "2", *LONG, "--time-limit")
    assert sweep(*options, "2").returncode == 130
    files = list((tmp_path / "run/checkpoints").iterdir())
    for path in files:
        content = bytearray(path.read_bytes())
        content[-100] ^= 1
        path.write_bytes(content)
    done = sweep(*options, "1")
    notes = [event["text"] for event in events(done.stderr) if event["event"] == "note"]
    assert files and sum("/checkpoints/" in note for note in notes) == len(files), notes


def test_stderr_has_one_owner():
    """Lines that bypass host/base/log.c would be plain text. main.c prints the usage of a bare `eabench`."""
    bypass = re.compile(r"[(,]\s*stderr\b|write\w*\(STDERR_FILENO|\bg_printerr\(|\bperror\(")
    owners = {str(path.relative_to(ROOT)) for folder in ("host", "kernels", "tasks")
              for path in (ROOT / folder).rglob("*.c") if bypass.search(path.read_text())}
    assert owners == {"host/base/log.c", "host/commands/main.c"}
