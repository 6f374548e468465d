"""Wrong code is noticed: the flash kernels' PTX, changed as a wrong wrapper or a missing barrier would change it."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from conftest import BUILD

INTEGER, REAL = r"%r\d+", r"%f\d+"
SWAPPED = r"\1\3, \2\4"
# A pattern, and what takes its place.
MUTATIONS = {
    "mma, a1 and a2 change places": (
        rf"(mma\.sync\S+ \{{[^}}]*\}}, \{{{INTEGER}, )({INTEGER}), ({INTEGER})(, )", SWAPPED),
    "mma, b0 and b1 change places": (
        rf"(mma\.sync\S+ \{{[^}}]*\}}, \{{[^}}]*\}}, \{{)({INTEGER}), ({INTEGER})(\}})", SWAPPED),
    "mma, d1 and d2 change places": (rf"(mma\.sync\S+ \{{{REAL}, )({REAL}), ({REAL})(, {REAL}\}})", SWAPPED),
    "ldmatrix without trans": (r"x4\.trans\.", "x4."),
    "ldmatrix, second and third matrix change places": (
        rf"(ldmatrix\S+ \{{{INTEGER}, )({INTEGER}), ({INTEGER})(, )", SWAPPED),
    "cvt.bf16x2, halves change places": (rf"(cvt\.rn\.bf16x2\.f32 {INTEGER}, )({REAL}), ({REAL})(;)", SWAPPED),
    "cp.async, all 16 bytes always": (rf"(cp\.async\S+ \[{INTEGER}\], \[%rd\d+\], 16), {INTEGER}", r"\1"),
    "wait_group 1 for 0": (r"wait_group 0", "wait_group 1"),
    "no barrier": (r"\bbar\.sync\s+0;", ""),
    "shfl up for butterfly": (r"shfl\.sync\.bfly", "shfl.sync.up"),
    "ex2 for rcp": (r"rcp\.approx", "ex2.approx"),
}
CASES = ["bf16,dpa,1,1,70,40,1,0", "bf16,ea,1,1,70,40,1,0"]
FILES = ("attention_flash_forward_bf16", "attention_flash_backward_bf16")


def test_unchanged(right):
    assert "BAD" not in right("attention_ref", *CASES).stdout


def change(folder: Path, pattern: str, replacement: str, files: tuple[str, ...] = FILES) -> str:
    """Puts the kernels' PTX into the folder, changed; EAB_PTX_DIR, for which it goes before the build's."""
    folder.mkdir()
    changes = 0
    for file in files:
        source = BUILD / "ptx" / f"{file}.compute_90a.ptx"
        text, count = re.subn(pattern, replacement, source.read_text())
        changes += count
        (folder / source.name).write_text(text)
    assert changes > 0, "nothing was changed"
    return f"{folder}:{BUILD / 'ptx'}"


@pytest.mark.parametrize("name", MUTATIONS)
def test_is_caught(emulate, tmp_path, name):
    done = emulate("attention_ref", *CASES, EAB_PTX_DIR=change(tmp_path / "ptx", *MUTATIONS[name]))
    assert "BAD" in done.stdout or done.findings, done.stdout + done.stderr
    assert done.returncode in (1, 2, 99), done.stderr[-2000:]  # not PTX that cannot be read


@pytest.mark.parametrize("stride", ["%nctaid.x", "%nctaid.y"])
@pytest.mark.parametrize(("file", "op"), [("norm", "norm"), ("elementwise", "relu"), ("optimizer", "sgd")])
def test_a_loop_that_ends_after_one_pass_is_caught(emulate, tmp_path, stride, file, op):
    """The loop's stride is the grid's size; a huge stride skips what the grid does not cover."""
    folder = change(tmp_path / "ptx", rf"mov\.u32(\s+{INTEGER}), {stride}", r"mov.u32\1, 16777216", (file,))
    done = emulate("eabench_ptx", "check", "--backend", "cuda", "--op", op, EAB_PTX_DIR=folder, EAB_PTX_GRID="5x2")
    assert "0 missed" not in done.stdout or done.findings
    assert done.returncode in (1, 99), done.stderr


@pytest.mark.parametrize(("pattern", "replacement", "message"), [
    (r"rcp\.approx", "cos.approx", "unknown instruction cos"),
    (r"ex2\.approx\.ftz", "ex2.approx.ftz.wide", "unknown modifier .wide"),
    (r"m16n8k16", "m16n8k8", "a product of an unknown form")])
def test_what_is_unknown_is_refused(emulate, tmp_path, pattern, replacement, message):
    done = emulate("attention_ref", *CASES, EAB_PTX_DIR=change(tmp_path / "ptx", pattern, replacement))
    assert done.returncode == -signal.SIGABRT
    assert re.search(rf"\.ptx:\d+: .*{replacement}.*: {message}", done.stderr, re.S), done.stderr
