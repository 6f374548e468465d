"""eabench trace: its weights, gradients and batches are consistent and those of a sweep; and its errors."""

from __future__ import annotations

import json
import struct
import subprocess
from array import array
from pathlib import Path

import pytest
from sweeps import EABENCH, needs_eabench

pytestmark = needs_eabench

SPEC = """[task recurrence]
basis = 5
delay = 2
[model]
d_model = 12
heads = 3
context = 9
[train]
steps = 4
batch = 4
warmup = 2
"""


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([EABENCH, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120,
                          check=False)


def load(path: Path) -> tuple[dict[str, list[float]], dict[str, str]]:
    """The tensors of a safetensors file, flat, and its metadata."""
    data = path.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:end])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, tensor in header.items():
        begin, stop = tensor["data_offsets"]
        values = array({"F32": "f", "F64": "d", "I32": "i"}[tensor["dtype"]])
        values.frombytes(data[end + begin:end + stop])
        size = 1
        for extent in tensor["shape"]:
            size *= extent
        assert len(values) == size, name
        tensors[name] = list(values)
    return tensors, metadata


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    (tmp_path / "s.ini").write_text(SPEC)
    return tmp_path


def trace(folder: Path, out: str, *options: str) -> Path:
    done = run("trace", "s.ini", "--out", out, *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / out


def test_the_weights_are_those_of_a_sweep(folder: Path) -> None:
    """After all steps of a cell the weights have the bits of those that a sweep saves."""
    made = trace(folder, "t", "--steps", "4")
    assert len(list(made.iterdir())) == 5 + 4 + 4
    done = run("sweep", "s.ini", "--out", "run", "--backend", "cpu", "--save-models",
               "--set", "train.stop_when_solved=off", cwd=folder)
    assert done.returncode == 0, done.stderr
    (saved,) = (folder / "run" / "models").iterdir()
    assert load(made / "weights-4.safetensors")[0] == load(saved)[0]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_plain_sgd_step(folder: Path, backend: str) -> None:
    made = trace(folder, "t", "--steps", "2", "--backend", backend, "--set", "train.optimizer=sgd", "--set",
                 "train.momentum=0", "--set", "train.weight_decay=0", "--set", "train.clip=0", "--set", "train.lr=0.5")
    unit = 2.0 ** (-52 if backend == "reference" else -23)
    for step in (0, 1):
        before, after = (load(made / f"weights-{step + i}.safetensors")[0] for i in (0, 1))
        gradients = load(made / f"gradients-{step}.safetensors")[0]
        batch, metadata = load(made / f"batch-{step}.safetensors")
        assert batch["lr"] == [0.5 * (step + 1) / 2]
        assert metadata["optimizer"] == "sgd"
        assert 1 < batch["loss_nats"][0] < 3
        assert before.keys() == after.keys() == gradients.keys()
        moved = 0
        for name, values in before.items():
            for value, gradient, result in zip(values, gradients[name], after[name]):
                assert abs(value - batch["lr"][0] * gradient - result) <= unit * (abs(value) + abs(gradient)), name
                moved += value != result
        assert moved > 100


def test_tokens(folder: Path) -> None:
    made = trace(folder, "t", "--steps", "2")
    seen = []
    for step in (0, 1):
        batch = load(made / f"batch-{step}.safetensors")[0]
        for row in range(4):
            inputs, targets = (batch[name][9 * row:9 * row + 9] for name in ("inputs", "targets"))
            assert targets[0] == -1 - inputs[1]  # delay 2: the second token is free
            assert targets[1:-1] == inputs[2:]
            assert all(targets[t] == (inputs[t] + inputs[t - 1]) % 5 for t in range(1, 9))
            seen.append(tuple(inputs[:2]))
    assert len(set(seen)) > 2


@pytest.mark.parametrize(("arguments", "says"), [
    ([], "no spec"),
    (["s.ini"], "no --out"),
    (["s.ini", "s.ini", "--out", "t"], "a second spec"),
    (["s.ini", "--out", "t", "--set", "train.seed=1:3"], "3 cells; one is allowed"),
    (["s.ini", "--out", "t", "--set", "train.sed=1"], "nearest: seed"),
    (["s.ini", "--out", "t", "--steps", "0"], "1..1000 is allowed"),
    (["s.ini", "--out", "t", "--steps", "5"], "the cell has steps = 4"),
    (["s.ini", "--out", "t", "--backend", "gpu"], "nearest: cpu"),
    (["s.ini", "--out", "t", "--stpes", "2"], "nearest: --steps"),
    (["s.ini", "--out", "."], "holds files already"),
])
def test_errors(folder: Path, arguments: list[str], says: str) -> None:
    done = run("trace", *arguments, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("eabench trace: ") and done.stderr.count("\n") == 1
    assert says in done.stderr
    assert [path.name for path in folder.iterdir()] == ["s.ini"]


def test_a_folder_that_cannot_be_made(folder: Path) -> None:
    done = run("trace", "s.ini", "--out", "s.ini/t", cwd=folder)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1 and "cannot make s.ini/t" in done.stderr


def test_help(folder: Path) -> None:
    done = run("trace", "--help", cwd=folder)
    assert done.returncode == 0
    for word in ("--steps", "--set", "gradients-S.safetensors", "before clipping"):
        assert word in done.stdout
