"""Machine code of CUDA objects, as cuobjdump prints it: instructions, loops, the best path through a loop."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Callable, NamedTuple

# `@!P0 BRA P1, 0x6880`: address, predicate, opcode, operands
LINE = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(@!?U?P\w+\s+)?([A-Z][\w.]*)\s*([^;]*);")


class Instruction(NamedTuple):
    address: int
    conditional: bool  # of branches
    opcode: str
    operands: str

    @property
    def word(self) -> str:
        return self.opcode.partition(".")[0]


class Loop(NamedTuple):  # indices
    first: int
    last: int  # its last branch back


def tool(name: str) -> str | None:
    """The program named by $NAME, on the PATH, or in the Python package of NVIDIA that holds it."""
    packages = (Path(folder) / "nvidia" for folder in sys.path if folder)
    found = [str(path) for package in packages for path in sorted(package.glob(f"*/bin/{name}"))]
    return os.environ.get(name.upper()) or shutil.which(name) or (found[0] if found else None)


def disassemble(path: str | Path, architecture: str = "sm_90a") -> dict[str, list[Instruction]]:
    """The functions of an object or cubin, by their mangled names. SystemExit without cuobjdump and nvdisasm."""
    cuobjdump, nvdisasm = tool("cuobjdump"), tool("nvdisasm")
    if not cuobjdump or not nvdisasm:
        sys.exit("no cuobjdump and nvdisasm: put them on the PATH, or name them by CUOBJDUMP and NVDISASM")
    environment = {**os.environ, "PATH": os.pathsep.join([os.path.dirname(nvdisasm), os.environ.get("PATH", "")])}
    text = subprocess.run([cuobjdump, "-sass", "-arch", architecture, str(path)], check=True, text=True,
                          capture_output=True, env=environment).stdout
    functions = {}
    for section in re.split(r"\n\s*Function : ", text)[1:]:
        name, _, body = section.partition("\n")
        functions[name.strip()] = [
            Instruction(int(address, 16), bool(predicate) or bool(re.match(r"!?U?P", operands)), opcode, operands)
            for address, predicate, opcode, operands in LINE.findall(body)]
    return functions


def target(code: list[Instruction], at: int) -> int | None:
    """The index that the branch `at` goes to. Never taken: BRA.DIV, which serves warps that have diverged."""
    if code[at].word != "BRA" or code[at].opcode == "BRA.DIV":
        return None
    match = re.search(r"0x([0-9a-f]+)\s*$", code[at].operands)
    return next((i for i, other in enumerate(code) if match and other.address == int(match[1], 16)), None)


def following(code: list[Instruction], at: int) -> list[int]:
    """The indices that may run after it."""
    to = target(code, at)
    ends = code[at].word in ("EXIT", "RET") or to is not None
    return [*([] if to is None else [to]), *([] if ends and not code[at].conditional else [at + 1])]


def loops(code: list[Instruction]) -> list[Loop]:
    """The loops that it can reach, outer ones first."""
    last: dict[int, int] = {}
    reached, ahead = set(), [0]
    while ahead:
        at = ahead.pop()
        if at in reached or at >= len(code):
            continue
        reached.add(at)
        ahead += following(code, at)
        for to in following(code, at):
            if to < at:
                last[to] = max(at, last.get(to, 0))
    return sorted((Loop(first, end) for first, end in last.items()), key=lambda loop: (loop.first, -loop.last))


def path(code: list[Instruction], loop: Loop, value: Callable[[int], tuple[int, ...]]) -> list[int]:
    """The path through one iteration with the largest sum of values; loops inside it run once."""
    best: dict[int, tuple[tuple[int, ...], int | None]] = {loop.first: (value(loop.first), None)}
    ends = []
    for i in range(loop.first, loop.last + 1):
        if i not in best:
            continue
        for after in following(code, i):
            if after == loop.first:
                ends.append(i)
            if not i < after <= loop.last:
                continue
            total = tuple(a + b for a, b in zip(best[i][0], value(after)))
            if after not in best or total > best[after][0]:
                best[after] = (total, i)
    at: int | None = max(ends, key=lambda i: best[i][0])
    found = []
    while at is not None:
        found.append(at)
        at = best[at][1]
    return found[::-1]
