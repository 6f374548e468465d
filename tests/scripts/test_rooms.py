"""scripts/check_rooms.sh: the tree keeps the order of rooms, and includes that break it are named."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def check(tree):
    return subprocess.run([ROOT / "scripts" / "check_rooms.sh", tree], capture_output=True, text=True)


@pytest.fixture
def tree(tmp_path):
    for room in ("host", "kernels", "tasks"):
        shutil.copytree(ROOT / room, tmp_path / room)
    return tmp_path


def insert_include(path, name):
    path.write_text(f'#include "{name}"\n' + path.read_text())


def test_the_tree_keeps_the_order():
    result = check(ROOT)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "file, name, allowed",
    [
        ("host/model/train.c", "sweep/pool.h", "tasks, kernels, base, spec, model"),
        ("host/base/csv.c", "spec/options.h", "tasks, kernels, base"),
        ("kernels/api.c", "../host/base/csv.h", "tasks, kernels"),
        ("tasks/registry.c", "../kernels/backend.h", "tasks"),
    ],
)
def test_an_include_that_points_upwards_is_named(tree, file, name, allowed):
    insert_include(tree / file, name)
    result = check(tree)
    assert result.returncode == 1
    assert result.stdout.startswith(f"{file}:1: includes ")
    assert result.stdout.endswith(f"may include only: {allowed}\n")


def test_a_circle_of_headers_is_named(tree):
    insert_include(tree / "kernels/status.h", "attention.h")
    result = check(tree)
    assert result.returncode == 1
    assert "circle: " in result.stdout and "kernels/status.h" in result.stdout


def test_a_file_outside_the_rooms_is_named(tree):
    (tree / "host" / "attic").mkdir()
    (tree / "host" / "attic" / "old.c").write_text('#include "base/csv.h"\n')
    result = check(tree)
    assert result.returncode == 1
    assert "host/attic/old.c: no room of the list" in result.stdout
