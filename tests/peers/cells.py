"""The cells whose training is compared with autograd."""

from __future__ import annotations

MECHANISMS = ("dpa", "ea", "ea-scaled", "ea-softmax")
ONLY_WEIGHTS = ("ea-parallel", "square", "ea-quartic", "sigmoid", "mix")  # in float64: other weights, the same code
SMALL = ["task.basis=5", "task.delay=2", "model.d_model=16", "model.heads=2", "model.context=12", "train.batch=6",
         "train.steps=8", "train.warmup=3"]
ODD = ["task.basis=7", "model.d_model=21", "model.heads=3", "model.context=17", "train.batch=5", "model.mlp_ratio=3"]

# Named after the difference from the defaults (alibi, layer norm, relu, biases, learned embeddings, adamw, one layer).
VARIANTS: dict[str, list[str]] = {
    "default": [],
    "two-layers": ["model.layers=2"],
    "learned": ["model.position=learned"],
    "rope": ["model.position=rope"],
    "no-position": ["model.position=none"],
    "no-norm": ["model.norm=none", "model.init_scale=0.7"],
    "gelu": ["model.activation=gelu"],
    "onehot": ["model.embedding=onehot"],
    "no-bias": ["model.bias=off"],
    "no-mlp": ["model.mlp_ratio=0"],
    "no-norm-no-bias": ["model.norm=none", "model.bias=off", "model.layers=2", "model.init_scale=0.7"],
    "sgd": ["train.optimizer=sgd", "train.lr=0.3", "train.schedule=linear"],
    "constant-unclipped": ["train.clip=0", "train.schedule=constant", "train.weight_decay=0.1"],
    "tight-clip": ["train.clip=0.01", "train.optimizer=sgd", "train.weight_decay=0.1", "train.lr=1"],
    "other-scale": ["train.scale=0.37", "model.alibi_span=3", "model.qk_init=2"],
    "qk-norm": ["model.qk_norm=on"],
    "odd-qk-norm": [*ODD, "model.qk_norm=on", "model.d_model=18", "model.position=rope", "model.layers=2"],
    "odd": ODD,
    "odd-everything": [*ODD, "model.layers=2", "model.activation=gelu", "model.position=learned", "train.optimizer=sgd",
                       "model.qk_init=2", "train.lr=0.1"],
    "odd-rope": ["task.basis=3", "model.d_model=18", "model.heads=3", "model.position=rope", "model.context=33",
                 "train.batch=3", "model.layers=2", "model.activation=gelu"],
    "one-wide-head": ["model.d_model=40", "model.heads=1", "model.context=31", "train.batch=2", "task.basis=11"],
    "narrow-heads": ["model.d_model=24", "model.heads=12", "model.context=65", "train.batch=2"],
    "benchmark": ["task.basis=16", "task.delay=4", "model.d_model=32", "model.heads=4", "model.context=32",
                  "train.batch=32", "model.layers=2"],
}

CELLS = {f"{mechanism}-{name}": [*SMALL, *options, f"train.mechanism={mechanism}"]
         for name, options in VARIANTS.items() for mechanism in MECHANISMS}
CELLS |= {f"{mechanism}-{name}": [*SMALL, *VARIANTS[name], f"train.mechanism={mechanism}",
                                  *(["train.mix=0.3"] if mechanism == "mix" else [])]
          for name in ("default", "odd-qk-norm", "other-scale") for mechanism in ONLY_WEIGHTS}
