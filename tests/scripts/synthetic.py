"""Makes synthetic run folders in the exact schema of docs/design.md 5."""

from __future__ import annotations

import csv
import hashlib
import math
import random
from collections.abc import Iterable
from pathlib import Path

ACCURACY_HEADER = (
    "cell,status,reason,backend,dtype,task,level,complexity_bits,vocab,parameters,basis,delay,a,b,layers,d_model,heads,"
    "mlp_ratio,context,position,alibi_span,norm,activation,bias,embedding,init_scale,embedding_scale,qk_init,qk_norm,mechanism,"
    "scale,optimizer,lr,beta1,beta2,momentum,weight_decay,clip,steps,batch,warmup,schedule,lr_final,seed,eval_every,"
    "eval_tokens,stop_when_solved,heldout,tokens,steps_done,loss_nats,validation_accuracy,token_accuracy,"
    "sequence_accuracy,rollout_accuracy,chance_accuracy,seen_share,solved,steps_to_solve").split(",")
THROUGHPUT_HEADER = (
    "cell,backend,device,dtype,mechanism,task,level,layers,d_model,heads,context,batch,seed,lr,fleet,workers,train_s,"
    "wall_s,tokens_per_s,fleet_tokens_per_s,flop_per_token,gflop_per_s,peak_gflop_per_s,peak_fraction,"
    "memory_bytes").split(",")
THROUGHPUT_LATER = ("other_cores", "steal_cores", "marks")
DEFAULTS = dict(
    status="ok", reason="", backend="cpu", dtype="float32", task="recurrence", a=1, b=1, layers=1, d_model=32, heads=4,
    mlp_ratio=4, context=24, position="alibi", alibi_span=4, norm="layer", activation="relu", bias="on",
    embedding="learned", init_scale=1, embedding_scale=0.5, qk_init=1, qk_norm="off", mechanism="dpa",
    optimizer="adamw", lr=0.01, beta1=0.9, beta2=0.98, momentum=0.9, weight_decay=0.01, clip=1, steps=3000, batch=32,
    warmup=100, schedule="cosine", lr_final=0.1, seed=1, eval_every=250, eval_tokens=10000, stop_when_solved="on")
ENVIRONMENT = dict(
    version="0.1.0", commit="0123456789abcdef0123456789abcdef01234567", compiler="gcc 12.2.0", flags="-O3",
    os="Linux 6.1", cpu="Synthetic CPU @ 2.0 GHz", cores="2", isa="avx512", backend="cpu",
    device="Synthetic CPU @ 2.0 GHz", driver="", clocks="", libraries="glib 2.74", workers="2", fleet="1",
    started="2026-01-02T03:04:05Z",
    command="eabench sweep tasks/ladders/quick.ini", peak_gflop_per_s="61.5")
QUICK_LEVELS = [(8, 2), (4, 3), (4, 4), (8, 4), (16, 4), (16, 6)]
# Bits of the hardest level that a mechanism learns.
REACH = {"dpa": 10.0, "ea": 15.0, "ea-scaled": 13.0, "ea-softmax": 9.0}


def row(basis: int = 8, delay: int = 2, axes: dict[str, str] | None = None, **changes: object) -> dict[str, object]:
    """One row of accuracy.csv, solved unless `changes` differ; `axes` replaces basis and delay in their columns."""
    cell = {**DEFAULTS, "basis": basis, "delay": delay, "vocab": basis, "parameters": 13000 + 64 * basis,
            "level": f"basis={basis} delay={delay}", "complexity_bits": round(delay * math.log2(basis), 6),
            "chance_accuracy": 1 / basis, "tokens": 768 * 3000, "steps_done": 3000, "loss_nats": 0.01,
            "validation_accuracy": 1.0, "token_accuracy": 1.0, "sequence_accuracy": 1.0, "rollout_accuracy": 1.0,
            "seen_share": 0 if basis ** delay >= 4096 else 1, "solved": 1, "steps_to_solve": 1000}
    cell["heldout"] = "hash" if basis ** delay >= 4096 else "none"
    cell.update(changes, **(axes or {}))
    cell.setdefault("scale", "auto")
    if cell["status"] != "ok":
        cell.update({name: "" for name in ("loss_nats", "validation_accuracy", "token_accuracy", "sequence_accuracy",
                                           "rollout_accuracy", "seen_share", "solved", "steps_to_solve")})
    elif not float(str(cell["solved"]) or 0):
        cell["steps_to_solve"] = ""
    identity = [str(cell[name]) for name in ("task", "level", "d_model", "context", "mechanism", "lr", "seed")]
    cell.setdefault("cell", hashlib.sha256("|".join(identity).encode()).hexdigest()[:16])
    return cell


def speed(cell: dict[str, object], tokens_per_s: float = 700e3, **changes: object) -> dict[str, object]:
    """The row of throughput.csv that belongs to a row of accuracy.csv."""
    gflop = tokens_per_s * 80e3 / 1e9
    return {**{name: cell[name] for name in THROUGHPUT_HEADER if name in cell}, "device": ENVIRONMENT["device"],
            "fleet": 1, "workers": 2, "train_s": round(2304000 / tokens_per_s, 3), "wall_s": 3.6,
            "tokens_per_s": round(tokens_per_s), "fleet_tokens_per_s": round(tokens_per_s), "flop_per_token": 80000,
            "gflop_per_s": round(gflop, 3), "peak_gflop_per_s": 61.5, "peak_fraction": round(gflop / 61.5, 4),
            "memory_bytes": 3 << 20, **changes}


def sweep(levels: Iterable[tuple[int, int]] = QUICK_LEVELS, mechanisms: Iterable[str] = ("dpa", "ea", "ea-scaled"),
          rates: Iterable[float] = (0.01, 0.02), seeds: Iterable[int] = (1, 2), noise: int = 0, **changes: object
          ) -> list[dict[str, object]]:
    """A plausible sweep: a mechanism learns levels up to its REACH; beyond, its accuracy falls to chance."""
    rows = []
    for basis, delay in levels:
        for mechanism in mechanisms:
            for rate in rates:
                for seed in seeds:
                    dice = random.Random(f"{basis} {delay} {mechanism} {rate} {seed} {noise}")
                    bits = delay * math.log2(basis)
                    excess = bits - REACH.get(mechanism, 11.0) - (rate - 0.01) * 30 + dice.gauss(0, 0.8)
                    right = 1 / (1 + math.exp(1.3 * excess))
                    accuracy = 1.0 if right > 0.93 else round(1 / basis + (1 - 1 / basis) * right, 6)
                    rows.append(row(
                        basis, delay, mechanism=mechanism, lr=rate, seed=seed, token_accuracy=accuracy,
                        validation_accuracy=min(1.0, max(0.0, round(accuracy + dice.gauss(0, 0.003), 6)))
                        if accuracy < 1 else 1.0, sequence_accuracy=round(accuracy ** 8, 6),
                        rollout_accuracy=round(accuracy ** 10, 6), solved=int(accuracy == 1.0),
                        loss_nats=round((1 - accuracy) * 2 + 0.001, 6),
                        steps_to_solve=250 * max(1, min(12, round(12 + excess + dice.gauss(0, 1)))), **changes))
    return rows


def write_csv(path: Path, header: list[str], rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def write_run(folder: Path, rows: list[dict[str, object]], speeds: list[dict[str, object]] | None = None,
              **environment: str) -> Path:
    """A run folder; `speeds` is made from the rows unless given."""
    folder.mkdir(parents=True, exist_ok=True)
    if speeds is None:
        speeds = [speed(cell, 700e3 + 1e4 * (index % 7) + {"ea": 2e4}.get(str(cell["mechanism"]), 0))
                  for index, cell in enumerate(rows) if cell["status"] == "ok"]
    write_csv(folder / "accuracy.csv", ACCURACY_HEADER, rows)
    later = [name for name in THROUGHPUT_LATER if any(name in cell for cell in speeds)]  # else: an older table
    write_csv(folder / "throughput.csv", [*THROUGHPUT_HEADER, *later], speeds)
    known = {**ENVIRONMENT, **environment}
    (folder / "manifest.ini").write_text(
        "[task recurrence low]\nbasis = 4, 8\ndelay = 3, 4\n[model]\nheads = 4\n[train]\nmechanism = dpa, ea\n"
        "[environment]\n" + "".join(f"{key} = {value}\n" for key, value in known.items()), encoding="utf-8")
    return folder


KERNEL_HEADER = (
    "backend,device,op,implementation,mechanism,dtype,pass,batch,heads,context,head_dim,causal,position,status,reason,samples,"
    "time_median_us,time_p05_us,time_p95_us,gflop,gbyte,tflop_per_s,gbyte_per_s,roof_fraction,memory_bytes,error_ratio,"
    "throttled,m,n,k,transpose,label,cache,median_error,tokens_per_s").split(",")
PEAK_TFLOP_PER_S, BAND_TB_PER_S = 0.25, 0.02
SPEEDS = {"fused": 0.6, "unfused": 0.3, "torch-sdpa": 0.4, "torch-eager": 0.1}  # shares of the roof


def kernel(implementation: str = "fused", mechanism: str = "dpa", context: int = 64, head_dim: int = 32,
           direction: str = "forward", **changes: object) -> dict[str, object]:
    """One row of kernels.csv whose speed is a fixed share of the roof."""
    batch = max(1, 4096 // context)
    gflop = (4 if direction == "forward" else 10) * head_dim * batch * 4 * context * (context + 1) / 2 / 1e9
    gbyte = 4 * 4 * batch * 4 * context * head_dim / 1e9
    roof = min(PEAK_TFLOP_PER_S, BAND_TB_PER_S * gflop / gbyte)
    speed_now = SPEEDS.get(implementation, 0.5) * roof * {"dpa": 1.0}.get(mechanism, 1.1)
    time_us = gflop / speed_now * 1e3
    return {"backend": "cpu", "device": "Synthetic CPU", "op": "attention", "implementation": implementation,
            "mechanism": mechanism, "dtype": "float32", "pass": direction, "batch": batch, "heads": 4,
            "context": context, "head_dim": head_dim, "causal": "on", "position": "none", "status": "ok",
            "reason": "", "samples": 30, "time_median_us": f"{time_us:.6g}", "time_p05_us": f"{0.97 * time_us:.6g}",
            "time_p95_us": f"{1.05 * time_us:.6g}", "gflop": f"{gflop:.6g}", "gbyte": f"{gbyte:.6g}",
            "tflop_per_s": f"{speed_now:.6g}", "gbyte_per_s": f"{gbyte / time_us * 1e6:.6g}",
            "roof_fraction": f"{speed_now / roof:.6g}",
            "memory_bytes": 1 << 20, "error_ratio": 1.01, "throttled": 0, "cache": "cold", **changes}


def kernels() -> list[dict[str, object]]:
    return [kernel(implementation, mechanism, context, head_dim, direction) for implementation in SPEEDS
            for mechanism in ("dpa", "ea") for context in (64, 256, 1024, 4096) for head_dim in (32, 64)
            for direction in ("forward", "backward") if not (implementation == "torch-sdpa" and mechanism == "ea")]


def curves(rows: Iterable[dict[str, object]], every: int = 250) -> list[dict[str, object]]:
    """Learning curves of the cells: a rise to the cell's accuracy; solved cells stop at their step."""
    points = []
    for cell in rows:
        if cell["status"] != "ok":
            continue
        end = int(float(str(cell["steps_to_solve"] or 3000)))
        for step in range(every, end + 1, every):
            right = float(str(cell["validation_accuracy"])) * (1 - math.exp(-4 * step / end)) / (1 - math.exp(-4))
            points.append({"cell": cell["cell"], "step": step, "loss_nats": round(2 * (1 - right), 6),
                           "validation_accuracy": round(right, 6)})
    return points


def geometry(rows: Iterable[dict[str, object]], layers: int = 2, heads: int = 4,
             bins: int = 18) -> list[dict[str, object]]:
    """Angles, entropy and norms: ea has its attention mass at both ends, dpa at small angles."""
    points = []
    for cell in rows:
        if cell["status"] != "ok":
            continue
        both = cell["mechanism"] != "dpa"
        for layer in range(layers):
            for head in range(heads):
                middles = [180 * (index + 0.5) / bins for index in range(bins)]
                density = [math.sin(math.radians(angle)) ** 6 for angle in middles]
                weight = [math.cos(math.radians(angle)) ** 2 + 0.01 if both
                          else math.exp(3 * math.cos(math.radians(angle))) for angle in middles]
                for quantity, values in (("angle_density", density),
                                         ("angle_mass", [a * b for a, b in zip(density, weight)])):
                    points += [{"cell": cell["cell"], "layer": layer, "head": head, "quantity": quantity,
                                "low": 180 * index / bins, "high": 180 * (index + 1) / bins,
                                "value": round(value / sum(values), 6)} for index, value in enumerate(values)]
                bits = float(str(cell["complexity_bits"]))
                for quantity, value in (("row_entropy_nats", 1.5),
                                        ("row_entropy_share", min(0.99, 0.2 + bits / 40 + 0.1 * both)),
                                        ("determining_mass", max(0.05, 0.9 - bits / 40)), ("query_norm", 3 + head),
                                        ("query_norm_sd", 0.4), ("key_norm", 2 + layer), ("key_norm_sd", 0.3)):
                    points.append({"cell": cell["cell"], "layer": layer, "head": head, "quantity": quantity, "low": "",
                                   "high": "", "value": value})
    return points
