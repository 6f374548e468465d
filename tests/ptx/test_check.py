"""`eabench check --backend cuda`: each operation on the emulator against the float64 reference."""

from __future__ import annotations

import re

import pytest
from conftest import BUILD

# Some of each family of kernels; all are checked once for each PTX.
SOME = "attention_bf16,attention_bf16_back,gemm,loss"


def checks(done) -> tuple[int, int]:
    """How many were made, how many missed."""
    found = re.search(r"(\d+) checks?, (\d+) missed", done.stdout)
    assert found, done.stdout[-2000:]
    return int(found[1]), int(found[2])


@pytest.mark.parametrize("settings", [{"EAB_PTX_DEVICE": 90}, {"EAB_PTX_DEVICE": 80, "EAB_PTX_GRID": "5x2"}],
                         ids=["sm_90a", "sm_80"])
def test_all_operations(right, settings):
    """With the second device's small grids the loops over members and parts take more than one iteration."""
    done = right("eabench_ptx", "check", "--backend", "cuda", **settings)
    count, missed = checks(done)
    assert count >= 750 and missed == 0


@pytest.mark.parametrize("variant", [
    {"EAB_PTX_APPROXIMATE": 1, "EAB_PTX_TRUNCATE_SUMS": 1}, {"EAB_PTX_EARLY_COPIES": 1, "EAB_PTX_SEED": 7}],
    ids=["least accurate", "other order"])
def test_variants(right, variant):
    done = right("eabench_ptx", "check", "--backend", "cuda", "--op", SOME, **variant)
    assert checks(done)[1] == 0


@pytest.mark.parametrize("device", [86, 89, 100, 120])
def test_device_limits(right, device):
    """Of the devices that test_all_operations leaves. The backward kernels need the most shared memory."""
    done = right("eabench_ptx", "check", "--backend", "cuda", "--op", "attention_bf16_back", EAB_PTX_DEVICE=device,
                 EAB_PTX_RACES=0)
    assert checks(done)[1] == 0


@pytest.mark.parametrize(("setting", "products"), [({}, "cuBLAS 13.0"), ({"EAB_PTX_BLAS_FAILS": 1}, "own products")],
                         ids=["usable", "failing"])
def test_cublas(right, setting, products):
    """Products by a library that stands in for cuBLAS; own products where it cannot be used."""
    done = right("eabench_ptx", "check", "--backend", "cuda", "--op",
                 "gemm,gemm_bf16,gemm_tf32,gemm_input_gradient,gemm_weight_gradient,mlp_gelu,mlp_relu",
                 EAB_CUDA_PRODUCT="cublas", LD_LIBRARY_PATH=BUILD / "cublas", EAB_PTX_GRID="5x2", **setting)
    assert checks(done)[1] == 0
    assert products in done.stdout.splitlines()[0]


def test_a_fault_is_one_miss(emulate):
    """The other operations are checked on a reopened device."""
    done = emulate("eabench_ptx", "check", "--backend", "cuda", "--op", "norm,loss", EAB_CUDA_FAULT_AFTER=6)
    assert checks(done) == (24, 1) and done.returncode == 1 and not done.findings, done.stdout + done.stderr


@pytest.mark.parametrize("grid", ["5", "0x2", "5x-1", "5x2x1", "x"])
def test_a_bad_grid_is_refused(emulate, grid):
    done = emulate("eabench_ptx", "check", "--backend", "cuda", "--op", "loss", EAB_PTX_GRID=grid)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "EAB_PTX_GRID" in done.stderr
