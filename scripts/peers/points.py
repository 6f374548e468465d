"""The measured shapes in order: those that docs/benchmarks.md and the goals need come first."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

# Compile for up to half a minute a shape; later runs use a cache.
COMPILED = ("torch-flex", "torch-compile", "jax-jit", "jax-vmap")
SDPA = ("torch-sdpa-flash", "torch-sdpa-efficient", "torch-sdpa-cudnn", "torch-sdpa-math")
ATTENTION = (*SDPA, "torch-flex", "torch-eager", "eabench-torch", "jax-jit")
TRAINING = ("torch-eager", "torch-eager-sdpa", "torch-compile", "torch-vmap", "jax-jit", "jax-vmap")


@dataclass(frozen=True)
class Job:
    """A shape and a peer, measured in pairs (ours, theirs)."""

    op: str  # attention, training
    point: tuple[tuple[str, object], ...]  # in the columns of the tables
    implementation: str
    fleet: int | str = ""  # models that the peer trains at once

    @property
    def framework(self) -> str:
        return "jax" if self.implementation.startswith("jax") else "torch"

    @property
    def compiled(self) -> bool:
        return self.implementation in COMPILED and (self.op == "training" or self.framework == "torch")

    @property
    def on_text(self) -> bool:
        return dict(self.point)["position"] == "learned"

    def row(self) -> dict:
        return {"op": self.op, **dict(self.point), "implementation": self.implementation, "fleet": self.fleet}


Stage = tuple[str, list[Job]]


def attention(contexts: tuple[int, ...], head_dims: tuple[int, ...], implementations: tuple[str, ...],
              dtypes: tuple[str, ...] = ("float32",), batch: int = 1, heads: int = 1) -> list[Job]:
    jobs = []
    for dtype, context, head_dim, direction, mechanism, name in product(
            dtypes, contexts, head_dims, ("forward", "backward"), ("dpa", "ea"), implementations):
        if mechanism != "dpa" and name in SDPA[1:]:
            continue  # they support dpa only; the row of the first says so for all
        point = {"mechanism": mechanism, "dtype": dtype, "pass": direction, "batch": batch, "heads": heads,
                 "context": context, "head_dim": head_dim, "causal": "on", "position": "none"}
        jobs.append(Job("attention", tuple(point.items()), name))
    return jobs


def training(layers: tuple[int, ...], d_models: tuple[int, ...], peers: tuple[tuple[str, int], ...]) -> list[Job]:
    return [Job("training", tuple({"mechanism": mechanism, "dtype": "float32", "batch": 32, "heads": 4, "context": 32,
                                   "position": "alibi", "layers": depth, "d_model": width}.items()), name, fleet)
            for depth, width, mechanism, (name, fleet) in product(layers, d_models, ("dpa", "ea"), peers)]


def text(peers: tuple[tuple[str, int], ...]) -> list[Job]:
    """The model of tasks/ladders/text.ini; its points are those of training with learned positions."""
    return [Job("training", tuple({"mechanism": mechanism, "dtype": "float32", "batch": 12, "heads": 4, "context": 64,
                                   "position": "learned", "layers": 4, "d_model": 128}.items()), name, fleet)
            for mechanism, (name, fleet) in product(("dpa", "ea"), peers)]


def plan(gpu: bool, quick: bool, with_text: bool = False) -> list[Stage]:
    """with_text: a text is at hand (--text)."""
    stages = gpu_plan(quick) if gpu else cpu_plan(quick)
    singles = ("torch-eager", "torch-eager-sdpa", "torch-compile", "jax-jit")
    return [("text", text(tuple((name, 1) for name in singles))), *stages] if with_text else stages


SHORT = {"batch": 8, "heads": 4}  # for context 64: one head alone would leave most vector lanes of eabench empty


def by_context(contexts: tuple[int, ...], head_dims: tuple[int, ...], implementations: tuple[str, ...]) -> list[Job]:
    return [job for context in contexts
            for job in attention((context,), head_dims, implementations, **(SHORT if context <= 64 else {}))]


def cpu_plan(quick: bool) -> list[Stage]:
    layers, widths, head_dims, contexts = ((1,), (16, 32, 64), (32, 128), (512, 64, 2048)) if quick else (
        (1, 2), (64, 32, 16), (16, 32, 64, 128), (512, 64, 2048))
    main = ("torch-sdpa-flash", "torch-eager", "jax-jit")
    others = ("torch-sdpa-math", "torch-sdpa-efficient", "torch-sdpa-cudnn", "torch-flex", "eabench-torch")
    stages = [
        ("training", training(layers, widths, (("torch-eager", 1), ("torch-eager-sdpa", 1), ("torch-vmap", 4),
                                               ("jax-jit", 1), ("jax-vmap", 4)))),
        ("attention", by_context(contexts, head_dims, main)),
        ("training with torch.compile", training(layers, widths, (("torch-compile", 1),)))]
    if not quick:
        stages += [("attention, one head of context 64", attention((64,), head_dims, main)),
                   ("attention, context 8192", by_context((8192,), (64, 128, 32, 16), main))]
    stages.append(("other attention implementations", by_context(contexts, head_dims, others)))
    if not quick:
        stages += [("larger fleets", training(layers, widths, (("torch-vmap", 16), ("jax-vmap", 16)))),
                   ("other attention implementations, context 8192",
                    by_context((8192,), (64, 128, 32, 16), others[:-1]))]
    return stages


def gpu_plan(quick: bool) -> list[Stage]:
    """Half precision first, since attention on GPUs is mostly used in it."""
    shape = {"batch": 4, "heads": 16}
    main, others = ("torch-sdpa-flash", "torch-flex", "jax-jit"), ("torch-sdpa-cudnn", "torch-eager")
    fleets = (("torch-vmap", 512), ("jax-vmap", 512))
    single = (("torch-compile", 1), ("torch-eager", 1), ("jax-jit", 1))
    stages = [("attention", attention((2048,), (128,), main, ("bf16",), **shape)),
              ("training", training((1,), (32,), fleets)),
              ("other attention implementations", attention((2048,), (128,), others, ("bf16",), **shape)),
              ("one model at a time", training((1,), (32,), single))]
    if not quick:
        every = (*main, *others, "torch-sdpa-efficient", "torch-sdpa-math", "eabench-torch")
        stages += [("attention, other shapes",
                    attention((2048, 8192, 512), (64, 128), every, ("bf16", "float32"), **shape)),
                   ("training, other models",
                    training((1, 2), (16, 32, 64), (*fleets, *single, ("torch-eager-sdpa", 1))))]
    seen: set[Job] = set()
    return [(title, [job for job in jobs if not (job in seen or seen.add(job))]) for title, jobs in stages]
