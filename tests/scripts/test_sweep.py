"""Drives the real binary through sweeps: killed, interrupted, refused, resumed. EABENCH names the binary (default:
build/release/eabench)."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import pty
import random
import re
import select
import shlex
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
EABENCH = os.environ.get("EABENCH", str(ROOT / "build/release/eabench"))
pytestmark = pytest.mark.skipif(not Path(EABENCH).exists(), reason=f"{EABENCH} is not built; EABENCH names the binary")

TINY = """[task recurrence]
basis = 4, 8
delay = 2, 3
[model]
d_model = 8
heads = 2
context = 12
[train]
mechanism = dpa, ea
steps = 40
batch = 8
eval_every = 20
eval_tokens = 200
seed = 1:3
"""
CELLS = 24
LONG = ["--set", "train.steps=100000000", "--set", "train.stop_when_solved=off", "--set", "train.eval_every=1000000"]
TIMES = ("train_s", "wall_s", "tokens_per_s", "fleet_tokens_per_s", "gflop_per_s", "peak_gflop_per_s", "peak_fraction")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """One cache of measured peaks for all tests, away from the user's. For sanitizers: GLib's slices hide from them who
    owns memory, and a process that ends at once does not join its threads."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("G_SLICE", "always-malloc")
    monkeypatch.setenv("TSAN_OPTIONS", os.environ.get("TSAN_OPTIONS", "") + ":report_thread_leaks=0")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.ini"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "tiny.ini").write_text(TINY)
    done = sweep(folder / "tiny.ini", "--out", folder / "run", "--workers", "1", "--save-curves")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def command(spec: Path | str, *options) -> list[str]:
    return [EABENCH, "sweep", str(spec), "--backend", "cpu", *map(str, options)]


def sweep(spec: Path | str, *options, **keywords) -> subprocess.CompletedProcess:
    keywords.setdefault("timeout", 300)
    return subprocess.run(command(spec, *options), check=False, capture_output=True, text=True, **keywords)


def start(spec: Path | str, *options, **keywords) -> subprocess.Popen:
    keywords.setdefault("stdout", subprocess.PIPE)
    keywords.setdefault("stderr", subprocess.PIPE)
    return subprocess.Popen(command(spec, *options), text=True, **keywords)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, strict=True))


def without_times(path: Path) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows(path)]


def one_line(done: subprocess.CompletedProcess, code: int, *parts: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("eabench sweep: "), done.stderr
    for part in parts:
        assert part in done.stderr
    assert done.stdout == ""


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def test_tables_and_summary(undisturbed: Path):
    accuracy, throughput = rows(undisturbed / "accuracy.csv"), rows(undisturbed / "throughput.csv")
    assert len(accuracy) == len(throughput) == CELLS
    assert [row["cell"] for row in accuracy] == [row["cell"] for row in throughput]
    assert {row["status"] for row in accuracy} == {"ok"}
    assert {row["scale"] for row in accuracy} == {"auto"}
    assert {row["dtype"] for row in accuracy} == {"float32"}
    assert [(row["basis"], row["delay"], row["mechanism"], row["seed"]) for row in accuracy[:4]] == [
        ("4", "2", "dpa", "1"), ("4", "2", "dpa", "2"), ("4", "2", "dpa", "3"), ("4", "2", "ea", "1")]
    for row in throughput:
        assert float(row["train_s"]) > 0 and float(row["peak_fraction"]) > 0 and int(row["memory_bytes"]) > 0
    for name in ("accuracy.csv", "throughput.csv", "curves.csv"):
        text = (undisturbed / name).read_text()
        assert not re.search(r"(?i)(^|,)-?(nan|inf)", text)
        assert text.endswith("\n") and "\r" not in text
    assert len(rows(undisturbed / "curves.csv")) == 2 * CELLS
    assert sorted(entry.name for entry in undisturbed.iterdir()) == [
        "accuracy.csv", "curves.csv", "manifest.ini", "throughput.csv"]


def test_manifest_runs_again(undisturbed: Path, tmp_path: Path):
    text = (undisturbed / "manifest.ini").read_text()
    for key in ("version", "commit", "compiler", "flags", "os", "cpu", "cores", "isa", "backend", "device", "driver",
                "clocks", "libraries", "workers", "fleet", "started", "command", "peak_gflop_per_s"):
        assert re.search(rf"^{key} = ?", text, re.MULTILINE), key
    done = sweep(undisturbed / "manifest.ini", "--out", tmp_path / "run", "--save-curves")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/accuracy.csv").read_bytes() == (undisturbed / "accuracy.csv").read_bytes()


@pytest.mark.parametrize("options", [("--workers", "1"), ("--workers", "2"), ("--workers", "7"), ("--fleet", "3"),
                                     ("--workers", "2", "--fleet", "24")])
def test_same_tables_for_any_workers_and_fleet(spec: Path, tmp_path: Path, undisturbed: Path, options):
    done = sweep(spec, "--out", tmp_path / "run", "--save-curves", *options)
    assert done.returncode == 0, done.stderr
    for name in ("accuracy.csv", "curves.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (undisturbed / name).read_bytes()
    assert [row["cell"] for row in rows(tmp_path / "run/throughput.csv")] == [
        row["cell"] for row in rows(undisturbed / "throughput.csv")]


LONGER = ("--set", "train.steps=400", "--set", "train.stop_when_solved=off")  # long enough to be killed halfway


def kill_within(seconds: float, instants: random.Random, *call) -> bool:
    """Starts a sweep and kills it at a random instant; whether it was killed, and had not ended before."""
    process = start(*call, "--workers", "2", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(instants.uniform(0, seconds))
    process.kill()
    return process.wait() == -signal.SIGKILL


def timed(*call) -> float:
    """The seconds that a sweep takes on this machine: instants drawn within them are neither too early nor too late."""
    began = time.monotonic()
    done = sweep(*call, "--workers", "2")
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began


def test_killed_at_random_instants(spec: Path, tmp_path: Path):
    """Each time it goes on in the folder that the last kill left, until the kills have been many and it may end."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    instants = random.Random(seed)
    whole, run, kills = tmp_path / "whole", tmp_path / "run", 0
    seconds = timed(spec, "--out", whole, "--save-curves", *LONGER)
    for _ in range(12):
        killed = kill_within(0.5 * seconds, instants, spec, "--out", run, "--save-curves", *LONGER)
        kills += killed
        table = run / "accuracy.csv"  # some of what is there is lost, to make it last longer
        if (not killed or instants.random() < 0.4) and table.exists() and table.stat().st_size > 2000:
            os.truncate(table, instants.randrange(1500, table.stat().st_size))
    done = sweep(spec, "--out", run, "--save-curves", *LONGER)
    assert done.returncode == 0, done.stderr
    assert kills > 0
    for name in ("accuracy.csv", "curves.csv"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    assert len(rows(run / "throughput.csv")) == CELLS
    assert sorted(entry.name for entry in run.iterdir()) == [
        "accuracy.csv", "curves.csv", "manifest.ini", "throughput.csv"]


def test_killed_in_the_middle_of_cells(spec: Path, tmp_path: Path):
    seconds = timed(spec, "--out", tmp_path / "whole", *LONGER)
    for _ in range(4):
        kill_within(seconds, random.Random(), spec, "--out", tmp_path / "run", *LONGER)
    assert sweep(spec, "--out", tmp_path / "run", *LONGER).returncode == 0
    assert (tmp_path / "run/accuracy.csv").read_bytes() == (tmp_path / "whole/accuracy.csv").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_keeps_and_tells_how_to_go_on(spec: Path, tmp_path: Path, number):
    run = tmp_path / "a run"
    process = start(spec, "--out", run, "--workers", "1", "--set", "train.steps=2, 100000000", "--set",
                    "train.stop_when_solved=off", "--set", "train.eval_every=1", "--set", "train.seed=1", "--set",
                    "task.delay=2", "--set", "train.eval_tokens=10")
    # The long cells come first; none of them ends, so nothing does.
    wait_until(lambda: (run / "accuracy.csv").exists())
    time.sleep(0.3)
    process.send_signal(number)
    began = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert process.returncode == 130, err
    last = err.rstrip("\n").splitlines()[-1].strip()
    assert last.startswith(shlex.quote(EABENCH) + " sweep ") and "'" + str(run) + "'" in last
    assert "interrupted; 0 of 8 cells are done" in err
    assert out == ""
    assert not (run / ".lock").exists()


@pytest.mark.parametrize("program", ["eabench", "bin/eabench", "my programs/eabench"])
def test_the_resume_line_resumes(spec: Path, tmp_path: Path, undisturbed: Path, monkeypatch, program: str):
    (tmp_path / program).parent.mkdir(exist_ok=True)
    (tmp_path / program).symlink_to(Path(EABENCH).resolve())
    monkeypatch.chdir(tmp_path)
    if "/" not in program:
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    call = [program, *command(spec, "--out", tmp_path / "it's here", "--time-limit", "1e-9", "--save-curves")[1:]]
    done = subprocess.run(call, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 130 and "the time limit" in done.stderr, done.stderr
    line = done.stderr.rstrip("\n").splitlines()[-1].strip()
    assert line.startswith(f"'{program}' sweep " if " " in program else f"{program} sweep "), line
    again = subprocess.run(["sh", "-c", line.replace("--time-limit 1e-9", "")], check=False, capture_output=True,
                           text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "it's here/accuracy.csv").read_bytes() == (undisturbed / "accuracy.csv").read_bytes()


def test_time_limit(spec: Path, tmp_path: Path):
    began = time.monotonic()
    done = sweep(spec, "--out", tmp_path / "run", "--time-limit", "1", *LONG)
    assert done.returncode == 130, done.stderr
    assert 0.9 < time.monotonic() - began < 15
    assert "time limit was reached; 0 of 24 cells are done" in done.stderr


def test_a_second_interrupt_ends_at_once(spec: Path, tmp_path: Path):
    process = start(spec, "--out", tmp_path / "run", *LONG)
    wait_until(lambda: (tmp_path / "run/accuracy.csv").exists())
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 130
    process.communicate()
    for name in ("accuracy.csv", "throughput.csv"):
        assert (tmp_path / "run" / name).read_bytes().endswith(b"\n")


def test_second_sweep_is_refused(spec: Path, tmp_path: Path):
    run = tmp_path / "run"
    process = start(spec, "--out", run, *LONG)
    wait_until(lambda: (run / "accuracy.csv").exists())
    try:
        one_line(sweep(spec, "--out", run), 2, f"{run} is in use by process {process.pid} on ", " since 20")
        look = sweep(spec, "--out", run, "--dry-run")
        assert look.returncode == 0, look.stderr  # looking needs no lock
    finally:
        process.kill()
        process.communicate()
    done = sweep(spec, "--out", run)  # the lock file is stale now
    assert done.returncode == 0, done.stderr


def test_all_done_is_told_and_changes_nothing(undisturbed: Path, tmp_path: Path):
    before = {entry.name: entry.read_bytes() for entry in undisturbed.iterdir()}
    done = sweep(undisturbed.parent / "tiny.ini", "--out", undisturbed, "--save-curves", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "24 of 24 cells are done" in done.stdout
    assert {entry.name: entry.read_bytes() for entry in undisturbed.iterdir()} == before


def test_dry_run_writes_nothing(spec: Path, tmp_path: Path):
    before = sorted(tmp_path.rglob("*"))
    done = sweep(spec, "--dry-run", "--set", "train.seed=1, 2, 2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert re.search(r"^basis=8 delay=3 +2 +2$", done.stdout, re.MULTILINE), done.stdout
    for word in ("cells        16, 8 duplicates left out", "done         0, in runs/tiny", "parameters", "FLOP a token",
                 "memory", "time "):
        assert word in done.stdout, done.stdout


def test_dry_run_knows_what_is_done(undisturbed: Path):
    done = sweep(undisturbed.parent / "tiny.ini", "--out", undisturbed, "--dry-run", "--set", "train.seed=1:4")
    assert done.returncode == 0, done.stderr
    assert "done         24, in" in done.stdout


def test_default_folder_is_named_after_the_spec(spec: Path, tmp_path: Path):
    done = sweep(spec, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/tiny/accuracy.csv").exists()
    assert "report  scripts/report runs/tiny\n" in done.stdout


def test_progress_on_a_pipe_is_plain_lines(spec: Path, tmp_path: Path):
    done = sweep(spec, "--out", tmp_path / "run")
    assert "\033" not in done.stderr and "\r" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == CELLS
    assert lines[-1].startswith("24/24  ")
    assert re.search(r"(dpa|ea)  recurrence basis=\d delay=\d  lr=0.01 seed=\d  accuracy 0\.\d{4}", lines[0])


def on_terminal(arguments: list[str], columns: int, environment: dict[str, str]) -> tuple[int, str]:
    """Runs with stderr on a terminal of this width; what it wrote there."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=slave,
                               env={**os.environ, "TERM": "xterm", **environment})
    os.close(slave)
    text = b""
    while select.select([master], [], [], 60)[0]:
        try:
            got = os.read(master, 65536)
        except OSError:
            break
        if not got:
            break
        text += got
    os.close(master)
    return process.wait(timeout=60), text.decode()


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_live_line_fits_the_terminal(spec: Path, tmp_path: Path, columns: int):
    code, text = on_terminal(command(spec, "--out", tmp_path / "run", "--set", "train.steps=1500", "--set",
                                     "train.stop_when_solved=off", "--workers", "1"), columns, {})
    assert code == 0
    assert "\r" in text and "\n" not in text and text.endswith("\r\033[K")
    for line in re.sub(r"\033\[[0-9]*[mK]", "", text).split("\r"):
        assert len(line) < columns, line


def test_no_colour_and_dumb_terminals(spec: Path, tmp_path: Path):
    slow = ("--set", "train.steps=1500", "--set", "train.stop_when_solved=off")
    code, text = on_terminal(command(spec, "--out", tmp_path / "a", *slow), 80, {"NO_COLOR": "1"})
    assert code == 0 and "\033[1m" not in text and "\r" in text
    code, text = on_terminal(command(spec, "--out", tmp_path / "b", *slow), 80, {"TERM": "dumb"})
    assert code == 0 and "\033" not in text and "24/24" in text


@pytest.mark.parametrize("environment", [
    {"COLUMNS": "-99999999999999999999"}, {"COLUMNS": "x" * 10000}, {"TZ": ":/etc/passwd"}, {"NO_COLOR": ""},
    {"TERM": ""}, {"LC_ALL": "de_DE.UTF-8"}, {"LC_ALL": "nonsense"}, {"XDG_CACHE_HOME": "/proc/nowhere"},
    {"XDG_CACHE_HOME": "a" * 5000}, {"HOME": ""}, {"EAB_ISA": "base"}])
def test_hostile_environment(spec: Path, tmp_path: Path, environment):
    done = sweep(spec, "--out", tmp_path / "run", "--set", "train.seed=1", env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "run/accuracy.csv")) == 8


def test_unknown_simd_level(spec: Path, tmp_path: Path):
    done = sweep(spec, "--out", tmp_path / "run", env={**os.environ, "EAB_ISA": "avx1024"})
    one_line(done, 2, "avx1024")
    assert not (tmp_path / "run").exists()


def test_another_simd_level_is_told(spec: Path, tmp_path: Path):
    options = ("--out", tmp_path / "run", "--set", "train.seed=1")
    assert sweep(spec, *options, env={**os.environ, "EAB_ISA": "base"}).returncode == 0
    os.truncate(tmp_path / "run/accuracy.csv", (tmp_path / "run/accuracy.csv").stat().st_size - 5)
    done = sweep(spec, *options)
    assert done.returncode == 0, done.stderr
    manifest = (tmp_path / "run/manifest.ini").read_text()
    if "isa = base" not in manifest:
        assert done.stderr.count("isa 'base' (now '") == 1 and "last bits" in done.stderr


BAD = [
    ([], "no spec"),
    (["a.ini", "b.ini"], "second spec"),
    (["tiny.ini", "--worker", "2"], "nearest: --workers"),
    (["tiny.ini", "--workers", "0"], "1..4096"),
    (["tiny.ini", "--workers", "two"], "two"),
    (["tiny.ini", "--workers", "99999999999"], "99999999999"),
    (["tiny.ini", "--workers"], "workers"),
    (["tiny.ini", "--fleet", "0"], "--fleet is 0; 1..65536"),
    (["tiny.ini", "--device", "-1"], "--device is -1"),
    (["tiny.ini", "--time-limit", "0"], "above 0"),
    (["tiny.ini", "--time-limit", "nan"], "above 0"),
    (["tiny.ini", "--time-limit", "inf"], "above 0"),
    (["tiny.ini", "--time-limit", "soon"], "soon"),
    (["tiny.ini", "--backend", "cdua"], "nearest: cuda"),
    (["tiny.ini", "--out", ""], "--out is empty"),
    (["tiny.ini", "--out", "tiny.ini"], "not a folder"),
    (["tiny.ini", "--set", "train.stepz=3"], "steps"),
    (["tiny.ini", "--set", "train.lr=\udcff"], "lr"),
    (["tiny.ini", "--backend", "cpu", "--set", "train.precision=float32,bf16"], "precision = bf16"),
    (["tiny.ini", "--backend", "cpu", "--dry-run", "--set", "train.precision=tf32"], "precision = tf32"),
    (["tiny.ini", "--set", "train.precision=bf17"], "float32, tf32, bf16"),
    (["none.ini"], "none.ini"),
]


@pytest.mark.parametrize("arguments,part", BAD, ids=[ascii(" ".join(case[0])) for case in BAD])
def test_bad_input(spec: Path, arguments: list[str], part: str):
    done = subprocess.run([EABENCH, "sweep", *arguments], check=False, capture_output=True, text=True, cwd=spec.parent,
                          timeout=60, errors="replace")
    one_line(done, 2, part)
    assert not (spec.parent / "runs").exists()


def test_precision_is_part_of_a_cell_and_of_its_dtype(spec: Path, tmp_path: Path):
    few = ["--set", "task.basis=4", "--set", "task.delay=2", "--set", "train.mechanism=ea", "--set", "train.seed=1",
           "--set", "train.steps=4", "--set", "train.eval_tokens=20", "--out", tmp_path / "run"]
    done = sweep(spec, "--backend", "reference", "--set", "train.precision=float32,bf16", *few)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "run/accuracy.csv").open() as file:
        rows = {row["precision"]: row for row in csv.DictReader(file)}
    assert rows.keys() == {"float32", "bf16"}
    assert rows["float32"]["dtype"] == "float64" and rows["bf16"]["dtype"] == "bf16"
    assert rows["float32"]["cell"] != rows["bf16"]["cell"]
    assert rows["float32"]["loss_nats"] != rows["bf16"]["loss_nats"]
    with (tmp_path / "run/throughput.csv").open() as file:
        peaks = {row["dtype"]: row["peak_fraction"] for row in csv.DictReader(file)}
    assert peaks["bf16"] == ""
    assert "precision = float32, bf16" in (tmp_path / "run/manifest.ini").read_text()


def test_no_gpu_build_is_told(spec: Path, tmp_path: Path):
    done = sweep(spec, "--backend", "cuda", "--device", "999", "--out", tmp_path / "run")
    one_line(done, 3, "cuda")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["/proc/eabench/run", "/dev/null/run"])
def test_places_that_cannot_be_written(spec: Path, place: str):
    one_line(sweep(spec, "--out", place), 3, place)


def test_damaged_tables_are_left_alone(spec: Path, tmp_path: Path):
    run = tmp_path / "run"
    assert sweep(spec, "--out", run).returncode == 0
    whole = (run / "accuracy.csv").read_bytes()
    for damaged, part in ((whole.replace(b"status", b"state", 1), "accuracy.csv:1: "),
                          (b"hello\n" + whole, "accuracy.csv:1: "),
                          (whole.replace(b",ok,", b",\0k,", 1), "accuracy.csv:2: a NUL"),
                          (whole + whole.splitlines(True)[1], "accuracy.csv:26: a second row")):
        (run / "accuracy.csv").write_bytes(damaged)
        one_line(sweep(spec, "--out", run), 2, part)
        assert (run / "accuracy.csv").read_bytes() == damaged
    (run / "accuracy.csv").write_bytes(whole + b"torn")
    assert sweep(spec, "--out", run).returncode == 0
    assert (run / "accuracy.csv").read_bytes() == whole


def test_full_disk(spec: Path, tmp_path: Path, undisturbed: Path):
    """A limit on the size of files stands for the disk's: the row in the middle of it must not be torn."""
    arguments = command(spec, "--workers", "2", "--save-curves", "--out", tmp_path / "run")
    limited = ["bash", "-c", 'ulimit -f 3; exec "$@"', "bash", *arguments]
    done = subprocess.run(limited, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    assert done.stderr.splitlines()[-1].startswith("eabench sweep: ") and "File too large" in done.stderr
    for name in ("accuracy.csv", "throughput.csv"):
        assert (tmp_path / "run" / name).read_bytes().endswith(b"\n")
    kept = len(rows(tmp_path / "run/accuracy.csv"))
    again = sweep(spec, "--out", tmp_path / "run", "--save-curves")
    assert again.returncode == 0, again.stderr
    if kept:
        assert f"{kept} of 24 cells are done already" in again.stderr
    assert (tmp_path / "run/accuracy.csv").read_bytes() == (undisturbed / "accuracy.csv").read_bytes()


def test_broken_pipes_are_harmless(spec: Path, tmp_path: Path):
    read, write = os.pipe()
    os.close(read)
    process = start(spec, "--out", tmp_path / "run", stderr=write, stdout=subprocess.DEVNULL)
    os.close(write)
    assert process.wait(timeout=60) == 0
    assert len(rows(tmp_path / "run/accuracy.csv")) == CELLS


def test_saved_models(spec: Path, tmp_path: Path):
    done = sweep(spec, "--out", tmp_path / "run", "--save-models", "--set", "train.seed=1")
    assert done.returncode == 0, done.stderr
    cells = {row["cell"] for row in rows(tmp_path / "run/accuracy.csv")}
    assert {path.name for path in (tmp_path / "run/models").iterdir()} == {f"{cell}.safetensors" for cell in cells}


def tensors_of(path: Path) -> dict[str, np.ndarray]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    dtypes = {"F32": "<f4", "I32": "<i4"}
    return {name: np.frombuffer(data[8 + length:][slice(*tensor["data_offsets"])], dtypes[tensor["dtype"]]).reshape(
        tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"}


def test_geometry(spec: Path, tmp_path: Path):
    """Every cell has its rows once, also after an interruption, and attention maps whose rows sum to 1."""
    run, whole = tmp_path / "run", tmp_path / "whole"
    options = ("--save-geometry", "--workers", "1", "--set", "train.seed=1", "--set", "train.steps=2000", "--set",
               "train.eval_every=1000")
    assert sweep(spec, "--out", whole, *options).returncode == 0
    process = start(spec, "--out", run, *options)
    wait_until(lambda: (run / "accuracy.csv").exists() and len(rows(run / "accuracy.csv")) >= 2)
    process.kill()
    process.communicate()
    with (run / "geometry.csv").open("ab") as file:  # what a crash may leave: rows without a commit, and a torn one
        missing = next(row["cell"] for row in rows(whole / "accuracy.csv")
                       if row["cell"] not in (run / "accuracy.csv").read_text())
        file.write(f"{missing},0,0,key_norm,,,1\n{missing},0,1,key_".encode())
    done = sweep(spec, "--out", run, *options)
    assert done.returncode == 0, done.stderr
    assert ", geometry.csv" in done.stdout
    for name in ("accuracy.csv", "geometry.csv"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    cells = {row["cell"]: row for row in rows(run / "accuracy.csv")}
    table = rows(run / "geometry.csv")
    assert list(table[0]) == ["cell", "layer", "head", "quantity", "low", "high", "value"]
    assert len(table) == len(cells) * 2 * (2 * 18 + 7)
    sums: dict[tuple[str, ...], float] = {}
    for row in table:
        if row["quantity"] in ("angle_density", "angle_mass"):
            key = (row["cell"], row["head"], row["quantity"])
            sums[key] = sums.get(key, 0) + float(row["value"])
    assert len(sums) == len(cells) * 2 * 2
    assert all(abs(total - 1) < 1e-6 for total in sums.values())
    assert {path.stem for path in (run / "geometry").iterdir()} == set(cells)
    for cell, row in cells.items():
        tensors = tensors_of(run / "geometry" / f"{cell}.safetensors")
        attention, tokens = tensors["attention"], tensors["tokens"]
        assert attention.shape == (2, 1, 2, 12, 12) and tokens.shape == (2, 13)
        assert np.allclose(attention.sum(-1), 1, atol=1e-5)
        assert not np.triu(attention, 1).any()
        basis, delay = int(row["basis"]), int(row["delay"])
        assert ((tokens[:, delay - 1:-1] + tokens[:, :-delay]) % basis == tokens[:, delay:]).all()


MIXTURES = TINY.replace("[task recurrence]\nbasis = 4, 8\ndelay = 2, 3\n", """[task mixture]
parts = recurrence(basis=4 delay=3) + recurrence(delay=2), recurrence(basis=4 delay=2) + recurrence(delay=2) + recurrence
cue = token, none
""")


def test_mixtures_killed_and_resumed(tmp_path: Path):
    """A row for the whole and one for each part, all or none of them, in an undisturbed sweep and in a killed one."""
    spec, whole, run = tmp_path / "mixtures.ini", tmp_path / "whole", tmp_path / "run"
    spec.write_text(MIXTURES)
    seconds = timed(spec, "--out", whole, *LONGER)
    instants, kills = random.Random(2), 0
    for _ in range(12):
        kills += kill_within(0.5 * seconds, instants, spec, "--out", run, *LONGER)
        table = run / "accuracy.csv"
        if table.exists() and table.stat().st_size > 2000:  # some of what is there is lost, within a cell's rows too
            os.truncate(table, instants.randrange(1500, table.stat().st_size))
    again = sweep(spec, "--out", run, "--workers", "2", *LONGER)
    assert again.returncode == 0 and "24 of 24 cells are done" in again.stdout and kills > 0, again.stderr
    assert (run / "accuracy.csv").read_bytes() == (whole / "accuracy.csv").read_bytes()
    assert without_times(run / "throughput.csv") == without_times(whole / "throughput.csv")

    table = rows(whole / "accuracy.csv")
    assert len(rows(whole / "throughput.csv")) == 24 and len(table) == 12 * 3 + 12 * 4
    cells = {cell: [row for row in table if row["cell"] == cell] for cell in dict.fromkeys(row["cell"] for row in table)}
    for first, *parts in cells.values():
        names = re.fullmatch(r"(.*) cue=(token|none)", first["level"])
        assert first["task"] == "mixture" and names and first["basis"] == ""
        assert names[1] == " + ".join(f"{part['task']}({part['level']})" for part in parts)
        assert int(first["vocab"]) == 8 + (len(parts) if names[2] == "token" else 0)
        assert float(first["complexity_bits"]) == pytest.approx(
            np.log2(sum(2 ** float(part["complexity_bits"]) for part in parts)))
        assert int(first["tokens"]) == sum(int(part["tokens"]) for part in parts) == 400 * 8 * 12
        accuracies = [float(part["token_accuracy"]) for part in parts]
        assert min(accuracies) <= float(first["token_accuracy"]) <= max(accuracies)
        assert all(part["basis"] and part["seed"] == first["seed"] for part in parts)


def test_lists_for_a_mechanism(spec: Path, tmp_path: Path):
    done = sweep(spec, "--out", tmp_path / "run", "--set", "train.seed=1", "--set", "task.delay=2", "--set",
                 "train.lr[ea]=2e-2,4e-2", "--set", "train.lr[dpa]=1e-2")
    assert done.returncode == 0, done.stderr
    found = {(row["mechanism"], row["lr"]) for row in rows(tmp_path / "run/accuracy.csv")}
    assert found == {("dpa", "0.01"), ("ea", "0.02"), ("ea", "0.04")}
    again = sweep(tmp_path / "run/manifest.ini", "--out", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    assert without_times(tmp_path / "again/accuracy.csv") == without_times(tmp_path / "run/accuracy.csv")
    one_line(sweep(spec, "--out", tmp_path / "no", "--set", "train.lr[ea-softmax]=1"), 2,
             "[train] lr[ea-softmax]: the sweep's mechanisms are others; nearest: ea; allowed: dpa, ea")
    assert not (tmp_path / "no").exists()


def test_diverged_cells_are_results(spec: Path, tmp_path: Path):
    options = ("--out", tmp_path / "run", "--set", "train.optimizer=sgd", "--set", "train.lr=10", "--set",
               "train.clip=0", "--set", "model.init_scale=100", "--set", "model.qk_init=100", "--set",
               "train.warmup=0", "--set", "model.norm=none", "--set", "train.seed=1")
    done = sweep(spec, *options)
    assert done.returncode == 0, done.stderr
    diverged = [row for row in rows(tmp_path / "run/accuracy.csv") if row["status"] == "diverged"]
    assert diverged, done.stdout
    assert all(row["reason"] and not row["token_accuracy"] and not row["solved"] for row in diverged)
    before = (tmp_path / "run/accuracy.csv").read_bytes()
    assert sweep(spec, *options).returncode == 0
    assert (tmp_path / "run/accuracy.csv").read_bytes() == before


def test_a_thousand_cells_of_one_step(spec: Path, tmp_path: Path):
    began = time.monotonic()
    done = sweep(spec, "--out", tmp_path / "run", "--set", "train.steps=1", "--set", "train.seed=1:125", "--set",
                 "train.eval_tokens=10")
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "run/accuracy.csv")) == 1000
    took_s = time.monotonic() - began
    assert took_s < 10 * float(os.environ.get("EAB_SLOWNESS", "1"))
    assert 100 <= len(done.stderr.splitlines()) <= 100 + took_s / 5  # 100 lines, and a further one every 5 seconds


def test_help(tmp_path: Path):
    done = subprocess.run([EABENCH, "sweep", "--help"], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
    for word in ("--dry-run", "--time-limit", "alibi_span", "eval_tokens", "basis"):
        assert word in done.stdout
