"""eabench sample: continuations by saved models, and files that are none."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import pytest
from sweeps import EABENCH, needs_eabench, rows, sweep

pytestmark = needs_eabench
LINE = "one two three four five six seven eight nine ten\n"
SPEC = """[task text]
file = {}
unit = {}
[model]
d_model = 32
context = 16
position = rope
[train]
mechanism = ea-scaled
steps = 500
batch = 8
"""


def sample(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([EABENCH, "sample", *map(str, arguments)], check=False, capture_output=True, timeout=60)


@pytest.fixture(scope="module", params=["char", "byte"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "counting.txt").write_text(LINE * 40, encoding="utf-8")
    (folder / "counting.ini").write_text(SPEC.format(folder / "counting.txt", request.param))
    done = sweep(folder / "counting.ini", "--out", folder / "run", "--save-models")
    assert done.returncode == 0, done.stderr
    (row,) = rows(folder / "run" / "accuracy.csv")
    assert float(row["token_accuracy"]) > 0.9
    return next((folder / "run" / "models").iterdir())


def test_a_learned_text_is_written(model: Path):
    """Also past the context, where the window moves on."""
    done = sample(model, "--prompt", "three four five ", "--tokens", 200, "--temperature", 0)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    assert text.endswith("\n") and len(text) == len("three four five ") + 201
    assert text[:-1] in LINE * 10


def test_draws(model: Path):
    first = sample(model, "--tokens", 60, "--temperature", 3, "--seed", 7)
    assert first.stdout == sample(model, "--tokens", 60, "--temperature", 3, "--seed", 7).stdout
    assert first.stdout != sample(model, "--tokens", 60, "--temperature", 3, "--seed", 8).stdout
    assert set(first.stdout.decode()) <= set(LINE)
    assert sample(model, "--tokens", 0, "--prompt", "ten\n").stdout == b"ten\n\n"


def test_a_model_of_another_family(tmp_path: Path):
    """x_t = x_{t-1} + x_{t-2} modulo 5, which the model solves; tokens are numbers."""
    (tmp_path / "sum.ini").write_text("[task recurrence]\nbasis = 5\ndelay = 2\n[model]\ncontext = 12\n")
    assert sweep(tmp_path / "sum.ini", "--out", tmp_path / "run", "--save-models").returncode == 0
    assert rows(tmp_path / "run" / "accuracy.csv")[0]["solved"] == "1"
    path = next((tmp_path / "run" / "models").iterdir())
    done = sample(path, "--prompt", "1 3", "--tokens", 11, "--temperature", 0)
    assert done.stdout.decode() == "1 3 4 2 1 3 4 2 1 3 4 2 1\n"
    for prompt in ("1 5", "-1", "x", "1,2"):
        refused = sample(path, "--prompt", prompt)
        assert refused.returncode == 2 and b"allowed: 0..4, with blanks between" in refused.stderr


@pytest.mark.parametrize("task, train", [
    ("[task recurrence]\nbasis = 8\n", "heldout = hash\n"),
    ("[task recall]\nkeys = 4096\nvalues = 4096\n", ""),  # a vocabulary that no text has
    ("[task text]\nfile = {}\nvalid_percent = 1\n[model]\ncontext = 12000\n", "")])  # nor so long a part
def test_models_that_are_no_models_of_texts(tmp_path: Path, task: str, train: str):
    (tmp_path / "long.txt").write_text("abcdefghij" * 130000)
    (tmp_path / "a.ini").write_text(f"{task.format(tmp_path / 'long.txt')}[train]\n{train}steps = 1\nbatch = 1\n"
                                    "eval_every = 1\neval_tokens = 1\n")
    small = ("--set", "model.d_model=8", "--set", "model.heads=1", "--set", "model.position=none")
    done = sweep(tmp_path / "a.ini", *small, "--out", tmp_path / "run", "--save-models")
    assert done.returncode == 0, done.stderr
    done = sample(next((tmp_path / "run" / "models").iterdir()), "--tokens", 5)
    assert done.returncode == 0, done.stderr


def test_what_is_refused(model: Path, tmp_path: Path):
    raw = model.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    foreign = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    files = {"short": raw[:4], "empty": b"", "cut": raw[:-1], "longer": raw + b"\0", "header": raw[:length],
             "foreign": struct.pack("<Q", len(foreign)) + foreign + bytes(4), "huge": b"\xff" * 16,
             "options": raw.replace(b'"d_model":"32"', b'"d_model":"64"'),
             "heads": raw.replace(b'"heads":"4"', b'"heads":"5"'),
             "word": raw.replace(b'"heads":"4"', b'"heads":"x"'),
             "shape": raw.replace(b'"shape":[32,', b'"shape":[33,'),
             "alphabet": raw.replace(b'"alphabet":"a 20', b'"alphabet":"a  20')[:8 + length] + raw[8 + length:]}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "fifo")
    for path in [*(tmp_path / name for name in files), tmp_path / "fifo", tmp_path / "absent", tmp_path]:
        done = sample(path)
        assert done.returncode == 2, path
        assert done.stderr.count(b"\n") == 1 and not done.stdout, (path, done.stderr)
    for options in (["--prompt", "two é"], ["--tokens", -1], ["--temperature", "nan"], ["--temperature", -1],
                    ["--seed", 1 << 32], [model]):
        done = sample(model, *options)
        assert done.returncode == 2 and done.stderr.count(b"\n") == 1, options
    assert sample().returncode == 2
