"""eabench's fused attention as a differentiable PyTorch function: expressive attention in your own model in one line.

    from eabench_torch import attention
    out = attention(q, k, v, "ea")                       # instead of F.scaled_dot_product_attention(q, k, v)

Tensors are [..., context, head_dim], as for scaled_dot_product_attention, on a CPU (float32) or on a CUDA device
(float32, bfloat16, float16; on PyTorch's current stream). Needs PyTorch and libeabench.so, and nothing else of eabench:
this file may be copied or installed (README.md beside it lists where the library is searched for).
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

MECHANISMS = ("dpa", "ea", "ea-scaled", "ea-softmax", "ea-parallel", "square", "ea-quartic", "sigmoid", "mix")
MIXES = (0.001, 0.999)   # least and largest, as float32 (EAB_MIX_LEAST, EAB_MIX_MOST of kernels/mechanism.h)
CUDA_STREAM_LEGACY = 1
DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}  # EAB_F32, EAB_BF16, EAB_F16


class EabenchError(RuntimeError):
    """libeabench was not found, or returned an error; the message is the library's own."""


class _Attention(ctypes.Structure):
    """eab_attention of kernels/attention.h."""

    _fields_ = [(name, ctypes.c_int32)
                for name in ("batch", "heads", "context", "head_dim", "mechanism", "dtype", "causal")] + [
        ("scale", ctypes.c_float), ("slopes", ctypes.POINTER(ctypes.c_float)), ("mix", ctypes.c_float)]


def _candidates() -> list[str]:
    if os.environ.get("EABENCH_LIBRARY"):
        return [os.environ["EABENCH_LIBRARY"]]
    names = ("libeabench.so", "libeabench.so.0")
    tree = Path(__file__).resolve().parents[1]
    built = tree.glob("build/*/libeabench.so") if (tree / "kernels" / "attention.h").exists() else []
    built = [path for path in built if path.parent.name not in ("asan", "tsan", "fuzz")]  # they would end this process
    built = sorted(built, key=lambda path: path.stat().st_mtime, reverse=True)
    return [*map(str, built), *(f"{sys.prefix}/lib/{name}" for name in names), *names]


def _load() -> ctypes.CDLL:
    reasons = []
    for name in _candidates():
        try:
            library = ctypes.CDLL(name)
        except OSError as error:
            reasons.append(str(error))
            continue
        pointer = ctypes.c_void_p
        library.eab_last_error.restype = ctypes.c_char_p
        library.eab_last_error.argtypes = []
        library.eab_mechanism_from_name.restype = ctypes.c_int32
        library.eab_mechanism_from_name.argtypes = [ctypes.c_char_p]
        library.eab_device_open.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.POINTER(pointer)]
        library.eab_device_close.restype = None
        library.eab_device_close.argtypes = [pointer]
        library.eab_device_set_stream.argtypes = [pointer, pointer]
        library.eab_attention_forward.argtypes = [pointer, ctypes.POINTER(_Attention), *[pointer] * 5]
        library.eab_attention_backward.argtypes = [pointer, ctypes.POINTER(_Attention), *[pointer] * 9]
        return library
    raise EabenchError("libeabench.so is not found: build eabench (cmake --preset release && cmake --build --preset "
                       f"release) or set EABENCH_LIBRARY to its path; tried: {'; '.join(reasons)}")


_library: ctypes.CDLL | None = None
_library_lock = threading.Lock()


def library() -> ctypes.CDLL:
    """libeabench, loaded at the first call."""
    global _library  # noqa: PLW0603
    with _library_lock:
        if _library is None:
            _library = _load()
        return _library


def _check(status: int) -> None:
    if status:
        raise EabenchError(library().eab_last_error().decode(errors="replace"))


class _Device:
    """An open device; closed with the thread that owns it."""

    def __init__(self, backend: str, index: int) -> None:
        self.handle = ctypes.c_void_p()
        _check(library().eab_device_open(backend.encode(), index, ctypes.byref(self.handle)))

    def __del__(self) -> None:
        if self.handle and _library is not None:
            _library.eab_device_close(self.handle)


class _Devices(threading.local):
    """The open devices of a thread. A device is used by one thread at a time (attention.h), and PyTorch runs backward
    passes in other threads, so each thread opens its own."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, int], _Device] = {}

    def of(self, backend: str, index: int) -> ctypes.c_void_p:
        key = (backend, index)
        if key not in self.open:
            self.open[key] = _Device(backend, index)
        return self.open[key].handle


_devices = _Devices()


def _device(tensor: Tensor, backend: str | None) -> ctypes.c_void_p:
    if tensor.device.type == "cpu":
        return _devices.of(backend or "cpu", 0)
    handle = _devices.of("cuda", tensor.device.index)
    # PyTorch's default stream is 0, which would select the device's own stream; 1 is CUDA's name for the default one.
    stream = torch.cuda.current_stream(tensor.device).cuda_stream or CUDA_STREAM_LEGACY
    _check(library().eab_device_set_stream(handle, stream))
    return handle


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, mechanism, mix, scale, causal, slopes, backend):  # noqa: ANN001, PLR0913
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        batch, heads, context, head_dim = q.shape
        ctx.slopes = (ctypes.c_float * heads)(*slopes) if slopes else None  # keeps the pointer below valid
        ctx.arguments = _Attention(batch, heads, context, head_dim, mechanism, DTYPES[q.dtype], int(causal), scale,
                                   ctypes.cast(ctx.slopes, ctypes.POINTER(ctypes.c_float)), mix)
        ctx.backend = backend
        out = torch.empty_like(q)
        row_stat = torch.empty(q.shape[:-1], dtype=torch.float32, device=q.device)
        with torch.cuda.device_of(q):
            _check(library().eab_attention_forward(_device(q, backend), ctypes.byref(ctx.arguments),
                                                   *map(_pointer, (q, k, v, out, row_stat))))
        ctx.save_for_backward(q, k, v, out, row_stat)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dout):  # noqa: ANN001
        q, k, v, out, row_stat = ctx.saved_tensors
        dout = dout.contiguous()
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        with torch.cuda.device_of(q):
            _check(library().eab_attention_backward(_device(q, ctx.backend), ctypes.byref(ctx.arguments),
                                                    *map(_pointer, (q, k, v, out, row_stat, dout, dq, dk, dv))))
        return dq, dk, dv, None, None, None, None, None, None


def _refuse(message: str) -> None:
    raise ValueError(f"eabench_torch.attention: {message}")


def _check_tensors(q: Tensor, k: Tensor, v: Tensor, backend: str | None) -> None:
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if not isinstance(tensor, Tensor):
            _refuse(f"{name} is a {type(tensor).__name__}; allowed: a tensor [..., context, head_dim]")
    for name, tensor in (("k", k), ("v", v)):
        if tensor.shape != q.shape:
            _refuse(f"{name} is {list(tensor.shape)} and q is {list(q.shape)}; both must be the same "
                    "[..., context, head_dim]")
        if tensor.dtype != q.dtype or tensor.device != q.device:
            _refuse(f"{name} is {tensor.dtype} on {tensor.device} and q is {q.dtype} on {q.device}; both must be the "
                    "same")
    if q.dim() < 2:
        _refuse(f"q is {list(q.shape)}; [..., context, head_dim] is allowed")
    if 0 in q.shape:
        _refuse(f"q is {list(q.shape)}; sizes above 0 are allowed")
    if q.dtype not in DTYPES:
        _refuse(f"dtype {q.dtype}; allowed: float32, bfloat16, float16 (on a CPU float32)")
    if q.device.type not in ("cpu", "cuda"):
        _refuse(f"device {q.device}; allowed: cpu, cuda")
    if backend is not None and (q.device.type != "cpu" or backend not in ("cpu", "reference")):
        _refuse(f"backend {backend!r} for tensors on {q.device}; allowed: cpu, reference, for tensors on a CPU")


def _constant(name: str, value: object) -> float:
    """A number, or a tensor or array of one element, as float32 has it."""
    if isinstance(value, Tensor) and value.requires_grad:
        _refuse(f"{name} requires a gradient, and has none here; allowed: a constant ({name}.detach())")
    try:
        if not isinstance(value, (str, bytes)):
            return ctypes.c_float(float(value)).value  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        pass
    _refuse(f"{name} is {value!r}; allowed: a number")


def _check_scale(scale: object) -> float:
    """0: the mechanism's own."""
    if scale is None:
        return 0.0
    value = _constant("scale", scale)
    if not 0 < value < math.inf:
        _refuse(f"scale {scale}, in float32 {value}; allowed: finite and above 0")
    return value


def _check_mix(mechanism: str, mix: object) -> float:
    if mechanism != "mix":
        if mix is not None:
            _refuse(f"mix = {mix!r} with mechanism {mechanism!r}; allowed: mechanism 'mix', or no mix")
        return 0.0
    value = 0.0 if mix is None else _constant("mix", mix)
    if not _constant("mix", MIXES[0]) <= value <= _constant("mix", MIXES[1]):
        _refuse(f"mechanism 'mix' with mix = {mix!r}; allowed: {MIXES[0]}..{MIXES[1]}")
    return value


def _check_slopes(slopes: object, heads: int) -> list[float] | None:
    if slopes is None:
        return None
    try:
        values = [_constant("slopes", slope) for slope in slopes]  # type: ignore[attr-defined]
    except TypeError:
        _refuse(f"slopes is {slopes!r}; allowed: {heads} numbers, one a head")
    if len(values) != heads:
        _refuse(f"{len(values)} slopes for {heads} heads")
    for value in values:
        if not 0 <= value < math.inf:
            _refuse(f"slopes holds {value}; allowed: finite, at least 0")
    return values


def _as_autocast(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Under autocast tensors of several dtypes meet: all become autocast's own, on a CPU float32."""
    if not all(isinstance(tensor, Tensor) and tensor.dtype in DTYPES for tensor in (q, k, v)):
        return q, k, v  # refused below
    kind = q.device.type
    if kind not in ("cpu", "cuda") or not torch.is_autocast_enabled(kind):
        return q, k, v
    dtype = torch.float32 if kind == "cpu" else torch.get_autocast_dtype(kind)
    return q.to(dtype), k.to(dtype), v.to(dtype)


@torch.compiler.disable
def attention(q: Tensor, k: Tensor, v: Tensor, mechanism: str = "ea", *, causal: bool = True,
              scale: float | None = None, mix: float | None = None,
              slopes: Sequence[float] | Tensor | None = None, backend: str | None = None) -> Tensor:
    """Fused attention, differentiable once in q, k and v; [..., context, head_dim] in and out.

    mechanism: one of MECHANISMS. scale: z = scale * (q . k), above 0; the mechanism's own without it.
    mix: of mechanism "mix" only: its share of ea-scaled, 0.001 to 0.999; the rest is dpa. slopes: ALiBi's, one per head
    (the last dimension before context); none without it. All three are constants. backend: "reference" computes float32
    tensors on the CPU in float64, slowly, for checks. Inputs that are not contiguous are copied; under autocast they
    are cast. Raises ValueError for arguments that do not fit, EabenchError with the library's line for what it refuses.
    """
    q, k, v = _as_autocast(q, k, v)
    _check_tensors(q, k, v, backend)
    if mechanism not in MECHANISMS:
        _refuse(f"mechanism {mechanism!r}; allowed: {', '.join(MECHANISMS)}")
    if causal not in (True, False):
        _refuse(f"causal is {causal!r}; allowed: True, False")
    number, share = _check_scale(scale), _check_mix(mechanism, mix)
    shape = q.shape
    heads = shape[-3] if len(shape) > 2 else 1
    slopes = _check_slopes(slopes, heads)
    q, k, v = (tensor.reshape(-1, heads, *shape[-2:]) for tensor in (q, k, v))
    index = library().eab_mechanism_from_name(mechanism.encode())
    return _Function.apply(q, k, v, index, share, number, causal, slopes, backend).reshape(shape)
