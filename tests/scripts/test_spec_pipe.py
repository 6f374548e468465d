"""Specs from a pipe: standard input, /dev/stdin, process substitution, a named pipe."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest
from sweeps import EABENCH, TINY, expect_same_tables, needs_eabench, one_line, sweep

pytestmark = needs_eabench

OPTIONS = ("--workers", "1", "--save-curves")


def spec_of(run: Path) -> str:
    return (run / "manifest.ini").read_text().split("[environment]")[0]


@pytest.mark.parametrize("name", ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"])
def test_standard_input(tmp_path: Path, undisturbed: Path, name: str):
    done = sweep(name, *OPTIONS, input=TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs/spec"
    expect_same_tables(run, undisturbed)
    assert spec_of(run) == spec_of(undisturbed)
    assert f"command = eabench sweep {name} --backend cpu" in (run / "manifest.ini").read_text()
    again = sweep(name, *OPTIONS, input=TINY, cwd=tmp_path)
    assert again.returncode == 0 and "24 of 24 cells are done" in again.stdout
    other = sweep(name, *OPTIONS, input=TINY.replace("basis = 4, 8", "basis = 16"), cwd=tmp_path)
    one_line(other, 2, "is not one of this spec", "or another --out")
    expect_same_tables(run, undisturbed)


def test_process_substitution(spec: Path, tmp_path: Path, undisturbed: Path):
    done = subprocess.run(["bash", "-c", f"'{EABENCH}' sweep <(cat '{spec}') --backend cpu {' '.join(OPTIONS)}"],
                          cwd=tmp_path, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    expect_same_tables(tmp_path / "runs/spec", undisturbed)


def test_a_named_pipe(tmp_path: Path, undisturbed: Path):
    pipe = tmp_path / "pipe.ini"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(TINY))
    writer.start()
    done = sweep(pipe, "--out", tmp_path / "run", *OPTIONS)
    writer.join(timeout=60)
    assert done.returncode == 0, done.stderr
    expect_same_tables(tmp_path / "run", undisturbed)


@pytest.mark.parametrize("more", [(), ("--out", "it's here"), ("--shard", "1/1"), ("--set", "train.seed=1:3")])
def test_the_resume_line_needs_no_pipe(tmp_path: Path, undisturbed: Path, more: tuple[str, ...]):
    done = sweep("-", *OPTIONS, *more, "--time-limit", "1e-9", input=TINY, cwd=tmp_path)
    assert done.returncode == 130, done.stderr
    line = done.stderr.rstrip("\n").splitlines()[-1].strip()
    resumed = subprocess.run(["sh", "-c", line.replace("--time-limit 1e-9", "")], cwd=tmp_path, check=False,
                             capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert resumed.returncode == 0, resumed.stderr
    run = tmp_path / ("it's here" if "it's here" in more else "runs/spec")
    expect_same_tables(run / "shards/1-of-1" if "--shard" in more else run, undisturbed)


@pytest.mark.parametrize(("text", "says"), [
    ("", "-: empty file"), ("[task recurrence]\nbasis = x\n", "-:2: [task recurrence] basis = x"),
    ("#" * (1 << 20) + "\n", "-: larger than 1 MiB"), ("[task recurrence]\n\0", "-: a NUL byte on line 2")],
    ids=["empty", "value", "large", "nul"])
def test_bad_texts(tmp_path: Path, text: str, says: str):
    one_line(sweep("-", input=text, cwd=tmp_path), 2, says, "allowed: ")
    assert not list(tmp_path.iterdir())


def test_closed_input(tmp_path: Path):
    done = subprocess.run(["sh", "-c", f"'{EABENCH}' sweep - <&-"], cwd=tmp_path, check=False, capture_output=True,
                          text=True, timeout=60)
    one_line(done, 2, "-: ")
