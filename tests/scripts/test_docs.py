"""The commands of README, CONTRIBUTING and docs run, in their order, with few training steps; every block of a spec
file is a valid spec."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from sweeps import EABENCH, ROOT, TINY, needs_eabench, sweep

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")),
         ROOT / "python" / "README.md", ROOT / "scripts" / "peers" / "README.md"]
NOT_RUN = {  # the start of a command that is not run here, and the reason or the test of it
    "scripts/quickstart.sh": "installs packages",
    "scripts/setup.sh": "installs packages",
    "scripts/test.sh": "runs this test",
    "scripts/lint.sh": "stage lint",
    "EAB_": "variables of the stages fuzz, faults and emulated",
    "python3 tests/faults": "stage faults",
    "python3 tests/cuda/resources.py": "stage cuda",
    "python3 tests/cuda/flash_bounds.py": "stage cuda",
    "cmake": "the stages build",
    "build/cuda-sm90a/": "stage emulated",
    "build/release/tests/": "ctest",
    "scripts/gpu_check.sh": "test_gpu_check.py",
    "eabench check --backend cuda": "needs a GPU",
    "mpirun": "test_mpi.py",
    "sbatch": "test_slurm.py",
    "id=$(sbatch": "test_slurm.py",
    "scripts/peers/run.sh": "stage peers",
    "pip install": "stage peers",
    "scripts/explore": "test_explore.py",
    "for part in": "1,230 cells; the ladders are read in test_task_pictures.py",
}
FEW_STEPS = ("--set", "train.steps=4", "--set", "train.eval_every=2", "--set", "train.eval_tokens=64")


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(body) for _, body in found]


def commands(page: Path) -> list[str]:
    """The page's commands, with continuation lines joined and without comments."""
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [command for line in lines if (command := re.sub(r"(^|\s)#.*", "", line).strip())]


def why_not(command: str) -> str | None:
    return next((reason for start, reason in NOT_RUN.items() if command.startswith(start)), None)


def quick(command: str) -> str:
    """The same command with few steps, short measurements and small shapes."""
    command = re.sub(r"(eabench sweep \S+)", rf"\1 --backend cpu {' '.join(FEW_STEPS)}", command)
    if command == "eabench bench":
        command += " --context 64 --head-dim 16"
    if "eabench bench" in command:
        command = command.replace("128:4096:*2", "128:256:*2") + " --max-seconds 0.001 --min-samples 1 --precision 1"
        command += "" if "--cache" in command else " --cache warm"
    return command


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a built checkout, with the specs and the runs that the pages use."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "build" / "release").mkdir(parents=True)
    (folder / "build" / "release" / "eabench").symlink_to(Path(EABENCH).resolve())
    (folder / "results").mkdir()
    for run in (ROOT / "results").iterdir():
        (folder / "results" / run.name).symlink_to(run)
    for name in ("scripts", "tasks", "tests"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "docs").mkdir()  # commands write figures there
    (folder / "SPEC.ini").write_text(TINY)
    (folder / "README.md").symlink_to(ROOT / "README.md")  # a text to train on
    (folder / "results" / "MACHINE").symlink_to(ROOT / "results" / "epyc-zen5")
    for page in PAGES:
        for block in blocks(page, "ini"):
            if name := re.match(r"# (\w+\.ini):", block):
                (folder / name[1]).write_text(block)
    for run in ("RUN", "run-a", "run-b", "runs/before", "runs/mine"):
        spec = "ladder.ini" if run.startswith("runs/") else "SPEC.ini"
        done = sweep(folder / spec, "--out", folder / run, *FEW_STEPS)
        assert done.returncode == 0, done.stderr
    return folder


@needs_eabench
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands(page: Path, checkout: Path):
    for command in commands(page):
        if why_not(command):
            continue
        done = subprocess.run(["bash", "-c", quick(command)], cwd=checkout, check=False, capture_output=True, text=True,
                              timeout=300, env={**os.environ, "PATH": f"build/release:{os.environ['PATH']}"})
        # scripts/compare may find a regression in speed, since the cells train for milliseconds only.
        allowed = (0, 1) if command.startswith("scripts/compare") else (0,)
        assert done.returncode in allowed, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"


@needs_eabench
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_specs(page: Path, tmp_path: Path):
    for number, block in enumerate(blocks(page, "ini")):
        spec = tmp_path / f"{number}.ini"
        spec.write_text(block if "[task" in block else "[task recurrence]\n" + block)
        done = sweep(spec, "--dry-run", "--list")
        assert done.returncode == 0, f"{block}\n{done.stderr}"


def test_all_exceptions_are_needed():
    found = [command for page in PAGES for command in commands(page)]
    assert [start for start in NOT_RUN if not any(command.startswith(start) for command in found)] == []
    assert len([command for command in found if not why_not(command)]) > 15
