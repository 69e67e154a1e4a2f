"""Outlier seeds of a recipe: flagged, never left out."""

from __future__ import annotations

import math
from collections.abc import Mapping

from harness.statistics.distribution import judgeable_std, mean_of

LEVEL = 0.05  # share of normal groups in which a seed is flagged
FEWEST = 5  # values; with fewer no outlier can be distinguished from chance


def flagged_seed(values: Mapping[int, float]) -> int | None:
    """Return the outlier seed by Grubbs's test at ``LEVEL``; None without one.

    Grubbs, "Procedures for detecting outlying observations in samples" (Technometrics, 1969), two-sided:
    the largest |x - mean| / std. It finds one seed among at least ``FEWEST``; two bad ones may hide each
    other, since both widen the std.

    Args:
        values: seed -> accuracy, a fraction.
    """
    std = judgeable_std(list(values.values())) if len(values) >= FEWEST else None
    if std is None:
        return None
    mean = mean_of(list(values.values()))
    seed = max(values, key=lambda seed: abs(values[seed] - mean))
    return seed if abs(values[seed] - mean) / std > grubbs_limit(len(values)) else None


def grubbs_limit(n: int, level: float = LEVEL) -> float:
    """Return what the largest |x - mean| / std of n >= 3 normal values exceeds with this probability."""
    from scipy.special import stdtrit

    t = float(stdtrit(n - 2, 1 - level / (2 * n)))
    return (n - 1) / math.sqrt(n) * math.sqrt(t**2 / (n - 2 + t**2))
