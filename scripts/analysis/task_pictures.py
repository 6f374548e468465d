"""Draws docs/tasks/*.svg: three example sequences of each task family, as `eabench tasks NAME --show 3` prints them.

    python3 scripts/analysis/task_pictures.py build/release/eabench docs/tasks

A row is a sequence, a square a token. Predicted tokens are filled with the token's colour and framed; free and unscored
tokens are pale.
"""

from __future__ import annotations

import re
import subprocess
import sys
from html import escape
from pathlib import Path

CELL, GAP, MARGIN = 30, 3, 8
PALE, INK, FRAME = "#eef0f3", "#20242b", "#20242b"
COLOURS = ("#8ecae6", "#ffb703", "#95d5b2", "#f4a3b4", "#c8b6ff", "#ffd6a5", "#a8dadc", "#e5989b",
           "#b5e48c", "#90b8f8", "#f9c74f", "#d0bfa8", "#9bf6ff", "#e0aaff", "#ff9f80", "#c5d86d")
FAMILIES = ("recurrence", "task_switch", "delay_copy", "recall", "modular", "parity", "selective_copy", "induction",
            "distance", "flip_flop", "counting", "group", "congruential", "noisy_recall", "compression")


def sequences(text: str) -> list[list[tuple[str, bool]]]:
    """The tokens of each printed sequence, and whether each is to be predicted."""
    lines = text.split("\n\n")[-1].splitlines()
    return [[(free or scored, bool(scored)) for free, scored in re.findall(r"\[ *([^\]]+)\]|([^\s\[\]]+)", line)]
            for line in lines if line.strip()]


def picture(rows: list[list[tuple[str, bool]]]) -> str:
    """The rows as an SVG drawing."""
    colour: dict[str, str] = {}
    for token in sorted({token for row in rows for token, _ in row}, key=lambda t: (len(t), t)):
        colour[token] = COLOURS[len(colour) % len(COLOURS)]
    width = 2 * MARGIN + max(map(len, rows)) * (CELL + GAP) - GAP
    height = 2 * MARGIN + len(rows) * (CELL + 3 * GAP) - 3 * GAP
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
             f'height="{height}" font-family="sans-serif" font-size="13" text-anchor="middle">',
             f'<rect width="{width}" height="{height}" fill="#ffffff"/>']
    for i, row in enumerate(rows):
        for j, (token, scored) in enumerate(row):
            x, y = MARGIN + j * (CELL + GAP), MARGIN + i * (CELL + 3 * GAP)
            style = f'fill="{colour[token]}" stroke="{FRAME}" stroke-width="1.5"' if scored else f'fill="{PALE}"'
            weight = ' font-weight="bold"' if scored else ""
            parts.append(f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" rx="4" {style}/>'
                         f'<text x="{x + CELL / 2:g}" y="{y + CELL / 2 + 4.5:g}" '
                         f'fill="{INK}"{weight}>{escape(token)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def main(program: str, folder: str) -> None:
    for family in FAMILIES:
        shown = subprocess.run([program, "tasks", family, "--show", "3"], capture_output=True, text=True, check=True)
        Path(folder, f"{family}.svg").write_text(picture(sequences(shown.stdout)), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: task_pictures.py EABENCH FOLDER")
    main(*sys.argv[1:])
