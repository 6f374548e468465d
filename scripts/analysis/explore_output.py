"""What scripts/explore prints, and its table explore.csv."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .explore_space import OBJECTS, SIZE, Measured, Setting
from .files import replace_file
from .plain_csv import csv_text

if TYPE_CHECKING:
    from .explore import Exploration, Verdict

SHOWN = 5   # settings of the table of the best so far


def report_space(exploration: Exploration) -> None:
    space = exploration.space
    print(f"{len(space.settings)} settings of {len(space.names)} coordinates, {len(space.cheapest)} of them with all "
          f"steps; {' and '.join(exploration.pair)}", flush=True)


def report_measured(exploration: Exploration, setting: Setting, shown: Sequence[Setting], until_s: float,
                    out: Path) -> list[Setting]:
    """Writes explore.csv and prints the setting's line, and the best settings if the first one is not that of `shown`.
    Returns the best settings."""
    first, second = exploration.pair
    write_table(exploration, [], out)
    print(f"{len(exploration.measured)}  {setting.name}  {first} - {second} {exploration.margin(setting.place):+.4f}; "
          f"{max(0.0, until_s - time.monotonic()):.0f} s left", flush=True)
    leaders = exploration.leaders(SHOWN)
    if leaders[:1] != shown[:1]:
        show(exploration, leaders)
    return leaders


def show(exploration: Exploration, leaders: Sequence[Setting]) -> None:
    print("   best so far (margin as measured, as expected):")
    expected = exploration.expected()
    for leader in leaders:
        print(f"   {exploration.margin(leader.place):+.4f}  {expected[leader.place]:+.4f}  {leader.name}", flush=True)


def report_failed(setting: Setting, folder: Path) -> None:
    print(f"{setting.name}: left out, for a cell without a result; {folder}/accuracy.csv says why", file=sys.stderr)


def report_closed() -> None:
    print("the search of this folder has ended; another --out, with other seeds, begins a new one", flush=True)


def report_late(setting: Setting) -> None:
    print(f"the time was not enough to confirm {setting.name}; the same command goes on", file=sys.stderr)


def report_lost(setting: Setting) -> None:
    print(f"{setting.name}: no verdict, for a cell without a result; accuracy.csv says why", file=sys.stderr)


def columns(exploration: Exploration) -> list[str]:
    return ["phase", "setting", *exploration.space.settings[0].options,
            *(f"{what} {name}" for name in exploration.pair for what in ("rate", "accuracy", "tokens_per_s")),
            "margin", "standard_error", "seeds", "flop_per_cell", "full", "object",
            "low", "high", "p_value", "p_adjusted", "confirmed", "region"]


def table(exploration: Exploration, verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """explore.csv: a row for each setting of the search and for each confirmation."""
    space, (search_seeds, fresh_seeds), speeds = exploration.space, exploration.seeds(), exploration.lab.speeds()

    def row(phase: str, setting: Setting, found: Measured, seeds: Sequence[int]) -> dict[str, object]:
        margins = found.margins(*exploration.pair)
        line = {"phase": phase, "setting": setting.name, **setting.options}
        for name in exploration.pair:
            cells = setting.ids(name, [found.rate[name]] if found.rate[name] in setting.cells[name] else [], seeds)
            known = [speeds[cell] for cell in cells if cell in speeds]
            line |= {f"rate {name}": found.rate[name], f"accuracy {name}": float(found.accuracy[name].mean()),
                     f"tokens_per_s {name}": float(np.median(known)) if known else np.nan}
        return line | {"margin": float(margins.mean()), "standard_error": found.standard_error(exploration.pair),
                       "seeds": len(margins), "flop_per_cell": setting.flop, "full": setting.rival == setting.place,
                       "object": exploration.object}

    rows = [row("search", space.settings[place], found, search_seeds) for place, found in exploration.measured.items()]
    rows += [row("confirmation", verdict.setting, verdict.measured, fresh_seeds) | {
        "low": verdict.low, "high": verdict.high, "p_value": verdict.p_value, "p_adjusted": verdict.p_adjusted,
        "confirmed": verdict.confirmed, "region": verdict.region}
        for verdict in verdicts]
    return pd.DataFrame(rows, columns=columns(exploration))


def write_table(exploration: Exploration, verdicts: Sequence[Verdict], out: Path) -> Path:
    path = out / "explore.csv"
    replace_file(path, csv_text(table(exploration, verdicts)))
    return path


def report(exploration: Exploration, finalists: Sequence[Setting], verdicts: Sequence[Verdict]) -> None:
    first, second = exploration.pair
    print(f"\nTrained again with fresh seeds ({first} - {second}, mean [95 % interval], p adjusted for their number):")
    for verdict in verdicts:
        word = "confirmed" if verdict.confirmed else "not confirmed"
        print(f"  {verdict.setting.name}  {verdict.mean:+.4f} [{verdict.low:+.4f}, {verdict.high:+.4f}] "
              f"p {verdict.p_adjusted:.3g}, {len(verdict.margins)} seeds: {word}")
        if verdict.region:
            print(f"    at least half as much is expected, with one of these changed: {verdict.region}")
    if not verdicts:
        print("  none is complete" if finalists else
              "  none: no setting was measured in full, or none has an expected margin above 0")


def pareto(exploration: Exploration) -> None:
    """The settings of each mechanism that no cheaper one beats."""
    rows, sizes = table(exploration, []), exploration.object == SIZE
    for name in exploration.pair:
        print(f"\n{name}: {OBJECTS[exploration.object].value} for its cost (search seeds)")
        accuracy = f"accuracy {name}"
        best = -math.inf
        for _, line in rows.sort_values(["flop_per_cell", accuracy], ascending=[True, False]).iterrows():
            if line[accuracy] > best:
                best, speed = line[accuracy], line[f"tokens_per_s {name}"]
                shown = f"  {speed:,.0f} tokens/s" if speed > 0 else ""
                value = f"{2**-best:.1f}" if sizes else f"{best:.4f}"
                print(f"  {line['flop_per_cell']:.3g} FLOP{shown}  {value}  {line['setting']}")
