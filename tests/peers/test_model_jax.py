"""The model in JAX: its loss, gradients and optimizer against eabench's float64 traces."""

from __future__ import annotations

import pytest
from cells import CELLS
from peers.config import read_config
from safetensors.numpy import load_file

jax = pytest.importorskip("jax", reason="JAX is not installed")
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_x64", True)

from peers import model_jax  # noqa: E402  (after the configuration)

STEPS = 2
# Each option once, since compiling takes seconds a cell.
SOME = ["dpa-learned", "dpa-onehot", "ea-odd-qk-norm", "ea-odd-rope", "ea-sgd", "ea-scaled-no-norm-no-bias",
        "ea-scaled-odd-everything", "ea-softmax-default", "ea-softmax-no-mlp",
        "ea-parallel-default", "square-default", "ea-quartic-default", "sigmoid-default", "mix-default"]


@pytest.mark.parametrize("cell", SOME)
def test_float64(cell: str, trace) -> None:
    folder = trace("reference", STEPS, CELLS[cell])
    config = read_config(folder / "weights-0.safetensors")
    weights = load_file(folder / "weights-0.safetensors")
    state = model_jax.start(weights)
    gradients_of = jax.jit(jax.value_and_grad(model_jax.loss), static_argnums=3)
    for step in range(STEPS):
        batch = load_file(folder / f"batch-{step}.safetensors")
        loss, gradients = gradients_of(weights, batch["inputs"], batch["targets"], config)
        assert abs(float(loss) - float(batch["loss_nats"])) < 1e-11
        squares, count = sum(float((g * g).sum()) for g in gradients.values()), sum(g.size for g in gradients.values())
        whole = (squares / count) ** 0.5
        for name, traced in load_file(folder / f"gradients-{step}.safetensors").items():
            error, size = abs(traced - gradients[name]).max(), max(abs(gradients[name]).max(), 1e-3 * whole)
            assert error < 1e-9 * size, f"{name}, step {step}"
        weights, state = model_jax.take_step(weights, gradients, state, config, config.rate(step), step)
        for name, traced in load_file(folder / f"weights-{step + 1}.safetensors").items():
            assert abs(traced - weights[name]).max() < 1e-7 * config.lr, f"{name}, step {step}"
