"""Attention as a user of JAX would write it, compiled, prepared for timing."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from .config import default_scale
from .measure import Unsupported, note_on_rotation, rotation, timed
from .model_jax import attend

DTYPES = {"float32": jnp.float32, "bf16": jnp.bfloat16, "fp16": jnp.float16}
IMPLEMENTATIONS = ("jax-jit",)


def prepare(point: dict, device: str) -> tuple[Callable[[int], float], str]:
    """Returns take(calls) for measure.sample, and a remark for the row; raises Unsupported or JAX's own exceptions."""
    if point["position"] != "none":
        raise Unsupported("only timed without positions")
    shape = [point[axis] for axis in ("batch", "heads", "context", "head_dim")]
    dtype, backward = DTYPES[point["dtype"]], point["pass"] == "backward"
    jax.config.update("jax_default_matmul_precision", "highest" if point["dtype"] == "float32" else "default")
    set_bytes = (8 if backward else 4) * math.prod(shape) * jnp.dtype(dtype).itemsize
    causal, mechanism = point["causal"] == "on", point["mechanism"]
    scale = default_scale(mechanism, point["head_dim"])
    forward = jax.jit(lambda q, k, v: attend(q, k, v, mechanism, scale, None, causal))
    keep = jax.jit(lambda q, k, v: jax.vjp(lambda *x: attend(*x, mechanism, scale, None, causal), q, k, v)[1])
    pull = jax.jit(lambda vjp, dout: vjp(dout))
    operands, generator = [], np.random.default_rng(1)
    for _ in rotation(set_bytes, device):
        q, k, v, dout = (jnp.asarray(generator.standard_normal(shape, np.float32), dtype) for _ in range(4))
        operands.append(jax.block_until_ready((keep(q, k, v), dout) if backward else (q, k, v)))
    run = pull if backward else forward
    jax.block_until_ready(run(*operands[0]))
    place = 0

    def calls_of(calls: int) -> None:
        nonlocal place
        for _ in range(calls):
            result = run(*operands[place])
            place = (place + 1) % len(operands)
        jax.block_until_ready(result)

    note = note_on_rotation(len(operands), set_bytes, device)
    return lambda calls: timed(lambda: calls_of(calls), "cpu"), note
