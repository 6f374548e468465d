"""[train] sequences: 0 leaves the tables as they are; N repeats N sequences, with the same bits on any workers."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweeps import needs_eabench, one_line, rows, sweep, trained

pytestmark = needs_eabench

# 20 steps of 8 sequences of a level with 4,096.
SPEC = """[task recurrence]
basis = 8
delay = 4
[model]
d_model = 8
heads = 2
context = 12
[train]
lr = 1e-2
steps = 20
batch = 8
warmup = 2
eval_every = 10
eval_tokens = 400
heldout = none
"""


@pytest.fixture(name="spec")
def small(tmp_path: Path) -> Path:
    path = tmp_path / "spec.ini"
    path.write_text(SPEC)
    return path


def without(row: dict[str, str], *names: str) -> dict[str, str]:
    return {key: value for key, value in row.items() if key not in names}


def test_enough_sequences_change_no_score(spec: Path) -> None:
    plain, zero = trained(spec, "plain"), trained(spec, "zero", "--set", "train.sequences=0")
    assert (plain / "accuracy.csv").read_bytes() == (zero / "accuracy.csv").read_bytes()
    [fresh] = rows(plain / "accuracy.csv")
    [enough] = rows(trained(spec, "enough", "--set", "train.sequences=160") / "accuracy.csv")
    [short] = rows(trained(spec, "short", "--set", "train.sequences=159") / "accuracy.csv")
    assert enough["sequences"] == "160"
    assert without(enough, "cell", "sequences") == without(fresh, "cell")
    assert short["loss_nats"] != fresh["loss_nats"] and short["tokens"] == fresh["tokens"]


def test_no_way_of_training_changes_a_bit(spec: Path) -> None:
    repeated = "--set", "train.sequences=0,5,9", "--set", "train.seed=1,2", "--save-curves"
    one = trained(spec, "one", *repeated, "--workers", "1", "--fleet", "1")
    assert len({row["loss_nats"] for row in rows(one / "accuracy.csv")}) == 6
    for name, *options in (("workers", "--workers", "2", "--fleet", "1"), ("fleet", "--workers", "1", "--fleet", "4")):
        other = trained(spec, name, *repeated, *options)
        for table in ("accuracy.csv", "curves.csv"):
            assert (one / table).read_bytes() == (other / table).read_bytes(), name


def test_geometry_is_measured_on_sequences_of_its_own(spec: Path) -> None:
    """After one step on the first eight sequences the models are equal, and so is what they attend to in 256 others."""
    once = "--set", "train.steps=1", "--save-geometry"
    fresh, eight = trained(spec, "fresh", *once), trained(spec, "eight", *once, "--set", "train.sequences=8")
    both = [[without(row, "cell") for row in rows(run / "geometry.csv")] for run in (fresh, eight)]
    assert both[0] == both[1] and len(both[0]) > 50


def test_parts_of_a_mixture_have_their_turns_of_each_repetition(spec: Path) -> None:
    """Five sequences, three of them of the first part, 32 times."""
    spec.write_text(SPEC.replace("task recurrence]\nbasis = 8\ndelay = 4",
                                 "task mixture]\nparts = recurrence(basis=4 delay=2) + recurrence(basis=8 delay=3)"))
    run = trained(spec, "mixture", "--set", "train.sequences=5")
    assert [int(row["tokens"]) for row in rows(run / "accuracy.csv")] == [160 * 12, 96 * 12, 64 * 12]


def test_few_sequences_are_learned_by_heart(spec: Path) -> None:
    """The loss of training on 8 sequences falls far below that of 4,096, and the score on others is no better."""
    long = "--set", "train.steps=400", "--set", "train.eval_every=100", "--set", "model.d_model=16", "--save-curves"
    fresh, few = trained(spec, "fresh", *long), trained(spec, "few", *long, "--set", "train.sequences=8")
    losses = [float(rows(run / "curves.csv")[-1]["loss_nats"]) for run in (fresh, few)]
    assert losses[1] < 0.5 * losses[0], losses
    accuracy = [float(rows(run / "accuracy.csv")[0]["token_accuracy"]) for run in (fresh, few)]
    assert accuracy[1] <= accuracy[0] + 0.02, accuracy


@pytest.mark.parametrize("value", ["-1", "0.5", "nan", "1e400"])
def test_numbers_out_of_bounds(spec: Path, value: str) -> None:
    one_line(sweep(spec, "--set", f"train.sequences={value}"), 2, "train.sequences", "at least 0")
