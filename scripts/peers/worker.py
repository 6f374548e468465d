"""A process that times one framework: it reads requests from stdin and writes answers to stdout, each a line of JSON.

Usage: python -m peers.worker torch|jax CORE|- cpu|cuda; with a core the process is pinned to it and has one thread. A
request with "prepare" compiles and allocates, and times nothing.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path

FRAMEWORK, CORE, DEVICE = sys.argv[1:4]
if CORE != "-":
    os.sched_setaffinity(0, {int(CORE)})
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1",
                      XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ["JAX_PLATFORMS"] = DEVICE
os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the other framework and eabench use the same GPU memory
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eabench" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))  # PyTorch has a cache by default
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # libraries print to stderr, not among the answers

from . import measure  # noqa: E402

if FRAMEWORK == "torch":
    import torch

    from . import attention_torch as attention, training_torch as training

    if CORE != "-":
        torch.set_num_threads(1)
        torch.set_num_interop_threads(1)
    DETAILS = f"PyTorch {torch.__version__}, "
    if DEVICE == "cuda":
        DETAILS += torch.cuda.get_device_name()
        try:
            import triton

            DETAILS += f", Triton {triton.__version__}"
        except ImportError:
            DETAILS += ", no Triton"
    else:
        DETAILS += torch.backends.cpu.get_cpu_capability()

    def finish(step: object) -> None:  # noqa: ARG001
        if DEVICE == "cuda":
            torch.cuda.synchronize()
else:
    import jax

    from . import attention_jax as attention, training_jax as training

    # No TF32 for float32 on a GPU, as in PyTorch and eabench.
    jax.config.update("jax_default_matmul_precision", "highest")
    DETAILS = f"JAX {jax.__version__}, {jax.devices()[0].device_kind}"

    def finish(step: object) -> None:
        step.finish()  # type: ignore[attr-defined]


def free_memory() -> None:
    """Frees the GPU memory that PyTorch caches, for eabench and the other framework."""
    gc.collect()
    if FRAMEWORK == "torch" and DEVICE == "cuda":
        torch.cuda.empty_cache()


def check_memory(point: dict) -> None:
    """Raises MemoryError if the context x context matrices of a plain implementation would not fit: the system would
    kill the process, while an exception costs one row."""
    if DEVICE == "cuda":
        return
    needed, free = 20 * 4 * point["batch"] * point["heads"] * point["context"] ** 2, measure.free_bytes()
    if needed > 0.6 * free and point["implementation"] in ("torch-eager", "torch-sdpa-math", "jax-jit"):
        raise MemoryError(f"about {needed >> 20} MiB of context x context matrices, {free >> 20} MiB are free")


class Worker:
    """Keeps the last prepared function, since most requests repeat the point before."""

    def __init__(self) -> None:
        self.key, self.ready, self.last, self.note = None, None, None, ""

    def attention(self, request: dict) -> dict:
        point = request["point"]
        if self.key != point:
            self.key = self.ready = self.last = None  # frees the operands of the point before
            free_memory()
            check_memory(point)
            self.ready, self.note = attention.prepare(point, DEVICE)
            self.key = point
        if request["prepare"]:
            return {}
        self.last = measure.sample(self.ready, request["max_s"], DEVICE, self.last)
        return {**vars(self.last), "reason": self.note}

    def training(self, request: dict) -> dict:
        key = [request[name] for name in ("implementation", "folder", "fleet")]
        if self.key != key:
            self.key = self.ready = None
            free_memory()
            self.ready = training.prepare(request["implementation"], Path(request["folder"]), request["fleet"], DEVICE)
            for _ in range(3):
                self.ready()
            self.key = key
        finish(self.ready)
        if request["prepare"]:
            return {}
        time.sleep(max(0.0, request["start"] - time.time()))  # the processes on all cores start together
        begin_s, steps = time.perf_counter(), 0
        while time.perf_counter() - begin_s < request["max_s"]:
            for _ in range(4 if steps >= 4 else 1):
                self.ready()
                steps += 1
            if FRAMEWORK == "jax":
                finish(self.ready)  # step() only queues the work
        finish(self.ready)
        return {"steps": steps, "seconds": time.perf_counter() - begin_s}


def main() -> None:
    worker = Worker()
    print(json.dumps({"details": DETAILS}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"status": "ok", **getattr(worker, request["op"])(request)}
        except measure.Unsupported as reason:
            answer = {"status": "unsupported", "reason": measure.one_line(reason)}
        except MemoryError as reason:
            answer = {"status": "oom", "reason": measure.one_line(reason)}
        except Exception as reason:  # noqa: BLE001  (any error of a peer becomes a row)
            status = "oom" if "out of memory" in str(reason).lower() else "unsupported"
            answer = {"status": status, "reason": f"{type(reason).__name__}: {measure.one_line(reason)}"}
        print(json.dumps(answer), file=answers, flush=True)


main()
