"""Speed of the kernels: the roofline, and speed against context per mechanism and implementation."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from .pool import sort_key
from .style import GRID, INK, MUTED, Looks, Plot, label, slug

LINES = ("-", "--", ":", "-.", (0, (3, 1, 1, 1, 1, 1)), (0, (6, 2)), (0, (1, 3)), (0, (8, 1, 1, 1)))
MOST_PANELS = 6
OURS = ("fused", "eabench")   # drawn with a solid line, others with broken lines


def implementations_of(rows: pd.DataFrame) -> list[str]:
    return sorted(rows["implementation"].unique(), key=lambda name: (name not in OURS, name))


def _look(mechanism: str, looks: Looks) -> str:
    return looks.colour(mechanism) if mechanism else MUTED


def _log_axis(axis: Axis, base: int = 10) -> None:
    """Plain numbers as ticks; a range of less than two decades has ticks at 2 and 5 as well."""
    low, high = axis.get_view_interval()
    few = base == 10 and low > 0 and high / low < 100
    axis.set_major_locator(LogLocator(base=base, subs=(1, 2, 5) if few else (1,), numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, mechanisms: list[str], names: list[str], looks: Looks, markers: bool) -> None:
    """Colours show mechanisms; lines (or the fill of marks) show implementations."""
    entries = [Line2D([], [], color=_look(name, looks), marker=looks.marker(name) if name else ".", linestyle="none",
                      label=label(name or "no mechanism")) for name in mechanisms]
    entries += [Line2D([], [], color=INK, linestyle="none" if markers else LINES[index % len(LINES)],
                       marker="o" if markers else "", markerfacecolor=INK if name in OURS else "none",
                       label=label(name))
                for index, name in enumerate(names) if not markers or name in OURS or index == len(names) - 1]
    if markers and names and names[-1] not in OURS:
        entries[-1].set_label("others")
    figure.legend(handles=entries, loc="outside upper center", ncols=min(len(entries), 5), handletextpad=0.5,
                  columnspacing=1.2)


def roofs(rows: pd.DataFrame) -> tuple[float, float]:
    """Peak in TFLOP/s and bandwidth in TB/s, from the rows: the roof over a row is its speed / roof_fraction.

    The roof is the smaller of the peak and bandwidth times intensity. So the largest roof is the peak if any row is
    bound by it, and the largest roof per intensity is the bandwidth. NaN where no row has a roof_fraction.
    """
    known = rows[(rows["roof_fraction"] > 0) & (rows["tflop_per_s"] > 0)]
    if known.empty:
        return np.nan, np.nan
    roof = known["tflop_per_s"] / known["roof_fraction"]
    with_bytes = known["gbyte"] > 0
    slope = (roof * known["gbyte"] / known["gflop"])[with_bytes & (known["gflop"] > 0)]
    return float(roof.max()), float(slope.max()) if len(slope) else np.nan


def roofline_plot(name: str, where: str, rows: pd.DataFrame, looks: Looks) -> Plot | None:
    rows = rows[(rows["gflop"] > 0) & (rows["gbyte"] > 0) & (rows["tflop_per_s"] > 0)].copy()
    if rows.empty:
        return None
    rows["flop_per_byte"] = rows["gflop"] / rows["gbyte"]
    peak, band = roofs(rows)
    figure = Figure(figsize=(7.4, 4.6), layout="constrained")
    axes = figure.add_subplot()
    names, mechanisms = implementations_of(rows), sorted(rows["mechanism"].unique(), key=lambda item: (not item, item))
    for implementation in names:
        for mechanism in mechanisms:
            part = rows[(rows["implementation"] == implementation) & (rows["mechanism"] == mechanism)]
            colour = _look(mechanism, looks)
            axes.plot(part["flop_per_byte"], part["tflop_per_s"], linestyle="none", color=colour, alpha=0.75,
                      marker=looks.marker(mechanism) if mechanism else ".", markersize=5,
                      markerfacecolor=colour if implementation in OURS else "none")
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_xlim()
    if np.isfinite(peak):
        reach = np.geomspace(low, high, 200)
        roof = np.minimum(peak, band * reach) if np.isfinite(band) else np.full(200, peak)
        axes.plot(reach, roof, color=INK, linewidth=1.4)
        axes.annotate(f"{peak:.3g} TFLOP/s", (high, peak), (-2, 4), textcoords="offset points", ha="right",
                      fontsize=8.5)
        if np.isfinite(band) and band * low < peak:
            axes.annotate(f"{1000 * band:.3g} GB/s", (low, band * low), (14, 0), textcoords="offset points",
                          fontsize=8.5)
    axes.set_xlim(low, high)
    _log_axis(axes.xaxis)
    _log_axis(axes.yaxis)
    axes.set_xlabel("arithmetic intensity (FLOP per byte moved at least)")
    axes.set_ylabel("TFLOP/s")
    _legend(figure, mechanisms, names, looks, True)
    share = rows["roof_fraction"].dropna()
    phrases = (f"The line is the measured roof: {peak:.3g} TFLOP/s"
            + (f", {1000 * band:.3g} GB/s" if np.isfinite(band) else "")
            + f". Shares of it: median {share.median():.0%}, from {share.min():.0%} to {share.max():.0%}."
            if np.isfinite(peak) and len(share) else "No roof was measured.")
    words = (f"A mark is one kernel at one shape; full marks are {' and '.join(OURS)}, hollow ones other "
             f"implementations. {phrases}")
    columns = ["op", "implementation", "mechanism", "pass", "batch", "heads", "context", "head_dim", "m", "n", "k",
               "flop_per_byte", "tflop_per_s", "roof_fraction"]
    return Plot(name, f"Roofline: {where}", words, figure, rows[columns])


def speed_plot(name: str, where: str, rows: pd.DataFrame, looks: Looks) -> Plot | None:
    """One panel per head_dim; None where the context does not vary or is not known."""
    rows = rows.assign(length=pd.to_numeric(rows["context"], errors="coerce"))
    rows = rows[(rows["length"] > 0) & (rows["tflop_per_s"] > 0)]
    if rows["length"].nunique() < 2:
        return None
    heads = sorted(rows["head_dim"].unique(), key=sort_key)[:MOST_PANELS]
    columns = min(3, len(heads))
    lines = -(-len(heads) // columns)
    figure = Figure(figsize=(max(4.6, 3.0 * columns + 0.6), 2.6 * lines + 0.9), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flatten()
    names, mechanisms = implementations_of(rows), sorted(rows["mechanism"].unique(), key=lambda item: (not item, item))
    for panel, head in zip(panels, heads):
        for index, implementation in enumerate(names):
            for mechanism in mechanisms:
                part = rows[(rows["head_dim"] == head) & (rows["implementation"] == implementation)
                            & (rows["mechanism"] == mechanism)].sort_values("length")
                if part.empty:
                    continue
                colour = _look(mechanism, looks)
                panel.plot(part["length"], part["tflop_per_s"], linestyle=LINES[index % len(LINES)], color=colour,
                           marker=looks.marker(mechanism) if mechanism else ".", markersize=4, linewidth=1.4,
                           markerfacecolor=colour if implementation in OURS else "none")
                # The 5% and 95% quantiles of the time, turned into speeds.
                scale = part["tflop_per_s"] * part["time_median_us"]
                panel.fill_between(part["length"], scale / part["time_p95_us"], scale / part["time_p05_us"],
                                   color=colour, alpha=0.15, linewidth=0)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        _log_axis(panel.xaxis, 2)
        _log_axis(panel.yaxis)
        panel.tick_params(axis="x", labelrotation=45)
        panel.grid(which="minor", axis="y", color=GRID, linewidth=0.3)
        panel.set_title(f"head_dim {label(head)}" if head else "", fontsize=9.5)
    for panel in panels[len(heads):]:
        panel.set_axis_off()
    figure.supxlabel("context", fontsize=10)
    figure.supylabel("TFLOP/s", fontsize=10)
    _legend(figure, mechanisms, names, looks, False)
    best = rows.loc[rows.groupby(["mechanism", "implementation"])["tflop_per_s"].idxmax()]
    words = ("Speed against context, one panel per head_dim; the band is the 5% to 95% quantile of the time. Fastest: "
             + "; ".join(f"{label(row.mechanism) or 'no mechanism'} {label(row.implementation)} {row.tflop_per_s:.3g} "
                         f"TFLOP/s at context {row.context}, head_dim {label(row.head_dim)}"
                         for row in best.itertuples()) + ".")
    columns = ["mechanism", "implementation", "head_dim", "context", "batch", "heads", "tflop_per_s", "time_median_us",
               "time_p05_us", "time_p95_us", "roof_fraction", "error_ratio"]
    return Plot(name, f"Speed against context: {where}", words, figure,
                rows.sort_values(["mechanism", "implementation", "length"])[columns])


def kernel_figures(kernels: pd.DataFrame, looks: Looks, most: int = 12) -> tuple[list[Plot], int]:
    """Rooflines per device and dtype, speeds per device, op, dtype, pass and other options; and how many figures were
    left out."""
    rows = kernels[(kernels["status"] == "ok") & kernels["time_median_us"].notna()]
    plots: list[Plot | None] = []
    for values, part in rows.groupby(["backend", "device", "dtype"], sort=True):
        where = ", ".join(label(value, 60) for value in values if value)
        plots.append(roofline_plot(f"roofline-{slug(where)}", where, part, looks))
    curves = [name for name in ("backend", "device", "op", "dtype", "pass", "causal", "position", "cache", "label", "m",
                                "n", "k", "transpose") if name in ("op", "pass") or rows[name].nunique() > 1]
    for values, part in rows.groupby(curves, sort=True):
        where = ", ".join(value if name in ("op", "pass", "dtype", "backend", "device") else f"{name}={value}"
                          for name, value in zip(curves, values) if value)
        for about, same in _by_shape(part):
            plots.append(speed_plot(f"speed-{slug(where + about)}", where + about, same, looks))
    drawn = [plot for plot in plots if plot]
    return drawn[:most], max(0, len(drawn) - most)


def _by_shape(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Splits rows by batch and heads if one context has several of them."""
    keys = ["implementation", "mechanism", "head_dim", "context"]
    if not rows.duplicated(keys).any():
        return [("", rows)]
    return [(f", batch {batch}, heads {heads}", part)
            for (batch, heads), part in rows.groupby(["batch", "heads"], sort=True)]
