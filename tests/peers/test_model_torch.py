"""eabench's trainer against PyTorch's automatic differentiation.

The float64 backend must agree with PyTorch in float64 up to rounding. The CPU's float32 kernels are compared with
PyTorch in float64 from the same weights. Their error is bounded by a multiple of the error of PyTorch in float32, in
norms and element by element.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cells import CELLS, ONLY_WEIGHTS
from peers import model_torch
from peers.config import Config, read_config
from safetensors.torch import load_file

STEPS = 4
UNIT = 2.0**-24  # float32's rounding
# Allowed error of a float32 gradient, in units of the larger of PyTorch's own error and FLOOR roundings. PyTorch sums
# the rows of a batch in pairs and eabench in order, which costs a few bits in the biases of long batches.
FLOOR = 4
WHOLE, TENSOR, ELEMENT = 6, 8, 12

Tensors = dict[str, torch.Tensor]


def gradients_of(weights: Tensors, batch: Tensors, config: Config, dtype: torch.dtype) -> tuple[float, Tensors]:
    leaves = {name: tensor.to(dtype).requires_grad_() for name, tensor in weights.items()}
    attention = model_torch.plain_attention(config, leaves["head.out.weight"])
    loss = model_torch.loss(leaves, batch["inputs"].long(), batch["targets"].long(), config, attention)
    loss.backward()
    return loss.item(), {name: tensor.grad.double() for name, tensor in leaves.items()}


def train(folder: Path, config: Config, dtype: torch.dtype) -> Tensors:
    """PyTorch's own training from the traced initial weights on the traced batches."""
    leaves = {name: tensor.to(dtype).requires_grad_()
              for name, tensor in load_file(folder / "weights-0.safetensors").items()}
    attention = model_torch.plain_attention(config, leaves["head.out.weight"])
    optimizer = model_torch.make_optimizer(leaves, config)
    for step in range(STEPS):
        batch = load_file(folder / f"batch-{step}.safetensors")
        optimizer.zero_grad()
        model_torch.loss(leaves, batch["inputs"].long(), batch["targets"].long(), config, attention).backward()
        model_torch.take_step(optimizer, config, step)
    return {name: tensor.detach().double() for name, tensor in leaves.items()}


def together(tensors: Tensors) -> torch.Tensor:
    return torch.cat([tensors[name].double().flatten() for name in sorted(tensors)])


@pytest.mark.parametrize("cell", CELLS)
def test_float64(cell: str, trace) -> None:
    folder = trace("reference", STEPS, CELLS[cell])
    config = read_config(folder / "weights-0.safetensors")
    for step in range(STEPS):
        batch = load_file(folder / f"batch-{step}.safetensors")
        traced = load_file(folder / f"gradients-{step}.safetensors")
        loss, expected = gradients_of(load_file(folder / f"weights-{step}.safetensors"), batch, config, torch.float64)
        assert abs(loss - batch["loss_nats"].item()) < 1e-13
        assert batch["lr"].item() == pytest.approx(config.rate(step), rel=1e-14)
        assert traced.keys() == expected.keys()
        whole = together(expected).norm() / len(together(expected)) ** 0.5
        for name, gradient in traced.items():
            # The gradient of a key's bias is 0 under dpa without positions.
            size = max(expected[name].abs().max(), 1e-3 * whole)
            assert (gradient - expected[name]).abs().max() < 1e-10 * size, f"{name}, step {step}"
    trained, last = train(folder, config, torch.float64), load_file(folder / f"weights-{STEPS}.safetensors")
    first = load_file(folder / "weights-0.safetensors")
    for name, weight in last.items():
        assert (weight - trained[name]).abs().max() < 1e-7 * config.lr, name  # adamw amplifies 1e-17 beside 0
        assert not torch.equal(weight, first[name]), f"{name} was not trained"


@pytest.mark.parametrize("cell", [name for name in CELLS if not name.startswith(ONLY_WEIGHTS)])
def test_float32(cell: str, trace) -> None:
    folder = trace("cpu", STEPS, CELLS[cell])
    config = read_config(folder / "weights-0.safetensors")
    for step in range(STEPS):
        weights, batch = (load_file(folder / f"{what}-{step}.safetensors") for what in ("weights", "batch"))
        traced = {name: x.double() for name, x in load_file(folder / f"gradients-{step}.safetensors").items()}
        loss, exact = gradients_of(weights, batch, config, torch.float64)
        plain_loss, plain = gradients_of(weights, batch, config, torch.float32)
        assert abs(batch["loss_nats"].item() - loss) <= 3 * max(abs(plain_loss - loss), FLOOR * UNIT * loss)
        whole = together(exact).norm()
        error, allowed = (together(traced) - together(exact)).norm(), (together(plain) - together(exact)).norm()
        assert error <= WHOLE * max(allowed, FLOOR * UNIT * whole), f"step {step}: {error:.3g}, PyTorch {allowed:.3g}"
        for name, expected in exact.items():
            for bound, size in ((TENSOR, torch.linalg.vector_norm), (ELEMENT, lambda x: x.abs().max())):
                error, allowed = size(traced[name] - expected), size(plain[name] - expected)
                limit = bound * max(allowed, FLOOR * UNIT * size(expected), 1e-3 * UNIT * whole)
                assert error <= limit, f"{name}, step {step}: {error:.3g}, PyTorch {allowed:.3g}"


@pytest.mark.parametrize("cell", CELLS)
def test_optimizer(cell: str, trace) -> None:
    """PyTorch's optimizer computes the traced weights from the traced gradients."""
    folder = trace("cpu", STEPS, CELLS[cell])
    config = read_config(folder / "weights-0.safetensors")
    made = {}
    for dtype in (torch.float64, torch.float32):
        leaves = {name: tensor.to(dtype) for name, tensor in load_file(folder / "weights-0.safetensors").items()}
        optimizer = model_torch.make_optimizer(leaves, config)
        for step in range(STEPS):
            for name, gradient in load_file(folder / f"gradients-{step}.safetensors").items():
                leaves[name].grad = gradient.to(dtype)
            model_torch.take_step(optimizer, config, step)
            for name, tensor in leaves.items():
                made[dtype, step, name] = tensor.double()
    for step in range(STEPS):
        for name, weight in load_file(folder / f"weights-{step + 1}.safetensors").items():
            exact, plain = made[torch.float64, step, name], made[torch.float32, step, name]
            error, allowed = (weight - exact).abs().max(), (plain - exact).abs().max()
            limit = 3 * max(allowed, UNIT * exact.abs().max())
            assert error <= limit, f"{name}, step {step}: {error:.3g}, PyTorch {allowed:.3g}"


@pytest.mark.parametrize("cell", [name for name in CELLS if name.endswith(("-default", "-sgd", "-odd", "-benchmark"))
                                  and not name.startswith(ONLY_WEIGHTS)])
def test_training(cell: str, trace) -> None:
    """After STEPS steps the weights are as near to training in float64 as PyTorch's in float32."""
    folder = trace("cpu", STEPS, CELLS[cell])
    config = read_config(folder / "weights-0.safetensors")
    exact, plain = (together(train(folder, config, dtype)) for dtype in (torch.float64, torch.float32))
    traced = together(load_file(folder / f"weights-{STEPS}.safetensors"))
    error, allowed = (traced - exact).norm(), (plain - exact).norm()
    assert error <= 5 * max(allowed, FLOOR * UNIT * exact.norm()), f"{error:.3g}, PyTorch {allowed:.3g}"


def test_fused_attention_is_the_same_model(trace) -> None:
    """sdpa_attention, which the timings use, agrees with plain_attention."""
    for position in ("alibi", "none"):
        folder = trace("cpu", 1, [*CELLS["dpa-two-layers"], f"model.position={position}"])
        config = read_config(folder / "weights-0.safetensors")
        weights, batch = load_file(folder / "weights-0.safetensors"), load_file(folder / "batch-0.safetensors")
        like = weights["head.out.weight"]
        plain, fused = (model_torch.logits(weights, batch["inputs"].long(), config, attention(config, like))
                        for attention in (model_torch.plain_attention, model_torch.sdpa_attention))
        torch.testing.assert_close(plain, fused, rtol=1e-5, atol=1e-6)
