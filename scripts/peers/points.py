"""What is measured: shapes of attention and of models, and how many pairs of each."""

from __future__ import annotations

from itertools import product


def attention_points(gpu: bool, quick: bool) -> list[dict]:
    """In the columns of kernels.csv; the shortest first, so that a run that is stopped has the most shapes."""
    head_dims = (32, 128) if quick else (16, 32, 64, 128)
    contexts = (64, 512, 2048) if quick else (64, 512, 2048, 8192)
    dtypes = ("float32", "bf16") if gpu else ("float32",)
    batch, heads = (4, 16) if gpu else (1, 1)
    if gpu:
        head_dims, contexts = (64, 128), (512, 2048) if quick else (512, 2048, 8192)
    return [{"mechanism": mechanism, "dtype": dtype, "pass": direction, "batch": batch, "heads": heads, "context": context,
             "head_dim": head_dim, "causal": "on", "position": "none"}
            for context, head_dim, mechanism, dtype, direction
            in product(contexts, head_dims, ("dpa", "ea"), dtypes, ("forward", "backward"))]


def training_points(quick: bool) -> list[dict]:
    return [{"mechanism": mechanism, "layers": layers, "d_model": d_model, "context": 32, "batch": 32, "heads": 4}
            for layers, d_model, mechanism in product((1,) if quick else (1, 2), (16, 32, 64), ("dpa", "ea"))]


COMPILED = ("torch-flex", "torch-compile")  # by a C++ or Triton compiler, half a minute a shape: measured behind all others


def attention_peers(gpu: bool) -> list[tuple[str, str]]:
    """(framework, implementation)"""
    fused = ("torch-sdpa-flash", "torch-sdpa-efficient", "torch-sdpa-cudnn") if gpu else ("torch-sdpa-flash",)
    return [*(("torch", name) for name in (*fused, "torch-sdpa-math", "torch-flex", "torch-eager", "eabench-torch")),
            ("jax", "jax-jit")]


def training_peers(gpu: bool) -> list[tuple[str, str, int]]:
    """(framework, implementation, models in a fleet)"""
    fleets = (64, 512) if gpu else (4, 16)
    return [("torch", "torch-eager", 1), ("torch", "torch-eager-sdpa", 1), ("torch", "torch-compile", 1),
            *(("torch", "torch-vmap", fleet) for fleet in fleets), ("jax", "jax-jit", 1),
            *(("jax", "jax-vmap", fleet) for fleet in fleets)]
