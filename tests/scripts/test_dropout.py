"""[train] dropout: at 0 the tables are those of a spec without it; above 0 no way of training changes a bit."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweeps import TINY, needs_eabench, one_line, rows, sweep, trained

pytestmark = needs_eabench


@pytest.fixture(name="spec")
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "spec.ini"
    path.write_text(TINY.replace("basis = 4, 8\ndelay = 2, 3", "basis = 4\ndelay = 2, 3").replace("seed = 1:3", ""))
    return path


def test_without_dropout_nothing_changes(spec: Path) -> None:
    plain, zero = trained(spec, "plain"), trained(spec, "zero", "--set", "train.dropout=0")
    assert (plain / "accuracy.csv").read_bytes() == (zero / "accuracy.csv").read_bytes()
    both = rows(trained(spec, "both", "--set", "train.dropout=0,0.2") / "accuracy.csv")
    assert [row["dropout"] for row in both].count("0.2") == len(both) / 2
    without = [{key: value for key, value in row.items() if key != "dropout"} for row in both if row["dropout"] == "0"]
    assert without == rows(plain / "accuracy.csv")


def test_no_way_of_training_changes_a_bit(spec: Path) -> None:
    dropped = "--set", "train.dropout=0.2", "--save-curves"
    one = trained(spec, "one", *dropped, "--workers", "1", "--fleet", "1")
    assert len({row["loss_nats"] for row in rows(one / "accuracy.csv")}) == 4
    for name, *options in (("workers", "--workers", "2", "--fleet", "1"), ("fleet", "--workers", "1", "--fleet", "4")):
        other = trained(spec, name, *dropped, *options)
        for table in ("accuracy.csv", "curves.csv"):
            assert (one / table).read_bytes() == (other / table).read_bytes(), name


@pytest.mark.parametrize("value", ["1", "-0.1", "nan", "1e400"])
def test_shares_out_of_bounds(spec: Path, value: str) -> None:
    one_line(sweep(spec, "--set", f"train.dropout={value}"), 2, "train.dropout", "at least 0, below 1")
