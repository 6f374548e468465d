"""scripts/soak: its judgement on made-up samples, and a trial of some seconds with the real program."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

import numpy as np
import pytest
from analysis.soak import ROOT, Sample, judge, trend

from sweeps import EABENCH, needs_eabench


def samples(seed: int = 1, leak_kib_an_hour: float = 0, slowdown: float = 0, files: float = 0) -> list[Sample]:
    """An hour at one cell in 0.2 CPU-seconds, on a machine where others take a third of the time now and then."""
    random = np.random.default_rng(seed)
    made, cells, cpu_s = [], 0.0, 0.0
    for i in range(720):
        worked = 5 * (1.0 if random.random() < 0.6 else 0.66)
        cpu_s += worked
        cells += worked * 5 * (1 - slowdown * i / 720) * random.normal(1, 0.05)
        rss = 16000 + leak_kib_an_hour * i / 720 + 200 * (random.random() < 0.3)
        made.append(Sample(5.0 * i, int(cells), cpu_s, int(rss), int(rss) - 4000, 2, 6 + int(files * i / 720), 1, 2.0))
    return made


def verdicts(made: list[Sample]) -> dict[str, str]:
    return {what: verdict for what, _, verdict in judge(made)[0]}


@pytest.mark.parametrize("seed", range(5))
def test_flat_is_flat(seed: int):
    table, flat = judge(samples(seed))
    assert flat, table


def test_what_is_not_flat_is_found():
    leaking = verdicts(samples(leak_kib_an_hour=8000))
    assert leaking["memory (RSS)"] == leaking["of it anonymous"] == "NOT FLAT" and leaking["threads"] == "flat"
    assert verdicts(samples(slowdown=0.3))["cells per CPU-second"] == "NOT FLAT"
    assert verdicts(samples(files=4))["open files"] == "NOT FLAT"
    assert not judge(samples(leak_kib_an_hour=8000))[1]


def test_growth_in_the_first_minute_does_not_count():
    made = samples()
    for sample in made[:10]:
        sample.rss_kib //= 2
    assert verdicts(made)["memory (RSS)"] == "flat"


def test_trend_of_a_line():
    found = trend([0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6], 10)
    assert found.change == pytest.approx(10) and found.low == pytest.approx(10) and found.high == pytest.approx(10)


@needs_eabench
def test_a_short_trial(tmp_path: Path):
    call = [ROOT / "scripts/soak", "--minutes", "0.05", "--every", "0.05", "--out", tmp_path / "out", "--eabench", EABENCH]
    done = subprocess.run(call, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 1), done.stderr  # the time is too short for a verdict that holds
    assert done.stdout == (tmp_path / "out/soak.txt").read_text() and "cells per CPU-second" in done.stdout
    with (tmp_path / "out/samples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 20 and int(rows[-1]["cells"]) > 0 and float(rows[-1]["cpu_s"]) > 0
    manifest = (tmp_path / "out/manifest.ini").read_text()
    assert "[environment]" in manifest and "command = eabench sweep tasks/ladders/soak.ini" in manifest


@pytest.mark.parametrize("options,part", [(["--minutes", "0"], "--minutes is 0"), (["none.ini"], "none.ini: no such file"),
                                          (["--workers", "0"], "1..4096")])
def test_misuse(options: list[str], part: str):
    done = subprocess.run([ROOT / "scripts/soak", *options], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and part in done.stderr
