"""A sweep on a text file: its tables, resuming, a file that changes, a saved model's alphabet."""

from __future__ import annotations

import json
import math
import struct
import subprocess
from pathlib import Path

import pytest
from sweeps import EABENCH, needs_eabench, one_line, rows, sweep

pytestmark = needs_eabench
SENTENCE = "The café is open; a cat sleeps.\n"
SPEC = """[task text]
file = {}
unit = char, byte
[model]
d_model = 16
context = 8
position = learned
[train]
mechanism = dpa, ea
steps = 60
batch = 8
eval_every = 30
eval_tokens = 200
"""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text(SENTENCE * 50, encoding="utf-8")
    return path


@pytest.fixture
def book_spec(tmp_path: Path, text: Path) -> Path:
    path = tmp_path / "book.ini"
    path.write_text(SPEC.format(text))
    return path


def test_tables(book_spec: Path, text: Path, tmp_path: Path):
    run = tmp_path / "run"
    done = sweep(book_spec, "--out", run, "--save-models")
    assert done.returncode == 0, done.stderr
    assert "throughput.csv, text.csv" in done.stdout
    scores, texts = rows(run / "accuracy.csv"), rows(run / "text.csv")
    assert [row["cell"] for row in texts] == [row["cell"] for row in scores]
    letters, size = len(SENTENCE) * 50, text.stat().st_size
    for row, score in zip(texts, scores, strict=True):
        count = letters if row["unit"] == "char" else size
        assert (int(row["bytes"]), int(row["characters"]), row["file"]) == (size, letters, str(text))
        parts = [int(row[f"{part}_tokens"]) for part in ("training", "validation", "heldout")]
        assert parts == [count - 2 * (count * 5 // 100), count * 5 // 100, count * 5 // 100]
        assert int(row["vocab"]) == int(score["vocab"]) == len(set(SENTENCE)) + (row["unit"] == "byte")
        assert row["loss_nats"] == score["loss_nats"] and row["token_accuracy"] == score["token_accuracy"]
        assert float(row["bits_per_character"]) == pytest.approx(
            float(row["loss_nats"]) / math.log(2) * count / letters, rel=1e-6)
        assert float(row["bits_per_byte"]) == pytest.approx(
            float(row["loss_nats"]) / math.log(2) * count / size, rel=1e-6)
        assert float(row["chance_accuracy"]) == pytest.approx(6 / (count / 50), rel=1e-6)  # of the blank
        assert (score["rollout_accuracy"], score["seen_share"]) == ("", "0")
        assert 0 < float(score["loss_nats"]) < math.log(int(row["vocab"]))  # better than a uniform guess
    assert not any(column in scores[0] for column in ("unit", "file"))

    model = run / "models" / f"{scores[0]['cell']}.safetensors"
    raw = model.read_bytes()
    header = json.loads(raw[8:8 + struct.unpack("<Q", raw[:8])[0]])
    alphabet = "".join(chr(int(code, 16)) for code in header["__metadata__"]["alphabet"].split())
    assert alphabet == "".join(sorted(set(SENTENCE)))


def test_resume_and_a_changed_file(book_spec: Path, text: Path, tmp_path: Path):
    run = tmp_path / "run"
    half = sweep(book_spec, "--out", run, "--set", "train.mechanism=dpa")
    assert half.returncode == 0, half.stderr
    before = (run / "accuracy.csv").read_bytes()

    whole = tmp_path / "whole"
    assert sweep(book_spec, "--out", whole).returncode == 0
    text.write_text(SENTENCE * 51, encoding="utf-8")
    for spec in (book_spec, run / "manifest.ini"):
        done = sweep(spec, "--out", run)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1 and "changed" in done.stderr and str(text) in done.stderr
        assert (run / "accuracy.csv").read_bytes() == before

    text.write_text(SENTENCE * 50, encoding="utf-8")
    moved = text.rename(tmp_path / "moved.txt")  # the content counts, not the name
    book_spec.write_text(SPEC.format(moved))
    assert sweep(book_spec, "--out", run).returncode == 0
    assert (run / "accuracy.csv").read_bytes() == (whole / "accuracy.csv").read_bytes()
    assert [row["cell"] for row in rows(run / "text.csv")] == [row["cell"] for row in rows(whole / "text.csv")]


def test_shards_merge(book_spec: Path, tmp_path: Path):
    run, whole = tmp_path / "run", tmp_path / "whole"
    assert sweep(book_spec, "--out", whole).returncode == 0
    for part in ("1/2", "2/2"):
        assert sweep(book_spec, "--out", run, "--shard", part).returncode == 0
    done = merge(run)
    assert done.returncode == 0, done.stderr
    for table in ("accuracy.csv", "text.csv"):
        assert (run / table).read_bytes() == (whole / table).read_bytes()


def merge(run: Path) -> subprocess.CompletedProcess:
    return subprocess.run([EABENCH, "merge", run], check=False, capture_output=True, text=True, timeout=60)


def test_status_and_merge_need_no_file(book_spec: Path, text: Path, tmp_path: Path):
    """They read the tables, which may be on another machine than the file."""
    run = tmp_path / "run"
    assert sweep(book_spec, "--out", run, "--shard", "1/2").returncode == 0
    for change in (lambda: text.write_text("another text"), text.unlink):
        change()
        done = subprocess.run([EABENCH, "status", run], check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and "left       2 " in done.stdout, done.stdout + done.stderr
        assert merge(run).returncode == 1  # some cells are missing
        done = subprocess.run([EABENCH, "status", run / "shards/1-of-2"], check=False, capture_output=True, text=True,
                              timeout=60)
        assert done.returncode == 0 and "the counts are of all its parts" in done.stderr, done.stdout + done.stderr
        assert len(rows(run / "accuracy.csv")) == 2
    one_line(sweep(run / "manifest.ini", "--out", tmp_path / "new"), 2, "No such file")


def test_parts_on_machines_with_the_file_at_different_paths(book_spec: Path, text: Path, tmp_path: Path):
    run = tmp_path / "run"
    assert sweep(book_spec, "--out", run, "--shard", "1/2").returncode == 0
    book_spec.write_text(SPEC.format(text.rename(tmp_path / "elsewhere.txt")))
    assert sweep(book_spec, "--out", run, "--shard", "2/2").returncode == 0
    done = merge(run)
    assert done.returncode == 0 and "4 of 4 cells" in done.stdout, done.stderr


def test_a_path_within_another_one(book_spec: Path, text: Path, tmp_path: Path):
    """The digest of the longer path's file is not that of the shorter one."""
    longer = Path(f"{tmp_path}{text}")
    longer.parent.mkdir(parents=True)
    longer.write_text(SENTENCE * 60, encoding="utf-8")
    book_spec.write_text(SPEC.format(f"{longer}, {text}"))
    for _ in range(2):
        done = sweep(book_spec, "--out", tmp_path / "run")
        assert done.returncode == 0, done.stderr


def test_options_without_a_file():
    done = subprocess.run([EABENCH, "tasks", "text"], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "valid_percent" in done.stdout and "--set file=PATH" in done.stdout


def test_workers_and_fleets_do_not_change_a_result(book_spec: Path, tmp_path: Path):
    tables = []
    for options in (("--workers", 1), ("--workers", 2, "--fleet", 4)):
        run = tmp_path / f"run{len(tables)}"
        assert sweep(book_spec, "--out", run, *options).returncode == 0
        tables.append((run / "text.csv").read_bytes())
    assert tables[0] == tables[1]


def test_windows_are_shown(text: Path):
    done = subprocess.run([EABENCH, "tasks", "text", "--set", f"file={text}", "--context", "31", "--show", "20"],
                          check=True, capture_output=True, text=True, timeout=60)
    lines = done.stdout.split("\n\n")[-1].splitlines()
    assert len(lines) == 20
    escapes = {"\\s": " ", "\\n": "\n", "U+00E9": "é"}
    for line in lines:
        tokens = line.replace("[", " ").replace("]", " ").split()
        assert "".join(escapes.get(token, token) for token in tokens) in SENTENCE * 3
