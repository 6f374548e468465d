"""scripts/report: verdicts, plots and one self-contained HTML page from the CSV files of one or more runs."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from .arguments import Arguments
from . import sections as make
from . import summary
from .claims import claims_table, judge
from .figures_curves import accuracy_plot, has_curves, solved_plot, steps_plot
from .figures_distance import distance_plot, distance_rows, distance_table
from .figures_geometry import angle_plot, map_plot, scalar_plot
from .figures_heat import heat_plots
from .figures_kernels import kernel_figures
from .figures_learning import learning_plot
from .figures_speed import throughput_plot
from .figures_text import loss_plot, loss_rows, loss_table
from .files import replace_file, unusable
from .index import build_index
from .page import Section, drawing, render
from .plain_csv import csv_text
from .pool import TEXT, Group, Pool, mechanisms_of, pool_runs
from .sections_claims import claims_section
from .sections_explore import Explored, explore_figure, explore_section, read_explored, searched_rows
from .sections_kernels import kernel_section, ratio_section
from .sections_predict import dependence_figure, predict_section
from .sections_sizes import size_figure, size_section
from .style import Looks, Plot, save, slug
from .tables import DEFAULT_LIMIT_MB, DataError, Run, printable, read_run
from .tables_more import More, is_bench, read_more

MOST_CONFIGURATIONS = 6  # throughput figures; further configurations are in the table


def parser() -> argparse.ArgumentParser:
    command = Arguments(
        prog="report",
        description="Verdicts (claims.csv), plots (PNG, SVG, CSV) and one self-contained report.html from the tables "
        "of one or more runs of eabench. Several runs are pooled; cells that they share must agree.",
        epilog="Exit codes: 0 done, 2 bad input or usage, 3 the report cannot be written.")
    command.add_argument("runs", metavar="RUN", nargs="+", type=Path,
                         help="a folder that eabench sweep or eabench bench wrote")
    command.add_argument("--out", metavar="DIR", type=Path,
                         help="folder for report.html and plots/ (default: the first RUN); of --index: for index.html "
                         "(default: the folder that holds the first RUN's folder)")
    command.add_argument("--index", action="store_true",
                         help="write index.html, one page of all RUNs with their verdicts, and no reports; a folder "
                         "without a manifest.ini stands for the runs in it")
    command.add_argument("--max-groups", metavar="N", type=_count, default=24,
                         help="figures for at most N groups of equal settings; the tables have all (default: 24)")
    command.add_argument("--max-mb", metavar="N", type=_count, default=DEFAULT_LIMIT_MB,
                         help=f"largest CSV file that is read, in MiB (default: {DEFAULT_LIMIT_MB})")
    return command


def _count(value: str) -> int:
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 1_000_000):
        raise argparse.ArgumentTypeError(f"'{value}'; a whole number from 1 to 1000000 is allowed")
    return int(value)


class _Folder:
    """The folder of the plots; gives each figure a unique name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._taken: set[str] = set()

    @property
    def count(self) -> int:
        return len(self._taken)

    def unique(self, name: str) -> str:
        candidate, number = name, 2
        while candidate in self._taken:
            candidate, number = f"{name}-{number}", number + 1
        self._taken.add(candidate)
        return candidate

    def save(self, plot: Plot) -> Plot:
        plot.name = self.unique(plot.name)
        save(plot, self.path)
        for axes in plot.figure.axes:  # a logarithmic axis cannot be cleared to its linear default
            axes.set(xscale="linear", yscale="linear")
        plot.figure.clear()  # frees the memory of the figure
        return plot


def _group_section(group: Group, index: int, looks: Looks, folder: _Folder, figures: bool, more: More,
                   distances: pd.DataFrame) -> Section:
    chosen, rates = summary.at_best_rate(group)
    curve = summary.curve_table(chosen, rates)
    losses = loss_table(group, rates) if group.task == TEXT else pd.DataFrame()
    section = Section(f"group-{index}", f"Results: {group.title}")
    section.paragraphs = make.rate_notes(group, rates)
    plots: list[Plot] = []
    name = slug(group.title)
    if not figures:
        section.paragraphs.append("No figures: --max-groups was reached. The table has the numbers.")
    elif group.task == TEXT:
        at_rates = loss_plot(group, f"loss-{name}", losses, looks)
        plots += [at_rates] if at_rates else []
    elif has_curves(curve):
        plots.append(accuracy_plot(group, f"accuracy-{name}", chosen, curve, looks))
        plots.append(solved_plot(group, f"solved-{name}", chosen, curve, looks))
        steps = steps_plot(group, f"steps-{name}", chosen, curve, looks)
        if steps:
            plots.append(steps)
        else:
            section.paragraphs.append("Steps to solve: no seed solved any level at its mechanism's best rate.")
    else:
        section.paragraphs.append("No curves: complexity_bits is empty in every row of this group.")
    if figures:
        heat = heat_plots(group, name, chosen, looks)
        plots += heat
        if not heat and group.task != TEXT:
            section.paragraphs.append("No heat map: fewer than two axes of the ladder vary here.")
        at_distances = distance_plot(group, f"distances-{name}", chosen, distances, looks)
        plots += [at_distances] if at_distances else []
        plots += _inside(group, name, chosen, looks, more, section)
    section.plots = [drawing(folder.save(plot)) for plot in plots]
    section.tables += [loss_rows(group, losses)] if group.task == TEXT else []
    section.tables.append(make.level_grid(group, summary.level_table(chosen, rates)))
    return section


def _inside(group: Group, name: str, chosen: pd.DataFrame, looks: Looks, more: More, section: Section) -> list[Plot]:
    """Learning curves, geometry and attention maps, if the run has their tables."""
    plots = [learning_plot(group, f"learning-{name}", chosen, more.curves, looks),
             angle_plot(group, f"angles-{name}", chosen, more.geometry, looks),
             scalar_plot(group, f"geometry-{name}", chosen, more.geometry, looks)]
    try:
        plots.append(map_plot(group, f"maps-{name}", chosen, more.maps))
    except DataError as error:
        section.paragraphs.append(f"No attention maps: {printable(str(error), 300)}.")
    except ImportError:
        section.paragraphs.append("No attention maps: the Python package safetensors is missing (scripts/setup.sh "
                                  "installs it).")
    return [plot for plot in plots if plot]


def _kernel_sections(more: More, looks: Looks, folder: _Folder) -> list[Section]:
    sections = []
    if len(more.kernels):
        section = kernel_section(more.kernels)
        plots, left_out = kernel_figures(more.kernels, looks)
        section.plots = [drawing(folder.save(plot)) for plot in plots]
        if left_out:
            section.paragraphs.append(f"{left_out} more figures are left out; the table has all points.")
        sections.append(section)
    ratios = ratio_section(more.ratios, more.kernels)
    return sections + ([ratios] if ratios else [])


def build(pool: Pool, more: More, folder: _Folder, most_groups: int) -> tuple[str, dict[str, str]]:
    """Writes the plots and returns the page, and the tables to be written beside it: name and CSV."""
    looks = Looks([*mechanisms_of(pool.rows), *mechanisms_of(pool.throughput),
                   *filter(None, more.kernels["mechanism"].unique())])
    pool.warnings += more.warnings
    groups = [_group_section(group, index, looks, folder, index <= most_groups, more, pool.distances)
              for index, group in enumerate(pool.groups, 1)]
    verdicts, details = judge(pool)
    kernels = _kernel_sections(more, looks, folder)
    title, lead = make.header(pool)
    tables = {"claims.csv": csv_text(claims_table(verdicts, details))} if pool.groups else {}
    if all(is_bench(run.path) for run in pool.runs):
        notes = make.notes(pool)
        return render(title, lead[:-1], [*([notes] if notes else []), *kernels, make.environment(pool)]), tables
    sections = [claims_section(pool, verdicts, details), make.findings(pool)]
    notes = make.notes(pool)
    if notes:
        sections.append(notes)
    predicted = predict_section(pool, more)
    if predicted:
        section, found = predicted
        plot = dependence_figure(found, looks) if found else None
        section.plots += [drawing(folder.save(plot))] if plot else []
        sections.append(section)
    for index, group in enumerate(pool.sized, 1):
        section, found = size_section(group, index)
        plot = size_figure(group, f"size-{slug(group.title)}", found, looks) if index <= most_groups else None
        section.plots += [drawing(folder.save(plot))] if plot else []
        sections.append(section)
    at_distances = distance_rows(pool)
    if len(at_distances):
        tables["distances.csv"] = csv_text(at_distances)
        sections.append(Section("distances", "Over distances", tables=[distance_table(at_distances)]))
    sections += groups
    if len(pool.parts):
        sections.append(make.mixture_parts(pool))
    speed = make.throughput(pool)
    for label, rows in summary.throughput_groups(pool.throughput)[:MOST_CONFIGURATIONS]:
        name = "throughput" + (f"-{slug(label)}" if label else "")
        speed.plots.append(drawing(folder.save(throughput_plot(name, label, rows, looks))))
    sections += [speed, *kernels, make.how_to_read(), make.environment(pool)]
    return render(title, lead, sections), tables


def build_explored(pool: Pool, explored: Explored, more: More, folder: _Folder) -> str:
    """Writes the plots and returns the page of an exploration: what it confirmed, and what predicts its margins."""
    looks = Looks([explored.first, explored.second])
    section = explore_section(explored)
    figures = [explore_figure(explored, looks)]
    sections = [section]
    predicted = predict_section(pool_runs([searched_rows(pool.runs[0], explored)]), more)
    if predicted:
        sections.append(predicted[0])
        figures.append(dependence_figure(predicted[1], looks) if predicted[1] else None)
    for plot, where in zip(figures, sections):
        where.plots += [drawing(folder.save(plot))] if plot else []
    notes = make.notes(pool)
    title, lead = make.header(pool)
    return render(title, lead, [*sections, *([notes] if notes else []), make.environment(pool)])


def _not_written(error: OSError, out: Path) -> int:
    what = error.strerror or type(error).__name__
    print(f"report: {error.filename or out}: {what}; --out takes a folder that can be written", file=sys.stderr)
    return 3 if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM) else 2


def _write_index(options: argparse.Namespace) -> int:
    out = options.out or Path(os.path.normpath(options.runs[0])).parent.parent
    try:
        page, problems = build_index(options.runs, out)
        for problem in problems:
            print(f"report: warning: {problem}", file=sys.stderr)
        out.mkdir(parents=True, exist_ok=True)
        replace_file(out / "index.html", page)
    except DataError as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        return _not_written(error, out)
    print(f"page   {out / 'index.html'}")
    return 0


def _without_mixes(run: Run) -> Run:
    """Mixes are steps of a search (scripts/explore --walk): a report has none, the tables keep them."""
    frames = [frame[~frame["mechanism"].str.fullmatch("mix(-.*)?")].reset_index(drop=True)
              for frame in (run.accuracy, run.throughput)]
    dropped = len(run.accuracy) - len(frames[0])
    remark = [f"{run.path}: {dropped} rows of mixes are left out, since they are steps of a search"] if dropped else []
    return replace(run, accuracy=frames[0], throughput=frames[1], warnings=run.warnings + remark)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.index:
        return _write_index(options)
    try:
        runs = [_without_mixes(read_run(path, options.max_mb, is_bench(path))) for path in options.runs]
        explorations = [found for found in map(read_explored, options.runs) if found]
        if explorations and len(runs) > 1:
            raise DataError(f"{len(explorations)} of the {len(runs)} runs are explorations; allowed: one exploration "
                            "alone, or any number of other runs")
        pool = pool_runs(runs)
        more = read_more(options.runs, options.max_mb)
    except DataError as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"report: {unusable(error, None)}", file=sys.stderr)
        return 2
    for warning in (*pool.warnings, *more.warnings):
        print(f"report: warning: {warning}", file=sys.stderr)
    out = options.out or options.runs[0]
    tables: dict[str, str] = {}
    try:
        (out / "plots").mkdir(parents=True, exist_ok=True)
        folder = _Folder(out / "plots")
        if explorations:
            page = build_explored(pool, explorations[0], more, folder)
        else:
            page, tables = build(pool, more, folder, options.max_groups)
        for name, content in tables.items():
            replace_file(out / name, content)
        replace_file(out / "report.html", page)
    except OSError as error:
        return _not_written(error, out)
    print(f"page   {out / 'report.html'}")
    for name in tables:
        print(f"table  {out / name}")
    print(f"plots  {out / 'plots'} ({folder.count} figures, each as PNG, SVG and CSV)")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
