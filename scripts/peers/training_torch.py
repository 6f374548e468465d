"""A training step of eabench's model as a user of PyTorch would write it, prepared for timing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from . import model_torch
from .config import Config, is_decayed, read_config
from .measure import Unsupported
from .tensors import read_tensors

IMPLEMENTATIONS = ("torch-eager", "torch-eager-sdpa", "torch-compile", "torch-vmap")


def load_file(path: Path, device: str) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(x).to(device) for name, x in read_tensors(path).items()}


def _batches(folder: Path, device: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The traced batches; training cycles through them."""
    loaded = [load_file(path, device) for path in sorted(folder.glob("batch-*.safetensors"))]
    return [(batch["inputs"].long(), batch["targets"].long()) for batch in loaded]


def prepare(implementation: str, folder: Path, fleet: int, device: str) -> Callable[[], None]:
    """Returns step(), which trains `fleet` models (1 except for torch-vmap) for one step; a GPU may still be running
    it when step() returns."""
    if implementation not in IMPLEMENTATIONS:
        raise Unsupported(f"'{implementation}' is unknown; allowed: {', '.join(IMPLEMENTATIONS)}")
    config = read_config(folder / "weights-0.safetensors")
    weights = load_file(folder / "weights-0.safetensors", device)
    batches = _batches(folder, device)
    if implementation == "torch-eager-sdpa" and config.mechanism != "dpa":
        raise Unsupported("scaled_dot_product_attention has no score function but dpa's")
    if implementation == "torch-vmap":
        return _fleet(config, weights, batches, fleet)
    make = model_torch.sdpa_attention if implementation == "torch-eager-sdpa" else model_torch.plain_attention
    attention = make(config, weights["head.out.weight"])
    leaves = {name: tensor.requires_grad_() for name, tensor in weights.items()}
    optimizer = model_torch.make_optimizer(leaves, config, fused=True)

    def loss(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return model_torch.loss(leaves, inputs, targets, config, attention)

    if implementation == "torch-compile":
        # Without the reset the ninth model of a process would silently run in eager mode.
        torch._dynamo.reset()  # noqa: SLF001
        torch._dynamo.config.suppress_errors = False  # noqa: SLF001
        loss = torch.compile(loss, dynamic=False, fullgraph=True)
    done = 0

    def step() -> None:
        nonlocal done
        optimizer.zero_grad()
        loss(*batches[done % len(batches)]).backward()
        model_torch.take_step(optimizer, config, done)
        done += 1

    return step


def _fleet(config: Config, weights: dict, batches: list, fleet: int) -> Callable[[], None]:
    """The gradients of `fleet` models at once by torch.func, and AdamW over their stacked weights."""
    stacked = {name: torch.stack([tensor * (1 + 1e-3 * member) for member in range(fleet)])
               for name, tensor in weights.items()}
    moments = [{name: torch.zeros_like(x) for name, x in stacked.items()} for _ in range(2)]
    attention = model_torch.plain_attention(config, weights["head.out.weight"])
    gradients_of = torch.func.vmap(torch.func.grad(
        lambda own, inputs, targets: model_torch.loss(own, inputs, targets, config, attention)), in_dims=(0, 0, 0))
    batches = [tuple(torch.stack([batches[(i + member) % len(batches)][part] for member in range(fleet)])
                     for part in (0, 1)) for i in range(len(batches))]
    done = 0

    @torch.no_grad()
    def step() -> None:
        nonlocal done
        gradients = gradients_of(stacked, *batches[done % len(batches)])
        if config.clip > 0:
            length = torch.stack([g.flatten(1).square().sum(1) for g in gradients.values()]).sum(0).sqrt()
            factor = (config.clip / length).clamp(max=1)
            for g in gradients.values():
                g.mul_(factor.view(-1, *[1] * (g.dim() - 1)))
        rate, (first, second) = config.rate(done), moments
        for decayed in (True, False):
            names = [name for name in stacked if is_decayed(name) == decayed]
            if not names:
                continue
            w, g, m, v = ([source[name] for name in names] for source in (stacked, gradients, first, second))
            torch._foreach_lerp_(m, g, 1 - config.beta1)  # noqa: SLF001
            torch._foreach_mul_(v, config.beta2)  # noqa: SLF001
            torch._foreach_addcmul_(v, g, g, 1 - config.beta2)  # noqa: SLF001
            root = torch._foreach_sqrt(v)  # noqa: SLF001
            torch._foreach_div_(root, (1 - config.beta2 ** (done + 1)) ** 0.5)  # noqa: SLF001
            torch._foreach_add_(root, 1e-8)  # noqa: SLF001
            if decayed:
                torch._foreach_mul_(w, 1 - rate * config.weight_decay)  # noqa: SLF001
            torch._foreach_addcdiv_(w, m, root, -rate / (1 - config.beta1 ** (done + 1)))  # noqa: SLF001
        done += 1

    return step
