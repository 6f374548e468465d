"""A training step of eabench's model as a user of JAX would write it, prepared for timing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp

from . import model_jax
from .config import read_config
from .tensors import read_tensors

IMPLEMENTATIONS = ("jax-jit", "jax-vmap")


def prepare(implementation: str, folder: Path, fleet: int, device: str) -> Callable[[], None]:  # noqa: ARG001
    """Returns step(), which trains `fleet` models (1 except for jax-vmap) for one step; step.finish() waits for it."""
    config = read_config(folder / "weights-0.safetensors")
    weights = {name: jnp.asarray(x) for name, x in read_tensors(folder / "weights-0.safetensors").items()}
    batches = []
    for path in sorted(folder.glob("batch-*.safetensors")):
        batch = read_tensors(path)
        batches.append((jnp.asarray(batch["inputs"]), jnp.asarray(batch["targets"])))
    train = partial(model_jax.training_step, config=config)
    if implementation == "jax-vmap":
        weights = {name: jnp.stack([x * (1 + 1e-3 * member) for member in range(fleet)]) for name, x in weights.items()}
        batches = [tuple(jnp.stack([batches[(i + member) % len(batches)][part] for member in range(fleet)])
                         for part in (0, 1)) for i in range(len(batches))]
        train = jax.vmap(train, in_axes=(0, 0, 0, 0, None, None))
    train = jax.jit(train, donate_argnums=(0, 1))
    state, done = model_jax.start(weights), 0
    weights = jax.tree.map(jnp.array, weights)

    def step() -> None:
        nonlocal weights, state, done
        inputs, targets = batches[done % len(batches)]
        weights, state, _ = train(weights, state, inputs, targets, config.rate(done), done)
        done += 1

    step.finish = lambda: jax.block_until_ready(weights)  # type: ignore[attr-defined]
    return step
