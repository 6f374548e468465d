"""The first sweep on a device begins with a check; a device that misses it is not used."""

from __future__ import annotations

import csv

import pytest
from test_mutations import MUTATIONS, change
from test_sweep import MEMORY_MIB

SPEC = """[task recurrence]
basis = 4
delay = 2
[model]
d_model = 8
heads = 2
context = 8
[train]
mechanism = dpa
steps = 2
batch = 2
eval_every = 2
eval_tokens = 20
"""
NOTE = "the first sweep on this device begins with a check"


@pytest.fixture
def sweep(emulate, tmp_path):
    (tmp_path / "spec.ini").write_text(SPEC)

    def run(backend, name, *options, **environment):
        return emulate("eabench_ptx", "sweep", tmp_path / "spec.ini", "--backend", backend, "--out", tmp_path / name,
                       *options, EAB_PTX_MEMORY_MIB=MEMORY_MIB, EAB_PTX_RACES=0, **environment)

    return run


def backends(folder) -> set[str]:
    with (folder / "accuracy.csv").open() as file:
        return {row["backend"] for row in csv.DictReader(file)}


def test_a_device_is_checked_once(sweep, tmp_path):
    first, second = sweep("cuda", "first"), sweep("auto", "second")
    assert first.returncode == 0 and second.returncode == 0, first.stderr + second.stderr
    assert NOTE in first.stderr and NOTE not in second.stderr
    assert backends(tmp_path / "first") == backends(tmp_path / "second") == {"cuda"}


def test_a_device_that_misses_is_not_used(sweep, tmp_path):
    """Its 16-bit attention is wrong, which no cell of this sweep needs."""
    wrong = {"EAB_PTX_DIR": change(tmp_path / "ptx", *MUTATIONS["mma, b0 and b1 change places"])}
    refused = sweep("cuda", "refused", **wrong)
    assert refused.returncode == 3 and not (tmp_path / "refused").exists()
    lines = refused.stderr.splitlines()
    assert len(lines) == 2 and NOTE in lines[0], refused.stderr
    assert "device 0 does not compute what this build expects (attention_bf16: error_ratio over its bound)" in lines[1]
    fallen_back = sweep("auto", "auto", **wrong)
    assert fallen_back.returncode == 0 and "; the cpu is used" in fallen_back.stderr
    assert backends(tmp_path / "auto") == {"cpu"}
    unchecked = sweep("cuda", "unchecked", "--no-check", **wrong)
    assert unchecked.returncode == 0 and NOTE not in unchecked.stderr
    assert backends(tmp_path / "unchecked") == {"cuda"}
