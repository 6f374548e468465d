"""The model of docs/model.md in plain JAX, function by function as in model_torch.py.

A model is a dictionary of arrays with the names of eabench's safetensors files; matrices are [in][out], y = x W.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from .config import Config, has_log_weight, is_decayed

Weights = dict[str, Array]


def position_bias(config: Config, dtype: jnp.dtype) -> Array | None:
    """[heads][context][context]: -slope |i - j|; None without ALiBi."""
    if not config.slopes:
        return None
    time = jnp.arange(config.context)
    distance = jnp.abs(time[:, None] - time[None, :])
    return -jnp.array(config.slopes, dtype)[:, None, None] * distance.astype(dtype)


def bounded_weight(mechanism: str, z: Array) -> Array:
    if mechanism == "sigmoid":
        return jax.nn.sigmoid(z) + 2.0**-24
    square = jnp.maximum(z, 0) ** 2 if mechanism == "ea-parallel" else z * z
    if mechanism == "square":
        return square + 2.0**-24
    power = square * square if mechanism == "ea-quartic" else square
    return power / (1 + power) + 2.0**-24


def log_weight(mechanism: str, z: Array) -> Array:
    if mechanism.startswith("mix-"):  # divided by exp(max(z, 0)), against overflow
        share, largest = float(mechanism[4:]), jnp.maximum(z, 0)
        of_dpa, of_ea = (1 - share) * jnp.exp(z - largest), share * jnp.exp(-largest)
        return largest + jnp.log(of_dpa + of_ea * bounded_weight("ea", z))
    return z * z if mechanism == "ea-softmax" else z


def attend(q: Array, k: Array, v: Array, mechanism: str, scale: float, bias: Array | None,
           causal: bool = True) -> Array:
    """Attention with an explicit context x context matrix of weights; q, k, v are [batch][heads][context][head_dim]."""
    z = scale * jnp.einsum("bhid,bhjd->bhij", q, k)
    context = z.shape[-1]
    allowed = jnp.tril(jnp.ones((context, context), bool)) if causal else jnp.ones((context, context), bool)
    if not has_log_weight(mechanism):
        weight = bounded_weight(mechanism, z)
        if bias is not None:
            weight = weight * jnp.exp(bias)
        weight = jnp.where(allowed, weight, 0)
        weight = weight / weight.sum(-1, keepdims=True)
    else:
        logits = log_weight(mechanism, z)
        if bias is not None:
            logits = logits + bias
        weight = jax.nn.softmax(jnp.where(allowed, logits, -jnp.inf), -1)
    return jnp.einsum("bhij,bhjd->bhid", weight, v)


def rotate(x: Array) -> Array:
    """Rotary positions: pairs (i, i + head_dim / 2) by the angle time * 10000^(-2i / head_dim)."""
    context, half = x.shape[-2], x.shape[-1] // 2
    angle = jnp.arange(context)[:, None] * 10000.0 ** (-jnp.arange(half, dtype=x.dtype) / half)
    cos, sin = jnp.cos(angle).astype(x.dtype), jnp.sin(angle).astype(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate((first * cos - second * sin, first * sin + second * cos), -1)


def norm(weights: Weights, name: str, x: Array, config: Config) -> Array:
    if config.norm == "none":
        return x
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    y = (x - mean) / jnp.sqrt(variance + 1e-5) * weights[name + ".gain"]
    return y + weights[name + ".bias"] if name + ".bias" in weights else y


def affine(weights: Weights, name: str, x: Array) -> Array:
    y = x @ weights[name + ".weight"]
    return y + weights[name + ".bias"] if name + ".bias" in weights else y


def attention_block(weights: Weights, name: str, x: Array, config: Config, bias: Array | None) -> Array:
    batch, context, d_model = x.shape
    qkv = affine(weights, name + ".qkv", norm(weights, name + ".norm", x, config))
    q, k, v = qkv.reshape(batch, context, 3, config.heads, config.head_dim).transpose(2, 0, 3, 1, 4)
    if config.qk_norm:
        q, k = (part / jnp.sqrt((part * part).mean(-1, keepdims=True) + 1e-5) * weights[f"{name}.{which}_norm.gain"]
                for which, part in (("q", q), ("k", k)))
    if config.position == "rope":
        q, k = rotate(q), rotate(k)
    out = attend(q, k, v, config.mechanism, config.scale, bias)
    return x + affine(weights, name + ".out", out.transpose(0, 2, 1, 3).reshape(batch, context, d_model))


def mlp_block(weights: Weights, name: str, x: Array, config: Config) -> Array:
    hidden = affine(weights, name + ".up", norm(weights, name + ".norm", x, config))
    hidden = jax.nn.gelu(hidden, approximate=True) if config.activation == "gelu" else jax.nn.relu(hidden)
    return x + affine(weights, name + ".down", hidden)


def logits(weights: Weights, inputs: Array, config: Config) -> Array:
    """[batch][context][vocab] for inputs [batch][context]."""
    dtype = weights["head.out.weight"].dtype
    if config.embedding == "onehot":
        x = jax.nn.one_hot(inputs, config.d_model, dtype=dtype)
    else:
        x = weights["embedding.token"][inputs]
    if config.position == "learned":
        x = x + weights["embedding.position"]
    bias = position_bias(config, dtype)
    for layer in range(config.layers):
        x = attention_block(weights, f"blocks.{layer}.attention", x, config, bias)
        if config.mlp_ratio:
            x = mlp_block(weights, f"blocks.{layer}.mlp", x, config)
    return affine(weights, "head.out", norm(weights, "head.norm", x, config))


def loss(weights: Weights, inputs: Array, targets: Array, config: Config) -> Array:
    """Mean cross-entropy over the determined targets; a negative target is not determined."""
    log_p = jax.nn.log_softmax(logits(weights, inputs, config))
    own = jnp.take_along_axis(log_p, jnp.maximum(targets, 0)[..., None], -1)[..., 0]
    determined = targets >= 0
    return -jnp.where(determined, own, 0).sum() / determined.sum()


def start(weights: Weights) -> tuple[Weights, Weights]:
    """The optimizer's state before the first step: two moments, or sgd's velocity in the first."""
    return tuple({name: jnp.zeros_like(x) for name, x in weights.items()} for _ in range(2))


def take_step(weights: Weights, gradients: Weights, state: tuple[Weights, Weights], config: Config, rate: Array | float,
              step: Array | int) -> tuple[Weights, tuple[Weights, Weights]]:
    """Clip, then one step of the optimizer; `rate` is config.rate(step)."""
    if config.clip > 0:
        length = jnp.sqrt(sum(jnp.vdot(g, g) for g in gradients.values()))
        factor = jnp.minimum(1, config.clip / length)
        gradients = {name: factor * g for name, g in gradients.items()}
    first, second = dict(state[0]), dict(state[1])
    moved = {}
    for name, w in weights.items():
        g = gradients[name]
        decay = config.weight_decay if is_decayed(name) else 0.0
        if config.optimizer == "sgd":
            first[name] = config.momentum * first[name] + g
            moved[name] = w - rate * (first[name] + decay * w)
            continue
        first[name] = config.beta1 * first[name] + (1 - config.beta1) * g
        second[name] = config.beta2 * second[name] + (1 - config.beta2) * g * g
        mean = first[name] / (1 - config.beta1 ** (step + 1))
        square = second[name] / (1 - config.beta2 ** (step + 1))
        moved[name] = w - rate * (mean / (jnp.sqrt(square) + 1e-8) + decay * w)
    return moved, (first, second)


def training_step(weights: Weights, state: tuple[Weights, Weights], inputs: Array, targets: Array, rate: Array | float,
                  step: Array | int, config: Config) -> tuple[Weights, tuple[Weights, Weights], Array]:
    value, gradients = jax.value_and_grad(loss)(weights, inputs, targets, config)
    weights, state = take_step(weights, gradients, state, config, rate, step)
    return weights, state, value
