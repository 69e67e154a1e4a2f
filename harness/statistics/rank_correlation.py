"""Rank correlations between maps, and means that ignore NaN."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def rank_correlations(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Return Spearman's rank correlation of every row of one array with every row of another.

    Spearman, "The Proof and Measurement of Association between Two Things" (1904). Equal values share their
    mean rank.

    Args:
        first: (N, P).
        second: (M, P).

    Returns:
        (N, M), in [-1, 1]; NaN where a row is constant.
    """
    x, y = _standard_ranks(first), _standard_ranks(second)
    # without BLAS, whose sums may depend on the number of threads
    correlations: NDArray[np.float64] = np.clip(np.einsum("ip,jp->ij", x, y), -1.0, 1.0)
    return correlations


def _standard_ranks(rows: ArrayLike) -> NDArray[np.float64]:
    """Rank each row; shift the ranks to mean 0 and scale them to length 1; NaN for a constant row."""
    from scipy.stats import rankdata

    ranks = rankdata(np.asarray(rows), axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    length = np.sqrt((ranks**2).sum(axis=1, keepdims=True))
    scaled: NDArray[np.float64] = ranks / np.where(length > 0, length, np.nan)
    return scaled


def mean_known(values: ArrayLike, axis: int | tuple[int, ...] | None = None) -> NDArray[np.float64]:
    """Return the mean along ``axis``, or of all values, without NaN; NaN where all are NaN."""
    numbers = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(numbers)
    count = finite.sum(axis=axis)
    total = np.where(finite, numbers, 0.0).sum(axis=axis)
    mean: NDArray[np.float64] = np.asarray(total / np.where(count > 0, count, np.nan))
    return mean
