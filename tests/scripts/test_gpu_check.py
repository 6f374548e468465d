"""scripts/gpu_check.sh without a GPU: its options, and all parts in miniature on the emulator."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from sweeps import EABENCH, ROOT

SCRIPT = ROOT / "scripts" / "gpu_check.sh"


def run(*arguments: str, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(SCRIPT), *arguments], capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, **environment})


def test_help_names_every_part() -> None:
    done = run("--help")
    assert done.returncode == 0
    for part in ("build", "check", "sanitize", "bench", "ladder", "compare", "peers"):
        assert f"\n  {part} " in done.stdout


@pytest.mark.parametrize("arguments", [["--only", "nothing"], ["--only"], ["--binary", "/nowhere"], ["--device", "x"],
                                       ["--unknown"]])
def test_misuse_is_one_line_and_exit_code_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and done.stdout == ""


def test_a_missing_driver_is_reported(tmp_path: Path) -> None:
    for name in ("bash", "dirname", "cat", "tr", "realpath", "mkdir"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    done = run(PATH=str(tmp_path))
    assert done.returncode == 3
    assert "nvidia-smi" in done.stderr


def test_a_build_without_glib_is_one_line(tmp_path: Path) -> None:
    done = run("--emulated", "--only", "build", "--out", str(tmp_path), PKG_CONFIG="false")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1 and "GLib" in done.stderr and "--binary" in done.stderr


def test_parts_need_the_program(tmp_path: Path) -> None:
    fake = tmp_path / "eabench"
    fake.write_text("#!/bin/sh\necho '3 checks, 1 missed'\nexit 1\n")
    fake.chmod(0o755)
    done = run("--emulated", "--binary", str(fake), "--only", "build,check,bench", "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "build     skipped" in done.stdout and "check     FAILED   check: 3 checks, 1 missed" in done.stdout
    assert "bench     skipped" in done.stdout


@pytest.mark.parametrize(("lines", "code", "verdict"), [
    (0, 0, "FAILED"), (0, 124, "FAILED"), (0, 1, "FAILED"), (1, 1, "FAILED"), (2, 124, "partial"), (2, 137, "partial"),
    (1, 0, "passed"),
])
def test_a_bench_without_rows_fails(tmp_path: Path, lines: int, code: int, verdict: str) -> None:
    fake = tmp_path / "eabench"
    fake.write_text(f"""#!/bin/bash
        [[ $2 != --help ]] || exit 0
        while (($#)); do [[ $1 != --out ]] || out=$2; shift; done
        mkdir -p "$out"
        [[ -f $out/kernels.csv ]] || echo 'device,status,reason' >"$out/kernels.csv"
        lines=$(wc -l <"$out/kernels.csv")
        for ((; lines < 1 + {lines}; lines++)); do echo 'cuda,ok,' >>"$out/kernels.csv"; done
        exit {code}""")
    fake.chmod(0o755)
    done = run("--emulated", "--binary", str(fake), "--only", "bench", "--out", str(tmp_path / "out"))
    assert done.returncode == (1 if verdict == "FAILED" else 0)
    summary = (tmp_path / "out" / "summary.txt").read_text()
    assert summary.splitlines()[1].startswith(f"bench     {verdict:<8} {lines} rows")


@pytest.mark.parametrize(("done", "code", "verdict"), [(16, 0, "passed"), (5, 130, "partial"), (0, 130, "FAILED"),
                                                       (5, 3, "FAILED")])
def test_a_ladder_that_takes_too_long_is_partial(tmp_path: Path, done: int, code: int, verdict: str) -> None:
    """And one of an earlier program does not count."""
    fake, ladder = tmp_path / "eabench", tmp_path / "out" / "ladder"
    ladder.mkdir(parents=True)
    (ladder / "accuracy.csv").write_text("of an earlier program\n")
    said = f"eabench sweep: the limit; {done} of 16 cells are done. To resume:"
    fake.write_text(f"#!/bin/sh\n[ -e {ladder}/accuracy.csv ] || echo '{said}'\nexit {code}\n")
    fake.chmod(0o755)
    result = run("--emulated", "--binary", str(fake), "--only", "ladder", "--out", str(tmp_path / "out"))
    assert result.returncode == (verdict == "FAILED")
    assert f"ladder    {verdict:<8} {done} of 16 cells are done" in result.stdout, result.stdout


def test_all_parts_in_miniature(tmp_path: Path) -> None:
    """With the program of the build that has EABENCH; the stage emulated runs this."""
    program = Path(EABENCH).with_name("eabench_ptx")
    if not program.exists():
        pytest.skip(f"{program} is not built")
    done = run("--emulated", "--binary", str(program), "--out", str(tmp_path / "out"), timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    for part in ("check", "sanitize", "bench", "ladder", "compare"):
        assert f"{part:<9} passed" in done.stdout, done.stdout
    for name in ("summary.txt", "machine.ini", "check.txt", "bench/kernels.csv", "ladder/accuracy.csv",
                 "ladder/manifest.ini"):
        assert (tmp_path / "out" / name).exists()
