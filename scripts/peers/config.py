"""A cell's options, from the metadata of the safetensors files that eabench writes; needs no framework."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

from .tensors import read_header


def has_log_weight(mechanism: str) -> bool:
    """Whether it is of the exponential class."""
    return mechanism in ("dpa", "ea-softmax") or mechanism.startswith("mix-")


@dataclass(frozen=True)
class Config:
    """The options of docs/spec-files.md that the model, the loss and the optimizer depend on."""

    layers: int
    d_model: int
    heads: int
    mlp_ratio: int
    context: int
    position: str  # learned, alibi, rope, none
    alibi_span: float
    norm: str  # layer, none
    activation: str  # relu, gelu
    bias: bool
    qk_norm: bool
    embedding: str  # learned, onehot
    mechanism: str  # of docs/design.md 1; mix with its parameter: mix-0.25
    scale: float  # of the scores; the mechanism's default where the spec has "auto"
    optimizer: str  # adamw, sgd
    lr: float
    beta1: float
    beta2: float
    momentum: float
    weight_decay: float
    clip: float
    steps: int
    batch: int
    warmup: int
    schedule: str  # constant, linear, cosine
    lr_final: float

    @property
    def head_dim(self) -> int:
        return self.d_model // self.heads

    @property
    def slopes(self) -> list[float]:
        """ALiBi's slopes, one per head (Press et al. 2021); none for other positions."""
        if self.position != "alibi":
            return []
        return [float32(2 ** (-self.alibi_span * (head + 1) / self.heads)) for head in range(self.heads)]

    def rate(self, step: int) -> float:
        """The learning rate of step 0, 1, ...: warm-up, then the schedule down to lr_final * lr at the last step."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        span = self.steps - 1 - self.warmup
        if self.schedule == "constant" or span <= 0:
            return self.lr
        done = min(1.0, (step - self.warmup) / span)
        left = 1 - done if self.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
        return self.lr * (self.lr_final + (1 - self.lr_final) * left)


def float32(value: float) -> float:
    """Rounded to float32: scale, mix and slopes are float32 constants of the model, in every precision."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def default_scale(mechanism: str, head_dim: int) -> float:
    return 1.0 if mechanism in ("ea", "ea-parallel", "square", "ea-quartic") else 1 / math.sqrt(head_dim)


def read_config(path: Path) -> Config:
    """The options in the metadata of `path`, a safetensors file of eabench."""
    options = read_header(path)[0]["__metadata__"]
    if float(options.get("dropout", "0")):
        raise ValueError(f"{path}: dropout = {options['dropout']}; the peers have no dropout: allowed: 0")
    values: dict[str, object] = {}
    for name, kind in Config.__annotations__.items():
        text = options[name]
        if name == "scale":
            head_dim = int(options["d_model"]) // int(options["heads"])
            scale = default_scale(options["mechanism"], head_dim) if text == "auto" else float(text)
            values[name] = float32(scale)
        elif name == "mechanism" and text == "mix":
            values[name] = f"mix-{float32(float(options['mix']))}"
        else:
            values[name] = {"int": int, "float": float, "str": str, "bool": lambda word: word == "on"}[kind](text)
    return Config(**values)  # type: ignore[arg-type]


def is_decayed(name: str) -> bool:
    """Weight decay applies to matrices and embeddings, not to gains and biases."""
    return not name.endswith((".gain", ".bias"))
