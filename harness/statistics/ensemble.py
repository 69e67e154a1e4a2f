"""The ensemble of several seeds, and whether the seeds err on the same images.

``correct`` is (n, N) of 0 and 1: whether seed i is right on image j.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def ensemble_predictions(probabilities: ArrayLike) -> NDArray[np.int64]:
    """Return the class of the largest averaged probability (the first of equals), (N,).

    Lakshminarayanan, Pritzel and Blundell, "Simple and scalable predictive uncertainty estimation using deep
    ensembles" (NeurIPS 2017), section 2.4.

    Args:
        probabilities: (N, C): the softmax outputs' mean over the seeds, or their sum.
    """
    classes: NDArray[np.int64] = np.asarray(probabilities).argmax(axis=1).astype(np.int64)
    return classes


def error_consistency(correct: ArrayLike) -> float | None:
    """Return Cohen's kappa of being right, the mean over pairs of seeds: 0 by chance, 1 on the same images.

    Geirhos, Meding and Wichmann, "Beyond accuracy: quantifying trial-by-trial behaviour of CNNs and humans by
    measuring error consistency" (NeurIPS 2020): (observed - expected) / (1 - expected), where seeds of
    accuracies a and b are expected to agree on ab + (1 - a)(1 - b) of the images.

    Returns:
        None where no pair can be judged: one seed, or seeds that are right (or wrong) everywhere.
    """
    matrix = np.asarray(correct, dtype=np.float32)  # counts below 2^24 are exact in float32
    n, images = matrix.shape
    first, second = np.triu_indices(n, k=1)
    right = np.asarray(correct, dtype=bool).sum(axis=1, dtype=np.int64) / images
    both = (matrix @ matrix.T)[first, second].astype(np.float64) / images
    observed = 1 - right[first] - right[second] + 2 * both
    expected = right[first] * right[second] + (1 - right[first]) * (1 - right[second])
    judged = expected < 1
    if not judged.any():
        return None
    return float(np.mean((observed[judged] - expected[judged]) / (1 - expected[judged])))


def always_missed(correct: ArrayLike) -> NDArray[np.intp]:
    """Return the indices of the images that every seed misses, in order.

    With several seeds these are likely mislabelled or ambiguous: Northcutt, Athalye and Mueller, "Pervasive
    label errors in test sets" (NeurIPS 2021), estimate 0.5 % of CIFAR-10's test labels to be wrong.
    """
    return np.flatnonzero(~np.asarray(correct, dtype=bool).any(axis=0))


def most_voted(predicted: ArrayLike, classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the class that most seeds predict (the first of equals), and by how many; both (N,).

    Args:
        predicted: (n, N): the class that seed i predicts for image j.
        classes: C.
    """
    votes = np.asarray(predicted, dtype=np.int64)
    images = np.arange(votes.shape[1])
    counts = np.zeros((votes.shape[1], classes), dtype=np.int64)
    for row in votes:
        counts[images, row] += 1
    winners = counts.argmax(axis=1).astype(np.int64)
    return winners, counts[images, winners]
