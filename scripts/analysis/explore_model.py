"""The surrogate of scripts/explore: a Gaussian process of accuracy over settings and mechanism, and what it proposes.

One process for both mechanisms, of which the mechanism is a coordinate, so that a result of the one informs the other.
The margin at a setting is a difference of two values of the process, so its uncertainty follows from their covariance.
scikit-learn's process is used: it returns that covariance, and fits the length of each coordinate.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern, WhiteKernel
from threadpoolctl import threadpool_limits

threadpool_limits(1)  # the matrices are small

FIRST, FIRST_EACH = 4, 3   # settings that are spread out before the surrogate is used: so many, and for each coordinate
LENGTHS = (0.15, 3.0)      # of a coordinate that goes from 0 to 1
OTHER = (0.5, 5.0)         # of the mechanism, 0 to 1: one always informs the other
CANDIDATES = 1000          # settings that are rated for a proposal, drawn if there are more
BLOCK = 200                # settings whose covariance is computed at once
CLOSEST = 40               # settings for which cheap runs are considered
COST_POWER = 0.5           # the gain is divided by this power of the cost in FLOP


def _unit(values: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * values * values) / math.sqrt(2 * math.pi)


class Surrogate:
    """Accuracy over the points in the unit cube, for two mechanisms."""

    def __init__(self, points: np.ndarray, mechanisms: np.ndarray, values: np.ndarray, noise: np.ndarray,
                 fit: bool = True, fitted: Kernel | None = None) -> None:
        """points [n, d], mechanisms [n] (0 or 1, or between), values [n], noise [n]: variances of the means. fitted: a
        kernel that was fitted to almost the same values, which is used as it is."""
        self.mean = float(np.mean(values))
        self.scale = max(float(np.std(values)), 1e-3)
        lengths = np.full(points.shape[1] + 1, 0.5)
        kernel = (ConstantKernel(1.0, (0.1, 10)) * Matern(lengths, [LENGTHS] * points.shape[1] + [OTHER], nu=2.5)
                  + WhiteKernel(1e-3, (1e-6, 0.3)))
        self.process = GaussianProcessRegressor(fitted or kernel, alpha=noise / self.scale**2 + 1e-8,
                                                optimizer="fmin_l_bfgs_b" if fit and not fitted else None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound: a coordinate without effect
            self.process.fit(np.column_stack([points, mechanisms]), (values - self.mean) / self.scale)

    def believing(self, points: np.ndarray) -> Surrogate:
        """The surrogate as if each of these points had been measured with the mean that it expects there ("kriging
        believer", Ginsbourger, Le Riche and Carraro 2010): expectations stay, and little is uncertain near them."""
        known = self.process
        mechanisms = np.unique(known.X_train_[:, -1])
        more = np.column_stack([np.tile(points, (len(mechanisms), 1)), np.repeat(mechanisms, len(points))])
        alpha = np.append(known.alpha, np.full(len(more), known.alpha.mean()))
        other = copy.copy(self)
        other.process = GaussianProcessRegressor(known.kernel_, alpha=alpha, optimizer=None)
        other.process.fit(np.vstack([known.X_train_, more]), np.append(known.y_train_, known.predict(more)))
        return other

    def _joint(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean [m] and covariance [m, m] of the margin, mechanism 0 less mechanism 1."""
        count = len(points)
        both = np.vstack([np.column_stack([points, np.full(count, which)]) for which in (0, 1)])
        mean, covariance = self.process.predict(both, return_cov=True)
        margin = covariance[:count, :count] + covariance[count:, count:]
        margin -= covariance[:count, count:] + covariance[count:, :count]
        # predict() adds the white noise of a new measurement to the diagonal; the margin itself has none
        margin[np.diag_indices(count)] -= 2 * self.process.kernel_.k2.noise_level
        return (mean[:count] - mean[count:]) * self.scale, margin * self.scale**2

    def margin(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the margin at each point."""
        means, deviations = [], []
        for begin in range(0, len(points), BLOCK):
            mean, covariance = self._joint(points[begin:begin + BLOCK])
            means.append(mean)
            deviations.append(np.sqrt(np.maximum(np.diag(covariance), 1e-12)))
        return np.concatenate(means), np.concatenate(deviations)

    def correlation(self, point: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Of the margin at the point with the margins at the others: how much they tell about it."""
        _, covariance = self._joint(np.vstack([point, others]))
        deviation = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
        return np.clip(covariance[0, 1:] / (deviation[0] * deviation[1:]), -1, 1)


def expected_gain(mean: np.ndarray, deviation: np.ndarray, best: float, both_sides: bool) -> np.ndarray:
    """Expected improvement over `best` (Jones, Schonlau and Welch 1998) of the margin, or of its size."""
    def one_side(values: np.ndarray) -> np.ndarray:
        z = (values - best) / deviation
        return deviation * (z * ndtr(z) + _unit(z))
    return one_side(mean) + one_side(-mean) if both_sides else one_side(mean)


def spread(points: np.ndarray, taken: Sequence[int], generator: np.random.Generator) -> int:
    """The place of a point far from those that are taken; the first is drawn."""
    if not taken:
        return int(generator.integers(len(points)))
    distance = np.min([((points - points[place])**2).sum(axis=1) for place in taken], axis=0)
    distance[list(taken)] = -1
    best = np.flatnonzero(distance >= distance.max() - 1e-12)
    return int(generator.choice(best))


def propose(surrogate: Surrogate, points: np.ndarray, full: np.ndarray, cost: np.ndarray, measured: Sequence[int],
            best: float, both_sides: bool, generator: np.random.Generator) -> int | None:
    """The place of the setting to train next, None if all are measured.

    points [n, d]; full [n]: the place of the same setting with the most steps; cost [n]. A setting's worth is the gain
    expected at its full version, times the squared correlation of the two margins (the share of the full one's variance
    that it explains), over a power of its cost.
    """
    known = set(measured)
    open_full = np.array([place for place in range(len(points)) if full[place] == place and place not in known])
    if not len(open_full):
        return None
    if len(open_full) > CANDIDATES:
        open_full = generator.choice(open_full, CANDIDATES, replace=False)
    mean, deviation = surrogate.margin(points[open_full])
    gain = expected_gain(mean, deviation, best, both_sides)
    worth: dict[int, float] = {}
    for index in np.argsort(-gain / cost[open_full]**COST_POWER, kind="stable")[:CLOSEST]:
        place = int(open_full[index])
        ways = [other for other in np.flatnonzero(full == place) if other not in known]
        explained = surrogate.correlation(points[place], points[ways])**2
        for way, share in zip(ways, explained):
            worth[int(way)] = gain[index] * (1.0 if way == place else float(share)) / cost[way]**COST_POWER
    return max(sorted(worth), key=lambda place: worth[place])
