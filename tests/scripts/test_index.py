"""scripts/report --index: the page of all committed runs is up to date, and hostile folders are left out."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from sweeps import ROOT

from analysis import report
from analysis.index import build_index, find_runs
from synthetic import sweep

Make = Callable[..., Path]
COMMITTED = sorted(path for path in (ROOT / "results").glob("*/*") if path.is_dir())


def test_the_committed_page_has_every_committed_run() -> None:
    """If this fails: scripts/report --index results/*/*"""
    page, problems = build_index(COMMITTED, ROOT / "results")
    committed = (ROOT / "results/index.html").read_text(encoding="utf-8")
    runs = sorted(file.parent for file in (ROOT / "results").rglob("manifest.ini"))
    assert problems == [] and sorted(find_runs(COMMITTED)[0]) == runs
    for run in runs:
        assert f"<h3>{run.relative_to(ROOT / 'results')}</h3>" in committed
    assert committed == page
    assert len(committed.encode()) < 300_000


def test_every_link_of_the_committed_page_exists() -> None:
    committed = (ROOT / "results/index.html").read_text(encoding="utf-8")
    links = re.findall(r'(?:href|src)="([^"#][^"]*)"', committed)
    assert len(links) > len(COMMITTED)
    for link in links:
        assert (ROOT / "results" / unquote(link)).exists(), link
    assert not re.search(r"<script|https?:|src=\"data:", committed)


def index(out: Path, *runs: Path) -> str:
    assert report.main(["--index", *map(str, runs), "--out", str(out)]) == 0
    return (out / "index.html").read_text(encoding="utf-8")


def test_a_run_with_its_verdicts_picture_and_report(make_run: Make, tmp_path: Path) -> None:
    levels = [(basis, delay) for basis in (4, 8, 16) for delay in (2, 3, 4, 5)]
    run = make_run(sweep(levels=levels, seeds=range(5)))
    plain = make_run(sweep(), "plain")
    assert report.main([str(run)]) == 0
    page = index(tmp_path, plain, run)
    assert page.index("<h3>run</h3>") < page.index("<h3>plain</h3>")  # verdicts come first
    assert 'href="run/report.html"' in page and 'src="run/plots/accuracy-recurrence.png"' in page
    assert "recurrence; dpa, ea; 12 levels; 5 seeds; 2 learning rates; 360 cells" in page
    assert "Synthetic CPU @ 2.0 GHz (backend cpu); 2026-01-02" in page
    assert '<span class="chip yes">supported</span> at least as good' in page
    assert "<span class=\"note\">Supported: ea differs from dpa by" in page


def test_the_default_place_is_beside_the_machines(make_run: Make, tmp_path: Path) -> None:
    make_run(sweep(), "results/machine/run")
    assert report.main(["--index", str(tmp_path / "results/machine/run/")]) == 0
    assert "machine/run" in (tmp_path / "results/index.html").read_text()


def break_claims(run: Path) -> None:
    (run / "claims.csv").write_text("claim,mechanism,scope,verdict,words\nas good,ea,all,<b>splendid</b>,x\n")


def no_text(run: Path) -> None:
    (run / "manifest.ini").write_bytes(b"\xff\0\1")


def foreign_table(run: Path) -> None:
    (run / "accuracy.csv").write_text("a,b\n1,2\n")


def pipe(run: Path) -> None:
    (run / "claims.csv").unlink(missing_ok=True)
    os.mkfifo(run / "claims.csv")


@pytest.mark.parametrize(("harm", "said"), [
    (break_claims, "claims.csv:2: verdict is '<b>splendid</b>'; supported"), (no_text, "a NUL byte"),
    (foreign_table, "foreign header"), (pipe, "not a regular file")])
def test_a_file_that_cannot_be_used_is_one_line(harm: Callable[[Path], None], said: str, make_run: Make, tmp_path: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = make_run(sweep(), "good"), make_run(sweep(), "bad")
    harm(bad)
    page = index(tmp_path, good, bad, tmp_path / "missing")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and said in lines[1] and lines[1].endswith("; the run is left out")
    assert "missing: not a folder" in lines[0]
    assert "<h3>good</h3>" in page and "<h3>bad</h3>" not in page
    assert report.main(["--index", str(bad), "--out", str(tmp_path)]) == 2
    assert "no run is left for the index" in capsys.readouterr().err


def test_names_and_texts_are_escaped(make_run: Make, tmp_path: Path) -> None:
    run = make_run(sweep(), "<script>x=\"1\" javascript:", device="<img src=x onerror=alert(1)>")
    (run / "claims.csv").write_text("claim,mechanism,scope,verdict,words\nexclusive levels,ea,all,supported,<b>&\x07\n")
    page = index(tmp_path, run)
    assert "<script" not in page and "<img src=x" not in page and "<b>" not in page and "\x07" not in page
    assert 'href="%3Cscript%3Ex%3D%221%22%20javascript%3A/"' in page


def test_a_run_without_ea_has_the_verdicts_of_another_mechanism(make_run: Make, tmp_path: Path) -> None:
    run, plain = make_run(sweep(), "scaled"), make_run(sweep(), "plain")
    heading = "claim,mechanism,scope,verdict,words\n"
    (run / "claims.csv").write_text(heading + "exclusive levels,ea-scaled,all,supported,words\n"
                                    "exclusive levels,sigmoid,all,contradicted,others\n")
    (plain / "claims.csv").write_text(heading + "exclusive levels,ea-scaled,all,contradicted,others\n"
                                      "exclusive levels,ea,all,supported,words\n")
    page = index(tmp_path, run, plain)
    assert page.count("(ea-scaled)</td>") == 1 and "contradicted</span>" not in page and "others" not in page
