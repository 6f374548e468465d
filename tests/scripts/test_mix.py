"""[train] mix, the parameter of mechanism mix: only that mechanism has it, and each value is a mechanism in reports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sweeps import EABENCH, ROOT, needs_eabench, one_line, rows, sweep, trained

sys.path.insert(0, str(ROOT / "scripts"))
from analysis.tables import read_run  # noqa: E402

pytestmark = needs_eabench

SPEC = """[task recurrence]
basis = 4
delay = 2
[model]
d_model = 8
heads = 2
context = 12
[train]
mechanism = dpa, mix, ea-scaled
mix = 0.001, 0.5, 0.999
steps = 40
batch = 8
eval_every = 20
eval_tokens = 200
"""


@pytest.fixture(name="spec")
def three(tmp_path: Path) -> Path:
    path = tmp_path / "spec.ini"
    path.write_text(SPEC)
    return path


def test_only_mix_has_the_parameter(spec: Path) -> None:
    run = trained(spec, "run")
    assert [(row["mechanism"], row["mix"]) for row in rows(run / "accuracy.csv")] == [
        ("dpa", "none"), ("mix", "0.001"), ("mix", "0.5"), ("mix", "0.999"), ("ea-scaled", "none")]
    plain = trained(spec, "plain", "--set", "train.mechanism=dpa,ea-scaled", "--set", "train.mix=none")
    known = {row["cell"]: row for row in rows(run / "accuracy.csv")}
    assert all(row == {name: known[row["cell"]][name] for name in row} for row in rows(plain / "accuracy.csv"))
    again = sweep(run / "manifest.ini", "--out", run)  # the manifest is the same spec
    assert again.returncode == 0 and "5 of 5 cells are done" in again.stdout, again.stderr
    assert len(rows(run / "accuracy.csv")) == 5


def test_the_ends_are_dpa_and_ea_scaled(spec: Path) -> None:
    """Of the same weights, nearly untrained and with small scores."""
    run = trained(spec, "run", "--set", "train.steps=1", "--set", "train.lr=1e-9")
    dpa, least, half, most, ea_scaled = (float(row["loss_nats"]) for row in rows(run / "accuracy.csv"))
    assert abs(least - dpa) < 0.02 * abs(half - dpa) and abs(most - ea_scaled) < 0.2 * abs(half - ea_scaled)


def test_no_way_of_training_changes_a_bit(spec: Path) -> None:
    one = trained(spec, "one", "--save-curves", "--workers", "1", "--fleet", "1")
    assert len({row["loss_nats"] for row in rows(one / "accuracy.csv")}) == 5
    for name, *options in (("workers", "--workers", "2", "--fleet", "1"), ("fleet", "--workers", "1", "--fleet", "5")):
        other = trained(spec, name, "--save-curves", *options)
        for table in ("accuracy.csv", "curves.csv"):
            assert (one / table).read_bytes() == (other / table).read_bytes(), name


def test_each_value_is_a_mechanism_of_its_own(spec: Path) -> None:
    run = trained(spec, "run")
    assert list(read_run(run).accuracy["mechanism"]) == ["dpa", "mix-0.001", "mix-0.5", "mix-0.999", "ea-scaled"]
    shown = subprocess.run([ROOT / "scripts/pivot", run], check=True, capture_output=True, text=True).stdout
    assert all(name in shown for name in ("mix-0.001", "mix-0.5", "mix-0.999"))


def test_a_model_knows_its_mix(spec: Path) -> None:
    run = trained(spec, "run", "--save-models", "--set", "train.mechanism=mix")
    for row in rows(run / "accuracy.csv"):
        model = run / "models" / f"{row['cell']}.safetensors"
        assert f'"mix":"{row["mix"]}"'.encode() in model.read_bytes()[:8192]
        done = subprocess.run([EABENCH, "sample", model, "--tokens", "20"], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("options", "parts"), [
    (["train.mechanism=dpa"], ("[train] mix: only mechanism mix has it", "mix among the mechanisms")),
    (["train.mix[dpa]=0.5"], ("[train] mix[dpa]: only mechanism mix has it", "mix[mix] = ...")),
    (["train.mix=none"], ("mechanism = mix without mix", "0.001..0.999")),
    (["train.mix=0"], ("train.mix", "none, or a real 0.001..0.999")),
    (["train.mix=1"], ("train.mix", "none, or a real 0.001..0.999")),
    (["train.mix=nan"], ("train.mix",)),
])
def test_bad_values_are_one_line(spec: Path, options: list[str], parts: tuple[str, ...]) -> None:
    one_line(sweep(spec, *(word for option in options for word in ("--set", option))), 2, *parts)
