"""scripts/report --index: one page of many runs, each with what was run, its verdicts, a picture and its report.

Pictures and reports are linked by relative path. A file that cannot be used is named in one line and left out.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from .claims import CLAIMS, CONTRADICTED, NOT_SUPPORTED, PRIMARY, SMALLER, SUPPORTED, TOO_FEW
from .page import fill
from .sections_claims import CHIPS
from .sections_explore import read_explored, sentences
from .tables import DataError, printable, read_csv, read_manifest

ACCURACY_NEEDED = ("cell", "task", "level", "mechanism", "seed", "lr")
CLAIMS_NEEDED = ("claim", "mechanism", "scope", "verdict", "words")
PICTURES = ("distances-*.png", "accuracy-*.png", "loss-*.png", "explore.png", "solved-*.png", "roofline*.png",
            "*.png")  # the first that exists
MODEL = ("d_model", "layers", "heads", "position", "norm", "qk_norm", "optimizer")
FROM_PEERS = ("torch", "jax")
MOST_WORDS = 260
LIMIT_MB = 128


@dataclass
class Verdict:
    claim: str
    verdict: str
    words: str

    @property
    def chip(self) -> str:
        return CHIPS[self.verdict]


@dataclass
class Entry:
    """One run on the page. Links are relative and quoted."""

    name: str
    id: str
    folder: str
    report: str = ""
    picture: str = ""
    lines: list[str] = field(default_factory=list)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    compared: str = PRIMARY   # the mechanism that the verdicts compare with dpa
    cells: int = 0

    @property
    def decided(self) -> int:
        return sum(item.verdict in (SUPPORTED, CONTRADICTED) for item in self.verdicts.values())


def _unreadable(path: Path, error: OSError) -> str:
    return f"{path}: {error.strerror}; left out (a RUN is a folder that can be read)"


def _runs_in(parent: Path) -> tuple[list[Path], list[str]]:
    runs, problems = [], []
    for folder in sorted(parent.iterdir()):
        try:
            if (folder / "manifest.ini").is_file():
                runs.append(folder)
        except OSError as error:
            problems.append(_unreadable(folder, error))
    return runs, problems


def find_runs(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The run folders; a folder without a manifest.ini stands for the run folders in it. Problems are returned."""
    runs, problems = [], []
    for path in paths:
        try:
            if not path.is_dir():
                problems.append(f"{path}: not a folder; left out (a RUN is a folder with a manifest.ini)")
            elif (path / "manifest.ini").exists():
                runs.append(path)
            else:
                within, unreadable = _runs_in(path)
                runs += within
                problems += unreadable
                problems += [] if within or unreadable else [
                    f"{path}: no manifest.ini; left out (a RUN is a folder with a manifest.ini)"]
        except OSError as error:
            problems.append(_unreadable(path, error))
    return list(dict.fromkeys(runs)), problems


def _link(path: Path, out: Path) -> str:
    return quote(os.fsencode(os.path.relpath(path, out)))


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _spec(sections: dict[str, dict[str, str]], table: pd.DataFrame | None) -> list[str]:
    """What was run and where, in at most three lines."""
    families = list(dict.fromkeys(title.split()[1] for title in sections if title.startswith("task ")))
    train, model = sections.get("train", {}), sections.get("model", {})
    first = [", ".join(families)] if families else []
    first += [train["mechanism"]] if "mechanism" in train else []
    if table is not None:
        first += [_counted(len(table[["task", "level"]].drop_duplicates()), "level"),
                  *(_counted(table[name].nunique(), what)
                    for name, what in (("seed", "seed"), ("lr", "learning rate"), ("cell", "cell")))]
    lines = ["; ".join(first)] if first else []
    settings = [f"{name} {(model | train)[name]}" for name in MODEL if name in model or name in train]
    lines += [", ".join(settings)] if settings else []
    known = sections.get("environment") or next((keys for keys in sections.values() if "cpu" in keys), {})
    machine = " ".join(filter(None, [known.get("device") or known.get("cpu"), known.get("backend")
                                     and f"(backend {known['backend']})"]))
    peers = ", ".join(known[name] for name in FROM_PEERS if name in known)
    when = (known.get("started") or known.get("finished") or "")[:10]
    lines += ["; ".join(filter(None, [machine, peers, when]))]
    return [printable(line, 300) for line in lines if line]


def _verdicts(path: Path) -> tuple[str, dict[str, Verdict]]:
    """Those of PRIMARY, or of the first mechanism of a run without it, and its name."""
    table, _ = read_csv(path, CLAIMS_NEEDED, LIMIT_MB)
    wrong = table[~table["verdict"].isin(CHIPS)]
    if len(wrong):
        raise DataError(f"{path}:{wrong['_line'].iloc[0]}: verdict is '{printable(wrong['verdict'].iloc[0], 40)}'; "
                        f"{', '.join(CHIPS)} are allowed")
    own = table[(table["scope"] == "all") & table["claim"].isin([*CLAIMS, SMALLER])]
    names = list(own["mechanism"].unique())
    name = PRIMARY if PRIMARY in names or not names else names[0]
    return printable(name, 40), {row.claim: Verdict(row.claim, row.verdict, printable(row.words, MOST_WORDS))
                                 for row in own[own["mechanism"] == name].itertuples()}


def read_entry(run: Path, out: Path) -> Entry:
    """Raises DataError if a file of the run cannot be used."""
    sections = read_manifest(run / "manifest.ini")
    table = None
    if (run / "accuracy.csv").exists():
        table, _ = read_csv(run / "accuracy.csv", ACCURACY_NEEDED, LIMIT_MB)
    name = printable(os.path.relpath(run, out).encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    entry = Entry(name, "run-" + _link(run, out).replace("/", "-"), _link(run, out) + "/",
                  lines=_spec(sections, table), cells=0 if table is None else table["cell"].nunique())
    explored = read_explored(run)
    if explored:
        entry.lines += [f"{_counted(len(explored.search), 'setting')} searched", *sentences(explored)]
    elif (run / "claims.csv").exists():
        entry.compared, entry.verdicts = _verdicts(run / "claims.csv")
    entry.report = next((_link(run / file, out) for file in ("report.html", "README.md") if (run / file).is_file()), "")
    pictures = [file for pattern in PICTURES for file in sorted((run / "plots").glob(pattern)) if file.is_file()]
    entry.picture = _link(pictures[0], out) if pictures else ""
    return entry


def render_index(entries: Sequence[Entry]) -> str:
    """The page: runs with most decided verdicts first, then those with a report, then the largest."""
    ordered = sorted(entries, key=lambda entry: (-entry.decided, not entry.report, -entry.cells, entry.name))
    claims = [claim for claim in (*CLAIMS, SMALLER) if any(claim in entry.verdicts for entry in entries)]
    return fill("index_template.html", True, entries=ordered, claims=claims, primary=PRIMARY, too_few=TOO_FEW,
                shown=(SUPPORTED, CONTRADICTED, NOT_SUPPORTED))


def build_index(paths: Sequence[Path], out: Path) -> tuple[str, list[str]]:
    """The page and the problems, one line each; raises DataError if no run is left."""
    runs, problems = find_runs(paths)
    entries = []
    for run in runs:
        try:
            entries.append(read_entry(run, out))
        except DataError as error:
            problems.append(f"{printable(str(error), 400)}; the run is left out")
        except OSError as error:
            problems.append(f"{printable(str(error.filename), 300)}: {error.strerror}; the run is left out")
    if not entries:
        raise DataError(f"{'; '.join(problems[:3])}: no run is left for the index")
    return render_index(entries), problems
