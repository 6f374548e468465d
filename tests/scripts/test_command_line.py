"""The command line: bad input gives one line and its exit code and writes nothing; help, listings and examples."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from sweeps import EABENCH, ROOT

TASK = "[task recurrence]\n"


@pytest.fixture(scope="session", autouse=True)
def binary() -> None:
    if not os.access(EABENCH, os.X_OK):
        pytest.fail(f"{EABENCH} does not exist; build it, or set EABENCH to the program to test", pytrace=False)


def eabench(*arguments: object, cwd: Path, stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
    command = [str(EABENCH), *(os.fspath(a) if isinstance(a, Path) else a for a in arguments)]
    return subprocess.run(command, cwd=cwd, stdin=stdin, capture_output=True, text=True, errors="replace", timeout=120)


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refused(cwd: Path, *arguments: object, says: tuple[str, ...], code: int = 2) -> None:
    """Runs eabench; expects the exit code, one line on stderr with all of `says`, no output and no new files."""
    before = listing(cwd)
    done = eabench(*arguments, cwd=cwd)
    assert done.returncode == code, done.stderr
    assert done.stderr.endswith("\n") and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.isprintable() or done.stderr[:-1].isprintable(), done.stderr
    for part in says:
        assert part in done.stderr, f"{part!r} is not in {done.stderr!r}"
    assert done.stdout == ""
    assert listing(cwd) == before


# ---- spec files ------------------------------------------------------------------------------------------------------

BAD_SPECS = {
    "empty file": ("", "empty file"),
    "only comments": ("# nothing\n", "no task section"),
    "no task": ("[train]\nlr = 1e-2\n", "no task section", "[task recurrence]"),
    "only an environment": ("[environment]\ncpu = x\n", "no task section"),
    "key outside": ("lr = 1\n" + TASK, "s.ini:1:", "before the first section"),
    "no equals sign": (TASK + "basis\n", "s.ini:2:", "key = value"),
    "open bracket": (TASK + "[train\n", "s.ini:2:", "[section]"),
    "junk behind a section": (TASK + "[train] x\n", "s.ini:2:", "alone on its line"),
    "unknown section": (TASK + "[trian]\n", "s.ini:2:", "unknown section", "nearest: train"),
    "section in capitals": (TASK + "[MODEL]\n", "nearest: model"),
    "unknown family": ("[task recurrent]\n", "s.ini:1:", "unknown task family", "nearest: recurrence"),
    "no family": ("[task]\n", "unknown task family ''", "recurrence"),
    "bad label": ("[task recurrence a*b]\n", "label", "letters, digits"),
    "duplicate section": (TASK + TASK, "s.ini:2:", "on line 1 already"),
    "duplicate key": (TASK + "basis = 4\nbasis = 8\n", "s.ini:3:", "on line 2 already"),
    "unknown key": (TASK + "[train]\nleraning_rate = 1\n", "s.ini:3:", "unknown key", "allowed: mechanism, scale"),
    "misspelt key": (TASK + "[model]\nhaeds = 4\n", "unknown key", "nearest: heads"),
    "key of another section": (TASK + "[model]\nlr = 4\n", "it belongs into [train]"),
    "key of a task": (TASK + "[model]\nbasis = 4\n", "it belongs into [task"),
    "locale key": (TASK + "[train]\nlr[de] = 4\n", "unknown mechanism 'de'"),
    "no value": (TASK + "[train]\nlr =\n", "s.ini:3: [train] lr = ", "no value", "a real above 0, at most 10"),
    "empty item": (TASK + "[train]\nlr = 1e-2,,2e-2\n", "empty item"),
    "trailing comma": (TASK + "[train]\nlr = 1e-2,\n", "empty item"),
    "not a number": (TASK + "[train]\nlr = 1e-x\n", "s.ini:3: [train] lr = 1e-x: not a number",
                     "a real above 0, at most 10"),
    "nan": (TASK + "[train]\nlr = nan\n", "not a number"),
    "infinity": (TASK + "[train]\nclip = inf\n", "not a number"),
    "hexadecimal": (TASK + "basis = 0x10\n", "not a number"),
    "decimal comma": (TASK + "[model]\nalibi_span = 2,x\n", "not a number"),
    "real for an integer": (TASK + "basis = 4.5\n", "not written as an integer", "2..1024"),
    "integer overflow": (TASK + "[train]\nseed = 18446744073709551617\n", "too large", "0..4294967295"),
    "real overflow": (TASK + "[train]\nlr = 1e400\n", "too large"),
    "below its bound": (TASK + "basis = 1\n", "out of bounds", "2..1024"),
    "above its bound": (TASK + "[model]\nlayers = 65\n", "out of bounds", "1..64"),
    "negative": (TASK + "[train]\nwarmup = -1\n", "out of bounds", "at least 0"),
    "open bound": (TASK + "[train]\nbeta1 = 1\n", "out of bounds", "below 1"),
    "range out of bounds": (TASK + "[model]\nlayers = 60:70\n", "65 is out of bounds"),
    "backward range": (TASK + "basis = 8:4\n", "wrong way"),
    "step of zero": (TASK + "basis = 4:8:+0\n", "step", "not above 0"),
    "negative step": (TASK + "basis = 4:8:+-2\n", "not above 0"),
    "factor of one": (TASK + "basis = 4:8:*1\n", "factor", "not above 1"),
    "factor from zero": (TASK + "[model]\nmlp_ratio = 0:4:*2\n", "start above 0"),
    "bare third part": (TASK + "basis = 4:8:2\n", "a:b:+step"),
    "open range": (TASK + "basis = 4:\n", "a number is missing"),
    "too many values": (TASK + "[train]\nseed = 0:4294967295\n", "4294967296 values"),
    "unknown choice": (TASK + "[train]\nmechanism = dpa, ea-scale\n", "nearest: ea-scaled"),
    "range of choices": (TASK + "[train]\nmechanism = dpa:ea\n", "list, no range"),
    "too many cells": (TASK + "[train]\nseed = 1:1001\nwarmup = 1:1000\n", "1001 seed * 1000 warmup", "= 1001000",
                       "1000000"),
    "d_model and heads": (TASK + "[model]\nd_model = 30\n", "d_model = 30, heads = 4", "28 or 32"),
    "wide heads": (TASK + "[model]\nd_model = 1024\nheads = 2\n", "head_dim", "at most 256"),
    "odd heads with rope": (TASK + "[model]\nd_model = 20\nposition = rope\n", "even head_dim"),
    "one-hot too narrow": (TASK + "basis = 64\n[model]\nembedding = onehot\n", "onehot", "d_model 64..1024"),
    "delay beyond context": (TASK + "delay = 24\n", "delay = 24", "1..23"),
    "factor beyond basis": (TASK + "basis = 4\na = 5\n", "a = 5", "0..3"),
    "one of many cells": (TASK + "delay = 1:30\n", "delay = 24", "context = 24"),
    "fewer sequences than parts": (
        "[task mixture]\nparts = recurrence + parity + recurrence(delay=2)\n[train]\nsequences = 2\n",
        "[train] sequences = 2", "3 parts", "at least 3, or 0"),
    "too many tokens": (TASK + "[train]\nbatch = 65536\n[model]\ncontext = 65536\n", "65536", "4295032832",
                        "2147483647"),
    "too much memory": (
        TASK + "[train]\nbatch = 32767\n[model]\ncontext = 65536\nd_model = 1024\nlayers = 64\n"
        "mlp_ratio = 16\nactivation = gelu\nqk_norm = on\n",
        "does not fit in memory", " parameters, 32767 sequences of tokens", "GB",
    ),
    "control character": (TASK + "basis\x07 = 4\n", "s.ini:2:", "\\x07", "control character"),
    "escape sequence": (TASK + "basis = \x1b[31m4\n", "\\x1B[31m"),
}

BAD_BYTES = {
    "NUL byte": (b"[task recurrence]\nbasis\0 = 4\n", "a NUL byte on line 2"),
    "latin-1": (b"[task recurrence]\n# gr\xf6\xdfer\n", "not UTF-8 on line 2"),
    "UTF-16": ("[task recurrence]\n".encode("utf-16"), "NUL byte"),
    "binary": (b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 8, "NUL byte"),
    "gzip": (b"\x1f\x8b\x08\x08\x5f\xc9\x0f\x66", "not UTF-8"),
    "more than a mebibyte": (TASK.encode() + b"#" * (1 << 20), "larger than 1 MiB"),
}

BAD_SETS = {
    "no equals sign": ("train.lr", "no =", "section.key=value"),
    "no section": ("lr=1", "no section"),
    "empty": ("", "no ="),
    "unknown section": ("trian.lr=1", "nearest: train"),
    "unknown task section": ("task recurrence low.basis=4", "no such section", "task recurrence"),
    "unknown key": ("train.learning=1", "unknown key", "allowed: mechanism"),
    "bad number": ("train.lr=1e-x", "--set train.lr=1e-x: not a number; allowed: a real above 0, at most 10"),
    "no value": ("task.basis=", "no value", "2..1024"),
    "environment": ("environment.cpu=fast", "no such section"),
    "two lines": ("train.lr=1\n[model]", "\\x0A"),
}


def sweep_refused(folder: Path, *arguments: object, says: tuple[str, ...]) -> None:
    refused(folder, "sweep", *arguments, "--dry-run", says=("eabench sweep: ", *says))


@pytest.mark.parametrize("name", BAD_SPECS)
def test_bad_spec(name: str, tmp_path: Path) -> None:
    text, *says = BAD_SPECS[name]
    (tmp_path / "s.ini").write_text(text, encoding="utf-8", newline="")
    sweep_refused(tmp_path, "s.ini", says=("s.ini", "allowed: ", *says))


@pytest.mark.parametrize("name", BAD_BYTES)
def test_bad_bytes(name: str, tmp_path: Path) -> None:
    data, *says = BAD_BYTES[name]
    (tmp_path / "s.ini").write_bytes(data)
    sweep_refused(tmp_path, "s.ini", says=("s.ini: ", "allowed: a readable file", *says))


@pytest.mark.parametrize("name", BAD_SETS)
def test_bad_set(name: str, tmp_path: Path) -> None:
    text, *says = BAD_SETS[name]
    (tmp_path / "s.ini").write_text(TASK)
    sweep_refused(tmp_path, "s.ini", "--set", text, says=("--set ", "allowed: ", *says))


def test_bad_paths(tmp_path: Path) -> None:
    (tmp_path / "folder.ini").mkdir()
    (tmp_path / "loop.ini").symlink_to("loop.ini")
    sweep_refused(tmp_path, "missing.ini", says=("missing.ini: No such file",))
    sweep_refused(tmp_path, "folder.ini", says=("folder.ini: a directory",))
    sweep_refused(tmp_path, "loop.ini", says=("loop.ini: Too many levels",))
    sweep_refused(tmp_path, "/dev/zero", says=("/dev/zero: larger than 1 MiB",))
    sweep_refused(tmp_path, "a\nb.ini", says=("a\\x0Ab.ini: No such file",))
    if os.geteuid() != 0:  # root may read everything
        (tmp_path / "secret.ini").write_text(TASK)
        (tmp_path / "secret.ini").chmod(0)
        sweep_refused(tmp_path, "secret.ini", says=("secret.ini: Permission denied",))


def test_nothing_is_written_without_dry_run_either(tmp_path: Path) -> None:
    (tmp_path / "s.ini").write_text(TASK + "delay = 1:30\n")
    refused(tmp_path, "sweep", "s.ini", "--out", "here", says=("eabench sweep: s.ini: [task recurrence]",))
    refused(tmp_path, "sweep", "s.ini", "--set", "task.delay=x", says=("--set task.delay=x: not a number",))


def test_good_specs_are_planned(tmp_path: Path) -> None:
    spec = tmp_path / "s.ini"
    spec.write_bytes(b"\xef\xbb\xbf[task recurrence]\r\nbasis = 4, 8 # two\r\n; and\r\n"
                     b"[train]\r\nsteps = 10\r\nseed = 1:3\r\n")
    done = eabench("sweep", spec, "--dry-run", "--set", "train.lr=1e-2:4e-2:*2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"cells +18\b", done.stdout), done.stdout
    assert listing(tmp_path) == ["s.ini"]


LADDERS = {"quick": 72, "ci": 12, "paper": 26880, "speed": 20}
LADDERS |= {"recurrence": 1320, "rules": 450, "long": 210, "multitask": 300, "switch": 405, "recall": 225,
            "recall-gaps": 225, "further": 495, "flip_flop": 225, "counting": 180, "group": 360, "congruential": 270,
            "noisy_recall": 225, "compression": 225, "distance": 240, "distance-paper": 45, "mechanisms": 720,
            "recall-slope": 72, "sizes": 480, "sizes-fresh": 240, "predict": 288, "recall-recipe": 96,
            "noisy_recall-long": 24, "walk-learned": 180, "walk-alibi": 180, "explore-recurrence": 77760,
            "explore-switch": 46656}


@pytest.mark.parametrize(("ladder", "cells"), LADDERS.items())
def test_ladders(ladder: str, cells: int, tmp_path: Path) -> None:
    done = eabench("sweep", ROOT / "tasks" / "ladders" / f"{ladder}.ini", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"cells +{cells}\b", done.stdout), done.stdout
    assert listing(tmp_path) == []


@pytest.mark.parametrize(("ladder", "cells"), {"text": 6, "text-gpu": 4, "explore-text": 6912}.items())
def test_ladders_of_text(ladder: str, cells: int, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("To be, or not to be: " * 500, encoding="ascii")
    done = eabench("sweep", ROOT / "tasks" / "ladders" / f"{ladder}.ini", "--set", "task.file=file.txt", "--dry-run",
                   cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"cells +{cells}\b", done.stdout), done.stdout


# ---- commands --------------------------------------------------------------------------------------------------------


def test_commands(tmp_path: Path) -> None:
    refused(tmp_path, "swep", says=("eabench: swep: unknown command; nearest: sweep; allowed: sweep",))
    refused(tmp_path, "--hepl", says=("unknown command",))
    refused(tmp_path, "", says=("unknown command",))
    refused(tmp_path, "\x1b[2J", says=("\\x1B[2J",))


def test_without_arguments_it_prints_the_usage(tmp_path: Path) -> None:
    done = eabench(cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("usage: eabench COMMAND")


def test_help_and_version(tmp_path: Path) -> None:
    done = eabench("--help", cwd=tmp_path)
    assert done.returncode == 0
    for word in ("sweep", "check", "devices", "tasks", "stop_when_solved", "ea-scaled", "task recurrence"):
        assert word in done.stdout
    assert "Exit codes" in done.stdout
    assert done.stderr == ""
    done = eabench("--version", cwd=tmp_path)
    assert done.returncode == 0
    assert re.fullmatch(r"eabench \d+\.\d+\.\d+.*\n", done.stdout)


def test_help_lists_every_option_in_order(tmp_path: Path) -> None:
    rows = re.findall(r"^  (task \w+|model|train) +(\w+) +(\S+)", eabench("--help", cwd=tmp_path).stdout, re.MULTILINE)
    assert [key for _, key, _ in rows] == (
        "basis delay a b rule table_seed modulus ops switch_percent symbols items mode distance_min distance_max "
        "test_distance_min test_distance_max pairs keys values gaps filler modulus operation test_percent bits "
        "marked answer symbols items blanks places symbols triggers last ops symbols items distance_min "
        "distance_max test_distance_min test_distance_max s_distance_min s_distance_max ignore_percent "
        "test_ignore symbols items draw group length answer modulus period test_percent keys values noise "
        "noise_percent symbols items file unit valid_percent test_percent parts cue layers d_model heads "
        "mlp_ratio context position alibi_span norm activation bias embedding init_scale embedding_scale "
        "qk_init qk_norm mechanism scale optimizer lr beta1 beta2 momentum weight_decay clip steps batch "
        "warmup schedule lr_final seed eval_every eval_tokens stop_when_solved heldout precision dropout "
        "sequences mix"
    ).split()
    assert dict((key, value) for _, key, value in rows)["beta2"] == "0.98"


def test_write_errors_are_reported(tmp_path: Path) -> None:
    for command in (["--help"], ["tasks"], ["tasks", "recurrence", "--show", "100000"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run([str(EABENCH), *command], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE,
                                  text=True)
        assert done.returncode == 3
        assert "standard output could not be written" in done.stderr


def test_a_broken_pipe_is_reported(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([str(EABENCH), "tasks", "recurrence", "--show", "100000"], cwd=tmp_path, stdout=writer,
                              stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(writer)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1


def test_closed_streams(tmp_path: Path) -> None:
    for redirection, code in ((">&-", 3), ("<&-", 0), ("2>&-", 0)):
        done = subprocess.run(["sh", "-c", f'"$0" tasks {redirection}', str(EABENCH)], cwd=tmp_path,
                              capture_output=True)
        assert done.returncode == code, redirection


# ---- tasks -----------------------------------------------------------------------------------------------------------

BAD_TASKS = {
    "unknown family": (["recurence"], "unknown task family", "nearest: recurrence"),
    "two families": (["recurrence", "recurrence"], "a second name"),
    "negative": (["recurrence", "--show", "-1"], "--show -1: out of bounds"),
    "two values": (["recurrence", "--seed", "1,2"], "2 levels or seeds; allowed: one"),
    "context": (["recurrence", "--context", "1"], "--set model.context=1: out of bounds", "2..65536"),
    "seed": (["recurrence", "--seed", "4294967296"], "out of bounds"),
    "set without value": (["recurrence", "--set", "basis"], "no ="),
    "set unknown key": (["recurrence", "--set", "bassi=4"], "unknown key in [task recurrence]; nearest: basis; ",
                        "allowed: basis, delay, a, b"),
    "set out of bounds": (["recurrence", "--set", "basis=1"], "--set task.basis=1: out of bounds", "2..1024"),
    "set of another section": (["recurrence", "--set", "train.lr=1"], "not of this family"),
    "set without family": (["--set", "basis=4"], "no task family named"),
    "no such choice": (["task_switch", "--set", "ops=IRA"], "ops=IRA", "I, IA, IAR, IARC"),
    "refused by the family": (["recall", "--set", "pairs=17"], "pairs = 17", "keys = 16"),
    "delay beyond context": (["recurrence", "--set", "delay=24"], "delay = 24", "1..23"),
}


BAD_TASKS_OPTIONS = {
    "unknown option": (["recurrence", "--shwo", "3"], "--shwo; nearest: --show"),
    "value missing": (["recurrence", "--show"], "--show"),
    "bad number": (["recurrence", "--show", "many"], "many"),
    "overflow": (["recurrence", "--show=99999999999999999999"], "--show"),
}


@pytest.mark.parametrize("name", BAD_TASKS)
def test_bad_tasks(name: str, tmp_path: Path) -> None:
    arguments, *says = BAD_TASKS[name]
    refused(tmp_path, "tasks", *arguments, says=("eabench tasks: ", "allowed: ", *says))


@pytest.mark.parametrize("name", BAD_TASKS_OPTIONS)
def test_bad_tasks_options(name: str, tmp_path: Path) -> None:
    arguments, *says = BAD_TASKS_OPTIONS[name]
    refused(tmp_path, "tasks", *arguments, says=("eabench tasks: ", "see eabench tasks --help", *says))


def test_tasks_lists_families(tmp_path: Path) -> None:
    done = eabench("tasks", cwd=tmp_path)
    assert done.returncode == 0
    assert "recurrence: x_t = " in done.stdout
    assert re.search(r"basis +default 8 +2\.\.1024", done.stdout)


def test_tasks_shows_symbols(tmp_path: Path) -> None:
    done = eabench("tasks", "task_switch", "--show", "1", "--set", "ops=IAR", "--set", "task_switch.modulus=8",
                   cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"ops +default IARC +I, IA, IAR, IARC", done.stdout)
    assert "level modulus=8 ops=IAR switch_percent=20: 11 tokens, " in done.stdout
    line = [line for line in done.stdout.splitlines() if line.startswith("[")][0]
    assert len(re.findall(r"\[[IAR]\]", line)) >= 1 and line.count("[") < 25


def test_tasks_shows_sequences(tmp_path: Path) -> None:
    command = ["tasks", "recurrence", "--show", "3", "--set", "basis=5", "--set", "task.delay=2", "--context", "9",
               "--seed=7"]
    done = eabench(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\033" not in done.stdout
    assert "basis=5 delay=2: 5 tokens, 4.644 bits of complexity, chance accuracy 0.2" in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(lines) == 3
    for line in lines:
        tokens = [int(token) for token in re.findall(r"\d+", line)]
        assert len(tokens) == 10
        assert len(re.findall(r"\[\d\]", line)) == 2
        for t in range(2, 10):
            assert tokens[t] == (tokens[t - 1] + tokens[t - 2]) % 5
    assert eabench(*command, cwd=tmp_path).stdout == done.stdout
    assert eabench(*command[:-1], "--seed=8", cwd=tmp_path).stdout != done.stdout


def test_the_documentation_lists_every_option(tmp_path: Path) -> None:
    """docs/spec-files.md and --help hold the same keys, defaults and bounds."""
    text = (ROOT / "docs" / "spec-files.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| [\w ]*\| `(\w+)` \| (\S*) ?\| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    lines = eabench("--help", cwd=tmp_path).stdout.splitlines()
    helped = [tuple(part.strip() for part in (line[23:41], line[41:50], *re.split("  +", line[50:], maxsplit=1)))
              for line in lines if re.match(r"  (task \w+|model|train) ", line)]
    assert documented == helped
