"""Runs the programs of the emulator (docs/emulator.md). EABENCH names eabench in their build's folder."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("EABENCH", ROOT / "build/cuda-sm90a/eabench")).parent


@dataclass
class Done:
    """A process that has ended; each finding is one line."""

    returncode: int
    stdout: str
    stderr: str
    findings: list[str] = field(default_factory=list)

    def kinds(self) -> set[str]:
        return {line.split(":")[0] for line in self.findings}


@pytest.fixture
def emulate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """emulate(program, argument..., VARIABLE=value...) of one of the build's programs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("EAB_CUDA_PRODUCT", "own")

    def run(program: str, *arguments: object, **environment: object) -> Done:
        if not (BUILD / program).exists():
            pytest.skip(f"{BUILD / program} is not built")
        found = tmp_path / "findings"
        found.unlink(missing_ok=True)
        added = {"EAB_PTX_FINDINGS": str(found), **{name: str(value) for name, value in environment.items()}}
        done = subprocess.run([BUILD / program, *map(str, arguments)], check=False, capture_output=True, text=True,
                              env={**os.environ, **added})
        return Done(done.returncode, done.stdout, done.stderr,
                    found.read_text().splitlines() if found.exists() else [])

    return run


@pytest.fixture
def right(emulate: Callable[..., Done]) -> Callable[..., Done]:
    """The same of a run that must succeed, without findings."""

    def run(program: str, *arguments: object, **environment: object) -> Done:
        done = emulate(program, *arguments, **environment)
        assert not done.findings, "\n".join(done.findings)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    return run
