"""Numbers in, numbers out: everything the report computes; knows no files, no tables and no plots.

First what several runs say together (one value a seed), then what one run's logits say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

CONFIDENCE_LEVEL = 0.95


# ---- over seeds ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Distribution:
    """What n values have in common; what takes two values to know is None for one.

    Attributes:
        std: sample standard deviation, divisor n - 1.
        sem: standard error of the mean, std / sqrt(n).
        ci_low, ci_high: 95 % t interval of the mean.
    """

    n: int
    mean: float
    minimum: float
    maximum: float
    std: float | None
    sem: float | None
    ci_low: float | None
    ci_high: float | None


def describe(values: Sequence[float]) -> Distribution | None:
    """The distribution of the values, one a seed; None where there are none."""
    if not len(values):
        return None
    mean, std = mean_of(values), std_of(values)
    low, high = t_interval(values) or (None, None)
    sem = None if std is None else std / math.sqrt(len(values))
    return Distribution(len(values), mean, min(values), max(values), std, sem, low, high)


def mean_of(values: Sequence[float]) -> float:
    """Arithmetic mean; the sum is exact (Shewchuk 1997, Python's ``fsum``), so the order does not matter."""
    return math.fsum(values) / len(values)


def std_of(values: Sequence[float]) -> float | None:
    """Sample standard deviation (Bessel): sqrt(sum((x - mean)^2) / (n - 1)); None for one value."""
    if len(values) < 2:
        return None
    mean = mean_of(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def t_interval(values: Sequence[float], level: float = CONFIDENCE_LEVEL) -> tuple[float, float] | None:
    """Two-sided confidence interval of the mean: mean ± t(n - 1, (1 + level) / 2) · std / sqrt(n).

    Student, "The probable error of a mean" (Biometrika, 1908). It takes the values as independent draws of a
    normal distribution, so it speaks of the recipe over seeds on this one test set, and is not cut at 0 or 1.

    Returns:
        ``(low, high)``, or None for fewer than two values.
    """
    from scipy.special import stdtrit

    std = std_of(values)
    if std is None:
        return None
    mean = mean_of(values)
    half = float(stdtrit(len(values) - 1, (1 + level) / 2)) * std / math.sqrt(len(values))
    return mean - half, mean + half


# ---- of one run's logits --------------------------------------------------------------------------------


def log_softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Log-probabilities in float64, shifted by the row's maximum so that no exponential overflows.

    Args:
        logits: (N, C).

    Returns:
        (N, C); each row's exponentials add up to 1.
    """
    values = np.asarray(logits, dtype=np.float64)
    shifted = values - values.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def predictions(logits: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The class of the largest logit (the first of equals) and its softmax probability, both (N,)."""
    logits = np.asarray(logits)
    predicted = logits.argmax(axis=1).astype(np.int64)
    confidence = np.exp(log_softmax(logits)[np.arange(len(logits)), predicted])
    return predicted, confidence


def accuracy_from_logits(logits: ArrayLike, labels: ArrayLike) -> float:
    """Share of images whose largest logit is their label's, a fraction in [0, 1].

    Args:
        logits: (N, C).
        labels: (N,), in [0, C).
    """
    return float(np.mean(np.asarray(logits).argmax(axis=1) == np.asarray(labels)))


def cross_entropy_from_logits(logits: ArrayLike, labels: ArrayLike) -> float:
    """Mean negative log-likelihood of the labels, in nats an image, in float64.

    Args:
        logits: (N, C).
        labels: (N,), in [0, C).
    """
    labels = np.asarray(labels)
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def confusion(predicted: ArrayLike, labels: ArrayLike, classes: int) -> NDArray[np.int64]:
    """How many images of a class were taken for each class: (C, C), rows are labels, columns predictions."""
    cells = np.asarray(labels, dtype=np.int64) * classes + np.asarray(predicted, dtype=np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def row_shares(matrix: ArrayLike) -> NDArray[np.float64]:
    """Each row divided by its sum; a row without any image is zeros."""
    counts = np.asarray(matrix, dtype=np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    return shares
