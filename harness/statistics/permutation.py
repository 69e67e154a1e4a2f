"""Permutation tests of a difference of means: exact if possible, and with the smallest possible p."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.statistics.distribution import RESAMPLES, SEED

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_EXACT = 20_000  # up to this number all arrangements are evaluated; of more, RESAMPLES are drawn


@dataclass(frozen=True)
class Permutation:
    """A two-sided permutation p, and the smallest p that is possible with this n."""

    p: float
    smallest_p: float
    exact: bool


def sign_flips(differences: Sequence[float]) -> Permutation:
    """Test pairs: under the null hypothesis the other sign of each difference is equally probable.

    Fisher, "The design of experiments" (1935), section 21: all 2^n signs, so 5 seeds cannot go below 2 / 32.

    Args:
        differences: of fractions, one a seed; at least two.
    """
    return _permutation("samples", [differences], 2 ** len(differences))


def relabelled(first: Sequence[float], second: Sequence[float]) -> Permutation:
    """Test two groups: under the null hypothesis a run of the other recipe would have been equally probable.

    Pitman (1937): all ways of dividing n + m values into groups of n and m, so 3 against 3 cannot go below
    2 / 20. The two-sided p is twice the smaller one-sided p.

    Args:
        first, second: fractions, one a seed; at least two of each.
    """
    return _permutation("independent", [first, second], math.comb(len(first) + len(second), len(first)))


def _permutation(kind: str, groups: Sequence[Sequence[float]], arrangements: int) -> Permutation:
    from scipy.stats import permutation_test

    def total(group: NDArray[np.float64], *_: NDArray[np.float64], axis: int = -1) -> Any:
        # orders the arrangements as the difference of means does
        return group.sum(axis=axis)

    exact = arrangements <= MOST_EXACT
    test = permutation_test(
        # Whole numbers of 1e-12, whose sums are exact: arrangements that tie must not differ by rounding.
        [np.rint(np.array(values) * 1e12) for values in groups],
        total,
        permutation_type=kind,
        vectorized=True,
        n_resamples=np.inf if exact else RESAMPLES,
        rng=np.random.default_rng(SEED),
    )
    # scipy adds the observed arrangement to those drawn
    smallest = 2 / (arrangements if exact else RESAMPLES + 1)
    return Permutation(min(1.0, float(test.pvalue)), min(1.0, smallest), exact)
