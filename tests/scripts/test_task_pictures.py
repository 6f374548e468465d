"""docs/tasks: every family has a picture, drawn from what the program prints."""

from __future__ import annotations

import re
import subprocess

from analysis import task_pictures
from sweeps import EABENCH, ROOT


def test_committed_pictures_are_up_to_date() -> None:
    for family in task_pictures.FAMILIES:
        done = subprocess.run([str(EABENCH), "tasks", family, "--show", "3"], capture_output=True, text=True,
                              check=True)
        rows = task_pictures.sequences(done.stdout)
        assert [len(row) for row in rows] == [25, 25, 25], family
        committed = (ROOT / "docs" / "tasks" / f"{family}.svg").read_text(encoding="utf-8")
        assert committed == task_pictures.picture(rows), f"{family}: run scripts/analysis/task_pictures.py"


def test_every_family_has_a_picture_and_a_chapter() -> None:
    listed = subprocess.run([str(EABENCH), "tasks"], capture_output=True, text=True, check=True).stdout
    families = [name for name in re.findall(r"^(\w+): ", listed, re.MULTILINE) if name != "mixture"]
    assert families == [*task_pictures.FAMILIES, "text"]  # which has no sequences of its own to show
    page = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    for family in families:
        assert f"## {family}\n" in page and (family == "text" or f"](tasks/{family}.svg)" in page)


def test_free_and_scored_tokens_are_distinguished() -> None:
    assert task_pictures.sequences("head\n\n[ 1][0*] 2  k3 [ >]\n") == [
        [("1", False), ("0*", False), ("2", True), ("k3", True), (">", False)]]
