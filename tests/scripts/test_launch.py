"""A sweep in the environment of a launcher: refused if its tasks cannot connect to one sweep, normal for a single task.
Needs no MPI."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from sweeps import EABENCH, needs_eabench, rows

pytestmark = needs_eabench
HAS_MPI = (Path(EABENCH).resolve().parent / "libeabench_mpi.so").exists()
LAUNCHERS = ("OMPI_", "PMI", "SLURM_", "MV2_", "FLUX_", "JSM_")


def launched(program: str | Path, spec: Path, run: Path, environment: dict[str, str], *options):
    alone = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHERS)}
    return subprocess.run([program, "sweep", str(spec), "--backend", "cpu", "--out", str(run), *options], check=False,
                          capture_output=True, text=True, timeout=120, env={**alone, **environment})


@pytest.mark.skipif(HAS_MPI, reason="eabench was built with MPI")
@pytest.mark.parametrize("environment,launcher", [
    ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "0"}, "mpirun"),
    ({"PMI_SIZE": "4", "PMI_RANK": "0"}, "mpiexec"),
    ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0"}, "srun")])
def test_several_tasks_without_mpi(spec: Path, tmp_path: Path, environment: dict[str, str], launcher: str):
    done = launched(EABENCH, spec, tmp_path / "run", environment)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    assert f"{launcher} started 4 tasks, but this eabench was built without MPI" in done.stderr
    assert "--shard i/n" in done.stderr and not (tmp_path / "run").exists()


@pytest.mark.skipif(not HAS_MPI, reason="eabench was built without MPI")
def test_launchers_that_do_not_connect(spec: Path, tmp_path: Path):
    environment = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"}
    done = launched(EABENCH, spec, tmp_path / "run", environment)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    assert "srun started 2 tasks without a way to connect them" in done.stderr and "--shard i/n" in done.stderr
    assert not (tmp_path / "run").exists()
    silent = launched(EABENCH, spec, tmp_path / "run", {**environment, "SLURM_PROCID": "1"})
    assert silent.returncode == 2 and silent.stderr == ""  # only task 0 reports


@pytest.mark.skipif(not HAS_MPI, reason="eabench was built without MPI")
def test_the_library_for_mpi_is_missing(spec: Path, tmp_path: Path):
    shutil.copy(EABENCH, tmp_path / "eabench")
    done = launched(tmp_path / "eabench", spec, tmp_path / "run", {"PMI_SIZE": "2", "PMI_RANK": "0"})
    assert done.returncode == 3 and done.stderr.count("\n") == 1, done.stderr
    assert "MPI cannot be loaded: " in done.stderr


@pytest.mark.parametrize("environment", [
    {}, {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"}, {"PMI_SIZE": "x" * 9999, "PMI_RANK": "0"},
    {"PMI_SIZE": "-4", "PMI_RANK": "0"}, {"PMI_SIZE": "4", "PMI_RANK": "4"}, {"SLURM_NTASKS": "8", "SLURM_PROCID": "0"},
    {"OMPI_COMM_WORLD_SIZE": "99999999999999999999999", "OMPI_COMM_WORLD_RANK": "0"}],
    ids=["alone", "one", "long", "negative", "rank", "batch", "huge"])
def test_one_task_needs_no_mpi(spec: Path, tmp_path: Path, environment: dict[str, str]):
    """A single process does not load MPI, also in a batch job, so the library may be missing."""
    shutil.copy(EABENCH, tmp_path / "eabench")
    done = launched(tmp_path / "eabench", spec, tmp_path / "run", environment, "--set", "train.seed=1")
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "run/accuracy.csv")) == 8
