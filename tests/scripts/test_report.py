"""scripts/report: the page's contents, that it is self-contained, and pages for unusual runs."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import report, summary
from analysis.figures_curves import _offsets
from analysis.page import number
from analysis.plain_csv import csv_text
from analysis.pool import Group, pool_runs
from analysis.style import KNOWN, Looks, inline_svg, slug
from analysis.summary import throughput_groups, throughput_table
from analysis.tables import DataError, read_run
from analysis.tables_more import read_more
from synthetic import curves, row, speed, sweep, write_csv, write_run

Make = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]


class Page(HTMLParser):
    """Tags with their attributes, the text outside script and style, and whether the tags nest."""

    VOID = {"meta", "br", "link", "img", "input", "hr"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.text += data


def render(run: Path, capsys: pytest.CaptureFixture[str] | None = None, *more: str) -> tuple[Page, str]:
    assert report.main([str(run), *more]) == 0
    html = (run / "report.html").read_text(encoding="utf-8")
    return Page(html), html


def groups_of(*runs: Path) -> list[Group]:
    return pool_runs([read_run(run) for run in runs]).groups


def test_quick_ladder(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(sweep())
    page, html = render(run)
    out = capsys.readouterr().out
    assert str(run / "report.html") in out and str(run / "plots") in out
    names = ("accuracy-recurrence", "solved-recurrence", "steps-recurrence", "heat-recurrence", "margin-recurrence",
             "throughput")
    for name in names:
        assert (run / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert ElementTree.parse(run / "plots" / f"{name}.svg").getroot().tag.endswith("svg")
        data = (run / "plots" / f"{name}.csv").read_text()
        assert len(list(csv.reader(io.StringIO(data)))) > 1
        assert base64.b64encode(data.encode()).decode() in html and f"plots/{name}.csv" in html
    assert sorted(path.name for path in (run / "plots").iterdir()) == sorted(
        f"{name}.{ending}" for name in names for ending in ("png", "svg", "csv"))
    for part in ("eabench 0.1.0", "0123456789ab", "Synthetic CPU", "ea is better than dpa", "edge of its grid",
                 "72 result"):
        assert part in page.text
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == []


def test_page_is_self_contained(make_run: Make) -> None:
    page, html = render(make_run(sweep()))
    assert "http" not in re.sub(r"http-equiv", "", html) and "xmlns" not in html and "@import" not in html
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:text/csv;", "data:image/")), (tag, value)
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"url\((?!#)", html)
    policy = next(attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes) or ""
    script = re.search(r"<script>(.*)</script>", html, re.S)
    assert script is not None and html.count("<script") == 1
    digest = base64.b64encode(hashlib.sha256(script.group(1).encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy


def test_page_is_accessible(make_run: Make) -> None:
    page, html = render(make_run(sweep()))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [attributes["href"] for _, attributes in page.tags if (attributes.get("href") or "").startswith("#")]
    assert all(target[1:] in ids for target in targets)
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(drawings) == 6
    assert all(drawing["role"] == "img" and drawing["aria-labelledby"] in ids for drawing in drawings)
    assert html.count("The numbers of this figure") == html.count("<figcaption>") == 6
    assert "prefers-color-scheme: dark" in html and "var(--ink)" in html and "#1b1f24;" in html
    assert "#1b1f24" not in html[html.index("<main>"):]  # every drawing follows the page's colours
    tables = html.count('<table class="sortable">')
    assert tables > 8 and len(re.findall(r'<th scope="col"[^>]*><button type="button">', html)) > 3 * tables


def test_same_input_same_files(make_run: Make, tmp_path: Path) -> None:
    run = make_run(sweep(seeds=[1]))
    for name in ("one", "two"):
        assert report.main([str(run), "--out", str(tmp_path / name)]) == 0
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) > 10
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


MARKUP = '<script>alert(1)</script>"\'><img src=x onerror=alert(2)> $\\frac{'


def test_everything_is_escaped(make_run: Make) -> None:
    rows = [row(mechanism=name, level=level, task="<b>task</b>", seed=seed, complexity_bits=bits, reason=MARKUP,
                axes={"basis": basis, "delay": '"><svg onload=alert(3)>', "a": str(basis)})
            for name in ("dpa", "=cmd|' /C calc'!A0<i>") for level, bits, basis in ((MARKUP, 6, 8), ("@SUM(1)", 8, 16))
            for seed in (1, 2)]
    rows.append(row(mechanism="dpa", level="l", task="<b>task</b>", status="fail", reason=MARKUP, seed=9))
    run = make_run(rows, cpu=MARKUP, version="<u>1</u>")
    page, html = render(run)
    assert html.count("<script") == 1 and "<img" not in html and "<b>" not in html and "<u>" not in html
    assert "onload" not in [name for _, attributes in page.tags for name in attributes]
    assert "<script>alert(1)</script>" in page.text  # as text
    assert all(re.fullmatch(r"[a-z0-9-]+\.(png|svg|csv)", path.name) for path in (run / "plots").iterdir())
    for path in (run / "plots").glob("*.csv"):
        assert not [field for line in csv.reader(path.open()) for field in line if field[:1] in ("=", "@")]
    for path in (run / "plots").glob("*.svg"):
        assert not [element for element in ElementTree.parse(path).iter() if element.tag.endswith(("script", "img"))]


def test_csv_injection() -> None:
    text = csv_text(pd.DataFrame({"a": ["=1", "+x", "-x", "@x", "fine"], "n": [-1.5, 2, 3, 4, 5]}))
    assert text == "a,n\n'=1,-1.5\n'+x,2\n'-x,3\n'@x,4\nfine,5\n"


UNUSUAL: dict[str, list[dict[str, object]]] = {
    "one mechanism": sweep(mechanisms=["ea"]),
    "only the baseline": sweep(mechanisms=["dpa"], seeds=[1], rates=[0.01]),
    "one seed": sweep(seeds=[3]),
    "one level": sweep(levels=[(8, 2)]),
    "no rate axis": sweep(rates=[0.01]),
    "one cell": [row()],
    "a mechanism with other seeds": [*sweep(mechanisms=["dpa", "ea"], rates=[0.01]),
                                     *sweep(mechanisms=["ea-scaled"], seeds=[7], rates=[0.01])],
    "all diverged": [row(mechanism=name, status="diverged", seed=seed) for name in ("dpa", "ea") for seed in (1, 2)],
    "none measured": [row(status="oom"), row(status="timeout", seed=2), row(status="fail", seed=3)],
    "unknown mechanisms": sweep(mechanisms=["dpa", "new one", "zeta", *(f"m{index}" for index in range(8))], seeds=[1],
                                rates=[0.01]),
    "no complexity": [row(complexity_bits="", seed=seed, mechanism=name) for name in ("dpa", "ea") for seed in (1, 2)],
    "no level name": [row(level="", axes={"basis": "", "delay": ""}, seed=seed) for seed in (1, 2)],
    "empty table": [],
}


def test_every_mechanism_has_its_own_look() -> None:
    names = [*KNOWN, *(f"m{index}" for index in range(10))]
    looks = Looks(names)
    assert len({(looks.colour(name), looks.marker(name)) for name in names}) == len(names)


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_runs_give_a_page(make_run: Make, name: str) -> None:
    page, html = render(make_run(UNUSUAL[name]))
    assert "What this run shows" in page.text
    expected = {
        "one mechanism": "nothing to compare", "only the baseline": "only dpa was run", "one seed": "no interval",
        "empty table": "No results yet", "none measured": "1 fail, 1 oom, 1 timeout",
        "all diverged": "4 cells diverged",
        "no complexity": "No curves", "one level": "No heat map", "one cell": "No heat map",
    }.get(name, "Results: recurrence")
    assert expected in page.text or sorted(expected.split(", ")) == sorted(
        part for part in expected.split(", ") if part in page.text)


def test_no_throughput(make_run: Make) -> None:
    run = make_run(sweep(seeds=[1], rates=[0.01]), speeds=[])
    assert "No throughput was recorded" in render(run)[0].text
    cell = row()
    slow = {**speed(cell), **dict.fromkeys(("peak_fraction", "gflop_per_s", "peak_gflop_per_s"), "")}
    assert "730k" not in render(make_run([cell], "nopeak", speeds=[slow]))[0].text


def test_best_rate_is_chosen_by_validation_and_reported_held_out(make_run: Make) -> None:
    rows = [row(lr=lr, seed=seed, validation_accuracy=validation, token_accuracy=held_out, solved=0) for seed in (1, 2)
            for lr, validation, held_out in ((0.01, 0.5, 0.95), (0.02, 0.8, 0.70), (0.04, 0.6, 0.99))]
    group, = groups_of(make_run(rows))
    chosen, rates = summary.at_best_rate(group)
    assert set(chosen["lr"]) == {0.02} and not rates["edge"].any()
    assert summary.level_table(chosen, rates)["token_accuracy"].tolist() == [pytest.approx(0.7)]


def test_edge_is_marked_in_the_table_and_the_figure(make_run: Make) -> None:
    rows = [row(*level, lr=lr, seed=seed, validation_accuracy=lr * 10, token_accuracy=lr * 10, solved=0)
            for level in ((8, 2), (16, 4)) for lr in (0.01, 0.02, 0.04) for seed in (1, 2)]
    run = make_run(rows)
    page, html = render(run)
    assert "0.04*" in page.text and "In 2 of 2 cases" in page.text
    assert "rate at grid edge" in (run / "plots" / "accuracy-recurrence.svg").read_text()
    assert (run / "plots" / "accuracy-recurrence.csv").read_text().count("True") == 2


def test_pairs_by_hand(make_run: Make) -> None:
    values = {("dpa", 1): 0.5, ("dpa", 2): 0.6, ("dpa", 3): 0.9, ("ea", 1): 0.7, ("ea", 2): 0.7, ("ea", 4): 0.1}
    rows = [row(mechanism=name, seed=seed, token_accuracy=value, solved=0) for (name, seed), value in values.items()]
    group, = groups_of(make_run(rows))
    pairs = summary.pair_table(summary.at_best_rate(group)[0])
    pooled, rung = pairs.itertuples()
    assert pooled.level is None and rung.level == "basis=8 delay=2"
    # Seeds 1 and 2 are in both: +0.2 and +0.1; seeds 3 and 4 have no partner.
    assert rung.pairs == 2 and rung.difference == pytest.approx(0.15)
    assert (rung.low, rung.high) == pytest.approx((0.15 - 0.05 * 2 ** 0.5, 0.15 + 0.05 * 2 ** 0.5))
    assert rung.baseline_accuracy == pytest.approx(0.55) and rung.accuracy == pytest.approx(0.7)
    assert summary.verdict(rung) == "too few pairs"


def test_diverged_counts_as_chance(make_run: Make) -> None:
    rows = [row(seed=1, chance_accuracy=0.2, token_accuracy=1, solved=1),
            row(seed=2, status="diverged", chance_accuracy=0.2),
            row(seed=3, status="diverged", chance_accuracy="", vocab=10), row(seed=4, status="oom")]
    group, = groups_of(make_run(rows))
    assert group.rows["token_accuracy"].tolist() == [1.0, 0.2, 0.1]
    assert group.rows["solved"].tolist() == [1.0, 0.0, 0.0]
    table = summary.level_table(*summary.at_best_rate(group))
    assert table["token_accuracy"].tolist() == [pytest.approx(1.3 / 3)] and table["diverged"].tolist() == [2]


def test_other_options_make_groups(make_run: Make) -> None:
    rows = sweep(levels=[(8, 2), (16, 4)], seeds=[1], rates=[0.01])
    wide = sweep(levels=[(8, 2), (16, 4)], seeds=[1], rates=[0.01], d_model=128)
    longer = sweep(levels=[(8, 2), (16, 4)], seeds=[1], rates=[0.01], context=48)
    run = make_run([*wide, *rows, *longer])
    assert [group.setting for group in groups_of(run)] == [
        "d_model=32, context=24", "d_model=32, context=48", "d_model=128, context=24"]
    page, _ = render(run)
    assert "Results: recurrence, d_model=128, context=24" in page.text
    assert len(list((run / "plots").glob("accuracy-*.png"))) == 3
    page, _ = render(run, None, "--max-groups", "1")
    assert "--max-groups was reached" in page.text


def test_defaults_that_follow_the_mechanism_or_the_level_make_no_groups(make_run: Make) -> None:
    rows = sweep(seeds=[1], rates=[0.01])  # heldout differs by level
    for cell in rows:
        cell["scale"] = {"ea": "1"}.get(str(cell["mechanism"]), "0.3535")
    group, = groups_of(make_run(rows))
    assert group.setting == "" and group.axes == ["basis", "delay"]
    for cell in [dict(cell) for cell in rows]:
        rows.append({**cell, "scale": "0.5", "cell": f"x{cell['cell']}"})
    assert len(groups_of(make_run(rows, "explicit"))) == 3


def test_families_stay_apart(make_run: Make) -> None:
    rows = sweep(seeds=[1], rates=[0.01], levels=[(8, 2), (8, 4)]) + [
        row(task="copy", axes={"basis": "", "delay": ""}, level=f"length={length}", mechanism=name,
            complexity_bits=length)
        for length in (4, 8) for name in ("dpa", "ea")]
    groups = groups_of(make_run(rows))
    assert [(group.task, group.axes) for group in groups] == [("copy", []), ("recurrence", ["delay"])]


def test_runs_are_pooled(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = sweep(rates=[0.01])
    dpa = [cell for cell in rows if cell["mechanism"] == "dpa"]
    rest = [cell for cell in rows if cell["mechanism"] != "dpa"]
    one, two = make_run(dpa + rest[:3], "one"), make_run(rest, "two")  # three cells are in both
    pool = pool_runs([read_run(one), read_run(two)])
    assert len(pool.rows) == len(rows) and len(pool.groups) == 1
    assert report.main([str(one), str(two), "--out", str(one.parent / "out" / "deep")]) == 0
    assert (one.parent / "out" / "deep" / "report.html").exists() and not (one / "report.html").exists()

    changed = [dict(cell) for cell in rest]
    changed[1]["token_accuracy"] = 0.123
    three = make_run(changed, "three")
    with pytest.raises(DataError, match=r"three/accuracy\.csv:3: token_accuracy .* 0\.123, but .*two/accuracy\.csv:3"):
        pool_runs([read_run(two), read_run(three)])
    assert report.main([str(two), str(three)]) == 2
    for cell in changed:
        cell["backend"] = "cuda"
    groups = groups_of(two, make_run(changed, "four"))
    assert [group.setting for group in groups] == ["backend=cpu", "backend=cuda"]


def test_runs_that_round_differently_are_pooled_with_a_note(make_run: Make, tmp_path: Path) -> None:
    rows = [row(8, delay, mechanism=name, seed=seed, token_accuracy=0.5) for delay in (2, 3) for name in ("dpa", "ea")
            for seed in (1, 2)]
    changed = [{**cell, "token_accuracy": 0.501} if cell["seed"] == 2 else dict(cell) for cell in rows]
    one = make_run(rows, "one", isa="avx512", speeds=[speed(cell, 1000) for cell in rows])
    two = make_run(changed, "two", isa="avx2", speeds=[speed(cell, 500) for cell in rows])
    for run, cells in ((one, rows), (two, changed)):
        write_csv(run / "curves.csv", ["cell", "step", "loss_nats", "validation_accuracy"],
                  [{**point, "loss_nats": 1 if run == one else 2} for point in curves(cells)])
    pool = pool_runs([read_run(one), read_run(two)])
    assert len(pool.rows) == len(rows) and set(pool.rows["token_accuracy"]) == {0.5}  # the first run's
    note, = pool.warnings
    assert "4 cells differ" in note and "isa avx512 and avx2" in note and "one/accuracy.csv" in note
    # Speeds are not averaged over the two levels, and a cell has one learning curve.
    assert [label for label, _ in throughput_groups(pool.throughput)] == ["isa=avx2", "isa=avx512"]
    assert set(read_more([one, two]).curves["loss_nats"]) == {1}
    for same in ({"isa": "avx512"}, {"isa": ""}, {"isa": "avx512", "version": "0.2.0"}):
        three = make_run(changed, "three", **same)
        with pytest.raises(DataError, match="runs that are pooled must agree"):
            pool_runs([read_run(one), read_run(three)])
    assert report.main([str(one), str(two), "--out", str(tmp_path / "out")]) == 0
    assert "4 cells differ between" in (tmp_path / "out/report.html").read_text(encoding="utf-8")


def test_marked_cells_are_shown_and_do_not_count(make_run: Make) -> None:
    rows = [row(mechanism=name, seed=seed) for seed in (1, 2, 3, 4) for name in ("dpa", "ea")]
    marks = {1: "busy", 2: "stopped", 3: "above_peak", 4: ""}
    speeds = [speed(cell, 1000 * int(str(cell["seed"])),
                    marks=marks[int(str(cell["seed"]))] if cell["mechanism"] == "ea" else "busy stopped",
                    other_cores=0.5, steal_cores=0) for cell in rows]
    run = make_run(rows, speeds=speeds)
    dpa, ea = throughput_table("", pool_runs([read_run(run)]).throughput).to_dict("records")
    assert (ea["cells"], ea["marked"], ea["tokens_per_s"], ea["tokens_per_s_min"]) == (4, 3, 3500, 3000)
    assert (dpa["cells"], dpa["marked"], dpa["tokens_per_s"]) == (4, 4, 2500), "no other cells"
    page, _ = render(run)
    assert "7 of 8 cells are marked: 1 above_peak, 5 busy, 5 stopped." in page.text
    assert "hollow: busy or stopped" in page.text
    table = (run / "plots/throughput.csv").read_text(encoding="utf-8").splitlines()
    assert table[0].endswith(",other_cores,steal_cores,marks") and table[1].endswith(",0.5,0,busy stopped")


def test_a_measured_cell_replaces_a_failed_one(make_run: Make) -> None:
    one = make_run([row(seed=1, status="oom"), row(seed=2)], "one")
    pool = pool_runs([read_run(one), read_run(make_run([row(seed=1)], "two")), read_run(one)])
    assert len(pool.rows) == 2 and pool.left_out.empty
    assert any("1 cells failed in one run" in text for text in pool.warnings)


def test_an_older_run_without_an_option_is_kept_apart(make_run: Make) -> None:
    rows = sweep(levels=[(8, 2)], rates=[0.01])
    new = make_run(rows, "new")
    old = make_run([{**cell, "seed": 7, "cell": f"s{cell['cell']}"} for cell in rows[::2]], "old")
    table = pd.read_csv(old / "accuracy.csv", dtype=str, keep_default_na=False).drop(columns="qk_init")
    table.to_csv(old / "accuracy.csv", index=False)
    assert {group.setting for group in groups_of(new, old, new)} == {"qk_init=(none)", "qk_init=1"}
    assert report.main([str(new), str(old), str(new)]) == 0


def test_indistinguishable_cells_are_reported(make_run: Make) -> None:
    rows = [row(cell="pure"), row(cell="part of a mixture")]
    page, _ = render(make_run(rows))
    assert "1 cells share level, mechanism, rate and seed" in page.text


def test_levels_of_equal_complexity_are_one_rung_of_the_curve(make_run: Make) -> None:
    group, = groups_of(make_run(sweep(levels=[(8, 2), (4, 3)], mechanisms=["dpa"])))
    chosen, rates = summary.at_best_rate(group)
    curve = summary.curve_table(chosen, rates)
    assert curve[["complexity_bits", "levels", "cells"]].values.tolist() == [[6.0, 2, 4]]
    assert len(summary.level_table(chosen, rates)) == 2


def test_long_ladder(make_run: Make) -> None:
    levels = [(basis, delay) for basis in (3, 5, 7) for delay in range(1, 17)]
    page, _ = render(make_run(sweep(levels=levels, mechanisms=["dpa", "ea"], rates=[0.01])))
    assert "Heat" not in page.text and "Accuracy over the ladder" in page.text
    assert "over 48 rungs (96 pairs)" in page.text


def test_looks_are_fixed() -> None:
    looks = Looks(["zeta", "ea", "beta"])
    assert looks.colour("ea") == KNOWN["ea"][0] and looks.marker("dpa") == "o"
    assert len({looks.colour(name) for name in ("dpa", "ea", "ea-scaled", "ea-softmax", "beta", "zeta")}) == 6


def test_every_mechanism_has_its_own_look_and_place() -> None:
    names = re.findall(r'X\(\w+, "([\w-]+)"', (ROOT / "kernels" / "mechanism.h").read_text(encoding="utf-8"))
    assert sorted(names) == sorted(KNOWN) and len(names) == 9
    assert len({colour for colour, _ in KNOWN.values()}) == len({marker for _, marker in KNOWN.values()}) == 9
    shifts = _offsets(names, np.array([6.0, 8.0, 16.0]))
    assert len(set(shifts.values())) == 9
    assert max(abs(shift) for shift in shifts.values()) < 0.06 * 10  # the axis' margin


def test_small_helpers() -> None:
    assert slug("../../etc/passwd \u00e9") == "etc-passwd" and slug("\u4e2d") == "x"
    assert number(-0.0001, "+.3f").text == "0.000" and number(0.5, "+.3f").text == "+0.500"
    assert number(float("nan")).text == ""
    svg = inline_svg('<?xml version="1.0"?>\n<svg xmlns:xlink="http://x" width="72pt" height="36pt" xmlns="http://y">'
                     '<g id="a" style="fill: #1b1f24; clip-path: url(#p)"><use xlink:href="#m"/>'
                     '<text>#1b1f24</text></g></svg>', "plot")
    assert 'id="plot-a"' in svg and "url(#plot-p)" in svg and 'href="#plot-m"' in svg
    assert "fill: var(--ink)" in svg and "<text>#1b1f24</text>" in svg and "http" not in svg


@pytest.mark.parametrize("arguments", [[], ["--colour"], ["x", "--max-groups", "0"], ["x", "--max-mb", "much"]])
def test_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        report.main(arguments)
    errors = capsys.readouterr().err
    assert stop.value.code == 2 and errors.startswith("report: ") and errors.count("\n") == 1


def test_output_that_cannot_be_written(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run([row()])
    (run / "file").write_text("")
    assert report.main([str(run), "--out", str(run / "file")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("report: ") and error.count("\n") == 1
    if Path("/dev/full").exists():
        (run / "plots").mkdir()
        (run / "plots" / "accuracy-recurrence.png").symlink_to("/dev/full")
        assert report.main([str(run)]) == 3
        assert "No space left" in capsys.readouterr().err


def test_wrapper(make_run: Make, tmp_path: Path) -> None:
    run = make_run([row()])
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "__init__.py").write_text("raise SystemExit('a module of the current folder was run')\n")
    environment = {**os.environ, "EAB_PYTHON": sys.executable}
    done = subprocess.run([ROOT / "scripts" / "report", run], cwd=tmp_path, env=environment, capture_output=True,
                          text=True)
    assert done.returncode == (0 if sys.version_info >= (3, 11) else done.returncode), done.stderr
    for name in ("report", "compare", "explore", "pivot"):
        done = subprocess.run([ROOT / "scripts" / name, "--help"], env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and "Exit codes" in done.stdout
        bare = tmp_path / "bare"  # an interpreter without the libraries
        bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
        bare.chmod(0o755)
        for python in ("/nowhere/python", str(bare)):
            done = subprocess.run([ROOT / "scripts" / name, "--help"], env={**environment, "EAB_PYTHON": python},
                                  capture_output=True, text=True)
            assert done.returncode == 3 and done.stderr.count("\n") == 1 and "scripts/setup.sh" in done.stderr


def test_write_run_makes_a_readable_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", sweep())
    assert len(read_run(run).accuracy) == 72 and len(read_run(run).throughput) == 72
