"""Whole sweeps: tables, options, progress, refusals. test_resume.py has the interrupted ones."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from pathlib import Path

import numpy as np
import pytest
from sweeps import (CELLS, EABENCH, command, needs_eabench, one_line, rows, start, sweep, wait_until, without_times)

pytestmark = needs_eabench


def test_tables_and_summary(undisturbed: Path):
    accuracy, throughput = rows(undisturbed / "accuracy.csv"), rows(undisturbed / "throughput.csv")
    assert len(accuracy) == len(throughput) == CELLS
    assert [row["cell"] for row in accuracy] == [row["cell"] for row in throughput]
    assert {row["status"] for row in accuracy} == {"ok"}
    assert {row["scale"] for row in accuracy} == {"auto"}
    assert {row["dtype"] for row in accuracy} == {"float32"}
    assert [(row["basis"], row["delay"], row["mechanism"], row["seed"]) for row in accuracy[:4]] == [
        ("4", "2", "dpa", "1"), ("4", "2", "dpa", "2"), ("4", "2", "dpa", "3"), ("4", "2", "ea", "1")]
    for row in throughput:
        assert float(row["train_s"]) > 0 and float(row["peak_fraction"]) > 0 and int(row["memory_bytes"]) > 0
    for name in ("accuracy.csv", "throughput.csv", "curves.csv"):
        text = (undisturbed / name).read_text()
        assert not re.search(r"(?i)(^|,)-?(nan|inf)", text)
        assert text.endswith("\n") and "\r" not in text
    assert len(rows(undisturbed / "curves.csv")) == 2 * CELLS
    assert sorted(entry.name for entry in undisturbed.iterdir()) == [
        "accuracy.csv", "curves.csv", "manifest.ini", "throughput.csv"]


def test_a_manifest_is_a_spec(undisturbed: Path, tmp_path: Path):
    text = (undisturbed / "manifest.ini").read_text()
    for key in ("version", "commit", "compiler", "flags", "os", "cpu", "cores", "isa", "backend", "device", "driver",
                "clocks", "libraries", "workers", "fleet", "started", "command", "peak_gflop_per_s"):
        assert re.search(rf"^{key} = ?", text, re.MULTILINE), key
    done = sweep(undisturbed / "manifest.ini", "--out", tmp_path / "run", "--save-curves")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/accuracy.csv").read_bytes() == (undisturbed / "accuracy.csv").read_bytes()


@pytest.mark.parametrize("options", [("--workers", "1"), ("--workers", "2"), ("--workers", "7"), ("--fleet", "3"),
                                     ("--workers", "2", "--fleet", "24")])
def test_same_tables_for_any_workers_and_fleet(spec: Path, tmp_path: Path, undisturbed: Path, options):
    done = sweep(spec, "--out", tmp_path / "run", "--save-curves", *options)
    assert done.returncode == 0, done.stderr
    for name in ("accuracy.csv", "curves.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (undisturbed / name).read_bytes()
    assert [row["cell"] for row in rows(tmp_path / "run/throughput.csv")] == [
        row["cell"] for row in rows(undisturbed / "throughput.csv")]


def test_members_keep_their_bits_in_a_fleet_of_wider_vocabularies(spec: Path, tmp_path: Path):
    """Vocabularies below, at and above a vector of each SIMD level: padding must not change how a row is summed."""
    for fleet in (1, 64):
        done = sweep(spec, "--out", tmp_path / f"fleet-{fleet}", "--fleet", fleet, "--workers", 1, "--set",
                     "task.basis=3, 4, 8, 9, 16, 17, 33", "--set", "task.delay=2", "--set", "train.seed=1:2")
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "fleet-1/accuracy.csv").read_bytes() == (tmp_path / "fleet-64/accuracy.csv").read_bytes()


def test_dry_run_writes_nothing(spec: Path, tmp_path: Path):
    before = sorted(tmp_path.rglob("*"))
    done = sweep(spec, "--dry-run", "--set", "train.seed=1, 2, 2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert re.search(r"^basis=8 delay=3 +2 +2$", done.stdout, re.MULTILINE), done.stdout
    for word in ("cells        16, 8 duplicates left out", "done         0, in runs/tiny", "parameters", "FLOP a token",
                 "memory", "time "):
        assert word in done.stdout, done.stdout


def test_dry_run_counts_finished_cells(undisturbed: Path):
    done = sweep(undisturbed.parent / "tiny.ini", "--out", undisturbed, "--dry-run", "--set", "train.seed=1:4")
    assert done.returncode == 0, done.stderr
    assert "done         24, in" in done.stdout


def test_default_folder_is_named_after_the_spec(spec: Path, tmp_path: Path):
    done = sweep(spec, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/tiny/accuracy.csv").exists()
    assert "report  scripts/report runs/tiny\n" in done.stdout


def test_progress_on_a_pipe_is_plain_lines(spec: Path, tmp_path: Path):
    done = sweep(spec, "--out", tmp_path / "run")
    assert "\033" not in done.stderr and "\r" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == CELLS
    assert lines[-1].startswith("24/24  ")
    assert re.search(r"(dpa|ea)  recurrence basis=\d delay=\d  lr=0.01 seed=\d  accuracy 0\.\d{4}", lines[0])


def on_terminal(arguments: list[str], columns: int, environment: dict[str, str]) -> tuple[int, str]:
    """Runs with stderr on a terminal of this width; returns the exit code and what it wrote there."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=slave,
                               env={**os.environ, "TERM": "xterm", **environment})
    os.close(slave)
    text = b""
    while select.select([master], [], [], 60)[0]:
        try:
            got = os.read(master, 65536)
        except OSError:
            break
        if not got:
            break
        text += got
    os.close(master)
    return process.wait(timeout=60), text.decode()


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_live_line_fits_the_terminal(spec: Path, tmp_path: Path, columns: int):
    code, text = on_terminal(command(spec, "--out", tmp_path / "run", "--set", "train.steps=1500", "--set",
                                     "train.stop_when_solved=off", "--workers", "1"), columns, {})
    assert code == 0
    assert "\r" in text and "\n" not in text and text.endswith("\r\033[K")
    for line in re.sub(r"\033\[[0-9]*[mK]", "", text).split("\r"):
        assert len(line) < columns, line


def test_no_colour_and_dumb_terminals(spec: Path, tmp_path: Path):
    slow = ("--set", "train.steps=1500", "--set", "train.stop_when_solved=off")
    code, text = on_terminal(command(spec, "--out", tmp_path / "a", *slow), 80, {"NO_COLOR": "1"})
    assert code == 0 and "\033[1m" not in text and "\r" in text
    code, text = on_terminal(command(spec, "--out", tmp_path / "b", *slow), 80, {"TERM": "dumb"})
    assert code == 0 and "\033" not in text and "24/24" in text


@pytest.mark.parametrize("environment", [
    {"COLUMNS": "-99999999999999999999"}, {"COLUMNS": "x" * 10000}, {"TZ": ":/etc/passwd"}, {"NO_COLOR": ""},
    {"TERM": ""}, {"LC_ALL": "de_DE.UTF-8"}, {"LC_ALL": "nonsense"}, {"HOME": ""}, {"EAB_ISA": "base"}])
def test_unusual_environment(spec: Path, tmp_path: Path, environment):
    done = sweep(spec, "--out", tmp_path / "run", "--set", "train.seed=1", env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "run/accuracy.csv")) == 8


def test_unknown_simd_level(spec: Path, tmp_path: Path):
    done = sweep(spec, "--out", tmp_path / "run", env={**os.environ, "EAB_ISA": "avx1024"})
    one_line(done, 2, "avx1024")
    assert not (tmp_path / "run").exists()


def test_another_simd_level_is_reported(spec: Path, tmp_path: Path):
    options = ("--out", tmp_path / "run", "--set", "train.seed=1")
    assert sweep(spec, *options, env={**os.environ, "EAB_ISA": "base"}).returncode == 0
    os.truncate(tmp_path / "run/accuracy.csv", (tmp_path / "run/accuracy.csv").stat().st_size - 5)
    done = sweep(spec, *options)
    assert done.returncode == 0, done.stderr
    manifest = (tmp_path / "run/manifest.ini").read_text()
    if "isa = base" not in manifest:
        assert done.stderr.count("isa 'base' (now '") == 1 and "last bits" in done.stderr


BAD = [
    ([], "no spec"),
    (["a.ini", "b.ini"], "second spec"),
    (["tiny.ini", "--worker", "2"], "nearest: --workers"),
    (["tiny.ini", "--workers", "0"], "1..4096"),
    (["tiny.ini", "--workers", "two"], "two"),
    (["tiny.ini", "--workers", "99999999999"], "99999999999"),
    (["tiny.ini", "--workers"], "workers"),
    (["tiny.ini", "--fleet", "0"], "--fleet is 0; 1..65536"),
    (["tiny.ini", "--device", "-1"], "--device is -1"),
    (["tiny.ini", "--time-limit", "0"], "above 0"),
    (["tiny.ini", "--time-limit", "nan"], "above 0"),
    (["tiny.ini", "--time-limit", "inf"], "above 0"),
    (["tiny.ini", "--time-limit", "soon"], "soon"),
    (["tiny.ini", "--time-limit", "5 minutes"], "like 90s"),
    (["tiny.ini", "--time-limit", "1h30"], "1h30m"),
    (["tiny.ini", "--checkpoint-every", "-1"], "0: never"),
    (["tiny.ini", "--checkpoint-every", "nan"], "--checkpoint-every is 'nan'"),
    (["tiny.ini", "--checkpoint-every", "10 m"], "10 m"),
    (["tiny.ini", "--checkpoint-every", "1e9d"], "at most 1e9"),
    (["tiny.ini", "--checkpoint-every", ""], "--checkpoint-every is"),
    (["tiny.ini", "--backend", "cdua"], "nearest: cuda"),
    (["tiny.ini", "--out", ""], "--out is empty"),
    (["tiny.ini", "--out", "tiny.ini"], "not a folder"),
    (["tiny.ini", "--set", "train.stepz=3"], "steps"),
    (["tiny.ini", "--set", "train.lr=\udcff"], "lr"),
    (["tiny.ini", "--backend", "cpu", "--set", "train.precision=float32,bf16"], "precision = bf16"),
    (["tiny.ini", "--backend", "cpu", "--dry-run", "--set", "train.precision=tf32"], "precision = tf32"),
    (["tiny.ini", "--set", "train.precision=bf17"], "float32, tf32, bf16"),
    (["none.ini"], "none.ini"),
]


@pytest.mark.parametrize("arguments,part", BAD, ids=[ascii(" ".join(case[0])) for case in BAD])
def test_bad_input(spec: Path, arguments: list[str], part: str):
    done = subprocess.run([EABENCH, "sweep", *arguments], check=False, capture_output=True, text=True, cwd=spec.parent,
                          timeout=60, errors="replace")
    one_line(done, 2, part)
    assert not (spec.parent / "runs").exists()


def test_precision_is_part_of_a_cell_and_of_its_dtype(spec: Path, tmp_path: Path):
    few = ["--set", "task.basis=4", "--set", "task.delay=2", "--set", "train.mechanism=ea", "--set", "train.seed=1",
           "--set", "train.steps=4", "--set", "train.eval_tokens=20", "--out", tmp_path / "run"]
    done = sweep(spec, "--backend", "reference", "--set", "train.precision=float32,bf16", *few)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "run/accuracy.csv").open() as file:
        rows = {row["precision"]: row for row in csv.DictReader(file)}
    assert rows.keys() == {"float32", "bf16"}
    assert rows["float32"]["dtype"] == "float64" and rows["bf16"]["dtype"] == "bf16"
    assert rows["float32"]["cell"] != rows["bf16"]["cell"]
    assert rows["float32"]["loss_nats"] != rows["bf16"]["loss_nats"]
    with (tmp_path / "run/throughput.csv").open() as file:
        peaks = {row["dtype"]: row["peak_fraction"] for row in csv.DictReader(file)}
    assert peaks["bf16"] == ""
    assert "precision = float32, bf16" in (tmp_path / "run/manifest.ini").read_text()


def test_a_missing_gpu_is_reported(spec: Path, tmp_path: Path):
    done = sweep(spec, "--backend", "cuda", "--device", "999", "--out", tmp_path / "run")
    one_line(done, 3, "cuda")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["/proc/eabench/run", "/dev/null/run"])
def test_folders_that_cannot_be_made(spec: Path, place: str):
    one_line(sweep(spec, "--out", place), 3, place)


def test_saved_models(spec: Path, tmp_path: Path):
    done = sweep(spec, "--out", tmp_path / "run", "--save-models", "--set", "train.seed=1")
    assert done.returncode == 0, done.stderr
    cells = {row["cell"] for row in rows(tmp_path / "run/accuracy.csv")}
    assert {path.name for path in (tmp_path / "run/models").iterdir()} == {f"{cell}.safetensors" for cell in cells}


def tensors_of(path: Path) -> dict[str, np.ndarray]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    dtypes = {"F32": "<f4", "I32": "<i4"}
    return {name: np.frombuffer(data[8 + length:][slice(*tensor["data_offsets"])], dtypes[tensor["dtype"]]).reshape(
        tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"}


def test_geometry(spec: Path, tmp_path: Path):
    """Every cell has its rows once, also after a kill, and attention maps whose rows sum to 1."""
    run, whole = tmp_path / "run", tmp_path / "whole"
    options = ("--save-geometry", "--workers", "1", "--set", "train.seed=1", "--set", "train.steps=2000", "--set",
               "train.eval_every=1000")
    assert sweep(spec, "--out", whole, *options).returncode == 0
    process = start(spec, "--out", run, *options)
    wait_until(lambda: (run / "accuracy.csv").exists() and len(rows(run / "accuracy.csv")) >= 2)
    process.kill()
    process.communicate()
    # As after a crash: rows of a cell that is not in accuracy.csv, and a torn row.
    with (run / "geometry.csv").open("ab") as file:
        missing = next(row["cell"] for row in rows(whole / "accuracy.csv")
                       if row["cell"] not in (run / "accuracy.csv").read_text())
        file.write(f"{missing},0,0,key_norm,,,1\n{missing},0,1,key_".encode())
    done = sweep(spec, "--out", run, *options)
    assert done.returncode == 0, done.stderr
    assert ", geometry.csv" in done.stdout
    for name in ("accuracy.csv", "geometry.csv"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    cells = {row["cell"]: row for row in rows(run / "accuracy.csv")}
    table = rows(run / "geometry.csv")
    assert list(table[0]) == ["cell", "layer", "head", "quantity", "low", "high", "value"]
    assert len(table) == len(cells) * 2 * (2 * 18 + 7)
    sums: dict[tuple[str, ...], float] = {}
    for row in table:
        if row["quantity"] in ("angle_density", "angle_mass"):
            key = (row["cell"], row["head"], row["quantity"])
            sums[key] = sums.get(key, 0) + float(row["value"])
    assert len(sums) == len(cells) * 2 * 2
    assert all(abs(total - 1) < 1e-6 for total in sums.values())
    assert {path.stem for path in (run / "geometry").iterdir()} == set(cells)
    for cell, row in cells.items():
        tensors = tensors_of(run / "geometry" / f"{cell}.safetensors")
        attention, tokens = tensors["attention"], tensors["tokens"]
        assert attention.shape == (2, 1, 2, 12, 12) and tokens.shape == (2, 13)
        assert np.allclose(attention.sum(-1), 1, atol=1e-5)
        assert not np.triu(attention, 1).any()
        basis, delay = int(row["basis"]), int(row["delay"])
        assert ((tokens[:, delay - 1:-1] + tokens[:, :-delay]) % basis == tokens[:, delay:]).all()


def test_lists_for_a_mechanism(spec: Path, tmp_path: Path):
    done = sweep(spec, "--out", tmp_path / "run", "--set", "train.seed=1", "--set", "task.delay=2", "--set",
                 "train.lr[ea]=2e-2,4e-2", "--set", "train.lr[dpa]=1e-2")
    assert done.returncode == 0, done.stderr
    found = {(row["mechanism"], row["lr"]) for row in rows(tmp_path / "run/accuracy.csv")}
    assert found == {("dpa", "0.01"), ("ea", "0.02"), ("ea", "0.04")}
    repeated = sweep(tmp_path / "run/manifest.ini", "--out", tmp_path / "repeated")
    assert repeated.returncode == 0, repeated.stderr
    assert without_times(tmp_path / "repeated/accuracy.csv") == without_times(tmp_path / "run/accuracy.csv")
    one_line(sweep(spec, "--out", tmp_path / "no", "--set", "train.lr[ea-softmax]=1"), 2,
             "[train] lr[ea-softmax]: the sweep's mechanisms are others; nearest: ea; allowed: dpa, ea")
    assert not (tmp_path / "no").exists()


def test_diverged_cells_are_results(spec: Path, tmp_path: Path):
    options = ("--out", tmp_path / "run", "--set", "train.optimizer=sgd", "--set", "train.lr=10", "--set",
               "train.clip=0", "--set", "model.init_scale=100", "--set", "model.qk_init=100", "--set",
               "train.warmup=0", "--set", "model.norm=none", "--set", "train.seed=1")
    done = sweep(spec, *options)
    assert done.returncode == 0, done.stderr
    diverged = [row for row in rows(tmp_path / "run/accuracy.csv") if row["status"] == "diverged"]
    assert diverged, done.stdout
    assert all(row["reason"] and not row["token_accuracy"] and not row["solved"] for row in diverged)
    before = (tmp_path / "run/accuracy.csv").read_bytes()
    assert sweep(spec, *options).returncode == 0
    assert (tmp_path / "run/accuracy.csv").read_bytes() == before


def test_a_thousand_cells_of_one_step(spec: Path, tmp_path: Path):
    began = time.monotonic()
    done = sweep(spec, "--out", tmp_path / "run", "--set", "train.steps=1", "--set", "train.seed=1:125", "--set",
                 "train.eval_tokens=10")
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "run/accuracy.csv")) == 1000
    took_s = time.monotonic() - began
    assert took_s < 10 * float(os.environ.get("EAB_SLOWNESS", "1"))
    assert 100 <= len(done.stderr.splitlines()) <= 100 + took_s / 5  # 100 lines, and one more every 5 s


def test_help(tmp_path: Path):
    done = subprocess.run([EABENCH, "sweep", "--help"], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
    for word in ("--dry-run", "--time-limit", "--checkpoint-every", "alibi_span", "eval_tokens", "basis"):
        assert word in done.stdout
