"""Permutation tests of a difference of means: exact where they can be, and how small their p can get."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.statistics.distribution import RESAMPLES, SEED

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_EXACT = 20_000  # arrangements that are all gone through; of more, RESAMPLES are drawn


@dataclass(frozen=True)
class Permutation:
    """A two-sided permutation p, and the smallest that this test can give for this n."""

    p: float
    smallest_p: float
    exact: bool


def sign_flips(differences: Sequence[float]) -> Permutation:
    """Test pairs: under the null hypothesis each difference could as well have had the other sign.

    Fisher, "The design of experiments" (1935), section 21: all 2^n signs, so 5 seeds cannot go below 2 / 32.

    Args:
        differences: of fractions, one a seed; at least two.
    """
    return _permutation("samples", [differences], 2 ** len(differences))


def relabelled(first: Sequence[float], second: Sequence[float]) -> Permutation:
    """Test two groups: under the null hypothesis every run could as well have been the other recipe's.

    Pitman (1937): all ways of dealing n + m values to groups of n and m, so 3 against 3 cannot go below
    2 / 20. The two-sided p is twice the smaller one-sided p.

    Args:
        first, second: fractions, one a seed; at least two of each.
    """
    return _permutation("independent", [first, second], math.comb(len(first) + len(second), len(first)))


def _permutation(kind: str, groups: Sequence[Sequence[float]], arrangements: int) -> Permutation:
    from scipy.stats import permutation_test

    def total(one: NDArray[np.float64], *_: NDArray[np.float64], axis: int = -1) -> Any:
        # orders the arrangements as the difference of means does
        return one.sum(axis=axis)

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
    # where arrangements are drawn, the observed one is added to them
    smallest = 2 / (arrangements if exact else RESAMPLES + 1)
    return Permutation(min(1.0, float(test.pvalue)), min(1.0, smallest), exact)
