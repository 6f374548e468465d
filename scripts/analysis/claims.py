"""The claims about expressive attention, tested on a run: claims.csv and the page's lead.

Each mechanism is compared with the baseline separately, both at their best learning rates (by validation accuracy),
paired by (task, level, every other option, seed). A verdict is `supported`, `contradicted` (the opposite is shown),
`not supported` (neither is shown), or `too few data`, with what is missing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import pandas as pd

from . import claims_stats as tests
from . import sizes
from .pool import BASELINE, MIXTURE, Group, Pool, abandoned, levels_of, mechanisms_of, own_settings
from .stats import holm
from .summary import at_best_rate

PRIMARY = "ea"
MARGIN = 0.01              # of token accuracy: a smaller loss does not count
SIGNIFICANT = 0.05
FEWEST_SEEDS = 3           # two seeds have one degree of freedom: no test
FEWEST_EXCHANGED = 4       # 3 seeds of each mechanism can be exchanged in 20 ways only: the least p is 0.1
FEW_SEEDS = 5              # with fewer there is a warning
# A level's skill is the mean accuracy of both mechanisms, 0 at chance and 1 when all is right. The mean is the same for
# both, so choosing levels by it favours neither.
SKILL_ANY = (0.02, 0.995)  # outside: neither learned the level, or both did; it would dilute any difference
SKILL_TREND = (0.05, 0.95)  # outside: chance or ceiling limits the margin
AS_GOOD, GROWING, EXCLUSIVE = "at least as good", "growing margin", "exclusive levels"
MIXED = "mixtures: "
CLAIMS = (AS_GOOD, GROWING, MIXED + AS_GOOD, MIXED + GROWING, EXCLUSIVE)
SMALLER = "smaller model"  # of runs with several model sizes only
SUPPORTED, NOT_SUPPORTED, CONTRADICTED, TOO_FEW = "supported", "not supported", "contradicted", "too few data"


@dataclass
class Claim:
    """One row of claims.csv. `scope` is 'all' (the verdict) or one task family at one setting (a detail of it)."""

    claim: str
    mechanism: str
    scope: str
    verdict: str
    measure: str              # what statistic, low and high are
    statistic: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p_value: float = math.nan
    p_adjusted: float = math.nan
    levels: int = 0
    seeds: int = 0
    words: str = ""
    warnings: list[str] = field(default_factory=list)
    decide: str = field(default="", repr=False)   # the verdict if the p-value is small enough

    def row(self) -> dict[str, object]:
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "decide"}
        return {**values, "warnings": "; ".join(self.warnings)}


@dataclass
class Level:
    """A level of a group where both mechanisms have results."""

    group: str
    family: str
    name: str
    bits: float
    skill: float
    differences: dict[float, float]     # per seed: token accuracy minus the baseline's
    solved: tuple[int, int, int, int]   # at its best rate of its seeds; by the baseline at any rate of its seeds
    lost: tuple[int, int, int, int]     # the same with mechanism and baseline exchanged


@dataclass
class Compared:
    """The rows of a group that belong to one mechanism and the baseline."""

    title: str
    family: str
    levels: list[Level]
    warnings: list[str]


def compare_group(group: Group, mechanism: str) -> Compared:
    rows = group.rows[group.rows["mechanism"].isin([BASELINE, mechanism])]
    chosen, rates = at_best_rate(Group(group.task, group.setting, rows, group.axes))
    by_seed = chosen.groupby(["mechanism", "level", "seed"])["token_accuracy"].mean()
    at_best = chosen.groupby(["mechanism", "level", "seed"])["solved"].max()
    at_any = rows.groupby(["mechanism", "level", "seed"])["solved"].max()
    about = rows.groupby("level", sort=False)[["complexity_bits", "chance_accuracy"]].mean()
    levels: list[Level] = []
    for name in levels_of(rows):
        if any((who, name) not in by_seed for who in (BASELINE, mechanism)):
            continue
        pair = pd.concat([by_seed[BASELINE, name], by_seed[mechanism, name]], axis=1, join="inner",
                         keys=["base", "new"])
        if pair.empty:
            continue
        chance = about.at[name, "chance_accuracy"]
        skill = (float(pair.to_numpy().mean()) - chance) / (1 - chance) if chance < 1 else 0.0
        counts = {who: (int(at_best[who, name].sum()), len(at_best[who, name]), int(at_any[who, name].sum()),
                        len(at_any[who, name])) for who in (BASELINE, mechanism)}
        levels.append(Level(group.title, group.task, name, float(about.at[name, "complexity_bits"]), skill,
                            (pair["new"] - pair["base"]).to_dict(),
                            (*counts[mechanism][:2], *counts[BASELINE][2:]),
                            (*counts[BASELINE][:2], *counts[mechanism][2:])))
    warnings = _rate_warnings(rates, {level.name for level in levels}, mechanism)
    own = own_settings(Group(group.task, group.setting, rows, group.axes)) if len(rows) else ""
    return Compared(group.title, group.task, levels, warnings + ([f"settings differ: {own}"] if own else []))


def _rate_warnings(rates: pd.DataFrame, levels: set[str], mechanism: str) -> list[str]:
    rates = rates[rates["level"].isin(levels)]
    if rates.empty:
        return []
    phrases = []
    tried = {name: sorted(set(part["rates_tried"])) for name, part in rates.groupby("mechanism")}
    if tried.get(BASELINE) != tried.get(mechanism):
        phrases.append(f"unequal numbers of learning rates ({mechanism} {_counts(tried[mechanism])}, {BASELINE} "
                       f"{_counts(tried[BASELINE])}): the one with more had more chances")
    elif tried[mechanism] == [1]:
        phrases.append("a single learning rate: it may suit one mechanism better")
    edges = rates[rates["edge"]].groupby("mechanism").size()
    if len(edges):
        phrases.append("best rate at the edge of its grid: " + ", ".join(
               f"{name} on {edges.get(name, 0)} of {len(levels)} levels" for name in (mechanism, BASELINE)))
    if rates["uneven"].any():
        phrases.append("some rates have fewer seeds than others")
    return phrases


def _counts(numbers: Sequence[int]) -> str:
    return " or ".join(str(number) for number in numbers)


def as_good(claim: Claim, levels: Sequence[Level]) -> Claim:
    """Non-inferiority: the mean difference, against -MARGIN."""
    used = [level for level in levels if SKILL_ANY[0] <= level.skill <= SKILL_ANY[1]]
    claim.measure = f"mean difference in token accuracy; the test is against -{MARGIN:g}"
    flat = [(level.differences[seed], f"{level.group}|{level.name}", seed) for level in used
            for seed in level.differences]
    result = tests.cluster_mean([item[0] for item in flat], [item[1] for item in flat], [item[2] for item in flat],
                                -MARGIN)
    claim.levels, claim.seeds = len(used), result.clusters
    claim.statistic, claim.low, claim.high, claim.p_value = result.value, result.low, result.high, result.p_value
    lacking = _lacking_seeds(result.clusters)
    if not used:
        return _too_few(claim, "no level lies between chance and ceiling" if levels else "no level has pairs of seeds")
    if lacking:
        return _too_few(claim, lacking)
    claim.decide = SUPPORTED if result.value > -MARGIN else CONTRADICTED
    means = [(float(np.mean(list(level.differences.values()))), level) for level in used]
    worst, best = min(means, key=lambda item: item[0]), max(means, key=lambda item: item[0])
    dropped = len(levels) - len(used)
    claim.words = (f"{claim.mechanism} differs from {BASELINE} by {result.value:+.3f} [{result.low:+.3f}, "
                   f"{result.high:+.3f}] in token accuracy over {_levels(len(used))} and {result.clusters} seeds"
                   + (f" ({_levels(dropped)} at chance or ceiling left out)" if dropped else "")
                   + (f"; from {worst[0]:+.3f} ({_at(worst[1])}) to {best[0]:+.3f} ({_at(best[1])})" if len(used) > 1
                      else "")
                   + ("; the whole interval is above 0: better" if result.low > 0 else
                      "; the whole interval is below 0: worse" if result.high < 0 else "") + ".")
    return claim


def growing(claim: Claim, levels: Sequence[Level]) -> Claim:
    """Trend of the margin over complexity_bits, within each family and setting, combined."""
    used = [level for level in levels if SKILL_TREND[0] <= level.skill <= SKILL_TREND[1] and not math.isnan(level.bits)]
    claim.measure = "rank correlation (Kendall) of margin and complexity, mean over seeds"
    strata: list[tests.Stratum] = []
    for title in dict.fromkeys(level.group for level in used):
        part = [level for level in used if level.group == title]
        seeds = sorted({seed for level in part for seed in level.differences})
        margins = np.asarray([[level.differences.get(seed, math.nan) for seed in seeds] for level in part])
        strata.append(tests.Stratum(part[0].family, [level.name for level in part],
                                    np.asarray([level.bits for level in part]), seeds, margins))
    result = tests.trend(strata)
    estimate = result.estimate
    claim.levels, claim.seeds = len(used), estimate.clusters
    claim.statistic, claim.p_value = estimate.value, estimate.p_value
    claim.low, claim.high = estimate.low, estimate.high
    if result.smallest_p_levels > SIGNIFICANT:
        return _too_few(claim, f"only {_levels(len(used))} between chance and ceiling; five of different complexity in "
                               "one family, or several families, are the least that can show a trend")
    lacking = _lacking_seeds(estimate.clusters)
    if lacking:
        return _too_few(claim, lacking)
    claim.decide = SUPPORTED if estimate.value > 0 else CONTRADICTED
    rising = [(level.bits, float(np.mean(list(level.differences.values())))) for level in used]
    first, last = min(rising), max(rising)
    # Bits cannot be compared across families, so the ends are given for a single group only.
    ends = (f"; from {first[1]:+.3f} at {first[0]:.4g} bits to {last[1]:+.3f} at {last[0]:.4g} bits"
            if len({level.group for level in used}) == 1 else "")
    claim.words = (f"margin of {claim.mechanism} over {BASELINE} and complexity: rank correlation "
                   f"{estimate.value:+.2f} [{estimate.low:+.2f}, {estimate.high:+.2f}], "
                   f"{result.per_bit:+.4f} per bit, over {_levels(len(used))} between chance and ceiling and "
                   f"{estimate.clusters} seeds{ends} (p over seeds {_p(result.p_seeds)}, over shuffled levels "
                   f"{_p(result.p_levels)}; the larger counts).")
    return claim


def only_mine(level: Level, reverse: bool = False) -> bool:
    solved, seeds, others, _ = level.lost if reverse else level.solved
    return 2 * solved >= seeds and solved > 0 and others == 0


def _only_some(level: Level, reverse: bool = False) -> bool:
    return (level.lost if reverse else level.solved)[0] > 0 and (level.lost if reverse else level.solved)[2] == 0


def exclusive(claim: Claim, levels: Sequence[Level]) -> Claim:
    """Levels that at least half of one side's seeds solve at its best rate, and none of the other's at any rate."""
    claim.measure = f"levels solved by {claim.mechanism} alone minus levels solved by {BASELINE} alone"
    claim.levels = len(levels)
    claim.seeds = max((min(level.solved[1], level.solved[3]) for level in levels), default=0)
    mine, theirs = ([level for level in levels if only_mine(level, reverse)] for reverse in (False, True))
    p_split, claim.low, claim.high = tests.binomial_split(len(mine), len(theirs))
    claim.statistic = float(len(mine) - len(theirs))
    # The p-values count both sides already, so each side is corrected for its own levels only.
    corrected = [dict(zip([(level.group, level.name) for level in levels], tests.corrected_fisher(tables)))
                 for tables in ([level.solved for level in levels], [level.lost for level in levels])]
    sure = [[level for level in part if known[level.group, level.name] < SIGNIFICANT]
            for known, part in zip(corrected, (mine, theirs))]
    p_sides = [min((known[level.group, level.name] for level in part), default=1.0)
               for known, part in zip(corrected, (mine, theirs))]
    claim.p_value = min(p_sides)
    if not levels:
        return _too_few(claim, "no level has results of both mechanisms")
    if not any(2 * tests.fisher_greater(level.solved[1], level.solved[1], 0, level.solved[3]) <= SIGNIFICANT
               for level in levels):
        return _too_few(claim, f"{claim.seeds} seeds cannot show that a level is exclusive; 4 on one level are the "
                               "least, 5 or more on several")
    anyone = [level.solved[0] + level.solved[2] + level.lost[0] + level.lost[2] for level in levels]
    if not any(anyone):
        return _too_few(claim, "no seed solved any level: the ladder starts too high")
    if all(level.solved[0] == level.solved[1] and level.lost[0] == level.lost[1] for level in levels):
        return _too_few(claim, "every seed solved every level: the ladder ends too low")
    if len(mine) > len(theirs) and not (sure[1] and not sure[0]):
        claim.decide, claim.p_value = SUPPORTED, p_sides[0]
    elif len(theirs) > len(mine) and not (sure[0] and not sure[1]):
        claim.decide, claim.p_value = CONTRADICTED, p_sides[1]
    else:
        claim.decide, claim.p_value = NOT_SUPPORTED, max(p_sides)
    some = [sum(_only_some(level, reverse) for level in levels) for reverse in (False, True)]
    claim.words = (
        f"{_levels(len(mine))} solved by at least half of {claim.mechanism}'s seeds and by no {BASELINE} seed at any "
        f"rate{_ranges(levels, mine)}; {len(theirs)} the other way round{_ranges(levels, theirs)}. Beyond the luck of "
        f"seeds (Fisher, corrected over levels): {len(sure[0])} and {len(sure[1])}; by at least one seed: {some[0]} "
        f"and {some[1]}"
        + (f"; binomial test of {len(mine)} against {len(theirs)}: p = {_p(p_split)}" if mine or theirs else "")
        + f"; {_levels(len(levels))} tested.")
    return claim


Sized = tuple[str, pd.DataFrame]  # a group's title and its sizes.solved_by_size


def smaller(claim: Claim, groups: Sequence[Sized]) -> Claim:
    """The smallest size that solves a level, in steps of the sizes tried: the baseline's less the mechanism's."""
    claim.measure = (f"steps of the sizes tried by which {claim.mechanism} solves a level with a smaller model than "
                     f"{BASELINE}, mean over levels")
    steps = pd.concat([sizes.steps_to_solving(table, claim.mechanism).assign(group=title) for title, table in groups])
    steps["unit"] = steps["group"] + "|" + steps["level"].astype(str)
    steps["gap"] = steps["base"] - steps["new"]
    result = tests.cluster_mean(steps["gap"], steps["unit"], steps["seed"])
    claim.levels, claim.seeds = steps["unit"].nunique(), result.clusters
    claim.statistic, claim.low, claim.high = result.value, result.low, result.high
    if steps.empty:
        return _too_few(claim, "no level at two or more sizes of both mechanisms that some seed solves and not all "
                               "solve with one and the same size")
    if result.clusters < FEWEST_EXCHANGED:
        return _too_few(claim, f"{result.clusters} seeds; {FEWEST_EXCHANGED} are the least that can show a difference")
    # Each level weighs the same; its common part is subtracted, since a seed may lack some levels.
    weight = 1 / steps.groupby("unit")["seed"].transform("size")
    middle = (steps["base"] + steps["new"]).groupby(steps["unit"]).transform("mean") / 2
    sums = [((steps[who] - middle) * weight).groupby(steps["seed"]).sum() for who in ("new", "base")]
    p_exchanged = sizes.exchanged(*sums)
    claim.p_value = max(result.p_value, p_exchanged)
    claim.decide = SUPPORTED if result.value > 0 else CONTRADICTED
    by_level = steps.groupby("unit")["gap"].mean()
    less, more = int((by_level > tests.SAME).sum()), int((by_level < -tests.SAME).sum())
    claim.words = (f"{claim.mechanism} needs a {'smaller' if result.value > 0 else 'larger'} model by "
                   f"{abs(result.value):.2f} steps of the sizes tried ({BASELINE} minus {claim.mechanism} "
                   f"[{result.low:+.2f}, {result.high:+.2f}]) over {_levels(claim.levels)} and {result.clusters} "
                   f"seeds: a smaller one on {less}, a larger one on {more} (binomial test: p = "
                   f"{_p(tests.binomial_split(less, more)[0])}). p over seeds {_p(result.p_value)}, over exchanged "
                   f"mechanisms {_p(p_exchanged)}; the larger counts.")
    return claim


def _judge_sizes(groups: Sequence[Sized], mechanism: str) -> tuple[Claim, list[Claim]]:
    """The verdict over all groups of several sizes, and those of each group if there are several."""
    blank = Claim(SMALLER, mechanism, "all", "", "")
    verdict = smaller(blank, groups)
    unequal = any(sizes.has_gaps(table, mechanism) for _, table in groups)
    verdict.warnings = [*_seed_warning(verdict), *(
        ["one mechanism lacks some sizes of a level and seed (a search, or failed cells); they are left out for both"]
        if unequal else [])]
    if len(groups) < 2:
        return verdict, []
    parts = [smaller(replace(blank, scope=group[0], warnings=[]), [group]) for group in groups]
    _settle(parts, corrected=True)
    return verdict, parts


def _ranges(every: Sequence[Level], found: Sequence[Level]) -> str:
    """The found levels in words; neighbours on the ladder are joined to one range."""
    phrases: list[str] = []
    for title in dict.fromkeys(level.group for level in found):
        run: list[Level] = []
        for level in [*(level for level in every if level.group == title), None]:
            if level is not None and level in found:
                run.append(level)
            elif run:
                ends = sorted({run[0].bits, run[-1].bits})
                where = " to ".join(f"{bits:.4g}" for bits in ends)
                what = f"{where} bits" if not math.isnan(ends[0]) else _at(run[0])
                phrases.append(f"{title} {what}" + (f", {len(run)} levels" if len(run) > 1 else ""))
                run = []
    return f" ({'; '.join(phrases[:6])}{'; ...' if len(phrases) > 6 else ''})" if phrases else ""


def _levels(count: int) -> str:
    return f"{count} level" + ("" if count == 1 else "s")


def _at(level: Level) -> str:
    return level.name or "unnamed level"


def _p(value: float) -> str:
    return "unknown" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _lacking_seeds(seeds: int) -> str:
    return "" if seeds >= FEWEST_SEEDS else (f"{seeds} seed{'' if seeds == 1 else 's'}; at least {FEWEST_SEEDS} are "
                                             f"needed, {FEW_SEEDS} or more are good")


def _too_few(claim: Claim, lacking: str) -> Claim:
    claim.decide, claim.words = TOO_FEW, f"Too few data: {lacking}."
    claim.p_value = claim.low = claim.high = math.nan  # bounds would suggest more than the data show
    return claim


def _settle(claims: Sequence[Claim], corrected: bool) -> None:
    """Sets verdicts from p-values, uncorrected or corrected by Holm over all of `claims`."""
    tested = [claim for claim in claims if not math.isnan(claim.p_value)]
    adjusted = holm([claim.p_value for claim in tested]) if corrected else [claim.p_value for claim in tested]
    for claim, p_value in zip(tested, adjusted):
        claim.p_adjusted = p_value
    for claim in claims:
        claim.verdict = claim.decide if claim.decide == TOO_FEW or claim.p_adjusted < SIGNIFICANT else NOT_SUPPORTED
        reason = {SUPPORTED: "Supported", CONTRADICTED: "Contradicted", NOT_SUPPORTED: "Neither shown nor refuted"}
        if claim.verdict != TOO_FEW:
            claim.words = f"{reason[claim.verdict]}: {claim.words}"


TESTS = {AS_GOOD: as_good, GROWING: growing, EXCLUSIVE: exclusive}


def _missing(pool: Pool, mechanism: str, mixed: bool) -> list[str]:
    """Warnings about cells without a result. They are seldom missing at random: slow and unstable cells fail more."""
    phrases = []
    for name in (mechanism, BASELINE):
        rows = pool.left_out[(pool.left_out["mechanism"] == name) & ((pool.left_out["task"] == MIXTURE) == mixed)]
        if len(rows):
            counts = ", ".join(f"{count} {status}" for status, count in rows["status"].value_counts().items())
            phrases.append(f"{len(rows)} cells of {name} have no result ({counts}), probably not at random")
        rows = pool.rows[(pool.rows["mechanism"] == name) & ((pool.rows["task"] == MIXTURE) == mixed)]
        diverged = int((rows["status"] == "diverged").sum())
        gone = int(abandoned(rows).sum())
        if gone:
            phrases.append(f"{gone} of {len(rows)} cells of {name} were abandoned by a search and count with their "
                           "accuracy at that time")
        if diverged:
            phrases.append(f"{diverged} of {len(rows)} cells of {name} diverged and count as chance")
    return phrases


def _merged(warnings: Sequence[tuple[str, list[str]]]) -> list[str]:
    """One list for several groups: a warning of all groups is given once, others with the number of groups."""
    counts: dict[str, int] = {}
    for _, phrases in warnings:
        for text in phrases:
            counts[text] = counts.get(text, 0) + 1
    shown = [text if len(warnings) == 1 or count == len(warnings) else f"{text} (in {count} of {len(warnings)} groups)"
             for text, count in counts.items()]
    return shown if len(shown) <= 4 else [*shown[:3], f"and {len(shown) - 3} more about learning rates; see the "
                                                      "details"]


def judge(pool: Pool) -> tuple[list[Claim], list[Claim]]:
    """The verdicts of the run, and their details group by group. Empty without the baseline and another mechanism."""
    names = mechanisms_of(pool.rows)
    if BASELINE not in names or len(names) < 2:
        return [], []
    others = sorted((name for name in names if name != BASELINE), key=lambda name: (name != PRIMARY, name))
    verdicts: list[Claim] = []
    details: list[Claim] = []
    sized = [(group.title, sizes.solved_by_size(group)) for group in pool.sized]
    for mechanism in others:
        compared = [compare_group(group, mechanism) for group in pool.groups]
        for claim in CLAIMS:
            mixed = claim.startswith(MIXED)
            test = TESTS[claim.removeprefix(MIXED)]
            groups = [group for group in compared if (group.family == MIXTURE) == mixed and group.levels]
            blank = Claim(claim, mechanism, "all", "", "")
            verdict = test(blank, [level for group in groups for level in group.levels])
            if not groups:
                _too_few(verdict, f"this run holds no {'mixtures' if mixed else 'levels'} of both mechanisms")
            verdict.warnings = [*_seed_warning(verdict), *_missing(pool, mechanism, mixed),
                                *_merged([(group.title, group.warnings) for group in groups])]
            verdicts.append(verdict)
            if len(groups) > 1:
                parts = [test(replace(blank, scope=group.title, warnings=list(group.warnings)), group.levels)
                         for group in groups]
                _settle(parts, corrected=True)
                details += parts
                found = [sum(part.verdict == kind for part in parts) for kind in (SUPPORTED, CONTRADICTED)]
                verdict.words += (f" Group by group: supported in {found[0]}, contradicted in {found[1]} of "
                                  f"{len(parts)}.")
        if sized:
            verdict, parts = _judge_sizes(sized, mechanism)
            verdicts.append(verdict)
            details += parts
    for claim in (*CLAIMS, SMALLER):
        _settle([item for item in verdicts if item.claim == claim and item.mechanism == PRIMARY], corrected=False)
        _settle([item for item in verdicts if item.claim == claim and item.mechanism != PRIMARY], corrected=True)
    return verdicts, details


def _seed_warning(claim: Claim) -> list[str]:
    return [f"{claim.seeds} seeds are few"] if 0 < claim.seeds < FEW_SEEDS else []


def claims_table(verdicts: Sequence[Claim], details: Sequence[Claim]) -> pd.DataFrame:
    columns = [item.name for item in fields(Claim) if item.name != "decide"]
    return pd.DataFrame([claim.row() for claim in (*verdicts, *details)], columns=columns)
