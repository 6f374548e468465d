"""TIMEs on command lines: scripts and eabench read the cases of tests/host/test_duration.c alike."""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
from pathlib import Path

import pytest
from sweeps import EABENCH, ROOT, needs_eabench

from analysis.arguments import ALLOWED, seconds

CASES = (ROOT / "tests/host/test_duration.c").read_text()
TIMES = {text: float(value) for text, value in re.findall(r'\{"(.+?)", ([0-9.e+-]+)\}', CASES)}
OTHERS = [ast.literal_eval(text) for text in re.findall(r'"[^"]*"', CASES.split("texts[] = {")[1].split("};")[0])]


def test_the_cases_are_read():
    assert len(TIMES) == 17 and TIMES["1h30m"] == 5400 and len(OTHERS) == 38 and "1h\n" in OTHERS


@pytest.mark.parametrize("text", TIMES)
def test_times(text: str):
    assert seconds(text) == TIMES[text]


@pytest.mark.parametrize("text", OTHERS)
def test_other_texts(text: str):
    with pytest.raises(argparse.ArgumentTypeError, match="1h30m"):
        seconds(text)


@needs_eabench
@pytest.mark.parametrize(("command", "option"), [
    ("sweep", "--time-limit"), ("sweep", "--checkpoint-every"), ("sweep", "--rank-timeout"),
    ("bench", "--max-seconds")])
def test_options(tmp_path: Path, command: str, option: str):
    def run(text: str) -> subprocess.CompletedProcess:
        words = ["missing.ini"] if command == "sweep" else ["--op", "gemm", "--context", "8"]
        return subprocess.run([EABENCH, command, *words, option, text], cwd=tmp_path, check=False, capture_output=True,
                              text=True, timeout=60)
    refused = run("1h30")
    assert refused.returncode == 2 and f"{option} is '1h30'; " in refused.stderr and ALLOWED in refused.stderr
    accepted = run("1h30m")  # what is wrong is another word
    assert accepted.returncode == 2 and option not in accepted.stderr, accepted.stderr
    help_text = subprocess.run([EABENCH, command, "--help"], check=True, capture_output=True, text=True).stdout
    assert f"{option}=TIME" in help_text and help_text.count(ALLOWED) == 1
