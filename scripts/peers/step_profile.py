"""Profiles a peer: repeats its call on one core under Linux's perf and prints where the time goes.

    cd scripts; python3 -m peers.step_profile training TRACE [NAME]            # TRACE: a folder of `eabench trace`
    cd scripts; python3 -m peers.step_profile attention MECHANISM PASS CONTEXT HEAD_DIM [NAME]

NAME is torch-eager by default. (PyTorch's own profiler would slow such short operations down several times.)
"""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

SECONDS = 4.0
GROUPS = {"products of matrices": re.compile("gemm|gebp|gemv|gebb|pack_?[lr]hs|dot_", re.I),
          "the system (page faults)": re.compile(r"^\[k\]"),
          "Python": re.compile("libpython|python3")}


def prepared(words: list[str]) -> Callable[[int], float]:
    """Returns take(calls), which makes the calls and returns their time in s."""
    from . import measure

    name = words[{"training": 2, "attention": 5}[words[0]]:]
    name = name[0] if name else "torch-eager"
    if name.startswith("jax"):
        from . import attention_jax as attention, training_jax as training
    else:
        import torch

        from . import attention_torch as attention, training_torch as training

        torch.set_num_threads(1)
    if words[0] == "attention":
        point = {**dict(zip(("mechanism", "pass"), words[1:3])), "context": int(words[3]), "head_dim": int(words[4]),
                 "dtype": "float32", "batch": 1, "heads": 1, "causal": "on", "position": "none", "implementation": name}
        return attention.prepare(point, "cpu")
    step = training.prepare(name, Path(words[1]), 1, "cpu")

    def steps(calls: int) -> None:
        for _ in range(calls):
            step()
        getattr(step, "finish", lambda: None)()

    return lambda calls: measure.timed(lambda: steps(calls), "cpu")


def main() -> None:
    if len(sys.argv) < 3 or len(sys.argv) < {"training": 3, "attention": 6}.get(sys.argv[1], math.inf):
        sys.exit(__doc__)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", JAX_PLATFORMS="cpu",
                      XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    from . import measure

    try:
        take = prepared(sys.argv[1:])
    except measure.Unsupported as error:
        sys.exit(f"peers.step_profile: {error}")
    take(3)
    if not shutil.which("perf"):
        sys.exit("peers.step_profile: perf is not installed")
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/perf.data"
        perf = subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", "1999", "-p", str(os.getpid()),
                                 "-o", file], stderr=subprocess.DEVNULL)
        time.sleep(0.3)
        taken, end_s = [], time.monotonic() + SECONDS
        while time.monotonic() < end_s:
            taken.append(take(4) / 4)
        perf.send_signal(signal.SIGINT)
        perf.wait()
        report = subprocess.run(["perf", "report", "-i", file, "--sort", "dso,symbol", "--stdio",
                                 "--field-separator", "\t"], capture_output=True, text=True, check=True).stdout
    print(f"{1e6 * sorted(taken)[len(taken) // 2]:.1f} us a call")
    shares, names = Counter(), Counter()
    for line in report.splitlines():
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) < 3 or line.startswith("#"):
            continue
        share, where = float(fields[0].rstrip("%")) / 100, f"{fields[2]} {fields[1]}"
        shares[next((group for group, found in GROUPS.items() if found.search(where)), "other")] += share
        names[re.sub(r".*(\w+_kernel)\(.*", r"\1", fields[2])[:60]] += share
    for group, share in shares.most_common():
        print(f"  {share:6.3f}  {group}")
    print("  largest: " + ", ".join(f"{share:.3f} {name}" for name, share in names.most_common(6)))


if __name__ == "__main__":
    main()
