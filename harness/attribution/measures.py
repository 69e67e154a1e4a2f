"""All measures of networks' Grad-CAM maps: sanity, faithfulness, other classes, other seeds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.attribution.faithfulness import deletion_insertion, pixel_order
from harness.attribution.maps import coarse_maps, enlarge
from harness.attribution.sanity import own_and_other, randomise
from harness.seeding import derive_seed

Maps = list[NDArray[np.float32]]  # of each layer (N, h, w)


@dataclass(frozen=True, eq=False)
class NetworkMeasures:
    """The measures of one network's maps, for L layers and N images.

    Attributes:
        stages: blocks in the order in which their weights were randomised, the head first.
        sanity, sanity_other: (draws, stages, L, N) and (draws, L), as :func:`randomise` returns them.
        curves: (4, L, N, steps + 1): deletion, insertion, and the same in the order of random maps.
        predicted: (L, errors), rank correlation of the maps of the predicted and of the true class.
        empty: (L, N), whether a map is zero everywhere.
    """

    stages: list[str]
    sanity: NDArray[np.float64]
    sanity_other: NDArray[np.float64]
    curves: NDArray[np.float64]
    predicted: NDArray[np.float64]
    empty: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Errors:
    """Misclassified images (N, 3, H, W), with their labels and their predicted classes."""

    images: Tensor
    labels: list[int]
    predicted: list[int]


def measure_network(
    model: nn.Module,
    fresh: Callable[[int], nn.Module],
    layers: Sequence[str],
    images: Tensor,
    targets: Sequence[int],
    errors: Errors | None,
) -> NetworkMeasures:
    """Measure the maps of a trained network.

    Args:
        fresh: see :func:`~harness.attribution.sanity.randomise`.
        images: (N, 3, H, W), normalised as in evaluation.
        targets: (N,), their true classes, which are explained.
        errors: images whose maps of the predicted and of the true class are compared.

    Raises:
        RunError: Grad-CAM does not work on a layer.
    """
    maps = coarse_maps(model, layers, images, targets)
    sanity = randomise(model, fresh, layers, images, targets, maps)
    predicted = np.empty((len(layers), 0))
    if errors is not None:
        both = (
            coarse_maps(model, layers, errors.images, classes)
            for classes in (errors.predicted, errors.labels)
        )
        predicted = np.array([own_and_other(*pair)[0] for pair in zip(*both, strict=True)])
    return NetworkMeasures(
        sanity.stages,
        sanity.same,
        sanity.other,
        _faithfulness(model, images, targets, maps),
        predicted,
        np.array([layer.max(axis=(1, 2)) == 0 for layer in maps]),
    )


def _faithfulness(
    model: nn.Module, images: Tensor, targets: Sequence[int], maps: Maps
) -> NDArray[np.float64]:
    """Return the curves of each layer's maps, and of one random map for each image and resolution."""
    random = np.random.default_rng(derive_seed(0, "attribution"))
    size = images.shape[-2], images.shape[-1]
    ties = random.random((len(images), *size))
    sizes = list(dict.fromkeys(layer.shape for layer in maps))
    unrelated = [random.random(shape, dtype=np.float32) for shape in sizes]
    orders = [pixel_order(enlarge(layer, *size), ties) for layer in [*maps, *unrelated]]
    deletion, insertion = deletion_insertion(model, images, targets, orders)
    own = list(range(len(maps)))
    control = [len(maps) + sizes.index(layer.shape) for layer in maps]
    return np.stack([deletion[own], insertion[own], deletion[control], insertion[control]])


def agreement(maps: Sequence[Maps]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compare the maps of every pair of networks, of the same L layers and N images.

    Returns:
        Rank correlations (pairs, L, N) and (pairs, L), as :func:`~harness.attribution.sanity.own_and_other`
        has them.
    """
    pairs = [
        [own_and_other(*layer) for layer in zip(first, second, strict=True)]
        for first, second in itertools.combinations(maps, 2)
    ]
    same = np.array([[same for same, _ in pair] for pair in pairs])
    return same, np.array([[other for _, other in pair] for pair in pairs])
