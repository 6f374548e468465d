"""scripts/cluster with Slurm: the tests start a controller and a node on this machine, with their files in a temporary
folder. Skipped, with the reason, if the daemons are not installed or cannot run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sweeps import EABENCH, ROOT, TINY, expect_same_tables, needs_eabench, rows, wait_until

pytestmark = needs_eabench
MODULE = Path(EABENCH).resolve().parent / "libeabench_mpi.so"
LONGER = ("--set", "train.steps=400", "--set", "train.stop_when_solved=off")
CONFIGURATION = """ClusterName=eabench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=1,sched_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES State=UP
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def last_lines(folder: Path) -> str:
    logs = [folder / name for name in ("slurmctld.log", "slurmd.log", "slurmctld.out", "slurmd.out")]
    return "; ".join(log.read_text(errors="replace").splitlines()[-1] for log in logs
                     if log.exists() and log.stat().st_size)


class Slurm:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith(("SLURM_", "SBATCH_", "OMPI_", "PMI"))}
        self.environment |= {"SLURM_CONF": str(folder / "slurm.conf"), "EABENCH": str(Path(EABENCH).resolve()),
                             "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

    def run(self, *words: object) -> subprocess.CompletedProcess:
        return subprocess.run([str(word) for word in words], check=False, capture_output=True, text=True,
                              env=self.environment, cwd=self.folder, timeout=600)

    def submit(self, *words: object) -> str:
        done = self.run("sbatch", "--parsable", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def wait(self, *words: object) -> int:
        """Submits a job, waits for its end and returns its exit code. (sbatch --wait polls only every 10 s.)"""
        job = self.submit(*words)
        end = time.monotonic() + 600
        ending = re.compile(r"JobState=(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL) .* ExitCode=(\d+):(\d+)")
        while not (ended := ending.search(self.run("scontrol", "-o", "show", "job", job).stdout)):
            assert time.monotonic() < end, self.run("squeue").stdout + self.logs()
            time.sleep(0.1)
        return int(ended[2]) + 1000 * int(ended[3])

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("eabench*.log")))


@pytest.fixture(scope="module")
def slurm(tmp_path_factory) -> Iterator[Slurm]:
    path = os.environ["PATH"] + ":/usr/sbin"
    absent = [name for name in ("slurmctld", "slurmd", "sbatch", "srun") if not shutil.which(name, path=path)]
    if absent:
        pytest.skip(f"{', '.join(absent)}: not installed (Debian, Ubuntu: slurmctld slurmd slurm-client)")
    if os.geteuid() != 0:
        pytest.skip("the daemons of Slurm need root")
    folder = tmp_path_factory.mktemp("slurm")
    ports = free_ports(2)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "slurm.conf").write_text(CONFIGURATION.format(
        folder=folder, host=socket.gethostname().split(".")[0], controller_port=ports[0], node_port=ports[1]))
    cluster, daemons = Slurm(folder), []
    try:
        for name in ("slurmctld", "slurmd"):
            program = shutil.which(name, path=path)
            with (folder / f"{name}.out").open("w") as output:
                daemons.append(subprocess.Popen([program, "-D", "-f", folder / "slurm.conf"], stdout=output,
                                                stderr=output, env=cluster.environment, start_new_session=True))
        end = time.monotonic() + 120
        while "idle" not in cluster.run("sinfo", "-h", "-o", "%T").stdout:
            if any(daemon.poll() is not None for daemon in daemons) or time.monotonic() > end:
                pytest.skip(f"Slurm does not run here: {last_lines(folder)}")
            time.sleep(0.1)
        yield cluster
        cluster.run("scancel", "-u", "root")
    finally:
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(timeout=30)
            except subprocess.TimeoutExpired:
                daemon.kill()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The run folder of one process."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "tiny.ini").write_text(TINY)
    done = subprocess.run([EABENCH, "sweep", folder / "tiny.ini", "--backend", "cpu", "--workers", "1", "--save-curves",
                           "--out", folder / "run", *LONGER], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def options(whole: Path, run: Path) -> tuple[object, ...]:
    return (whole.parent / "tiny.ini", run, "--backend", "cpu", "--workers", "1", "--save-curves", *LONGER)


def test_array_job_and_merge(slurm: Slurm, tmp_path: Path, whole: Path):
    run = tmp_path / "run"
    job = slurm.submit("--array=1-3", "--cpus-per-task=1", ROOT / "scripts/cluster/array.sbatch", *options(whole, run))
    done = slurm.wait(f"--dependency=afterany:{job}", ROOT / "scripts/cluster/merge.sbatch", run)
    assert done == 0, slurm.logs()
    assert {path.name for path in (run / "shards").iterdir()} == {"1-of-3", "2-of-3", "3-of-3"}
    expect_same_tables(run, whole)


def test_a_killed_task_is_submitted_again(slurm: Slurm, tmp_path: Path, whole: Path):
    run = tmp_path / "run"
    arguments = (*options(whole, run), "--set", "train.steps=2000")
    job = slurm.submit("--array=1-2", "--cpus-per-task=1", ROOT / "scripts/cluster/array.sbatch", *arguments)
    wait_until(lambda: (run / "shards/2-of-2/accuracy.csv").exists(), 600)
    slurm.run("scancel", "--full", "--signal=KILL", f"{job}_2")
    first = slurm.wait(f"--dependency=afterany:{job}", ROOT / "scripts/cluster/merge.sbatch", run)
    done = len(rows(run / "shards/2-of-2/accuracy.csv"))
    assert first == (0 if done == 12 else 1), slurm.logs()
    again = slurm.submit("--array=2", "--cpus-per-task=1", "--export=ALL,EAB_PARTS=2",
                         ROOT / "scripts/cluster/array.sbatch", *arguments)
    last = slurm.wait(f"--dependency=afterany:{again}", ROOT / "scripts/cluster/merge.sbatch", run)
    assert last == 0, slurm.logs()
    alone = subprocess.run([EABENCH, "sweep", *map(str, arguments[:1]), "--out", tmp_path / "alone",
                            *map(str, arguments[2:])], check=False, capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr
    expect_same_tables(run, tmp_path / "alone")


def test_an_array_shares_one_exploration(slurm: Slurm, tmp_path: Path):
    """One task reports; the table is the merged run's."""
    run, spec = tmp_path / "run", tmp_path / "spec.ini"
    spec.write_text(TINY.replace("seed = 1:3", "seed = 1:12"))
    job = slurm.submit("--array=1-2", "--cpus-per-task=1", f"--export=ALL,EAB_EXPLORE={ROOT}/scripts/explore",
                       ROOT / "scripts/cluster/explore.sbatch", spec, run, "--backend", "cpu", "--workers", "1",
                       "--proposals", "4", "--confirm", "1")
    nothing = tmp_path / "nothing"
    nothing.write_text("#!/bin/sh\n")
    assert slurm.wait(f"--dependency=afterok:{job}", f"--output={tmp_path}/log", nothing) == 0, slurm.logs()
    said = [(slurm.folder / f"eabench-explore-{job}_{task}.log").read_text() for task in (1, 2)]
    assert sum("Trained again with fresh seeds" in text for text in said) == 1, said
    searched = [row for row in rows(run / "explore.csv") if row["phase"] == "search"]
    cells = [row["cell"] for row in rows(run / "accuracy.csv")]
    assert len(searched) == 4 and len(cells) == len(set(cells)) >= 4 * 4
    assert len(cells) == sum(len(rows(path)) for path in run.glob("shards/*-of-2/accuracy.csv"))


@pytest.mark.skipif(not MODULE.exists(), reason="eabench was built without MPI")
@pytest.mark.parametrize("launch", ["srun --mpi=pmix", "mpirun"])
def test_mpi_job(slurm: Slurm, tmp_path: Path, whole: Path, launch: str):
    if launch != "mpirun" and "pmix" not in (listed := slurm.run("srun", "--mpi=list")).stdout + listed.stderr:
        pytest.skip("this Slurm has no PMIx")
    if launch == "mpirun" and not shutil.which("mpirun"):
        pytest.skip("mpirun is not installed (Debian, Ubuntu: openmpi-bin)")
    run = tmp_path / "run"
    done = slurm.wait("--ntasks=3", f"--export=ALL,EAB_LAUNCH={launch}", ROOT / "scripts/cluster/mpi.sbatch",
                      *options(whole, run))
    assert done == 0, slurm.logs()
    expect_same_tables(run, whole)
    assert "\nranks = 3\n" in (run / "manifest.ini").read_text()


def test_tasks_that_cannot_connect_are_refused(slurm: Slurm, tmp_path: Path, whole: Path):
    run = tmp_path / "run"
    done = slurm.run("srun", "--mpi=none", "-n", "2", EABENCH, "sweep", whole.parent / "tiny.ini", "--out", run)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("eabench sweep: srun started 2 tasks") == 1
    assert not run.exists()


def test_a_batch_job_of_several_tasks_is_one_process(slurm: Slurm, tmp_path: Path, whole: Path):
    """A batch script runs once, although SLURM_NTASKS is 3 there."""
    script = tmp_path / "job"
    script.write_text(f"#!/bin/bash\nexec '{EABENCH}' sweep '{whole.parent}/tiny.ini' --backend cpu "
                      f"--out '{tmp_path}/run' --workers 1 --save-curves {' '.join(LONGER)}\n")
    done = slurm.wait("--ntasks=3", "--output=eabench-one.log", script)
    assert done == 0, slurm.logs()
    expect_same_tables(tmp_path / "run", whole)


def test_misuse_of_the_scripts(slurm: Slurm):
    for script in ("array", "explore", "mpi"):
        done = slurm.wait("--output=eabench-misuse.log", ROOT / f"scripts/cluster/{script}.sbatch", "only-a-spec")
        assert done == 2
        assert (slurm.folder / "eabench-misuse.log").read_text().startswith("usage: sbatch ")
