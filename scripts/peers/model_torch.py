"""The model of docs/model.md in plain PyTorch. eabench's gradients are tested against its automatic derivatives.

A model is a dictionary of tensors with the names of eabench's safetensors files; matrices are [in][out], y = x W.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import Config, has_log_weight, is_decayed

Weights = dict[str, Tensor]
Attention = Callable[[Tensor, Tensor, Tensor], Tensor]  # q, k, v -> out; all [batch][heads][context][head_dim]


def position_bias(config: Config, like: Tensor) -> Tensor | None:
    """[heads][context][context]: -slope |i - j|, added to the logarithm of a weight; None without ALiBi."""
    if not config.slopes:
        return None
    time = torch.arange(config.context, device=like.device)
    distance = (time[:, None] - time[None, :]).abs()
    return -torch.tensor(config.slopes, dtype=like.dtype, device=like.device)[:, None, None] * distance


def bounded_weight(mechanism: str, z: Tensor) -> Tensor:
    if mechanism == "sigmoid":
        return torch.sigmoid(z) + 2.0**-24
    square = z.clamp(min=0) ** 2 if mechanism == "ea-parallel" else z * z
    if mechanism == "square":
        return square + 2.0**-24
    power = square * square if mechanism == "ea-quartic" else square
    return power / (1 + power) + 2.0**-24


def log_weight(mechanism: str, z: Tensor) -> Tensor:
    if mechanism.startswith("mix-"):  # divided by exp(max(z, 0)), against overflow
        share, largest = float(mechanism[4:]), z.clamp(min=0)
        of_dpa, of_ea = (1 - share) * torch.exp(z - largest), share * torch.exp(-largest)
        return largest + torch.log(of_dpa + of_ea * bounded_weight("ea", z))
    return z * z if mechanism == "ea-softmax" else z


def attend(q: Tensor, k: Tensor, v: Tensor, mechanism: str, scale: float, bias: Tensor | None,
           causal: bool = True) -> Tensor:
    """Attention with an explicit context x context matrix of weights (docs/design.md 1)."""
    z = scale * (q @ k.transpose(-2, -1))
    allowed = torch.ones(z.shape[-2:], dtype=torch.bool, device=z.device)
    if causal:
        allowed = allowed.tril()
    if not has_log_weight(mechanism):
        weight = bounded_weight(mechanism, z)
        if bias is not None:
            weight = weight * bias.exp()
        weight = weight * allowed
        return (weight / weight.sum(-1, keepdim=True)) @ v
    logits = log_weight(mechanism, z)
    if bias is not None:
        logits = logits + bias
    return torch.softmax(logits.masked_fill(~allowed, -math.inf), -1) @ v


def plain_attention(config: Config, like: Tensor) -> Attention:
    bias = position_bias(config, like)
    return lambda q, k, v: attend(q, k, v, config.mechanism, config.scale, bias)


def sdpa_attention(config: Config, like: Tensor) -> Attention:
    """PyTorch's own fused attention; dpa only."""
    bias = position_bias(config, like)
    if bias is None:
        return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=config.scale)
    allowed = torch.ones(bias.shape[-2:], dtype=torch.bool, device=like.device).tril()
    mask = bias.masked_fill(~allowed, -math.inf)
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=config.scale)


def rotate(x: Tensor) -> Tensor:
    """Rotary positions: pairs (i, i + head_dim / 2) by the angle time * 10000^(-2i / head_dim)."""
    context, half = x.shape[-2], x.shape[-1] // 2
    exact = {"dtype": torch.float64, "device": x.device}
    angle = torch.arange(context, **exact)[:, None] * 10000 ** (-torch.arange(half, **exact) / half)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat((first * cos - second * sin, first * sin + second * cos), -1)


def norm(weights: Weights, name: str, x: Tensor, config: Config) -> Tensor:
    if config.norm == "none":
        return x
    return F.layer_norm(x, x.shape[-1:], weights[name + ".gain"], weights.get(name + ".bias"), 1e-5)


def affine(weights: Weights, name: str, x: Tensor) -> Tensor:
    y = x @ weights[name + ".weight"]
    bias = weights.get(name + ".bias")
    return y if bias is None else y + bias


def attention_block(weights: Weights, name: str, x: Tensor, config: Config, attention: Attention) -> Tensor:
    batch, context, d_model = x.shape
    qkv = affine(weights, name + ".qkv", norm(weights, name + ".norm", x, config))
    q, k, v = qkv.view(batch, context, 3, config.heads, config.head_dim).permute(2, 0, 3, 1, 4)
    if config.qk_norm:
        q, k = (F.rms_norm(part, part.shape[-1:], weights[f"{name}.{which}_norm.gain"], 1e-5)
                for which, part in (("q", q), ("k", k)))
    if config.position == "rope":
        q, k = rotate(q), rotate(k)
    out = attention(q, k, v).transpose(1, 2).reshape(batch, context, d_model)
    return x + affine(weights, name + ".out", out)


def mlp_block(weights: Weights, name: str, x: Tensor, config: Config) -> Tensor:
    hidden = affine(weights, name + ".up", norm(weights, name + ".norm", x, config))
    hidden = F.gelu(hidden, approximate="tanh") if config.activation == "gelu" else F.relu(hidden)
    return x + affine(weights, name + ".down", hidden)


def logits(weights: Weights, inputs: Tensor, config: Config, attention: Attention) -> Tensor:
    """[batch][context][vocab] for inputs [batch][context]."""
    if config.embedding == "onehot":
        x = F.one_hot(inputs, config.d_model).to(weights["head.out.weight"].dtype)
    else:
        x = F.embedding(inputs, weights["embedding.token"])
    if config.position == "learned":
        x = x + weights["embedding.position"]
    for layer in range(config.layers):
        x = attention_block(weights, f"blocks.{layer}.attention", x, config, attention)
        if config.mlp_ratio:
            x = mlp_block(weights, f"blocks.{layer}.mlp", x, config)
    return affine(weights, "head.out", norm(weights, "head.norm", x, config))


def loss(weights: Weights, inputs: Tensor, targets: Tensor, config: Config, attention: Attention) -> Tensor:
    """Mean cross-entropy over the determined targets; a negative target is not determined."""
    predicted = logits(weights, inputs, config, attention)
    return F.cross_entropy(predicted.flatten(0, 1), targets.flatten().clamp(min=-1), ignore_index=-1)


def clip(gradients: list[Tensor], longest: float) -> None:
    """Scales the gradients so that their common norm is at most `longest`, without reading the norm on the host."""
    if longest > 0:
        length = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))  # noqa: SLF001
        torch._foreach_mul_(gradients, (longest / length).clamp(max=1))  # noqa: SLF001


def make_optimizer(weights: Weights, config: Config, **how: bool) -> torch.optim.Optimizer:
    """PyTorch's optimizer; `how`: fused=True or foreach=True. take_step applies sgd's decoupled weight decay itself,
    since PyTorch's SGD has none."""
    decayed = [tensor for name, tensor in weights.items() if is_decayed(name)]
    others = [tensor for name, tensor in weights.items() if not is_decayed(name)]
    groups = [{"params": decayed, "decay": config.weight_decay}, {"params": others, "decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, **how)
    for group in groups:
        group["weight_decay"] = group["decay"]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=1e-8, **how)


@torch.no_grad()
def take_step(optimizer: torch.optim.Optimizer, config: Config, step: int) -> None:
    """Clips the gradients in .grad and takes a step at the rate of `step`."""
    clip([tensor.grad for group in optimizer.param_groups for tensor in group["params"]], config.clip)
    for group in optimizer.param_groups:
        group["lr"] = config.rate(step)
        if config.optimizer == "sgd" and group["decay"]:
            torch._foreach_mul_(group["params"], 1 - group["lr"] * group["decay"])  # noqa: SLF001
    optimizer.step()
