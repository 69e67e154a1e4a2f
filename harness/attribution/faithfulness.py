"""Faithfulness of the maps: delete the pixels that they rank highest, or show these alone (RISE)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.attribution.maps import BATCH

STEPS = 10  # each deletes or inserts a tenth of the pixels


def pixel_order(maps: NDArray[np.float32], ties: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rank the pixels of each map, the highest value first.

    Args:
        maps: (N, H, W).
        ties: (N, H, W), random numbers that order equal pixels: a map without evidence is in random order.

    Returns:
        (N, H, W), each image's 0 to H * W - 1.
    """
    count, pixels = len(maps), maps[0].size
    first = np.lexsort((ties.reshape(count, -1), -maps.reshape(count, -1)), axis=-1)
    places = np.empty((count, pixels), dtype=np.int64)
    np.put_along_axis(places, first, np.arange(pixels)[None], axis=1)
    return places.reshape(maps.shape)


def deletion_insertion(
    model: nn.Module,
    images: Tensor,
    targets: Sequence[int],
    orders: Sequence[NDArray[np.int64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the class's probability as pixels are deleted, and as they are inserted into an empty image.

    Petsiuk et al., "RISE" (BMVC 2018), section 4.1. A deleted pixel is 0: the mean colour, after
    normalisation.

    Args:
        model: in eval mode.
        images: (N, 3, H, W), normalised as in evaluation.
        targets: the class of each image.
        orders: of :func:`pixel_order`.

    Returns:
        deletion and insertion, each (orders, N, STEPS + 1) in [0, 1]: after no pixel, a tenth, ..., all.
    """
    pixels = images.shape[-2] * images.shape[-1]
    counts = [round(pixels * step / STEPS) for step in range(STEPS + 1)]
    complete = _probability(model, images, targets)
    empty = _probability(model, torch.zeros_like(images), targets)
    deletion = np.empty((len(orders), len(images), STEPS + 1))
    deletion[..., 0], deletion[..., -1] = complete, empty
    insertion = np.empty_like(deletion)
    insertion[..., 0], insertion[..., -1] = empty, complete
    for at, order in enumerate(orders):
        places = torch.from_numpy(order)[:, None]
        for step in range(1, STEPS):
            first = (places < counts[step]).to(images.dtype)
            deletion[at, :, step] = _probability(model, images * (1 - first), targets)
            insertion[at, :, step] = _probability(model, images * first, targets)
    return deletion, insertion


def area(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area under curves (..., STEPS + 1) over the share of pixels, by trapezoids; in [0, 1]."""
    from scipy.integrate import trapezoid

    areas: NDArray[np.float64] = np.asarray(trapezoid(curves, dx=1 / STEPS, axis=-1))
    return areas


def _probability(model: nn.Module, images: Tensor, targets: Sequence[int]) -> NDArray[np.float64]:
    """Return the softmax of each target, (N,), in float64."""
    parts = []
    with torch.no_grad():
        for part in torch.split(images, BATCH):
            parts.append(model(part).double().softmax(1))
    chosen = torch.cat(parts).gather(1, torch.as_tensor(targets, dtype=torch.int64)[:, None])
    probability: NDArray[np.float64] = chosen[:, 0].numpy()
    return probability
