"""Fixtures for the tests of scripts/report and scripts/compare; synthetic.py makes the run folders."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(Path(__file__).parent)]

from synthetic import write_run  # noqa: E402  (it lies beside this file)


def pytest_configure(config: pytest.Config) -> None:
    # What a library is about to change or to drop would break the scripts silently later.
    for kind in ("FutureWarning", "DeprecationWarning", "RuntimeWarning"):
        config.addinivalue_line("filterwarnings", f"error::{kind}")


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    def make(rows: list[dict[str, object]], name: str = "run", **further: object) -> Path:
        return write_run(tmp_path / name, rows, **further)
    return make
