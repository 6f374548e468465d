"""The section "What predicts the margin?" of runs with many settings and levels, and its figure."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .claims import PRIMARY
from .page import Row, Section, Table, heading, interval, number, text
from .pool import BASELINE, Pool, mechanisms_of
from .predict import Prediction, collect, enough, predict
from .style import MUTED, Looks, Plot, finish_panels, label
from .tables_more import More


def predict_section(pool: Pool, more: More) -> tuple[Section, Prediction | None] | None:
    """None for a run with too few settings and levels. The mechanism is `ea`, or the only other one."""
    others = [name for name in mechanisms_of(pool.rows) if name != BASELINE]
    if BASELINE not in mechanisms_of(pool.rows) or not others:
        return None
    mechanism = PRIMARY if PRIMARY in others else others[0]
    points = collect(pool.groups, mechanism, more.geometry)
    if not enough(points):
        return None
    section = Section("predict", "What predicts the margin?")
    try:
        found = predict(points, mechanism)
    except ImportError:
        section.paragraphs.append("Not analysed: the Python package scikit-learn is missing (scripts/setup.sh installs "
                                  "it).")
        return section, None
    section.findings.append(_verdict(found))
    section.paragraphs += [
        f"A point is one level at one setting. Its margin is the mean over seeds of {mechanism} minus {BASELINE} in "
        "token accuracy, each at its best rate. Levels at chance or ceiling are left out. A descriptor is a number "
        "known of the level and the model, or measured on the trained attention; none is computed from an accuracy. "
        "Options that are not numbers, such as norm or position, are not among them.",
        "Correlations are between ranks within each task family. Points of one setting are alike, and so are points of "
        "one level. The p-values therefore come from shuffling whole settings and whole levels, the intervals from "
        "resampling both; Holm corrects p over the descriptors. What varies only between settings needs many settings. "
        "Attention is measured after training, so its descriptors accompany the margin and do not foretell it. "
        "A correlation is not a cause."]
    modelled = any(item.effect == item.effect for item in found.correlations)
    if modelled:
        section.paragraphs.append(
            "Effect: how far the margin that the regression predicts moves when the descriptor goes from its lowest to "
            "its highest value and the others stay. Descriptors that vary together share their effect.")
    table = Table("Rank correlation of each descriptor with the margin", heading(
        "descriptor", "#points", "#correlation", "#95% interval", "#p", "#corrected p",
        *(["#effect"] if modelled else [])), [])
    for item in found.correlations:
        name = text(item.name)
        name.note = f"orders the points alike: {', '.join(item.same)}" if item.same else ""
        table.rows.append(Row([name, number(item.points, ".0f"), number(item.value, "+.2f"),
                               interval(item.low, item.high, "+.2f"), number(item.p_value, ".2g"),
                               number(item.p_adjusted, ".2g"),
                               *([number(item.effect, "+.3f")] if modelled else [])]))
    section.tables.append(table)
    return section, found


def _verdict(found: Prediction) -> str:
    margin = f"margin of {found.mechanism} over {BASELINE}"
    errors = (f"On settings that it was not fitted to, a ridge regression on the descriptors errs by {found.error:.3f} "
              f"(root mean square), the mean of the other settings by {found.of_mean:.3f}; {len(found.points)} points, "
              f"{found.points['setting'].nunique()} settings.")
    if not found.matters:
        best = found.correlations[0]
        smallest = f"The smallest corrected p is {best.p_adjusted:.2g}: {best.name}."
        return f"Nothing predicts the {margin}. {smallest} {errors}"
    shown = [item for item in found.correlations if item.name in found.matters]
    phrases = [f"{verb} " + ", ".join(f"{item.name} ({item.value:+.2f})" for item in items) for verb, items in (
        ("grows with", [item for item in shown if item.value > 0]),
        ("falls with", [item for item in shown if item.value < 0])) if items]
    return f"The {margin} {'; it '.join(phrases)}. Rank correlations are in parentheses. {errors}"


def dependence_figure(found: Prediction, looks: Looks) -> Plot | None:
    """None where nothing matters."""
    if not found.dependence:
        return None
    figure = Figure(figsize=(3.9 * len(found.dependence) + 0.6, 3.6), layout="constrained")
    figure.get_layout_engine().set(wspace=0.08)  # keeps the ticks of neighbours apart
    panels = figure.subplots(1, len(found.dependence), squeeze=False, sharey=True).flatten()
    colour = looks.colour(found.mechanism)
    parts = []
    for panel, (name, (values, margins)) in zip(panels, found.dependence.items()):
        panel.plot(found.points[name], found.points["margin"], linestyle="none", marker=looks.marker(found.mechanism),
                   markersize=4.5, color=colour, alpha=0.45, markeredgewidth=0, label="a level at a setting")
        panel.plot(values, margins, color=colour, label="the regression, other descriptors as they are")
        panel.axhline(0, color=MUTED, linestyle=":", linewidth=1.1)
        panel.set_xlabel(label(name, 48))
        panel.xaxis.set_major_locator(MaxNLocator(5))
        points = found.points[["family", "setting", "level", name, "margin"]].rename(columns={name: "value"})
        parts += [points.assign(shown="point", descriptor=name),
                  pd.DataFrame({"value": values, "margin": margins, "shown": "regression", "descriptor": name})]
    panels[0].set_ylabel(f"margin over {BASELINE} (token accuracy)")
    finish_panels(figure, panels, len(panels))
    words = ("Each mark is a level at a setting. The line is the regression's mean prediction when one descriptor is "
             "set to each value and the others stay as they are (partial dependence). " + "; ".join(
                 f"{label(name, 60)}: {margins[0]:+.3f} at {values[0]:.3g}, {margins[-1]:+.3f} at {values[-1]:.3g}"
                 for name, (values, margins) in found.dependence.items()) + ".")
    if len(found.matters) > len(found.dependence):
        words += f" Of {len(found.matters)} descriptors the {len(found.dependence)} with the smallest p are drawn."
    data = pd.concat(parts, ignore_index=True)[["descriptor", "shown", "family", "setting", "level", "value", "margin"]]
    return Plot("predict-margin", "Partial dependence of the margin", words, figure, data.fillna(""))
