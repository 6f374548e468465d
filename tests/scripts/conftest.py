"""Fixtures: synthetic run folders for the analysis scripts, and a small spec with its tables for the sweep."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(Path(__file__).parent)]

from sweeps import TINY, sweep  # noqa: E402  (beside this file)
from synthetic import write_run  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    # Deprecations fail the tests before a new version of a library breaks the scripts.
    for kind in ("FutureWarning", "DeprecationWarning", "RuntimeWarning"):
        config.addinivalue_line("filterwarnings", f"error::{kind}")
    # For sanitizers: GLib's slices hide memory errors, and a process that ends at once does not join its threads.
    os.environ["G_SLICE"] = "always-malloc"
    os.environ["TSAN_OPTIONS"] = os.environ.get("TSAN_OPTIONS", "") + ":report_thread_leaks=0"


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A spec of 24 cells that train for some milliseconds each."""
    path = tmp_path / "tiny.ini"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of one sweep of that spec; the spec lies beside the folder."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "tiny.ini").write_text(TINY)
    done = sweep(folder / "tiny.ini", "--out", folder / "run", "--workers", "1", "--save-curves")
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    def make(rows: list[dict[str, object]], name: str = "run", **further: object) -> Path:
        return write_run(tmp_path / name, rows, **further)
    return make
