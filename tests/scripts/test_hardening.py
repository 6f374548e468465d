"""The hardening of the program, read from its ELF file; skipped for sanitizer and debug builds."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from sweeps import EABENCH

CACHE = Path(EABENCH).resolve().parent / "CMakeCache.txt"


def cache(name: str) -> str:
    found = re.search(rf"^{name}:[A-Z]+=(.*)$", CACHE.read_text(), re.MULTILINE) if CACHE.exists() else None
    return found.group(1) if found else ""


pytestmark = [
    pytest.mark.skipif(not shutil.which("readelf"), reason="readelf is not installed"),
    pytest.mark.skipif(cache("CMAKE_BUILD_TYPE") != "Release" or bool(cache("EAB_SANITIZE"))
                       or cache("EAB_HARDEN") != "ON",
                       reason="not a hardened build"),
]


def readelf(*options: str) -> str:
    return subprocess.run(["readelf", "--wide", *options, EABENCH], check=True, capture_output=True, text=True).stdout


def test_position_independent():
    assert re.search(r"Type: +DYN", readelf("--file-header"))


def test_relocations_are_read_only_and_bound_at_startup():
    assert "GNU_RELRO" in readelf("--program-headers")
    assert re.search(r"BIND_NOW|FLAGS_1.*\bNOW\b", readelf("--dynamic"))


def test_no_segment_is_writable_and_executable():
    segments = re.findall(r"^ +(LOAD|GNU_STACK) .* ([R ][W ][E ]) 0x", readelf("--program-headers"), re.MULTILINE)
    assert any(name == "GNU_STACK" for name, _ in segments)
    assert not [name for name, flags in segments if "W" in flags and "E" in flags]
    assert not [name for name, flags in segments if name == "GNU_STACK" and "E" in flags]


def test_stacks_and_copies_are_checked():
    symbols = readelf("--dyn-syms")
    assert "__stack_chk_fail" in symbols
    assert re.search(r"__\w+_chk@", symbols.replace("__stack_chk_fail", "")), "no checked copy"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="landing pads are an x86-64 feature")
def test_functions_begin_with_a_landing_pad():
    text = subprocess.run(["objdump", "--disassemble=eab_command_sweep", EABENCH], check=False, capture_output=True,
                          text=True)
    assert "endbr64" in text.stdout
