"""Statistics of one run's logits: accuracy, loss, confusion and calibration.

Logits are (N, C), labels (N,) in [0, C).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

BINS = 15


def log_softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Return log-probabilities in float64, shifted by the row's maximum so that no exponential overflows."""
    values = np.asarray(logits, dtype=np.float64)
    shifted = values - values.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def accuracy_from_logits(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of images whose largest logit is their label's, a fraction in [0, 1]."""
    return float(np.mean(np.asarray(logits).argmax(axis=1) == np.asarray(labels)))


def count_ties(logits: ArrayLike) -> int:
    """Count the images whose largest logit is that of several classes; the first of these is predicted."""
    logits = np.asarray(logits)
    return int(((logits == logits.max(axis=1, keepdims=True)).sum(axis=1) > 1).sum())


def cross_entropy_from_logits(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean negative log-likelihood of the labels, in nats an image, in float64."""
    labels = np.asarray(labels)
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def brier_score(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean over images of the sum over classes of (probability - [is label])^2: 0 best, 2 worst.

    Brier, "Verification of forecasts expressed in terms of probability" (Monthly Weather Review, 1950).

    Args:
        probabilities: (N, C), rows that add up to 1.
    """
    shares, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    of_label = shares[np.arange(len(labels)), labels]
    return float(np.mean(np.einsum("ij,ij->i", shares, shares) - 2 * of_label + 1))


@dataclass(frozen=True, eq=False)
class Reliability:
    """A reliability diagram: confidence against accuracy in bins of equal width; all arrays (bins,).

    Attributes:
        edges: (bins + 1,); bin i holds confidences in (edges[i], edges[i + 1]].
        counts: images in the bin.
        confidence, accuracy: their means, zero where the bin is empty.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """Expected calibration error: mean over the images of their bin's |accuracy - confidence|."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float((self.counts * gaps).sum() / self.counts.sum())

    @property
    def gap(self) -> float:
        """Mean confidence minus accuracy, over all images."""
        return float((self.counts * (self.confidence - self.accuracy)).sum() / self.counts.sum())


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> Reliability:
    """Return the reliability diagram of a run; its ``ece`` is the expected calibration error.

    Guo et al., "On calibration of modern neural networks" (ICML 2017): 15 bins of equal width. Never
    negative, so a network that is calibrated perfectly has one above zero on finitely many images.

    Args:
        confidence: (N,), probability of the predicted class.
        correct: (N,), whether that is the label.
    """
    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    edges = np.linspace(0, 1, bins + 1)
    # A rounded softmax may be above 1 by an ulp.
    place = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    divisor = np.maximum(counts, 1)
    return Reliability(
        edges,
        counts,
        np.bincount(place, weights=sure, minlength=bins) / divisor,
        np.bincount(place, weights=right, minlength=bins) / divisor,
    )


def merged(diagrams: Sequence[Reliability], fewest: int) -> list[Reliability]:
    """Merge neighbouring bins of some runs' diagrams, alike in all, from low confidence up.

    Args:
        diagrams: with the same edges.
        fewest: images that a merged bin holds at least, on average over the runs; the last bin takes what
            is left over.
    """
    pooled = np.mean([diagram.counts for diagram in diagrams], axis=0)
    first = int(np.flatnonzero(pooled)[0])  # bins below it are empty
    starts, held = [first], 0.0
    for at, images in enumerate(pooled[first:], first):
        if held >= fewest and pooled[at:].sum() >= fewest:
            starts.append(at)
            held = 0.0
        held += images
    edges = np.append(diagrams[0].edges[starts], diagrams[0].edges[-1])

    def merge(diagram: Reliability) -> Reliability:
        counts = np.add.reduceat(diagram.counts, starts)
        sums = (np.add.reduceat(diagram.counts * of, starts) for of in (diagram.confidence, diagram.accuracy))
        confidence, accuracy = (total / np.maximum(counts, 1) for total in sums)
        return Reliability(edges, counts, confidence, accuracy)

    return [merge(diagram) for diagram in diagrams]


def confusion(predicted: ArrayLike, labels: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Return the confusion matrix (C, C): rows are labels, columns predictions."""
    cells = np.asarray(labels, dtype=np.int64) * classes + np.asarray(predicted, dtype=np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def row_shares(matrix: ArrayLike) -> NDArray[np.float64]:
    """Divide each row by its sum; a row without any image is zeros."""
    counts = np.asarray(matrix, dtype=np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    return shares
