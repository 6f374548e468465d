"""Damaged and foreign tables: report and compare refuse them with exit code 2 and one line that names the file, the
line, the fault and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis import compare, report
from analysis.tables import DataError, canonical, read_run
from synthetic import ACCURACY_HEADER, THROUGHPUT_HEADER, row, sweep

Make = Callable[..., Path]


def edit(run: Path, change: Callable[[str], str], name: str = "accuracy.csv") -> None:
    path = run / name
    path.write_bytes(change(path.read_bytes().decode()).encode("utf-8", "surrogateescape"))


def refused(run: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Both commands refuse the run in one line and write nothing; returns the line of report."""
    before = sorted(run.iterdir())
    assert report.main([str(run)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and captured.err.startswith("report: ")
    assert "Traceback" not in captured.err and "; " in captured.err
    assert sorted(run.iterdir()) == before
    assert compare.main([str(run), str(run)]) == 2
    assert capsys.readouterr().err == captured.err.replace("report: ", "compare: ", 1)
    return captured.err


FIELDS = [
    ("token_accuracy", "nan"), ("token_accuracy", "NaN"), ("token_accuracy", "inf"), ("token_accuracy", "1.5"),
    ("token_accuracy", "-0.1"), ("token_accuracy", "0,5"), ("token_accuracy", "1_0"), ("token_accuracy", "\u0661"),
    ("token_accuracy", ""), ("validation_accuracy", "abc"), ("validation_accuracy", ""), ("solved", "2"),
    ("solved", "0.5"), ("solved", "yes"), ("lr", ""), ("lr", "0"), ("lr", "-1"), ("lr", "1e999"), ("seed", "1.5"),
    ("seed", ""), ("seed", "x"),
    ("complexity_bits", "-3"), ("loss_nats", "nan"), ("steps_to_solve", "0x10"), ("status", "maybe"), ("status", ""),
    ("cell", ""), ("task", ""), ("mechanism", " "), ("level", "x" * 501), ("level", "a\x1b[2Jb"), ("task", "a\nb"),
    ("vocab", "1e"), ("seen_share", "101%"),
]


@pytest.mark.parametrize(("column", "value"), FIELDS)
def test_bad_field(make_run: Make, capsys: pytest.CaptureFixture[str], column: str, value: str) -> None:
    rows = [row(seed=1), row(seed=2), row(seed=3)]
    rows[1][column] = value
    line = refused(make_run(rows, speeds=[]), capsys)
    assert re.match(r"report: .*/accuracy\.csv:3: ", line) and column in line


@pytest.mark.parametrize("value", ["nan", "fast", "-1"])
def test_bad_throughput_field(make_run: Make, capsys: pytest.CaptureFixture[str], value: str) -> None:
    run = make_run([row()])
    edit(run, lambda text: text.replace(",700000,", f",{value},"), "throughput.csv")
    line = refused(run, capsys)
    assert "throughput.csv:2: tokens_per_s" in line


@pytest.mark.parametrize(("change", "part"), [
    (lambda text: "", "accuracy.csv:1: no complete header"),
    (lambda text: "cell,status", "accuracy.csv:1: no complete header"),
    (lambda text: "a,b,c\n1,2,3\n", "accuracy.csv:1: foreign header"),
    (lambda text: text.replace("token_accuracy", "accuracy"), "column token_accuracy missing"),
    (lambda text: text.replace("cell,status,", "cell,status,status,", 1), "'status' appears twice"),
    (lambda text: text + "\n", "accuracy.csv:4: an empty line"),
    (lambda text: text + "1,2,3\n", "accuracy.csv:4: 3 fields"),
    (lambda text: text.replace("ok,", "ok,,", 1), "accuracy.csv:2: "),
    (lambda text: text.replace("ok,", 'ok,"', 1), "accuracy.csv:"),
    (lambda text: text.replace("ok,", 'ok,"a"b', 1), "RFC 4180"),
    (lambda text: text.replace("ok,", "ok," + "r" * 200_000, 1), "field larger than field limit"),
    (lambda text: text.replace("ok,", "ok,\0", 1), "accuracy.csv:2: a NUL byte"),
    (lambda text: text.replace("ok,", "ok,\udcff\udcfe", 1), "accuracy.csv:2: not UTF-8"),
    (lambda text: text + text.splitlines()[-1] + "\n", "is already on line 3"),
    (lambda text: text.replace("tokens,steps_done", "steps_done,tokens").replace("layers,", "", 1).replace(
        "steps_done,tokens", "steps_done,tokens,layers"), "out of order"),
])
def test_bad_file(make_run: Make, capsys: pytest.CaptureFixture[str], change: Callable[[str], str], part: str) -> None:
    run = make_run([row(seed=1), row(seed=2)])
    edit(run, change)
    assert part in refused(run, capsys)


def test_a_file_that_is_too_large_is_not_read(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run([row()])
    with (run / "accuracy.csv").open("r+b") as file:
        file.truncate(200 << 20)  # sparse: takes no room
    assert "200 MiB; at most 128 MiB" in refused(run, capsys)
    assert report.main([str(run), "--max-mb", "300"]) == 2
    assert "NUL byte" in capsys.readouterr().err


@pytest.mark.parametrize("bad", ["gone", "file", "empty", "folder"])
def test_folders_that_are_no_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: str) -> None:
    run = tmp_path / bad
    if bad == "file":
        run.write_text("x")
    elif bad != "gone":
        run.mkdir()
    if bad == "folder":
        (run / "accuracy.csv").mkdir()
    assert report.main([str(run)]) == 2 and compare.main([str(run), str(run)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 2 and str(run) in error


@pytest.mark.parametrize("text", ["backend = cpu\n", "[environment\n", "[environment]\njunk\n"])
def test_bad_manifest(make_run: Make, capsys: pytest.CaptureFixture[str], text: str) -> None:
    run = make_run([row()])
    (run / "manifest.ini").write_text(text)
    assert re.search(r"manifest\.ini:\d: ", refused(run, capsys))


def test_torn_last_line_is_dropped_with_a_warning(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run([row(seed=seed) for seed in (1, 2, 3)])
    edit(run, lambda text: text[:-1])  # even if only the newline is missing: 0.98 may be the start of 0.987
    assert len(read_run(run).accuracy) == 2
    edit(run, lambda text: text[:-200])
    edit(run, lambda text: text[:-300], "throughput.csv")
    found = read_run(run)
    assert len(found.accuracy) == 2 and len(found.warnings) == 2 and "accuracy.csv:4" in found.warnings[0]
    assert compare.main([str(run), str(run)]) == 0
    assert "cut off" in capsys.readouterr().err


def test_a_byte_order_mark_crlf_and_further_columns_are_accepted(make_run: Make) -> None:
    run = make_run(sweep(seeds=[1], rates=[0.01]))
    edit(run, lambda text: "\ufeff" + text.replace("\n", "\r\n").replace("basis,delay", "basis,window,delay", 1)
         .replace("steps_to_solve", "steps_to_solve,colour", 1))
    path = run / "accuracy.csv"
    lines = path.read_bytes().decode().split("\r\n")
    wider = [lines[0]]
    for line in lines[1:-1]:
        fields = line.split(",")
        wider.append(",".join([*fields[:11], "7", *fields[11:], "red"]))
    path.write_bytes(("\r\n".join(wider) + "\r\n").encode())
    found = read_run(run)
    assert found.task_options == ["basis", "window", "delay", "a", "b"] and found.options[0] == "layers"
    assert set(found.accuracy["window"]) == {"7"} and found.accuracy["token_accuracy"].notna().all()


def test_missing_optional_files_are_warnings(make_run: Make) -> None:
    run = make_run([row()])
    (run / "throughput.csv").unlink()
    (run / "manifest.ini").unlink()
    found = read_run(run)
    assert len(found.warnings) == 2 and found.throughput.empty


def test_canonical() -> None:
    assert canonical("1e-2") == canonical("0.010") == "0.01"
    assert canonical("8") == canonical("8.0") == "8"
    assert canonical("relu") == "relu" and canonical("") == "" and canonical("nan") == "nan"


def test_synthetic_runs_have_the_schema(make_run: Make) -> None:
    run = make_run([row()])
    assert (run / "accuracy.csv").read_text().startswith(",".join(ACCURACY_HEADER) + "\n")
    assert (run / "throughput.csv").read_text().startswith(",".join(THROUGHPUT_HEADER) + "\n")
    with pytest.raises(DataError):
        read_run(run / "nothing")
