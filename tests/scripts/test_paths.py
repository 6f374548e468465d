"""No spec, label or link makes a sweep write outside of its run folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweeps import TINY, needs_eabench, one_line, sweep

pytestmark = needs_eabench
SMALL = ("--set", "train.steps=2", "--set", "train.seed=1", "--set", "task.delay=2", "--set", "task.basis=4")


def entries(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("name, run", [("...ini", "spec"), ("..ini", "spec"), (".ini", ".ini"), ("a b;c.ini", "a b;c")])
def test_a_spec_file_name_stays_in_runs(tmp_path: Path, name: str, run: str):
    (tmp_path / name).write_text(TINY)
    done = sweep(name, *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {name, "runs"}
    assert (tmp_path / "runs" / run / "accuracy.csv").exists() and len(list((tmp_path / "runs").iterdir())) == 1


@pytest.mark.parametrize("label", ["../x", "/etc/x", "a\\b", "a\x00b", "\udcff", "x" * 2000])
def test_labels_that_look_like_paths_are_refused(tmp_path: Path, label: str):
    text = TINY.replace("[task recurrence]", f"[task recurrence {label}]")
    (tmp_path / "s.ini").write_bytes(text.encode(errors="surrogateescape"))
    one_line(sweep("s.ini", "--save-models", "--out", "run", *SMALL, cwd=tmp_path), 2)
    assert entries(tmp_path) == {"s.ini"}


@pytest.mark.parametrize("folder, option", [("models", "--save-models"), ("geometry", "--save-geometry")])
def test_a_linked_subfolder_is_refused(spec: Path, tmp_path: Path, folder: str, option: str):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / folder).symlink_to(tmp_path / "elsewhere")
    one_line(sweep(spec, "--out", tmp_path / "run", option, *SMALL), 2, "not a folder")
    assert not entries(tmp_path / "elsewhere")


def test_a_linked_table_is_not_written_through(spec: Path, tmp_path: Path):
    run = tmp_path / "run"
    assert sweep(spec, "--out", run, *SMALL).returncode == 0
    (run / "accuracy.csv").rename(tmp_path / "elsewhere.csv")
    (run / "accuracy.csv").symlink_to(tmp_path / "elsewhere.csv")
    before = (tmp_path / "elsewhere.csv").read_bytes()
    one_line(sweep(spec, "--out", run, *SMALL, "--set", "train.seed=1:2"), 3, "accuracy.csv")
    assert (tmp_path / "elsewhere.csv").read_bytes() == before


def test_a_name_that_is_too_long(spec: Path, tmp_path: Path):
    one_line(sweep(spec, "--out", "x" * 300, *SMALL, cwd=tmp_path), 3, "too long")
    assert entries(tmp_path) == {spec.name}
