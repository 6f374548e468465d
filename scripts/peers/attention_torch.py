"""Attention as a user of PyTorch would write it, prepared for timing."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import eabench_torch
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from .config import default_scale
from .measure import Unsupported, note_on_rotation, rotation, timed
from .model_torch import attend

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SDPA = {"torch-sdpa-flash": "FLASH_ATTENTION", "torch-sdpa-efficient": "EFFICIENT_ATTENTION",
        "torch-sdpa-cudnn": "CUDNN_ATTENTION", "torch-sdpa-math": "MATH"}  # names: older versions lack some
ON_GPU_ONLY = ("torch-sdpa-efficient", "torch-sdpa-cudnn")
IMPLEMENTATIONS = (*SDPA, "torch-flex", "torch-eager", "eabench-torch")
FLOOR = math.log(2.0**-24)


def _flex(mechanism: str, scale: float, context: int, device: str) -> Callable:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def log_weight(score, batch, head, i, j):  # noqa: ANN001, ANN202, PLR0913
        if mechanism == "dpa":
            return score
        square = score * score
        if mechanism == "ea-softmax":
            return square
        return torch.clamp(torch.log(square) - torch.log1p(square), min=FLOOR)

    torch._dynamo.reset()  # noqa: SLF001  (each shape is compiled anew)
    mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, context, context, device=device)
    compiled = torch.compile(flex_attention, dynamic=False)
    return lambda q, k, v: compiled(q, k, v, score_mod=log_weight, block_mask=mask, scale=scale)


def _function(point: dict, device: str) -> Callable:
    name, mechanism, causal = point["implementation"], point["mechanism"], point["causal"] == "on"
    scale = default_scale(mechanism, point["head_dim"])
    if point["position"] != "none":
        raise Unsupported("only timed without positions")
    if name == "torch-eager":
        return lambda q, k, v: attend(q, k, v, mechanism, scale, None, causal)
    if name == "eabench-torch":
        return lambda q, k, v: eabench_torch.attention(q, k, v, mechanism, causal=causal)
    if name in SDPA:
        if mechanism != "dpa":
            raise Unsupported("scaled_dot_product_attention has no score function but dpa's")
        if name in ON_GPU_ONLY and device == "cpu":
            raise Unsupported("PyTorch has this backend of scaled_dot_product_attention for GPUs only")
        if not hasattr(SDPBackend, SDPA[name]):
            raise Unsupported(f"PyTorch {torch.__version__} has no SDPBackend.{SDPA[name]}")
        return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
    if name == "torch-flex" and causal and mechanism in ("dpa", "ea", "ea-scaled", "ea-softmax"):
        return _flex(mechanism, scale, point["context"], device)
    raise Unsupported("not timed")


def prepare(point: dict, device: str) -> tuple[Callable[[int], float], str]:
    """Returns take(calls) for measure.sample, and a remark for the row; raises Unsupported or what PyTorch raises."""
    dtype = DTYPES[point["dtype"]]
    shape = [point[axis] for axis in ("batch", "heads", "context", "head_dim")]
    tensors = 8 if point["pass"] == "backward" else 4
    set_bytes = tensors * math.prod(shape) * torch.empty(0, dtype=dtype).element_size()
    generator = torch.Generator(device).manual_seed(1)
    backward = point["pass"] == "backward"
    function = _function(point, device)
    backend = getattr(SDPBackend, SDPA[point["implementation"]]) if point["implementation"] in SDPA else None

    def chosen() -> AbstractContextManager:
        return sdpa_kernel(backend) if backend else nullcontext()

    operands, graphs = [], []
    with chosen():
        for _ in rotation(set_bytes, device):
            q, k, v, dout = (torch.randn(shape, generator=generator, device=device, dtype=dtype) for _ in range(4))
            operands.append((q.requires_grad_(backward), k.requires_grad_(backward), v.requires_grad_(backward)))
            if backward:
                graphs.append((function(*operands[-1]), dout))
        place = 0

        def call() -> None:
            nonlocal place
            if backward:
                out, dout = graphs[place]
                torch.autograd.grad(out, operands[place], dout, retain_graph=True)
            else:
                function(*operands[place])
            place = (place + 1) % len(operands)

        call()

    def take(calls: int) -> float:
        with chosen(), torch.set_grad_enabled(backward):
            return timed(lambda: [call() for _ in range(calls)], device, torch.cuda)

    return take, note_on_rotation(len(operands), set_bytes, device)
