"""eabench status, and eabench sweep --progress."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from sweeps import CELLS, EABENCH, LONG, command, needs_eabench, one_line, rows, start, sweep, wait_until

pytestmark = needs_eabench


def status(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([EABENCH, "status", *map(str, arguments)], check=False, capture_output=True, text=True,
                          timeout=60, errors="replace")


def refused(done: subprocess.CompletedProcess, *parts: str) -> None:
    one_line(done, 2, *parts, command="status")


def report(run: Path) -> dict:
    done = status(run, "--json")
    assert done.returncode in (0, 1) and done.stderr == "" and done.stdout.count("\n") == 1, done.stderr
    return json.loads(done.stdout)


def counts(found: dict) -> tuple[int, ...]:
    return tuple(found[key] for key in ("cells", "done", "diverged", "running", "failed", "timed_out", "left"))


# ---- status ----------------------------------------------------------------------------------------------------------


def test_a_run_that_is_done(undisturbed: Path):
    found = report(undisturbed)
    assert found["state"] == "done" and counts(found) == (CELLS, CELLS, 0, 0, 0, 0, 0)
    assert found["eta_s"] is None and found["sweeps"] == []
    text = status(undisturbed)
    assert text.returncode == 0
    assert ("\nstate      done\ncells      24\ndone       24  100%\n  diverged  0    0%\nrunning     0    0%\n"
            in text.stdout), text.stdout


def test_a_running_sweep_is_killed_and_resumed(spec: Path, tmp_path: Path):
    run = tmp_path / "run"
    few = ("--workers", "2", "--set", "train.seed=1", "--set", "train.mechanism=dpa")  # four cells
    process = start(spec, "--out", run, *few, *LONG)
    try:
        wait_until(lambda: (run / ".state").exists() and report(run)["running"] == 2)
        found = report(run)
        assert found["state"] == "running" and counts(found) == (4, 0, 0, 2, 0, 0, 2)
        only = found["sweeps"][0]
        assert only["process"] == process.pid and only["state"] == "running" and len(only["running"]) == 2
        assert all(cell["label"].startswith("dpa  recurrence basis=") and 0 <= cell["share"] <= 1
                   for cell in only["running"])
        lines = status(run).stdout.splitlines()
        assert lines[1] == "state      running"
        assert sum(line.startswith("  ") and "%  dpa  rec" in line for line in lines) == 2
    finally:
        process.kill()
        process.communicate()
    found = report(run)
    assert found["state"] == "stale" and counts(found) == (4, 0, 0, 0, 0, 0, 4)
    assert found["sweeps"][0]["state"] == "stale"
    assert "stale" in status(run).stdout
    done = sweep(spec, "--out", run, *few, *LONG, "--time-limit", "0.2")
    assert done.returncode == 130
    assert report(run)["state"] == "stopped" and not (run / ".state").exists()
    done = sweep(spec, "--out", tmp_path / "short", *few)
    assert done.returncode == 0 and report(tmp_path / "short")["state"] == "done"


def test_a_suspended_sweep_is_silent(spec: Path, tmp_path: Path):
    run = tmp_path / "run"
    process = start(spec, "--out", run, "--workers", "1", *LONG)
    try:
        wait_until(lambda: (run / ".state").exists())
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        first = report(run)["sweeps"][0]["silent_s"]
        time.sleep(0.3)
        found = report(run)
        assert found["state"] == "running" and found["sweeps"][0]["silent_s"] >= first + 0.29
        # A process on another machine cannot be checked: it counts as stale after a minute without an update.
        lock = (run / ".lock").read_text().split()
        (run / ".lock").write_text(f"{lock[0]} elsewhere {lock[2]}\n")
        assert report(run)["state"] == "running"
        os.utime(run / ".state", times=(time.time() - 100,) * 2)
        assert report(run)["state"] == "stale"
    finally:
        process.kill()
        process.communicate()


def test_a_process_with_the_number_of_a_killed_sweep(spec: Path, tmp_path: Path):
    run = tmp_path / "run"
    process = start(spec, "--out", run, "--workers", "1", *LONG)
    try:
        wait_until(lambda: (run / ".state").exists())
    finally:
        process.kill()
        process.communicate()
    lock = (run / ".lock").read_text().split()
    (run / ".lock").write_text(f"{os.getpid()} {lock[1]} {lock[2]}\n")
    assert report(run)["state"] == "running"  # it cannot be told from the sweep
    os.utime(run / ".state", times=(time.time() - 86400 * 30,) * 2)  # before this process was started
    assert report(run)["state"] == "stale"


def test_failed_and_diverged_cells(undisturbed: Path, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    lines = (run / "accuracy.csv").read_text().splitlines(True)
    for place, name in ((1, "fail"), (2, "oom"), (3, "timeout"), (4, "diverged"), (5, "diverged")):
        lines[place] = lines[place].replace(",ok,", f",{name},", 1)
    (run / "accuracy.csv").write_text("".join(lines[:-2]) + lines[-1][:20])
    assert counts(report(run)) == (24, 19, 2, 0, 2, 1, 2)
    assert status(run).returncode == 1


def test_shards_are_reported_as_one(spec: Path, tmp_path: Path):
    run = tmp_path / "run"
    for part in ("1/3", "3/3"):
        assert sweep(spec, "--out", run, "--shard", part).returncode == 0
    own = [len(rows(run / f"shards/{part}-of-3/accuracy.csv")) for part in (1, 3)]
    found = report(run)
    assert found["state"] == "stopped" and counts(found) == (24, sum(own), 0, 0, 0, 0, 24 - sum(own))
    assert counts(report(run / "shards/3-of-3")) == (own[1], own[1], 0, 0, 0, 0, 0)


def test_status_changes_nothing(undisturbed: Path):
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in undisturbed.iterdir()}
    assert status(undisturbed).returncode == 0
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in undisturbed.iterdir()} == before


GOOD_STATE = ("[sweep]\nstopping=false\neta_s=nan\ntokens_per_s=5\nrunning=1\n\n"
              "[0123456789abcdef]\nmembers=1\nshare=0.5\n")
BAD_STATES = ["", "hello\n", GOOD_STATE.replace("running=1\n", ""), GOOD_STATE.replace("running=1", "running=2"),
              GOOD_STATE.replace("running=1", "running=-1"), GOOD_STATE.replace("abcdef", "abcdeg"),
              GOOD_STATE.replace("[sweep]", "[other]"), GOOD_STATE.replace("abcdef]", "abcdef00]"),
              GOOD_STATE + "more\n", GOOD_STATE.replace("abcdef]", "abcdef\x1b]"),
              GOOD_STATE.replace("abcdef]", "abcde\udcff]"),
              GOOD_STATE.replace("share", "sha\0re"), "x" * 100_000,
              GOOD_STATE + "".join(f"[{i:016x}]\n" for i in range(64))]
ODD_VALUES = [("members=1", "members=-7"), ("members=1", "members=99999999999999999999"), ("share=0.5", "share=nan"),
              ("share=0.5", "share=-1"), ("tokens_per_s=5", "tokens_per_s=inf"),
              ("tokens_per_s=5", "tokens_per_s=\udcff"), ("eta_s=nan", "eta_s=1e300"),
              ("stopping=false", "stopping=perhaps")]


def test_damaged_state_files(undisturbed: Path, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    (run / ".state").write_text(GOOD_STATE)
    (run / ".lock").write_text("1 h\"\\ now\x1b[31m\n")
    only = report(run)["sweeps"][0]
    assert (only["process"], only["host"], only["started"]) == (1, "h\"\\", "now [31m")
    assert "\x1b" not in status(run).stdout
    assert only["running"] == [{"cell": "0123456789abcdef", "label": "", "members": 1, "share": 0.5}]
    for lock in ("", "1 h", "x h now", "1" * 100_000, "\0" * 100, "\udcff \udcff \udcff"):
        (run / ".lock").write_text(lock, errors="surrogateescape")
        assert report(run)["sweeps"][0]["host"] == "?"
    for good, odd in ODD_VALUES:
        (run / ".state").write_text(GOOD_STATE.replace(good, odd), errors="surrogateescape")
        assert report(run)["sweeps"][0]["running"][0]["members"] == 1
        assert status(run).returncode == 0 and "\x1b" not in status(run).stdout
    for text in BAD_STATES:
        (run / ".state").write_text(text, errors="surrogateescape")
        refused(status(run), ".state: ")
    (run / ".state").unlink()
    (run / ".state").symlink_to(tmp_path / "elsewhere")
    refused(status(run), ".state: a symbolic link")
    (run / ".state").unlink()
    (run / ".state").mkdir()
    refused(status(run), ".state: ")


def test_bad_folders(undisturbed: Path, tmp_path: Path):
    refused(status(tmp_path / "none"), "not a folder")
    refused(status(tmp_path), "no manifest.ini")
    refused(status(), "no run")
    refused(status(tmp_path, tmp_path), "usage")
    refused(status("--jsn", tmp_path), "nearest: --json")
    for name, data in (("manifest.ini", b"[task recurrence]\nbasis = soon\n"), ("manifest.ini", b"\0" * 100),
                       ("manifest.ini", b"x" * (2 << 20)), ("accuracy.csv", b"hello\n"),
                       ("accuracy.csv", b"\xff\0" * 99 + b"\n"), ("throughput.csv", b"cell\nx\n"),
                       ("shards", b"a file")):
        run = tmp_path / "run"
        shutil.copytree(undisturbed, run)
        (run / name).write_bytes(data)
        if name == "shards":
            assert status(run).returncode == 0
        else:
            refused(status(run), name)
        shutil.rmtree(run)


# ---- progress --------------------------------------------------------------------------------------------------------


def events(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_events(spec: Path, tmp_path: Path):
    run = tmp_path / "a \"run\" \\ \x01 \udcff ü"
    done = sweep(spec, "--out", run, "--progress", "json", "--workers", "2", errors="replace")
    assert done.returncode == 0
    found = events(done.stderr)
    assert [event["event"] for event in found if event["event"] not in ("cell", "progress")] == ["start", "end"]
    first, last = found[0], found[-1]
    assert (first["event"], first["cells"], first["done"], first["todo"], first["workers"]) == ("start", 24, 0, 24, 2)
    assert first["run"].endswith("ü") and "a \"run\" \\" in first["run"]
    assert (last["status"], last["exit_code"], last["done"], last["failed"]) == ("done", 0, 24, 0)
    cells = [event for event in found if event["event"] == "cell"]
    assert {event["cell"] for event in cells} == {row["cell"] for row in rows(run / "accuracy.csv")}
    assert [event["done"] for event in cells] == list(range(1, 25))
    accuracies = {row["cell"]: float(row["token_accuracy"]) for row in rows(run / "accuracy.csv")}
    for event in cells:
        assert event["status"] == "ok" and event["mechanism"] in ("dpa", "ea") and event["level"].startswith("basis=")
        assert event["token_accuracy"] == pytest.approx(accuracies[event["cell"]], rel=1e-8)
    resumed = events(sweep(spec, "--out", run, "--progress", "json", errors="replace").stderr)
    assert [event["event"] for event in resumed] == ["start", "end"] and resumed[0]["todo"] == 0


def test_events_of_a_sweep_that_is_stopped(spec: Path, tmp_path: Path):
    # Measuring the peak takes part of the time.
    done = sweep(spec, "--out", tmp_path / "run", "--progress", "json", "--time-limit", "4", *LONG)
    found = events(done.stderr)
    assert done.returncode == 130 and found[-1]["status"] == "time_limit" and found[-1]["exit_code"] == 130
    assert "--time-limit 4" in found[-1]["again"]
    assert any(event["event"] == "progress" and event["tokens_per_s"] for event in found)
    assert any(event["event"] == "note" and event["text"].startswith("the time limit is reached") for event in found)


def test_events_of_an_error(spec: Path, tmp_path: Path):
    run = tmp_path / "run"
    arguments = command(spec, "--workers", "1", "--out", run, "--progress", "json")
    done = subprocess.run(["bash", "-c", 'ulimit -f 3; exec "$@"', "bash", *arguments], check=False,
                          capture_output=True, text=True, timeout=60)
    found = events(done.stderr)
    assert done.returncode == 3 and found[-1]["status"] == "error" and "File too large" in found[-1]["reason"]


def test_off_and_lines(spec: Path, tmp_path: Path):
    done = sweep(spec, "--out", tmp_path / "off", "--progress", "off")
    assert done.returncode == 0 and done.stderr == "" and "24 of 24 cells are done" in done.stdout
    master, slave = pty.openpty()
    process = start(spec, "--out", tmp_path / "line", "--progress", "line", stderr=slave, stdout=subprocess.DEVNULL,
                    env={**os.environ, "TERM": "xterm"})
    os.close(slave)
    text = b""
    try:
        while block := os.read(master, 65536):
            text += block
    except OSError:  # the terminal's other end is closed
        pass
    os.close(master)
    assert process.wait(timeout=60) == 0
    assert b"\033" not in text and text.count(b"\n") == CELLS and b"24/24  " in text


def test_misuse(spec: Path, tmp_path: Path):
    done = sweep(spec, "--out", tmp_path / "run", "--progress", "jsno")
    assert done.returncode == 2 and "nearest: json; auto, line, json, off are allowed" in done.stderr
    assert not (tmp_path / "run").exists()
