"""Optional parts of the report: kernels, ratios, learning curves, geometry, attention maps, parts of mixtures."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors import numpy as safetensors

from analysis import compare, report
from analysis.figures_geometry import best_cells, shown_level
from analysis.figures_kernels import roofs
from analysis.figures_learning import learning_table
from analysis.pool import pool_runs
from analysis.sections_kernels import ratios_of
from analysis.summary import at_best_rate
from analysis.tables import read_run
from analysis.tables_more import read_attention, read_more
from synthetic import (BAND_TB_PER_S, KERNEL_HEADER, PEAK_TFLOP_PER_S, curves, geometry, kernel, kernels, row, sweep,
                       write_csv)

ROOT = Path(__file__).resolve().parents[2]
Make = Callable[..., Path]
CURVES = ["cell", "step", "loss_nats", "validation_accuracy"]
GEOMETRY = ["cell", "layer", "head", "quantity", "low", "high", "value"]
RATIOS = ["op", "mechanism", "pass", "dtype", "context", "ours", "theirs", "ratio", "low", "high", "note"]


def page(run: Path, *more: Path) -> str:
    assert report.main([str(run), *map(str, more)]) == 0
    return (run / "report.html").read_text(encoding="utf-8")


def names(run: Path) -> set[str]:
    return {path.stem for path in (run / "plots").glob("*.png")}


def bench(tmp_path: Path, rows: list[dict[str, object]], name: str = "bench") -> Path:
    folder = tmp_path / name
    folder.mkdir()
    write_csv(folder / "kernels.csv", KERNEL_HEADER, rows)
    return folder


# ---- kernels and ratios ----------------------------------------------------------------------------------------------


def test_a_bench_folder_gives_rooflines_and_curves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lost = kernel(status="oom", reason="<b>8 GiB needed</b>", time_median_us="", tflop_per_s="", context=65536)
    run = bench(tmp_path, [*kernels(), lost, kernel(context=128, throttled=1)])  # no column marks: an older table
    html = page(run)
    assert names(run) == {"roofline-cpu-synthetic-cpu-float32", "speed-attention-forward", "speed-attention-backward"}
    assert "0.25 TFLOP/s, 20 GB/s" in html and "&lt;b&gt;8 GiB needed" in html and "<b>8 GiB" not in html
    assert "1 points were measured while the clock was throttled" in html
    assert "The verdicts" not in html and not (run / "claims.csv").exists()
    assert compare.main([str(run), str(run)]) == 2  # a folder of bench has no accuracies to compare
    assert "accuracy.csv: no such file" in capsys.readouterr().err


def test_marked_points_are_shown(tmp_path: Path) -> None:
    marked = [{**point, "marks": ("busy", "", "cached", "busy above_roof")[index % 4]}
              for index, point in enumerate(kernels())]
    write_csv(tmp_path / "kernels.csv", [*KERNEL_HEADER, "marks"], marked[:8])
    html = page(tmp_path)
    assert "6 points are marked: 2 above_roof, 4 busy, 2 cached." in html
    assert html.count("busy above_roof</td>") == 2  # in the table of every point


def test_roofs_come_from_the_rows() -> None:
    table = pd.DataFrame(kernels())
    numbers = table[["gflop", "gbyte", "tflop_per_s", "roof_fraction"]].astype(float)
    assert roofs(numbers) == pytest.approx((PEAK_TFLOP_PER_S, BAND_TB_PER_S), rel=1e-3)
    assert np.isnan(roofs(numbers.assign(roof_fraction=np.nan))).all()


def test_ratios_by_hand(tmp_path: Path) -> None:
    rows = [kernel(time_median_us=100, time_p05_us=90, time_p95_us=110),
            kernel("torch-sdpa", device="another spelling", time_median_us=300, time_p05_us=280, time_p95_us=330),
            kernel("torch-sdpa", context=8192), kernel("torch-sdpa", "ea")]
    found = ratios_of(read_more([bench(tmp_path, rows)]).kernels)
    assert found[["ours", "theirs"]].values.tolist() == [["fused", "torch-sdpa"]]
    assert found[["ratio", "low", "high"]].values.tolist() == [pytest.approx([3.0, 280 / 110, 330 / 90])]


def test_ratios_are_of_one_run(tmp_path: Path) -> None:
    """Two machines of the same name, and a point that was measured twice."""
    rows = [kernel(time_median_us=100, time_p05_us=90, time_p95_us=110),
            kernel("torch-sdpa", time_median_us=600, time_p05_us=550, time_p95_us=650)]
    slow = [{**point, **{name: 10 * point[name] for name in ("time_median_us", "time_p05_us", "time_p95_us")}}
            for point in rows]
    runs = [bench(tmp_path, points, name) for name, points in (("a", rows), ("b", [*rows, *slow]))]
    assert ratios_of(read_more(runs).kernels)["ratio"].tolist() == [6.0, 6.0]


def test_ratio_table_names_the_faster_side(tmp_path: Path, make_run: Make) -> None:
    run = make_run(sweep(rates=[0.01]))
    write_csv(run / "ratios.csv", RATIOS, [
        {"op": "attention", "mechanism": "dpa", "pass": "forward", "dtype": "float32", "context": context,
         "ours": "fused", "theirs": "<i>torch</i>", "ratio": ratio, "low": ratio - 0.2, "high": ratio + 0.2,
         "note": "=1+1"}
        for context, ratio in ((64, 2.5), (128, 1.1), (256, 0.5))])
    html = page(run)
    for part in ("ours is faster", "theirs is faster", "no clear difference", "ratio 0.50 to 2.50, median 1.10",
                 "of 3 shapes ours is faster on 1, theirs on 1", "&lt;i&gt;torch"):
        assert part in html, part
    assert html.index("The verdicts") < html.index("Ours against others")


def test_ratios_with_columns_of_speeds(tmp_path: Path) -> None:
    header = ["op", "mechanism", "pass", "d_model", "implementation", "status", "reason", "pairs", "ratio", "ratio_low",
              "ratio_high", "ours", "theirs", "unit"]
    rows = [("training", "ea", "", width, "torch-compile", "ok", "", 5, 3, 2.9, 3.1, 3e6, 1e6, "tokens/s")
            for width in (16, 32)]
    rows.append(("training", "ea", "", 16, "jax-jit", "fail", "no compiler", 0, "", "", "", "", "", ""))
    write_csv(tmp_path / "ratios.csv", header, [dict(zip(header, values)) for values in rows])
    html = page(tmp_path)
    assert "training, ea, torch-compile: ratio 3.00 to 3.00" in html
    assert "ours is faster" in html and "[2.90, 3.10]" in html
    assert "1 shapes without a ratio" in html and "no compiler" in html


def test_older_and_newer_kernel_tables_are_read(tmp_path: Path) -> None:
    rows = [{**cell, "colour": "red"} for cell in kernels()]
    old = [name for name in KERNEL_HEADER if name not in ("m", "n", "k", "transpose", "label", "cache", "tokens_per_s")]
    for index, header in enumerate((old, [*KERNEL_HEADER, "colour"])):
        folder = tmp_path / str(index)
        folder.mkdir()
        write_csv(folder / "kernels.csv", header, rows)
        assert len(read_more([folder]).kernels) == len(rows)
    assert "Roofline" in page(tmp_path / "0", tmp_path / "1")


def test_other_operations_and_shapes(tmp_path: Path) -> None:
    products = [{**kernel(name, ""), "op": "gemm", "context": "", "head_dim": "", "m": size, "n": size, "k": size,
                 "pass": ""} for name in ("eabench", "openblas") for size in (64, 128)]
    several = [kernel(batch=batch, context=context) for batch in (1, 8) for context in (64, 256)]
    run = bench(tmp_path, [*products, *several])
    assert "Ours against others" in page(run)
    assert names(run) == {"roofline-cpu-synthetic-cpu-float32", "speed-attention-forward-batch-1-heads-4",
                          "speed-attention-forward-batch-8-heads-4"}


@pytest.mark.parametrize(("column", "value"), [("time_median_us", "nan"), ("op", ""), ("roof_fraction", "-1"),
                                               ("reason", "a\x1b[2J"), ("implementation", "x" * 501)])
def test_bad_kernel_field(tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str, value: str) -> None:
    run = bench(tmp_path, [kernel(), {**kernel("unfused"), column: value}])
    assert report.main([str(run)]) == 2
    assert re.match(rf"report: .*/kernels\.csv:[23]: {column} ", capsys.readouterr().err)


# ---- learning curves -------------------------------------------------------------------------------------------------


def test_learning_curves(make_run: Make) -> None:
    rows = sweep(seeds=range(3))
    run = make_run(rows)
    write_csv(run / "curves.csv", CURVES, curves(rows))
    html = page(run)
    assert "learning-recurrence" in names(run) and "Learning curves: recurrence" in html
    table = pd.read_csv(run / "plots" / "learning-recurrence.csv")
    assert set(table["mechanism"]) == {"dpa", "ea", "ea-scaled"} and (table["seeds"] == 3).all()
    assert (table["low"] <= table["median"]).all() and (table["median"] <= table["high"]).all()


def test_a_solved_seed_keeps_its_last_value(make_run: Make) -> None:
    rows = [row(seed=1, cell="a"), row(seed=2, cell="b"), row(seed=3, cell="c")]
    run = make_run(rows)
    points = [("a", 250, 1.0), ("b", 250, 0.2), ("b", 500, 0.4), ("c", 250, 0.3), ("c", 500, 0.5)]
    write_csv(run / "curves.csv", CURVES, [dict(zip(CURVES, (cell, step, 1, value))) for cell, step, value in points])
    group, = pool_runs([read_run(run)]).groups
    table = learning_table(at_best_rate(group)[0], read_more([run]).curves)
    assert table[["step", "median"]].values.tolist() == [[250, 0.3], [500, 0.5]]


def test_curves_of_unknown_cells_and_bad_fields(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(sweep(seeds=[1]))
    write_csv(run / "curves.csv", CURVES, [dict(zip(CURVES, ("elsewhere", 1, "", 0.5)))])
    assert "Learning curves" not in page(run)
    write_csv(run / "curves.csv", CURVES, [dict(zip(CURVES, ("x", 1, "", 1.5)))])
    capsys.readouterr()
    assert report.main([str(run)]) == 2 and "curves.csv:2: validation_accuracy" in capsys.readouterr().err


# ---- geometry --------------------------------------------------------------------------------------------------------


def with_maps(run: Path, cells: list[str], context: int = 12, layers: int = 1) -> None:
    (run / "geometry").mkdir(exist_ok=True)
    back = np.zeros((2, layers, 2, context, context), np.float32)
    for time in range(context):
        back[:, :, :, time, max(0, time - 3)] = 1
    for cell in cells:
        safetensors.save_file({"attention": back, "tokens": np.ones((2, context + 1), np.int32)},
                              run / "geometry" / f"{cell}.safetensors")


def test_geometry(make_run: Make) -> None:
    rows = sweep(seeds=range(2))
    run = make_run(rows)
    write_csv(run / "geometry.csv", GEOMETRY, geometry(rows))
    with_maps(run, [str(cell["cell"]) for cell in rows])
    html = page(run)
    assert {"angles-recurrence", "geometry-recurrence", "maps-recurrence"} <= names(run)
    assert "3 back (0.75)" in html  # 9 of 12 queries have a key three back
    angles = pd.read_csv(run / "plots" / "angles-recurrence.csv")
    ea = angles[(angles["mechanism"] == "ea") & (angles["quantity"] == "angle_mass") & (angles["layer"] == 0)]
    assert ea["mean"].sum() == pytest.approx(1, abs=1e-3)
    assert ea.loc[ea["low"] >= 90, "mean"].sum() == pytest.approx(0.5, abs=1e-3)  # as much antiparallel as parallel
    with (run / "plots" / "geometry-recurrence.csv").open() as file:
        assert {line["quantity"] for line in csv.DictReader(file)} == {
            "row_entropy_share", "determining_mass", "query_norm", "key_norm"}


@pytest.mark.parametrize("quantities", [[], ["angle_mass"], ["row_entropy_share"], ["something new"]])
def test_any_part_of_the_geometry_may_be_missing(make_run: Make, quantities: list[str]) -> None:
    rows = sweep(seeds=[1], rates=[0.01])
    run = make_run(rows)
    write_csv(run / "geometry.csv", GEOMETRY, [point for point in geometry(rows) if point["quantity"] in quantities])
    page(run)
    assert ("angles-recurrence" in names(run)) == ("angle_mass" in quantities)
    assert ("geometry-recurrence" in names(run)) == ("row_entropy_share" in quantities)
    assert "maps-recurrence" not in names(run)


def test_maps_are_of_the_best_seed_at_a_level_half_learned(make_run: Make) -> None:
    rows = [row(*level, mechanism=name, seed=seed, token_accuracy=accuracy, validation_accuracy=accuracy + 0.01 * seed,
                solved=0)
            for level, accuracy in (((8, 2), 0.98), ((8, 3), 0.7), ((8, 4), 0.2))
            for name in ("dpa", "ea") for seed in (1, 2)]
    chosen = at_best_rate(pool_runs([read_run(make_run(rows))]).groups[0])[0]
    maps = {str(cell["cell"]): Path() for cell in rows}
    level, cells = best_cells(chosen, maps)
    assert level == "basis=8 delay=3" and set(cells) == {"dpa", "ea"}
    assert set(chosen[chosen["cell"].isin(cells.values())]["seed"]) == {2}
    assert shown_level(chosen, set()) is None and best_cells(chosen, {}) == (None, {})


@pytest.mark.parametrize("what", ["torn", "shape", "type", "nan", "huge", "name"])
def test_damaged_maps_are_left_out(make_run: Make, what: str) -> None:
    rows = sweep(seeds=[1], rates=[0.01], levels=[(8, 2)])
    run = make_run(rows)
    (run / "geometry").mkdir()
    for cell in rows:
        path = run / "geometry" / f"{cell['cell']}.safetensors"
        good = np.full((1, 1, 1, 4, 4), 0.25, np.float32)
        bad = {"shape": good[0], "type": good.astype(np.float64), "nan": good * np.nan}.get(what, good)
        safetensors.save_file({"attention" if what != "name" else "atention": bad}, path)
        if what == "torn":
            path.write_bytes(path.read_bytes()[:-8])
        elif what == "huge":
            path.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    html = page(run)
    assert "No attention maps: " in html and "maps-recurrence" not in names(run)


def test_maps_without_tokens(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    safetensors.save_file({"attention": np.full((2, 1, 3, 4, 4), 0.25, np.float32)}, path)
    attention, tokens = read_attention(path)
    assert attention.shape == (1, 3, 4, 4) and len(tokens) == 0


# ---- mixtures and settings of a mechanism's own ----------------------------------------------------------------------


def mixture(seed: int, mechanism: str, accuracy: float) -> list[dict[str, object]]:
    common = dict(seed=seed, mechanism=mechanism, cell=f"mix{mechanism}{seed}", solved=0, validation_accuracy=accuracy)
    return [row(task="mixture", level="two cue=token", axes={"basis": "", "delay": ""}, token_accuracy=accuracy,
                **common),
            row(8, 2, token_accuracy=accuracy + 0.1, **common), row(8, 3, token_accuracy=accuracy - 0.1, **common)]


def test_parts_of_mixtures_have_their_own_table(make_run: Make) -> None:
    rows = [cell for seed in (1, 2) for name in ("dpa", "ea") for cell in mixture(seed, name, 0.5)]
    run = make_run(rows, speeds=[])
    html = page(run)
    assert "Parts of the mixtures" in html and "Results: mixture" in html and "Results: recurrence" not in html
    assert ">0.600<" in html and ">0.400<" in html


def test_cells_that_a_search_abandoned_are_counted(make_run: Make) -> None:
    reason = "abandoned at step 300 of 600: validation accuracy 0.130, chance is 0.125"
    rows = [row(8, 3, mechanism=name, seed=seed, **({} if name == "ea" else {"status": "timeout", "reason": reason}))
            for name in ("dpa", "ea") for seed in range(5)]
    rows += [row(8, 3, mechanism="dpa", seed=9, status="timeout", reason="too slow"), row(8, 2),
             row(8, 2, mechanism="ea")]
    run = make_run(rows)
    pool = pool_runs([read_run(run)])
    assert len(pool.left_out) == 1 and len(pool.rows) == 12
    gone = pool.rows[pool.rows["status"] == "timeout"]
    assert set(gone["token_accuracy"]) == {0.13} and set(gone["solved"]) == {0.0}
    html = page(run)
    assert "5 cells abandoned by --search" in html and "abandoned by a search and count with their accuracy" in html
    table = pd.read_csv(run / "claims.csv").set_index("claim")
    assert table.at["exclusive levels", "verdict"] == "supported" and table.at["exclusive levels", "statistic"] == 1


def test_the_cue_is_a_setting(make_run: Make) -> None:
    rows = [cell | ({"level": f"two cue={cue}"} if cell["task"] == "mixture" else {}) | {"cell": f"{cue}{cell['cell']}"}
            for cue in ("token", "none") for name in ("dpa", "ea") for cell in mixture(1, name, 0.5)]
    groups = pool_runs([read_run(make_run([*rows, *sweep(seeds=[1])], speeds=[]))]).groups
    assert [group.title for group in groups] == ["mixture, cue=none", "mixture, cue=token", "recurrence"]


def test_compare_accepts_mixtures_and_new_columns(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [cell for seed in range(6) for name in ("dpa", "ea") for cell in mixture(seed, name, 0.5)]
    rows += [row(8, 2, seed=seed, mechanism="ea", token_accuracy=0.6, solved=0) for seed in range(6)]
    base = make_run(rows, "base", speeds=[])
    worse = [{**cell, "token_accuracy": 0.3 + 0.01 * index}
             if cell["cell"].startswith("mixea") and cell["task"] == "recurrence" else cell
             for index, cell in enumerate(rows)]
    new = make_run(worse, "new", speeds=[])
    table = pd.read_csv(new / "accuracy.csv", dtype=str, keep_default_na=False)
    table["further"] = "1"
    table.to_csv(new / "accuracy.csv", index=False)
    assert compare.main([str(base), str(base), "--no-throughput"]) == 0
    assert compare.main([str(base), str(new), "--exact", "--no-throughput"]) == 1
    capsys.readouterr()
    compare.main([str(base), str(new), "--statistical", "--no-throughput"])
    out = capsys.readouterr().out
    # Parts of mixtures are a separate group; recurrence alone has not changed.
    assert re.search(r"same +token_accuracy +recurrence ea +0\.6000 +0\.6000", out), out
    assert re.search(r"token_accuracy +recurrence in mixtures ea", out), out
    assert compare.main([str(base), str(make_run(rows[1:], "less", speeds=[])), "--no-throughput"]) == 1


def test_settings_that_differ_by_mechanism_are_reported(make_run: Make) -> None:
    rows = sweep(seeds=range(3), mechanisms=("dpa", "ea"))
    for cell in rows:
        cell["qk_init"] = 2 if cell["mechanism"] == "ea" else 1
    run = make_run(rows)
    group, = pool_runs([read_run(run)]).groups
    assert group.setting == ""
    html = page(run)
    assert "Each mechanism has its own: qk_init 1 for dpa, 2 for ea" in html and "settings differ: qk_init" in html
    both = [*rows, *({**cell, "qk_init": 2, "cell": f"x{cell['cell']}"} for cell in rows if cell["mechanism"] == "dpa")]
    assert len(pool_runs([read_run(make_run(both, "both"))]).groups) == 2


def test_paths_of_any_bytes_in_any_locale(make_run, tmp_path):
    """Also by a symbolic link to the script, as people put it on their PATH."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "report").symlink_to(ROOT / "scripts" / "report")
    run = make_run(sweep(levels=[(8, 2)], rates=[0.01]))
    for name, locale in ((b"r\xc3\xbcn", "en_US.US-ASCII"), (b"r\xfcn", "POSIX")):
        run = run.rename(tmp_path / os.fsdecode(name))
        done = subprocess.run([tmp_path / "bin" / "report", os.fsencode(run)], check=False, capture_output=True,
                              env={**os.environ, "LC_ALL": locale, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0",
                                   "EAB_PYTHON": sys.executable})
        assert done.returncode == 0, done.stderr
        assert (run / "report.html").exists()
        (run / "report.html").unlink()


def test_the_head_shows_changes_of_the_tree(make_run):
    rows = sweep(levels=[(8, 2)], rates=[0.01])
    assert "(commit 0123456789ab-dirty)" in page(make_run(rows, commit="0123456789ab-dirty"))
    assert "(commit 0123456789ab)" in page(make_run(rows, name="clean", commit="0123456789abcdef"))


def test_mixes_are_no_results(make_run, capsys):
    """scripts/explore --walk trains them; a page says that it leaves them out."""
    rows = [row(mechanism=mechanism, seed=seed, options={"mix": "0.25" if mechanism == "mix" else "none"})
            for mechanism in ("dpa", "mix", "ea-scaled") for seed in (1, 2, 3)]
    html = page(make_run(rows))
    assert "mix-0.25" not in html and "3 rows of mixes are left out" in capsys.readouterr().err


def test_a_text_has_its_loss(make_run):
    """In place of complexity and solved seeds, which a text has not; the loss is that of the best validation rate."""
    losses = {("dpa", 0.01): 1.8, ("dpa", 0.02): 1.7, ("ea", 0.01): 2.0, ("ea", 0.02): 2.2}
    rows = [row(axes={"task": "text", "level": "sha256=0123 unit=char"}, mechanism=mechanism, lr=lr, seed=seed,
                solved=0, loss_nats=loss + seed / 10, validation_accuracy=1 / loss)
            for (mechanism, lr), loss in losses.items() for seed in (1, 2, 3)]
    run = make_run(rows)
    html = page(run)
    assert {"loss-text"} <= names(run) and not names(run) & {"accuracy-text", "solved-text"}
    table = pd.read_csv(run / "plots" / "loss-text.csv")
    assert table["mechanism"].tolist() == ["dpa", "dpa", "ea", "ea"] and table["best"].tolist() == [0, 1, 1, 0]
    assert table["nats"].tolist() == pytest.approx([2.0, 1.9, 2.2, 2.4])
    assert table["bits"].tolist() == pytest.approx((table["nats"] / np.log(2)).tolist())
    assert "dpa 1.900 nats, ea 2.200 nats" in html and "Steps to solve: no seed" not in html
