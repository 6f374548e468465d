"""A process that times one framework: requests come as lines of JSON on stdin, answers go as lines to stdout.

Usage: python -m peers.worker torch|jax CORE|- cpu|cuda; with a core the process keeps to it and to one thread.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

FRAMEWORK, CORE, DEVICE = sys.argv[1:4]
GPU = DEVICE == "cuda"
if CORE != "-":
    os.sched_setaffinity(0, {int(CORE)})
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1",
                      XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ["JAX_PLATFORMS"] = DEVICE
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what libraries print does not belong among the answers

from . import measure  # noqa: E402

if FRAMEWORK == "torch":
    import torch

    from . import attention_torch as attention, training_torch as training

    VERSION = torch.__version__
    if CORE != "-":
        torch.set_num_threads(1)
        torch.set_num_interop_threads(1)
    DETAILS = f"PyTorch {VERSION}, {torch.backends.cpu.get_cpu_capability()}" + (f", {torch.cuda.get_device_name()}" if GPU else "")
else:
    import jax

    from . import attention_jax as attention, training_jax as training

    DETAILS = f"JAX {jax.__version__}, {jax.devices()[0].device_kind}"


def enough_memory(point: dict) -> None:
    """A plain implementation keeps several context x context matrices for two sets; sooner a row than a killed process."""
    if GPU:
        return
    wanted = 20 * 4 * point["batch"] * point["heads"] * point["context"] ** 2
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if wanted > 0.6 * free and point["implementation"] in ("torch-eager", "torch-sdpa-math", "jax-jit"):
        raise measure.Unsupported(f"about {wanted >> 20} MiB of context x context matrices, {free >> 20} MiB are free")


class Worker:
    def __init__(self) -> None:
        self.key, self.ready = None, None

    def attention(self, request: dict) -> dict:
        point = request["point"]
        if self.key != point:
            self.key = self.ready = None  # frees the last one's operands first
            enough_memory(point)
            self.ready, self.key = attention.prepare(point, GPU), point
        timing = measure.sample(self.ready, request["max_s"], GPU)
        return vars(timing)

    def training(self, request: dict) -> dict:
        key = [request[name] for name in ("implementation", "folder", "fleet")]
        if self.key != key:
            self.key = self.ready = None
            self.ready = training.prepare(request["implementation"], Path(request["folder"]), request["fleet"], GPU)
            for _ in range(3):
                self.ready()
            self.key = key
        finish = getattr(self.ready, "finish", torch.cuda.synchronize if GPU else lambda: None)
        finish()
        time.sleep(max(0.0, request["start"] - time.time()))  # together with the process on the other core
        begin_s, steps = time.perf_counter(), 0
        while time.perf_counter() - begin_s < request["max_s"]:
            for _ in range(4 if steps >= 4 else 1):
                self.ready()
                steps += 1
            if FRAMEWORK == "jax":
                finish()  # or the queue, not the work, would be timed
        finish()
        return {"steps": steps, "seconds": time.perf_counter() - begin_s}


def main() -> None:
    worker = Worker()
    print(json.dumps({"details": DETAILS, "attention": attention.IMPLEMENTATIONS, "training": training.IMPLEMENTATIONS}),
          file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"status": "ok", **getattr(worker, request["op"])(request)}
        except measure.Unsupported as reason:
            answer = {"status": "unsupported", "reason": measure.one_line(reason)}
        except MemoryError as reason:
            answer = {"status": "oom", "reason": measure.one_line(reason)}
        except Exception as reason:  # noqa: BLE001  (whatever a peer does wrong is a row, not the end)
            status = "oom" if "out of memory" in str(reason).lower() else "unsupported"
            answer = {"status": status, "reason": f"{type(reason).__name__}: {measure.one_line(reason)}"}
        print(json.dumps(answer), file=answers, flush=True)


main()
