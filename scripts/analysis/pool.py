"""Merges run folders and splits their rows into groups of comparable cells.

A group is one task family at one setting: all its cells have the same options, except for the mechanism, the learning
rate, the seed and the task's own axes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pandas as pd

from .tables import LATER_OPTIONS, MEASURED, DataError, Run, printable

BASELINE = "dpa"
MIXTURE = "mixture"  # the task of a mixture's whole; the other rows of the same cell are its parts
TEXT = "text"  # the family without a rule: a text is never solved, and its loss says more than its accuracy
DISTANCE = "distance"  # the family whose models are also evaluated at single distances
# The reason that eabench sweep --search writes.
ABANDONED = r"^abandoned at step [0-9]+ of [0-9]+: validation accuracy ([01](?:\.[0-9]+)?)(?![0-9.])"
KEY = ["cell", "task", "level", "backend"]
RESULTS = ["status", "loss_nats", "validation_accuracy", "token_accuracy", "sequence_accuracy", "rollout_accuracy",
           "chance_accuracy", "seen_share", "solved", "steps_to_solve", "tokens", "steps_done"]
# Options of initialisation and training, for which each mechanism may have its own value, as for the learning rate.
OWN = ("scale", "qk_norm", "init_scale", "embedding_scale", "qk_init", "beta1", "beta2", "momentum", "weight_decay",
       "clip", "warmup", "schedule", "lr_final")
# Runs that differ in one of these may round differently, which grows during training.
ROUNDING = ("isa", "compiler", "flags")
SIZE = "d_model"  # the size of the model in the comparison of sizes
# Compared or averaged over, so they never make a setting.
NOT_A_SETTING = ("mechanism", "lr", "seed")


@dataclass
class Group:
    """Rows of one task family at one setting; `axes` are the ladder's axes that vary in the family."""

    task: str
    setting: str
    rows: pd.DataFrame
    axes: list[str]

    @property
    def title(self) -> str:
        return self.task + (f", {self.setting}" if self.setting else "")


@dataclass
class Pool:
    runs: list[Run]
    rows: pd.DataFrame       # ok, diverged, and cells that a search abandoned
    left_out: pd.DataFrame   # fail, oom, timeout
    throughput: pd.DataFrame
    parts: pd.DataFrame      # ok and diverged rows of the parts of mixtures, with `mixture`, the whole's level
    distances: pd.DataFrame  # ok and diverged rows at single distances, with `distance`, `trained_min`, `trained_max`
    groups: list[Group] = field(default_factory=list)
    sized: list[Group] = field(default_factory=list)  # single tasks, groups whose rows differ in d_model, too
    warnings: list[str] = field(default_factory=list)


def pool_runs(runs: list[Run]) -> Pool:
    """Merges the runs. Rows of one cell in several runs become one. They must agree; if the runs may round
    differently, the first run's row counts instead."""
    warnings = [warning for run in runs for warning in run.warnings]
    task_options = list(dict.fromkeys(name for run in runs for name in run.task_options))
    options = list(dict.fromkeys(name for run in runs for name in run.options))
    frames = [run.accuracy.assign(_file=str(run.path / "accuracy.csv")) for run in runs]
    # Empty frames are left out, since their columns have no types.
    rows = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    tasks = rows["task"].unique()
    for name in (*task_options, *options):
        if name not in ("lr", "seed"):  # an older run may lack an option
            common = LATER_OPTIONS["model"].get(name, LATER_OPTIONS["train"].get(name, ""))
            defaults = rows["task"].map({task: LATER_OPTIONS.get(task, {}).get(name, common) for task in tasks})
            rows[name] = rows[name].fillna(defaults) if name in rows else ""
    rows, parts = _take_parts(_merge(rows, runs, warnings))
    parts = count_diverged_as_chance(parts[parts["status"].isin(MEASURED)].reset_index(drop=True))
    rows, distances = _take_distances(rows)
    distances = count_diverged_as_chance(distances[distances["status"].isin(MEASURED)].reset_index(drop=True))
    measured = rows["status"].isin(MEASURED) | abandoned(rows)
    left_out = rows[~measured].reset_index(drop=True)
    rows = count_diverged_as_chance(_count_abandoned(rows[measured].reset_index(drop=True)))
    for name in options:
        if name in task_options:
            warnings.append(f"{name} is both a task option and a model option; it is treated as a task option")
    settings = [name for name in options if name not in NOT_A_SETTING and name not in task_options]
    settings += ["cue"] if "cue" in rows and "cue" not in (*settings, *task_options) else []
    pool = Pool(runs, rows, left_out, _pool_throughput(runs, rows), parts, distances,
                warnings=warnings)
    pool.groups = _split(rows, task_options, settings)
    pool.sized = [group for group in _split(rows[rows["task"] != MIXTURE], task_options, settings, apart=(SIZE,))
                  if group.rows[SIZE].nunique() > 1]
    for group in pool.groups:
        twice = group.rows.duplicated(["level", "mechanism", "lr", "seed"]).sum()
        if twice:
            warnings.append(f"{group.title}: {twice} cells share level, mechanism, rate and seed with another cell "
                            "and differ in something that the tables do not record; they count as further seeds")
    return pool


def mixture_cells(rows: pd.DataFrame) -> set[str]:
    return set(rows.loc[rows["task"] == MIXTURE, "cell"])


def _take_parts(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Splits the rows of mixtures' parts off: a part was learned beside others, so it is no level of its family.

    A mixture without complexity_bits gets the mean of its parts' bits.
    """
    wholes = rows["task"] == MIXTURE
    if not wholes.any():
        return rows, rows.iloc[:0].assign(mixture=pd.Series(dtype=object))
    within = rows["cell"].isin(mixture_cells(rows)) & ~wholes
    parts = rows[within]
    parts = parts.assign(mixture=parts["cell"].map(rows[wholes].drop_duplicates("cell").set_index("cell")["level"]))
    rows = rows[~within].reset_index(drop=True)
    bits = rows["cell"].map(parts.groupby("cell")["complexity_bits"].mean())
    if "cue" not in rows:  # the end of the level's name; the cue is a setting, no rung of a ladder
        rows["cue"] = rows["level"].str.extract(r" cue=(\w+)$", expand=False).where(rows["task"] == MIXTURE).fillna("")
    rows["complexity_bits"] = rows["complexity_bits"].fillna(bits.where(rows["task"] == MIXTURE).astype(float))
    return rows, parts.reset_index(drop=True)


def _take_distances(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Splits off the rows in which a model of the family distance is evaluated at one distance: they show one trained
    model, not one trained at that distance. Only the row of the cell itself has test distances."""
    if DISTANCE not in set(rows["task"]) or "test_distance_max" not in rows:
        return rows, rows.iloc[:0].assign(distance=0.0, op="", trained_min=0.0, trained_max=0.0)
    single = rows["test_distance_max"] == "0"
    wholes = rows[(rows["task"] == DISTANCE) & ~single].drop_duplicates("cell").set_index("cell")
    within = (rows["task"] == DISTANCE) & single & rows["cell"].isin(wholes.index)
    distances = rows[within]
    # Where S has its own distances, the rows of ops = S show it, and those of ops = C the copies.
    own = distances["ops"].ne(distances["cell"].map(wholes["ops"]))
    trained = {end: distances["cell"].map(wholes[f"distance_{end}"]) for end in ("min", "max")}
    for end in trained if "s_distance_max" in rows else ():
        selected = distances["s_distance_max"].ne("0")
        trained[end] = trained[end].mask(selected, distances["cell"].map(wholes[f"s_distance_{end}"]))
    distances = distances.assign(distance=distances["distance_min"].astype(float),
                                 op=distances["ops"].where(own, ""),
                                 trained_min=trained["min"].astype(float), trained_max=trained["max"].astype(float))
    return rows[~within].reset_index(drop=True), distances


def _rounding(base: Run, other: Run) -> str:
    """How the two may round differently: 'isa avx512 and avx2'; '' if they must agree."""
    pairs = [(name, base.environment.get(name, ""), other.environment.get(name, "")) for name in ROUNDING]
    return ", ".join(f"{name} {first} and {second}" for name, first, second in pairs
                     if first and second and first != second)


def _merge(rows: pd.DataFrame, runs: list[Run], warnings: list[str]) -> pd.DataFrame:
    rows = rows.drop_duplicates(KEY + RESULTS)
    if not rows.duplicated(KEY).any():
        return rows.reset_index(drop=True)
    drop: list[int] = []
    replaced = 0
    run_of = {str(run.path / "accuracy.csv"): run for run in runs}
    rounded: dict[tuple[str, str, str], set[str]] = {}  # by what differs and by the two files: the cells
    for _, same in rows[rows.duplicated(KEY, keep=False)].groupby(KEY, sort=False):
        measured = same[same["status"].isin(MEASURED)]
        # A cell that failed in one run and was measured in another has a result.
        replaced += int(0 < len(measured) < len(same))
        keep = measured if len(measured) else same.iloc[:1]
        first = keep.iloc[0]
        for _, other in keep.iloc[1:].iterrows():
            for name in RESULTS:
                if first[name] != other[name] and not (pd.isna(first[name]) and pd.isna(other[name])):
                    how = _rounding(run_of[first["_file"]], run_of[other["_file"]])
                    if how:
                        rounded.setdefault((how, first["_file"], other["_file"]), set()).add(first["cell"])
                        break
                    raise DataError(
                        f"{other['_file']}:{other['_line']}: {name} of cell '{printable(first['cell'], 40)}' is "
                        f"{other[name]}, but {first[name]} in {first['_file']}:{first['_line']}; runs that are pooled "
                        "must agree (scripts/compare shows how they differ)")
        drop += [index for index in same.index if index != keep.index[0]]
    for (how, shown, other), cells in rounded.items():
        warnings.append(f"{len(cells)} cells differ between {shown} and {other}, which may round differently "
                        f"({printable(how)}); the first is shown")
    if replaced:
        warnings.append(f"{replaced} cells failed in one run and were measured in another; the measured row is shown")
    return rows.drop(index=drop).reset_index(drop=True)


def abandoned(rows: pd.DataFrame) -> pd.Series:
    return (rows["status"] == "timeout") & rows["reason"].str.contains(ABANDONED.replace("(", "(?:", 1))


def _count_abandoned(rows: pd.DataFrame) -> pd.DataFrame:
    """A cell that a search abandoned counts as not solved, with its validation accuracy at that time. Without these
    cells only the successful ones would be compared."""
    gone = abandoned(rows)
    accuracy = rows["reason"].str.extract(ABANDONED, expand=False).astype(float).clip(0, 1)
    for name in ("validation_accuracy", "token_accuracy"):
        rows[name] = rows[name].mask(gone, accuracy)
    rows["solved"] = rows["solved"].mask(gone, 0.0)
    return rows


def count_diverged_as_chance(rows: pd.DataFrame) -> pd.DataFrame:
    """A diverged cell counts as not solved, with chance accuracy. Leaving it out would make the mean too high."""
    diverged = rows["status"] == "diverged"
    chance = rows["chance_accuracy"].fillna(1 / rows["vocab"].where(rows["vocab"] >= 1)).fillna(0.0)
    for name in ("validation_accuracy", "token_accuracy"):
        rows[name] = rows[name].mask(diverged, chance)
    rows["solved"] = rows["solved"].mask(diverged, 0.0)
    rows["steps_to_solve"] = rows["steps_to_solve"].mask(rows["solved"] != 1)
    rows["chance_accuracy"] = chance
    return rows


def _pool_throughput(runs: list[Run], rows: pd.DataFrame) -> pd.DataFrame:
    frames = [run.throughput.assign(isa=run.environment.get("isa", "")) for run in runs if len(run.throughput)]
    if not frames:
        return runs[0].throughput.iloc[:0].assign(isa="")
    table = pd.concat(frames, ignore_index=True).drop(columns="_line").drop_duplicates()
    return table[table["cell"].isin(set(rows["cell"])) & table["tokens_per_s"].notna()].reset_index(drop=True)


def _depends_only_on(rows: pd.DataFrame, name: str, keys: list[str]) -> bool:
    return bool((rows.groupby(keys, dropna=False)[name].nunique(dropna=False) <= 1).all())


def _split(rows: pd.DataFrame, task_options: list[str], options: list[str], apart: tuple[str, ...] = ()
           ) -> list[Group]:
    """Options in `apart` make no groups: they vary within one."""
    groups: list[Group] = []
    for task, family in rows.groupby("task", sort=True):
        axes = [name for name in task_options if family[name].nunique() > 1]
        settings = [name for name in (*options, "backend", "dtype") if family[name].nunique() > 1]
        # `heldout` may depend on the size of the level, `scale` on the mechanism (and the head), and a spec may give a
        # mechanism its own values. An option that depends on these alone makes no further group (see own_settings).
        others = [name for name in settings if name not in (*OWN, "heldout")]
        for name in [name for name in settings if name not in others]:
            if _depends_only_on(family, name, ["level" if name == "heldout" else "mechanism", *others]):
                settings.remove(name)
        settings = [name for name in settings if name not in apart]
        if not settings:
            groups.append(Group(str(task), "", family.reset_index(drop=True), axes))
            continue
        for values, part in family.groupby(settings, sort=False):
            label = ", ".join(f"{name}={value if value != '' else '(none)'}" for name, value in zip(settings, values))
            groups.append(Group(str(task), label, part.reset_index(drop=True), axes))
    return sorted(groups, key=lambda group: (group.task, sort_key(group.setting)))


def own_settings(group: Group) -> str:
    """The options whose value differs between the mechanisms of a group, in words; without `scale`, which always
    may."""
    phrases = []
    for name in OWN:
        if name != "scale" and name in group.rows and group.rows[name].nunique() > 1:
            values = group.rows.groupby("mechanism")[name].first()
            phrases.append(f"{name} " + ", ".join(f"{values[mechanism] or '(none)'} for {mechanism}"
                                                  for mechanism in mechanisms_of(group.rows)))
    return "; ".join(phrases)


def sort_key(text: str) -> tuple[tuple[int, float, str], ...]:
    """Sorts numbers within a text by value, so that 'd_model=8' comes before 'd_model=16'."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return tuple((0, float(part), "") if index % 2 else (1, 0.0, part) for index, part in enumerate(parts))


def mechanisms_of(rows: pd.DataFrame) -> list[str]:
    """The baseline first, the others by name."""
    return sorted(rows["mechanism"].unique(), key=lambda name: (name != BASELINE, name))


def levels_of(rows: pd.DataFrame) -> list[str]:
    """Levels from easy to hard; those without a complexity last."""
    table = rows.drop_duplicates("level")[["level", "complexity_bits"]]
    ordered = sorted(table.itertuples(index=False),
                     key=lambda row: (row[1] if row[1] == row[1] else float("inf"), sort_key(row[0])))
    return [row[0] for row in ordered]
