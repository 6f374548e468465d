"""The contents of the report's sections."""

from __future__ import annotations

import pandas as pd

from . import summary
from .page import Row, Section, Table, data_table, heading, interval, number, text
from .pool import BASELINE, MIXTURE, Group, Pool, abandoned, mechanisms_of, own_settings
from .tables import Run, count_marks, printable

ENVIRONMENT = ("version", "commit", "started", "backend", "device", "driver", "clocks", "cpu", "cores", "isa",
               "workers", "fleet", "os", "compiler", "flags", "libraries", "peak_gflop_per_s", "command")
MOST_FINDINGS = 12
MOST_OPEN_ROWS = 24  # longer tables start folded


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def short_commit(commit: str) -> str:
    """Its first 12 digits, and whether the tree had changes of its own."""
    return commit[:12] + ("-dirty" if commit.endswith("-dirty") else "")


def _where(run: Run) -> str:
    known = run.environment
    machine = known.get("device") or known.get("cpu") or "an unknown machine"
    commit = known.get("commit", "")
    parts = [f"{run.path}: eabench {known.get('version') or 'of unknown version'}"
             + (f" (commit {short_commit(commit)})" if commit else ""), f"on {machine}"]
    if known.get("backend"):
        parts.append(f"backend {known['backend']}" + (f", {known['isa']}" if known.get("isa") else ""))
    if known.get("started"):
        parts.append(f"started {known['started']}")
    return printable("; ".join(parts), 400)


def header(pool: Pool) -> tuple[str, list[str]]:
    cells = len(pool.rows) + len(pool.left_out)
    families = ", ".join(sorted(pool.rows["task"].unique())) or "no task"
    what = (f"{_plural(cells, 'result row')}: {printable(families, 200)}; mechanisms "
            f"{printable(', '.join(mechanisms_of(pool.rows)) or 'none', 200)}; "
            f"{_plural(pool.rows['level'].nunique(), 'level')}, {_plural(pool.rows['seed'].nunique(), 'seed')}, "
            f"{_plural(pool.rows['lr'].nunique(), 'learning rate')}.")
    lines = [_where(run) for run in pool.runs[:8]]
    if len(pool.runs) > 8:
        lines.append(f"and {len(pool.runs) - 8} more runs; see Environment")
    return "eabench report", [*lines, what]


def findings(pool: Pool) -> Section:
    """Every mechanism against the baseline, pooled and per rung."""
    section = Section("findings", "What this run shows")
    if pool.rows.empty:
        section.findings.append("No results yet: the tables hold no cell with status ok or diverged.")
        return section
    which = ("results", "mechanism")
    columns = ("#pairs", f"#{BASELINE}'s accuracy", "#its accuracy", "#difference", "#95% interval", "reading")
    pooled = Table(f"Token accuracy minus that of {BASELINE}, paired by level and seed, with its 95% bootstrap "
                   "interval: all rungs", heading(*which, *columns), [])
    rungs = Table("The same rung by rung", heading(*which, "level", "#bits", *columns), [])
    for group in pool.groups:
        chosen, _ = summary.at_best_rate(group)
        pairs = summary.pair_table(chosen)
        for row in pairs.itertuples():
            reading = summary.verdict(row)
            (pooled if row.level is None else rungs).rows.append(Row([
                text(group.title), text(row.mechanism),
                *([text(row.level), number(row.complexity_bits, ".4g")] if row.level is not None else []),
                number(row.pairs, ".0f"), number(row.baseline_accuracy),
                number(row.accuracy), number(row.difference, "+.3f"), interval(row.low, row.high, "+.3f"),
                text(reading, {"higher": "good", "lower": "bad"}.get(reading, ""))]))
            if row.level is None:
                section.findings.append(_sentence(group, row, pairs))
        names = mechanisms_of(group.rows)
        if BASELINE not in names:
            section.findings.append(f"{group.title}: {', '.join(names)} without {BASELINE}, so there is nothing to "
                                    "compare with; the curves stand alone.")
        elif len(names) == 1:
            section.findings.append(f"{group.title}: only {BASELINE} was run, so there is nothing to compare it with.")
        elif pairs.empty:
            section.findings.append(f"{group.title}: no level and seed was run with {BASELINE} and another mechanism.")
    if len(section.findings) > MOST_FINDINGS:
        section.findings[MOST_FINDINGS:] = [f"and {len(section.findings) - MOST_FINDINGS} more; see the table"]
    section.findings = [printable(finding, 400) for finding in section.findings]
    if pooled.rows:
        rungs.folded = len(rungs.rows) > MOST_OPEN_ROWS
        section.tables += [pooled, rungs]
        section.paragraphs.append(
            "These numbers describe the run: their intervals resample the seeds of each rung as if rungs were "
            "independent. The verdicts above count a seed once, over all of its rungs, and leave out rungs at chance "
            f"or ceiling; quote those. A rung with fewer than {summary.FEW_PAIRS} pairs is not judged alone, and a "
            f"difference below {summary.NEGLIGIBLE} counts as none. Of twenty rungs without any difference, one "
            "interval misses zero by chance.")
    return section


def _sentence(group: Group, row: object, pairs: pd.DataFrame) -> str:
    rungs = pairs[(pairs["mechanism"] == row.mechanism) & pairs["level"].notna()]
    over = f"over {_plural(len(rungs), 'rung')} ({_plural(row.pairs, 'pair')})"
    by = f"{row.difference:+.3f} in token accuracy"
    reading = summary.verdict(row)
    if reading == "too few pairs":
        return f"{group.title}: {row.mechanism} differs from {BASELINE} by {by} {over}: too few pairs to judge."
    if reading == "one seed: no interval":
        return (f"{group.title}: {row.mechanism} differs from {BASELINE} by {by} {over}; with one seed on a rung there "
                "is no interval.")
    compared = {"higher": "is better than", "lower": "is worse than"}.get(reading, "shows no clear difference to")
    readings = [summary.verdict(rung) for rung in rungs.itertuples()]
    counted = ""
    if any(rung != "too few pairs" for rung in readings):
        better, worse = readings.count("higher"), readings.count("lower")
        counted = f"; better on {better}, worse on {worse}, no clear difference on {len(readings) - better - worse}"
    return (f"{group.title}: {row.mechanism} {compared} {BASELINE}: {by} [{row.low:+.3f}, {row.high:+.3f}] "
            f"{over}{counted}.")


def notes(pool: Pool) -> Section | None:
    """Rows that were left out, diverged cells, warnings."""
    section = Section("notes", "Left out and warned about", warning=True)
    section.findings = [printable(warning, 400) for warning in pool.warnings]
    diverged = int((pool.rows["status"] == "diverged").sum())
    if diverged:
        section.findings.append(f"{_plural(diverged, 'cell')} diverged; each counts as a failure: chance accuracy, "
                                "not solved.")
    gone = int(abandoned(pool.rows).sum())
    if gone:
        section.findings.append(f"{_plural(gone, 'cell')} abandoned by --search as hopeless; each counts as not "
                                "solved, with its validation accuracy at that time. A search tries neither every rate "
                                "nor every seed.")
    if len(pool.left_out):
        counts = pool.left_out["status"].value_counts()
        section.findings.append(f"{_plural(len(pool.left_out), 'row')} left out because there is no result: "
                                + ", ".join(f"{count} {status}" for status, count in counts.items()) + ".")
        reasons = (pool.left_out.assign(reason=pool.left_out["reason"].map(printable))
                   .groupby(["status", "mechanism", "reason"]).size().reset_index(name="rows")
                   .sort_values("rows", ascending=False).head(50))
        section.tables.append(data_table(reasons, "Rows left out, by reason"))
    return section if section.findings else None


def rate_notes(group: Group, rates: pd.DataFrame) -> list[str]:
    phrases = []
    if rates["rates_tried"].max() > 1:
        edges, total = int(rates["edge"].sum()), len(rates)
        phrases.append("Each mechanism is shown at its own best learning rate per level, chosen by mean validation "
                       f"accuracy, reported by held-out token accuracy. In {edges} of {total} cases the best rate is "
                       "at the edge of its grid (a ring in the figure, an asterisk in the table): a better one may lie "
                       "outside."
                       + (" A grid of two rates has only edges." if rates["rates_tried"].max() == 2 and edges else ""))
        if rates["uneven"].any():
            phrases.append("Some rates have fewer seeds than others (a run that is not finished, or failed cells), so "
                           "the choice of the rate is preliminary.")
    if own_settings(group):
        phrases.append(f"Each mechanism has its own: {printable(own_settings(group), 300)}.")
    twins = group.rows.drop_duplicates("level").groupby("complexity_bits").size()
    if (twins > 1).any():
        phrases.append("Levels of equal complexity are one rung in the curves; the tables keep them apart.")
    return phrases


def level_grid(group: Group, levels: pd.DataFrame) -> Table:
    table = Table(f"Every level of {printable(group.title)}, each mechanism at its best rate (* at the edge of its "
                  "grid)",
                  heading("level", "#bits", "mechanism", "#seeds", "#diverged", "#rate", "#accuracy",
                          "#95% interval", "#sequence", "#rollout", "#chance", "#seen", "#solved", "#Wilson 95%",
                          "#median steps to solve"), [])
    for row in levels.itertuples():
        table.rows.append(Row([
            text(row.level), number(row.complexity_bits, ".4g"), text(row.mechanism), number(row.seeds, ".0f"),
            number(row.diverged, ".0f"), number(row.lr, "g", "*" if row.lr_at_edge else ""), number(row.token_accuracy),
            interval(row.token_accuracy_low, row.token_accuracy_high), number(row.sequence_accuracy),
            number(row.rollout_accuracy), number(row.chance_accuracy), number(row.seen_share),
            number(row.solved_share, ".0%"), interval(row.solved_low, row.solved_high, ".0%"),
            number(row.median_steps_to_solve, ".0f")]))
    table.after, table.folded = True, len(table.rows) > MOST_OPEN_ROWS
    return table


def mixture_parts(pool: Pool) -> Section:
    """How the parts of each mixture were learned, at the rate that is best for the whole."""
    section = Section("parts", "Parts of the mixtures")
    section.paragraphs.append("A mixture is judged as a whole; its parts are shown at the rate that is best for the "
                              "whole. They are not levels of their families, since learning beside other tasks differs "
                              "from learning alone.")
    wholes = [summary.at_best_rate(group)[0] for group in pool.groups if group.task == MIXTURE]
    cells = {cell for chosen in wholes for cell in chosen["cell"]}
    rows = pool.parts[pool.parts["cell"].isin(cells)]
    table = Table("Mean over seeds of each part's held-out results", heading(
        "mixture", "part", "level", "#bits", "mechanism", "#cells", "#accuracy", "#sequence", "#solved", "#chance"), [])
    means = rows.groupby(["mixture", "task", "level", "mechanism"], sort=True).agg(
        bits=("complexity_bits", "first"), cells=("cell", "size"), accuracy=("token_accuracy", "mean"),
        sequence=("sequence_accuracy", "mean"), solved=("solved", "mean"),
        chance=("chance_accuracy", "mean")).reset_index()
    table.rows = [Row([text(row.mixture), text(row.task), text(row.level), number(row.bits, ".4g"), text(row.mechanism),
                       number(row.cells, ".0f"), number(row.accuracy), number(row.sequence), number(row.solved, ".0%"),
                       number(row.chance)]) for row in means.itertuples()]
    table.folded = len(table.rows) > MOST_OPEN_ROWS
    section.tables.append(table)
    return section


def throughput(pool: Pool) -> Section:
    section = Section("throughput", "Training throughput")
    groups = summary.throughput_groups(pool.throughput)
    if not groups:
        section.paragraphs.append("No throughput was recorded for the cells shown.")
        return section
    marks = pool.throughput["marks"]
    if (marks != "").any():
        section.findings.append(
            f"{int((marks != '').sum())} of {_plural(len(marks), 'cell')} are marked: {count_marks(marks)}. busy: "
            "other processes used the same cores; stopped: the process was stopped meanwhile; above_peak: faster than "
            "the peak, measured twice. Medians and ranges leave out busy and stopped cells where there are others.")
        section.warning = True
    table = Table("Medians over cells (tokens/s: trained input positions of one cell)",
                  heading("configuration", "mechanism", "#cells", "#marked", "#tokens/s", "#range", "#fleet tokens/s",
                          "#GFLOP/s", "#of peak", "#range of peak"), [])
    for label, rows in groups:
        for row in summary.throughput_table(label, rows).itertuples():
            table.rows.append(Row([
                text(label or "all cells"), text(row.mechanism), number(row.cells, ".0f"), number(row.marked, ".0f"),
                number(row.tokens_per_s, ",.0f"), interval(row.tokens_per_s_min, row.tokens_per_s_max, ",.0f"),
                number(row.fleet_tokens_per_s, ",.0f"), number(row.gflop_per_s, ".2f"),
                number(row.peak_fraction, ".1%"), interval(row.peak_fraction_min, row.peak_fraction_max, ".1%")]))
    section.tables.append(table)
    return section


def how_to_read() -> Section:
    return Section("reading", "How to read this", paragraphs=[
        "Token accuracy is the share of determined tokens that are predicted right on held-out sequences, the earlier "
        "tokens given. Sequence accuracy counts whole sequences; rollout accuracy tokens that the model continues from "
        "its own predictions. A level is solved when every one of the evaluated tokens is right. Seen is the share of "
        "evaluated sequences that were also trained on.",
        "Complexity is log2 of the number of distinct sequences of a level. It orders the levels of one task family "
        "and compares nothing across families.",
        "Intervals of means are 95% percentile bootstrap intervals over seeds, resampled within each level with a "
        "fixed random seed and widened by sqrt(n/(n-1)) for n seeds; with one seed there is none. Intervals of shares "
        "are Wilson's. Differences are paired: the same level, the same seed (so the same data), every other option "
        "equal.",
        "A diverged cell counts as a failure: chance accuracy, not solved. Cells with status fail, oom or timeout have "
        "no result; they are left out and counted above.",
        "Where the learning rate is an axis, each mechanism has its own best rate per level. Of equally good rates the "
        "innermost of the grid is taken, then the lower; when all do equally well, no edge is marked. Any other option "
        "that varies makes a separate group; nothing is averaged over it.",
        "A median of steps to solve counts unsolved seeds as later than all others, so it exists only where more than "
        "half of the seeds solved the level. The share of the peak divides by the speed measured on the same device by "
        "the same process."])


def environment(pool: Pool) -> Section:
    section = Section("environment", "Environment")
    names = [name for name in ENVIRONMENT if any(run.environment.get(name) for run in pool.runs)]
    names += sorted({name for run in pool.runs for name in run.environment} - set(ENVIRONMENT))
    if names:
        section.tables.append(Table("From each run's manifest.ini", heading("", *(str(run.path) for run in pool.runs)),
                                    [Row([text(name), *(text(run.environment.get(name, "")) for run in pool.runs)])
                                     for name in names], sortable=False))
    else:
        section.paragraphs.append("The manifests name no environment.")
    for run in pool.runs:
        rows = [Row([text(title), text(key), text(value)]) for title, keys in run.sections.items()
                if title != "environment" for key, value in keys.items()]
        if rows:
            section.tables.append(Table(f"Specification of {run.path}", heading("section", "key", "value"), rows,
                                        sortable=False, folded=True))
    return section
