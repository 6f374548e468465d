"""The page's first section: the verdict on each claim, in words, with its warnings."""

from __future__ import annotations

import math
from collections.abc import Sequence

from . import claims as judge
from .claims import Claim
from .page import Cell, Row, Section, Table, heading, interval, number, text
from .pool import BASELINE, Pool, mechanisms_of
from .tables import printable

MOST_WORDS = 900
MOST_DETAILS = 400
CHIPS = {judge.SUPPORTED: "yes", judge.CONTRADICTED: "no", judge.NOT_SUPPORTED: "open", judge.TOO_FEW: "thin"}
# The question of each claim.
QUESTIONS = {
    judge.AS_GOOD: "is it as good as {base}, up to {margin} of token accuracy?",
    judge.GROWING: "does its lead over {base} grow with the task's complexity?",
    judge.MIXED + judge.AS_GOOD: "the same where one model learns several tasks",
    judge.MIXED + judge.GROWING: "the same where one model learns several tasks",
    judge.EXCLUSIVE: "does it solve levels that {base} never solves?",
    judge.SMALLER: "does it solve the same levels with a smaller model than {base}?",
}


def _effect(claim: Claim) -> Cell:
    if math.isnan(claim.statistic):
        return Cell("", "", "number")
    form = ("+.0f" if claim.claim == judge.EXCLUSIVE
            else "+.2f" if claim.claim.endswith((judge.GROWING, judge.SMALLER)) else "+.3f")
    bounds = interval(claim.low, claim.high, form).text
    return Cell(number(claim.statistic, form).text, repr(claim.statistic), "number", note=bounds)


def _row(claim: Claim, scope: bool, alone: bool = False) -> Row:
    beware = f"Beware: {'; '.join(claim.warnings)}." if claim.warnings else ""
    words = Cell(printable(claim.words, MOST_WORDS), kind="words", note=printable(beware, MOST_WORDS))
    return Row([text(claim.claim), *([] if alone else [text(claim.mechanism)]), *([text(claim.scope)] if scope else []),
                Cell(claim.verdict, kind="chip", chip=CHIPS[claim.verdict]), _effect(claim),
                number(claim.p_value, ".3g"), *([number(claim.p_adjusted, ".3g")] if scope else []),
                number(claim.levels, ".0f"), number(claim.seeds, ".0f"), words])


COLUMNS = ("claim", "mechanism", "verdict", "#effect, 95%", "#p", "#levels", "#seeds", "in words")


def claims_section(pool: Pool, verdicts: Sequence[Claim], details: Sequence[Claim]) -> Section:
    section = Section("claims", "The verdicts", tables_first=True)
    if not verdicts:
        names = mechanisms_of(pool.rows)
        lacking = ("no cell has a result yet" if not names else f"{', '.join(names)} ran without {BASELINE}"
                   if BASELINE not in names else f"only {BASELINE} ran")
        section.paragraphs.append(f"Too few data for any verdict: {printable(lacking, 200)}. A claim compares a "
                                  f"mechanism with {BASELINE} in one run.")
        return section
    primary = [claim for claim in verdicts if claim.mechanism == judge.PRIMARY]
    others = [claim for claim in verdicts if claim.mechanism != judge.PRIMARY]
    leading = primary or others
    asked = {name: question.format(base=BASELINE, margin=f"{judge.MARGIN:g}") for name, question in QUESTIONS.items()}
    who = judge.PRIMARY if primary else "Each mechanism"
    table = Table(f"{who} against {BASELINE}, each at its own best learning rate (chosen by validation accuracy), "
                  "paired by task, level, setting and seed",
                  heading(*(name for name in COLUMNS if not (primary and name == "mechanism"))),
                  [_row(claim, False, bool(primary)) for claim in leading], sortable=False)
    for row, claim in zip(table.rows, leading):
        row.cells[0] = Cell(claim.claim, note=asked[claim.claim])
    section.tables.append(table)
    if primary and others:
        section.tables.append(Table("The other mechanisms (secondary: p corrected by Holm over them, claim by claim)",
                                    heading(*COLUMNS), [_row(claim, False) for claim in others], folded=True))
    if details:
        shown = list(details[:MOST_DETAILS])
        more = ""
        if len(details) > MOST_DETAILS:
            more = f" (the first {MOST_DETAILS} of {len(details)}; claims.csv has all)"
        section.tables.append(Table("Group by group: one task family at one setting (p corrected by Holm over the "
                                    f"groups of a row above){more}",
                                    heading(*COLUMNS[:2], "group", *COLUMNS[2:5], "#corrected", *COLUMNS[5:]),
                                    [_row(claim, True) for claim in shown], folded=True))
    count, often = ("six", "seven") if any(claim.claim == judge.SMALLER for claim in verdicts) else ("five", "eight")
    section.paragraphs = [
        f"A verdict holds at 5% (two-sided) for its own claim; {judge.PRIMARY} is the mechanism that was named "
        f"beforehand, so its claims are not corrected for each other: if none of {count} claims is true, one is called "
        f"supported in about one run of {often}. Intervals and p-values come from the scatter between seeds. All rows "
        "are in claims.csv.",
        f"As good: levels that neither mechanism learned or both solved are left out (mean skill of the two outside "
        f"{judge.SKILL_ANY[0]:.0%} to {judge.SKILL_ANY[1]:.1%}, where 0 is chance and 100% is all right). Growing "
        f"margin: only levels with a skill of {judge.SKILL_TREND[0]:.0%} to {judge.SKILL_TREND[1]:.0%}, where neither "
        "chance nor ceiling limits the margin. Exclusive: solved by at least half of one mechanism's seeds at its best "
        "rate and by none of the other's at any rate."]
    return section
