"""Sweeps of several processes by MPI: the tables of one process, killed ranks, refused launches. Skipped without mpirun
or if the program was built without MPI."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import launchers
import pytest
from sweeps import EABENCH, TINY, expect_same_tables, needs_eabench, rows, wait_until

MPIRUN = shutil.which("mpirun")
MODULE = Path(EABENCH).resolve().parent / "libeabench_mpi.so"
CELLS = 24
LONGER = ("--set", "train.steps=400", "--set", "train.stop_when_solved=off")
ENDLESS = ("--set", "train.steps=100000000", "--set", "train.stop_when_solved=off", "--set", "train.eval_every=1000000")
pytestmark = [
    needs_eabench,
    pytest.mark.skipif(not MODULE.exists(), reason="eabench was built without MPI"),
    pytest.mark.skipif(not MPIRUN, reason="mpirun is not installed (Debian, Ubuntu: openmpi-bin)"),
]


def is_open_mpi() -> bool:
    return "Open MPI" in subprocess.run([MPIRUN, "--version"], check=False, capture_output=True, text=True).stdout


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Removes the environment of a launcher that runs the tests, and ignores the leaks of the MPI library."""
    for name in list(os.environ):
        if name.startswith(("OMPI_", "PMI", "SLURM_", "MV2_", "FLUX_", "JSM_")):
            monkeypatch.delenv(name)
    for name in ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("OMPI_MCA_rmaps_base_oversubscribe", "1")
    monkeypatch.setenv("ASAN_OPTIONS", os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0")


@pytest.fixture(scope="session")
def alone_run(tmp_path_factory) -> Path:
    """The run folder of one process with one worker."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "tiny.ini").write_text(TINY)
    done = subprocess.run([EABENCH, "sweep", folder / "tiny.ini", "--backend", "cpu", "--workers", "1", "--save-curves",
                           "--out", folder / "run", *LONGER], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def command(ranks: int, spec: Path | str, *options) -> list[str]:
    return [MPIRUN, "-n", str(ranks), EABENCH, "sweep", str(spec), "--backend", "cpu", "--workers", "1",
            *map(str, options)]


def sweep(ranks: int, spec: Path | str, *options) -> subprocess.CompletedProcess:
    return subprocess.run(command(ranks, spec, *options), check=False, capture_output=True, text=True, timeout=300)


def start(ranks: int, spec: Path | str, *options) -> subprocess.Popen:
    return subprocess.Popen(command(ranks, spec, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ranks_of(launcher: int) -> list[int]:
    return launchers.ranks_of(launcher, EABENCH)


def ended(process: subprocess.Popen) -> tuple[str, str]:
    return launchers.finish(process, EABENCH, 120)


def expect_same_run(run: Path, alone_run: Path) -> None:
    expect_same_tables(run, alone_run)
    assert sorted(entry.name for entry in run.iterdir()) == [
        "accuracy.csv", "curves.csv", "manifest.ini", "throughput.csv"]


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_same_tables_for_any_ranks(spec: Path, tmp_path: Path, alone_run: Path, ranks: int):
    done = sweep(ranks, spec, "--out", tmp_path / "run", "--save-curves", *LONGER)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("24 of 24 cells are done") == 1
    assert done.stderr.count("24/24") == 1
    expect_same_run(tmp_path / "run", alone_run)
    assert f"\nranks = {ranks}\n" in (tmp_path / "run/manifest.ini").read_text()


def test_one_rank_writes_the_objects_of_all(spec: Path, tmp_path: Path):
    """Workers of every rank report their damaged checkpoints; nothing is plain text."""
    options = (spec, "--out", tmp_path / "run", "--progress", "json", "--set", "train.steps=20000", "--set",
               "train.stop_when_solved=off", "--set", "train.seed=1")
    for limit_s in (1.5, 3, 6, 12):  # until the ranks have started within it
        sweep(3, *options, "--time-limit", str(limit_s))
        files = list((tmp_path / "run").glob("checkpoints/*"))
        if files:
            break
    for path in files:
        content = bytearray(path.read_bytes())
        content[-100] ^= 1
        path.write_bytes(content)
    done = sweep(3, *options)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 0 and files
    assert sum("/checkpoints/" in event.get("text", "") for event in events) == len(files), done.stderr
    assert [event["event"] for event in (events[-1], *events) if event["event"] in ("start", "end")] == [
        "end", "start", "end"]


def test_search_is_the_same(spec: Path, tmp_path: Path):
    options = ("--search", "--set", "train.steps=60", "--set", "train.seed=1:2")
    alone = sweep(1, spec, "--out", tmp_path / "alone", *options)
    done = sweep(3, spec, "--out", tmp_path / "run", *options)
    assert alone.returncode == done.returncode == 0, done.stderr
    assert done.stdout.replace("/run", "/alone") == alone.stdout
    assert (tmp_path / "run/accuracy.csv").read_bytes() == (tmp_path / "alone/accuracy.csv").read_bytes()


def test_ranks_train_fleets(spec: Path, tmp_path: Path, alone_run: Path):
    done = sweep(2, spec, "--out", tmp_path / "run", "--save-curves", "--fleet", "3", *LONGER)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/accuracy.csv").read_bytes() == (alone_run / "accuracy.csv").read_bytes()
    assert {row["fleet"] for row in rows(tmp_path / "run/throughput.csv")} == {"3"}


def test_models_and_geometry_of_all_ranks(spec: Path, tmp_path: Path):
    run = tmp_path / "run"
    done = sweep(3, spec, "--out", run, "--save-models", "--save-geometry", "--set", "train.seed=1")
    assert done.returncode == 0, done.stderr
    cells = {row["cell"] for row in rows(run / "accuracy.csv")}
    for folder in ("models", "geometry"):
        assert {path.stem for path in (run / folder).iterdir()} == cells
    assert {row["cell"] for row in rows(run / "geometry.csv")} == cells


def test_a_killed_rank_costs_its_cells_only(spec: Path, tmp_path: Path, alone_run: Path):
    """Any rank, once the start has finished some cells; the next start has another number of ranks."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    instants = random.Random(seed)
    run, kills = tmp_path / "run", 0
    table = run / "accuracy.csv"

    def lines() -> int:
        return table.read_bytes().count(b"\n") if table.exists() else 0

    for ranks in (3, 2, 4, 3):
        wanted = lines() + instants.randint(1, 4)
        process = start(ranks, spec, "--out", run, "--save-curves", "--checkpoint-every", "0.01", *LONGER)
        wait_until(lambda process=process, wanted=wanted: lines() >= wanted or process.poll() is not None)
        pids = ranks_of(process.pid)
        if pids:
            victim = instants.choice(pids)
            try:
                os.kill(victim, signal.SIGKILL)
                kills += 1
            except ProcessLookupError:
                pass
        ended(process)
        if table.exists() and table.stat().st_size > 2000 and instants.random() < 0.5:
            os.truncate(table, instants.randrange(1500, table.stat().st_size))
    assert kills > 0
    done = sweep(2, spec, "--out", run, "--save-curves", *LONGER)
    assert done.returncode == 0, done.stderr
    expect_same_run(run, alone_run)


def test_resumed_by_other_numbers_of_ranks(spec: Path, tmp_path: Path, alone_run: Path):
    """Three ranks, then one process, then two ranks; each resumes from the tables of the one before."""
    run = tmp_path / "run"
    shutil.copytree(alone_run, run)
    order = (run / "accuracy.csv").read_bytes().splitlines(keepends=True)
    for ranks, keep in ((3, 9), (1, 14), (2, 20)):
        (run / "accuracy.csv").write_bytes(b"".join(order[:1 + keep]))  # drops the other rows
        done = sweep(ranks, spec, "--out", run, "--save-curves", *LONGER)
        assert done.returncode == 0, done.stderr
        assert f"{keep} of 24 cells are done already" in done.stderr
        expect_same_run(run, alone_run)


@pytest.mark.parametrize("target", ["launcher", "leader", "follower"])
def test_an_interrupt_ends_all_ranks(spec: Path, tmp_path: Path, target: str):
    if target == "launcher" and not is_open_mpi():
        pytest.skip("this mpirun kills its ranks on an interrupt")
    run = tmp_path / "run"
    process = start(3, spec, "--out", run, *ENDLESS)
    wait_until(lambda: (run / "accuracy.csv").exists() and len(ranks_of(process.pid)) == 3)
    leader = int((run / ".lock").read_text().split()[0])
    pids = ranks_of(process.pid)
    assert leader in pids
    os.kill({"launcher": process.pid, "leader": leader, "follower": next(pid for pid in pids if pid != leader)}[target],
            signal.SIGINT)
    out, err = ended(process)
    assert err.count("interrupted; 0 of 24 cells are done. To resume with any number of processes:") == 1, err
    assert len(re.findall(rf"^  \S*eabench sweep {re.escape(str(spec))} ", err, re.MULTILINE)) == 1
    if target != "launcher":  # Open MPI's mpirun itself then ends with 1
        assert process.returncode == 130
    assert not (run / ".lock").exists()
    wait_until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids))


def test_time_limit_ends_all_ranks(spec: Path, tmp_path: Path):
    done = sweep(3, spec, "--out", tmp_path / "run", "--time-limit", "1", *ENDLESS)
    assert done.returncode == 130, done.stderr
    assert done.stderr.count("time limit was reached; 0 of 24 cells are done") == 1


@pytest.mark.parametrize("options,code,part", [
    (["--worker", "2"], 2, "nearest: --workers"),
    (["--set", "train.stepz=3"], 2, "steps"),
    (["--out", "/dev/null/run"], 3, "/dev/null/run"),
])
def test_errors_are_reported_once(spec: Path, tmp_path: Path, options: list[str], code: int, part: str):
    done = subprocess.run([MPIRUN, "-n", "3", EABENCH, "sweep", str(spec), "--backend", "cpu", *options], check=False,
                          capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("eabench sweep: ")]
    assert len(lines) == 1 and part in lines[0], done.stderr


def test_ranks_of_different_specs_are_refused(spec: Path, tmp_path: Path):
    script = tmp_path / "one-each"
    script.write_text(f"#!/bin/sh\nexec '{EABENCH}' sweep '{spec}' --backend cpu --out '{tmp_path}/run' "
                      "--set train.seed=${OMPI_COMM_WORLD_RANK:-$PMI_RANK}\n")
    script.chmod(0o755)
    done = subprocess.run([MPIRUN, "-n", "2", script], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "rank 1 on " in done.stderr and "another build of eabench or reads another spec" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_spec_from_a_pipe_is_refused(tmp_path: Path):
    done = subprocess.run(command(2, "-", "--out", tmp_path / "run"), check=False, capture_output=True, text=True,
                          input=TINY, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("eabench sweep: -: several processes cannot read one pipe; a file is allowed") == 1
    assert not (tmp_path / "run").exists()


def test_a_second_sweep_is_refused(spec: Path, tmp_path: Path):
    process = start(2, spec, "--out", tmp_path / "run", *ENDLESS)
    try:
        wait_until(lambda: (tmp_path / "run/accuracy.csv").exists())
        done = sweep(2, spec, "--out", tmp_path / "run", *ENDLESS)
        assert done.returncode == 2 and done.stderr.count("is in use by process") == 1, done.stderr
    finally:
        process.terminate()
        ended(process)


def test_status_has_the_cells_of_all_ranks(spec: Path, tmp_path: Path):
    process = start(3, spec, "--out", tmp_path / "run", *ENDLESS)
    try:
        wait_until(lambda: "\nrunning     3 " in subprocess.run(
            [EABENCH, "status", tmp_path / "run"], check=False, capture_output=True, text=True).stdout, 300)
    finally:
        process.terminate()
        ended(process)


def test_dry_run_of_one_rank(spec: Path, tmp_path: Path):
    done = sweep(3, spec, "--out", tmp_path / "run", "--dry-run")
    assert done.returncode == 0 and done.stdout.count("cells        24") == 1, done.stderr


def test_checkpoints_resume_with_any_number_of_ranks(spec: Path, tmp_path: Path):
    """The time limit is shorter than a cell: each fleet resumes from its checkpoint, in any rank."""
    few = ("--set", "task.basis=4", "--set", "task.delay=2", "--set", "train.seed=1:2", "--set", "train.steps=6000",
           "--set", "train.stop_when_solved=off", "--set", "train.eval_every=1000", "--save-curves")
    whole, run = tmp_path / "whole", tmp_path / "run"
    began = time.monotonic()
    assert sweep(1, spec, "--out", whole, *few).returncode == 0
    limit_s, starts, left, done = 0.15 * (time.monotonic() - began), 0, 0, None
    while done is None or done.returncode == 130:
        done = sweep((3, 1, 2)[starts % 3], spec, "--out", run, *few, "--time-limit", f"{limit_s:.6f}")
        starts += 1
        left += len(list((run / "checkpoints").glob("*.ckpt")))
        assert starts < 60 and "not used" not in done.stderr, done.stderr
        limit_s *= 1.3
    assert done.returncode == 0, done.stderr
    expect_same_tables(run, whole)
    assert not (run / "checkpoints").exists()
    if not left:
        pytest.skip("no time limit was reached within a cell: this machine is too fast")
