"""What predicts the margin: planted dependences are found, none is found where there is none, and no descriptor
contains the answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import predict, report
from analysis.pool import pool_runs
from analysis.predict import DESCRIPTORS, collect, correlate, enough
from analysis.tables import read_run
from analysis.tables_more import read_more
from synthetic import geometry, row, write_csv

Make = Callable[..., Path]
RUNS = 100
GEOMETRY = ["cell", "layer", "head", "quantity", "low", "high", "value"]


def table(dice: np.random.Generator, effect: Callable[[dict[str, float]], float] = lambda facts: 0.0, settings: int = 6,
          levels: int = 8, families: int = 1, common: float = 0.03, noise: float = 0.02) -> pd.DataFrame:
    """Points whose margins share an offset per setting and one per level; descriptors of level, of setting and both."""
    rows = []
    by_setting = dice.normal(0, common, settings)
    for family in range(families):
        by_level = dice.normal(0, common, levels)
        for setting in range(settings):
            for level in range(levels):
                facts = {"bits": 4.0 + 2 * level, "layers": 1.0 + setting % 3,
                         "vocabulary over width": 2.0 ** (level % 4) / (16 + 8 * setting)}
                margin = effect(facts) + by_setting[setting] + by_level[level] + dice.normal(0, noise)
                rows.append({"family": f"f{family}", "setting": f"s{setting}", "level": f"l{level}", "margin": margin,
                             **facts})
    return pd.DataFrame(rows)


def test_a_planted_dependence_is_found() -> None:
    points = table(np.random.default_rng(1), lambda facts: 0.02 * facts["bits"])
    found = predict.predict(points, "ea")
    assert found.matters == ["bits"] and found.error < 0.7 * found.of_mean
    first = found.correlations[0]
    assert first.name == "bits" and first.value > 0.8 and first.low > 0.3 and first.p_adjusted < 0.05
    assert 0.15 < first.effect < 0.3   # 0.02 * (18 - 4) = 0.28, shrunk by the ridge
    values, margins = found.dependence["bits"]
    assert values[0] == 4 and values[-1] == 18 and margins[-1] - margins[0] > 0.15


def test_a_dependence_on_the_setting_needs_many_settings() -> None:
    def effect(facts: dict[str, float]) -> float:
        return 0.1 * facts["layers"]
    assert "layers" in predict.predict(table(np.random.default_rng(2), effect, settings=12), "ea").matters
    assert predict.predict(table(np.random.default_rng(2), effect, settings=3), "ea").matters == []


def test_nothing_is_found_where_nothing_is_planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "DRAWS", 499)

    def finds(points: pd.DataFrame) -> bool:
        """Without the regression, which takes most of the time, where no correlation is significant."""
        significant = any(item.p_adjusted < predict.SIGNIFICANT for item in predict._correlate_all(points))
        return significant and bool(predict.predict(points, "ea").matters)

    found = [finds(table(np.random.default_rng(run), settings=(4, 6, 10)[run % 3], families=1 + run % 2))
             for run in range(RUNS)]
    assert sum(found) <= 0.05 * RUNS


def test_points_of_one_level_are_not_independent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty points, but eight levels: as independent points, chance patterns of the levels would become certain."""
    monkeypatch.setattr(predict, "DRAWS", 499)
    sure = sum(correlate(table(np.random.default_rng(run), settings=12, noise=0.001), "bits").p_value < 0.05
               for run in range(40))
    naive = sum(abs(points["bits"].corr(points["margin"], method="spearman")) > 0.28 for points in (  # p < 0.05 of 96
        table(np.random.default_rng(run), settings=12, noise=0.001) for run in range(40)))
    assert sure <= 6 < naive


def test_families_are_ranked_apart() -> None:
    points = table(np.random.default_rng(3), families=2, common=0, noise=0.01)
    hard = points["family"] == "f1"
    points.loc[hard, "bits"] += 100    # a second family of more bits and larger margins is no trend
    points.loc[hard, "margin"] += 1
    assert abs(correlate(points, "bits").value) < 0.3


def test_descriptors_of_the_same_order_are_tested_once() -> None:
    points = table(np.random.default_rng(4))
    points["bits per position"] = points["bits"] / 24
    found = predict.predict(points, "ea")
    assert [item.same for item in found.correlations if item.name == "bits"] == [["bits per position"]]


# ---- runs ------------------------------------------------------------------------------------------------------------


def cells(effect: float, sizes: tuple[int, ...] = (16, 32, 64, 128), delays: range = range(2, 8)
          ) -> list[dict[str, object]]:
    """Margins that grow with the bits by `effect`, or are noise alone."""
    dice, rows = np.random.default_rng(6), []
    for size in sizes:
        for delay in delays:
            for mechanism in ("dpa", "ea"):
                for seed in range(4):
                    accuracy = 0.5 + dice.normal(0, 0.004) + (effect * delay if mechanism == "ea" else 0)
                    rows.append(row(4, delay, d_model=size, mechanism=mechanism, seed=seed, solved=0,
                                    token_accuracy=accuracy, validation_accuracy=accuracy))
    return rows


def section_of(run: Path) -> str:
    assert report.main([str(run), "--max-groups", "1"]) == 0
    html = (run / "report.html").read_text()
    return html[html.index('<section id="predict">'):] if '<section id="predict">' in html else ""


def test_the_report_of_a_planted_dependence(make_run: Make) -> None:
    run = make_run(cells(0.03))
    html = section_of(run)
    assert "The margin of ea over dpa grows with complexity (bits) (+" in html.split("</ul>")[0]
    assert "Partial dependence of the margin" in html and (run / "plots/predict-margin.png").exists()
    drawn = pd.read_csv(run / "plots/predict-margin.csv")
    points = drawn[(drawn["descriptor"] == "complexity (bits)") & (drawn["shown"] == "point")]
    assert len(points) == 24 and points["margin"].corr(points["value"], method="spearman") > 0.9


def test_the_report_of_no_dependence(make_run: Make) -> None:
    run = make_run(cells(0))
    html = section_of(run)
    assert "Nothing predicts the margin of ea over dpa" in html and not (run / "plots/predict-margin.png").exists()


@pytest.mark.parametrize("changes", [{"sizes": (16, 32)}, {"delays": range(2, 5), "sizes": (16, 32, 64)}])
def test_few_settings_or_levels_have_no_section(make_run: Make, changes: dict[str, object]) -> None:
    assert section_of(make_run(cells(0.03, **changes))) == ""


def test_geometry_gives_descriptors_of_both_mechanisms(make_run: Make) -> None:
    rows = cells(0.03)
    run = make_run(rows)
    write_csv(run / "geometry.csv", GEOMETRY, geometry(rows, layers=1, heads=1))
    html = section_of(run)
    assert "row entropy share of dpa" in html and "row entropy share of ea" in html


def test_the_mean_angle_is_weighted_by_attention_mass(make_run: Make) -> None:
    """Of two bins around 45 and 135 degrees; the mass of a cell's layers counts equally."""
    rows = cells(0.03)
    masses = [{"cell": item["cell"], "layer": layer, "head": 0, "quantity": "angle_mass", "low": low, "high": low + 90,
               "value": share if low else 1 - share}
              for item in rows for layer, share in enumerate((0.0, 0.5) if item["mechanism"] == "ea" else (1.0, 1.0))
              for low in (0, 90)]
    run = make_run(rows)
    write_csv(run / "geometry.csv", GEOMETRY, masses)
    points = collect(pool_runs([read_run(run)]).groups, "ea", read_more([run]).geometry)
    assert points["mean angle of attention (degrees) of dpa"].tolist() == pytest.approx([135] * len(points))
    assert points["mean angle of attention (degrees) of ea"].tolist() == pytest.approx([67.5] * len(points))


def test_geometry_without_a_use_is_left_out(make_run: Make) -> None:
    """Numbers that overflow, and cells without mass: the descriptor is unknown, and the page is complete."""
    rows = cells(0.03)
    run = make_run(rows)
    write_csv(run / "geometry.csv", GEOMETRY, [
        {"cell": item["cell"], "layer": layer, "head": 0, "quantity": quantity, "low": 0, "high": 90, "value": value}
        for item in rows for layer in range(2)
        for quantity, value in (("angle_mass", 0), ("row_entropy_share", 1e308))])
    html = section_of(run)
    assert "complexity (bits)" in html and "mean angle" not in html and "row entropy" not in html


def test_no_descriptor_depends_on_the_results(make_run: Make) -> None:
    """The same descriptors whatever was learned: changed accuracies change the margin alone."""
    points = []
    for name, effect in (("a", 0.0), ("b", 0.03)):
        pool = pool_runs([read_run(make_run(cells(effect), name))])
        points.append(collect(pool.groups, "ea", pd.DataFrame(columns=["cell", "quantity", "value"])))
        assert enough(points[-1])
    assert points[0][list(DESCRIPTORS)].equals(points[1][list(DESCRIPTORS)])
    assert not points[0]["margin"].equals(points[1]["margin"])
