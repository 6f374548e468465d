"""`eabench check` and `eabench devices`."""

from __future__ import annotations

import os
import subprocess

import pytest
from sweeps import EABENCH


def eabench(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([EABENCH, *arguments], capture_output=True, text=True, timeout=300,
                          env={**os.environ, **environment}, check=False)


def test_check_meets_every_bound() -> None:
    done = eabench("check")
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout
    assert lines[0].startswith("cpu: ") and lines[1].startswith("operation")
    count, missed = lines[-1].split(" checks, ")
    assert int(count) > 200 and missed == "0 missed"
    assert len(lines) == int(count) + 3
    for mechanism in ("dpa", "ea", "ea-scaled", "ea-softmax", "ea-parallel", "square", "ea-quartic", "sigmoid",
                      "mix"):
        assert any(line.split()[:2] == ["attention_backward", mechanism] for line in lines)


def test_check_of_some_operations() -> None:
    done = eabench("check", "--op", "loss,norm")
    assert done.returncode == 0
    assert {line.split()[0] for line in done.stdout.splitlines()[2:-1]} == {"loss", "norm"}


def test_check_prints_failures_only() -> None:
    done = eabench("check", "--failures", "--op", "norm,loss")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 3


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (("check", "--backend", "cpi"), 2, "nearest: cpu"),
    (("check", "--device", "7"), 3, "no device 7"),
    (("check", "--frobnicate"), 2, "--frobnicate"),
    (("check", "extra"), 2, "'extra'"),
    (("check", "--op", "gem"), 2, "nearest: gemm"),
    (("check", "--op", "loss,"), 2, "names ''"),
    (("check", "--op", ""), 2, "names no operation"),
    (("devices", "extra"), 2, "takes no arguments"),
    (("devices", "--frobnicate"), 2, "--frobnicate"),
])
def test_bad_input_gets_one_line(arguments: tuple[str, ...], code: int, message: str) -> None:
    done = eabench(*arguments)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1 and message in done.stderr
    assert done.stdout == ""


def test_nothing_checked_is_no_success() -> None:
    done = eabench("check", "--op", "attention_bf16")
    assert done.returncode == 2 and "no operation of the backend cpu" in done.stderr


@pytest.mark.parametrize("isa", ["sse9", "", "AVX2 ", "x" * 5000])
def test_bad_simd_level_gets_one_line(isa: str) -> None:
    done = eabench("check", "--op", "norm", EAB_ISA=isa)
    if isa == "":  # the same as unset
        assert done.returncode == 0
        return
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "allowed: base, avx2, avx512" in done.stderr


def test_devices_lists_every_backend() -> None:
    done = eabench("devices")
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert done.returncode == 0
    assert set(rows) == {"backend", "cpu", "reference", "cuda"}
    assert float(rows["cpu"].split()[3]) > 0 and float(rows["cpu"].split()[4]) > 0
