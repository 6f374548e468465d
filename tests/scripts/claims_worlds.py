"""Synthetic groups of cells ("worlds") with a known truth, to test the verdicts on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.claims import Claim, Level, compare_group
from analysis.pool import Group


def world(generator: np.random.Generator, levels: int = 8, seeds: int = 5, rates: int = 3,
          effect: Callable[[int, float], float] = lambda index, bits: 0.0, noise: float = 0.04,
          seed_noise: float = 0.03, title: str = "", skill: Callable[[float], float] | None = None,
          task: str = "recurrence") -> Group:
    """One family at one setting, mechanisms dpa and ea.

    A cell's accuracy is the sum of the ladder's curve, the effect (for ea), an offset of the seed on all levels of the
    mechanism, and noise. The rates differ a little; validation accuracy is held-out accuracy with further noise.
    """
    shape = skill or (lambda place: 0.95 - 0.75 * place)  # all levels between chance and ceiling
    rows: list[dict[str, object]] = []
    for mechanism in ("dpa", "ea"):
        common = generator.normal(0, seed_noise, seeds)
        for index in range(levels):
            bits = 4.0 + 2 * index
            middle = shape(index / max(1, levels - 1)) + (effect(index, bits) if mechanism == "ea" else 0.0)
            for rate in range(rates):
                for seed in range(seeds):
                    held_out = middle - 0.01 * abs(rate - 1) + common[seed] + generator.normal(0, noise)
                    held_out = min(1.0, max(0.05, held_out))
                    rows.append({"task": task, "level": f"level {index}", "complexity_bits": bits,
                                 "mechanism": mechanism, "lr": 0.01 * 2 ** rate, "seed": float(seed),
                                 "chance_accuracy": 0.0625, "status": "ok",
                                 "token_accuracy": held_out, "solved": float(held_out >= 1),
                                 "validation_accuracy": min(1.0, max(0.0, held_out + generator.normal(0, 0.005)))})
    return Group(task, title, pd.DataFrame(rows), [])


def solving_world(generator: np.random.Generator, chances: list[tuple[float, float]], seeds: int = 5, rates: int = 3
                  ) -> Group:
    """A world of solved and unsolved cells; `chances`: per level the probability that a cell of dpa and of ea is
    solved."""
    rows: list[dict[str, object]] = []
    for index, pair in enumerate(chances):
        for mechanism, chance in zip(("dpa", "ea"), pair):
            for rate in range(rates):
                for seed in range(seeds):
                    solved = generator.random() < chance
                    accuracy = 1.0 if solved else float(generator.uniform(0.3, 0.9))
                    rows.append({"task": "recurrence", "level": f"level {index}", "complexity_bits": 4.0 + 2 * index,
                                 "mechanism": mechanism, "lr": 0.01 * 2 ** rate, "seed": float(seed),
                                 "chance_accuracy": 0.1, "status": "ok", "token_accuracy": accuracy,
                                 "validation_accuracy": accuracy, "solved": float(solved)})
    return Group("recurrence", "", pd.DataFrame(rows), [])


def levels_of_world(*groups: Group) -> list[Level]:
    return [level for group in groups for level in compare_group(group, "ea").levels]


def verdict_of(test: Callable[[Claim, list[Level]], Claim], *groups: Group) -> Claim:
    """The claim with its uncorrected verdict, as for the primary mechanism."""
    claim = test(Claim("claim", "ea", "all", "", ""), levels_of_world(*groups))
    claim.verdict = claim.decide if claim.decide == "too few data" or claim.p_value < 0.05 else "not supported"
    return claim
