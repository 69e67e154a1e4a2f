"""Sanity check of the maps: randomise the network's weights, and compare the maps before and after."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.attribution.maps import blocks, coarse_maps
from harness.statistics.distribution import t_interval
from harness.statistics.rank_correlation import mean_known, rank_correlations

DRAWS = 3  # cascades, each with newly drawn weights
MOST = 0.5  # a higher rank correlation with the maps of a network with random weights fails
ENOUGH = 10  # comparisons of maps, or images; fewer are not judged

Verdict = Literal["passed", "failed", "not judged"]


@dataclass(frozen=True, eq=False)
class Sanity:
    """Rank correlations of maps with the trained network's, after every stage of the cascade.

    Attributes:
        stages: the blocks in the order in which their weights were randomised, the head first. After the
            last one nothing learnt is left.
        same: (draws, stages, layers, N), each image's map with its own; NaN where one of the two is constant.
        other: (draws, layers), after the last stage, the mean over all pairs of different images: what maps
            have in common because of their position, for any image.
    """

    stages: list[str]
    same: NDArray[np.float64]
    other: NDArray[np.float64]


def randomise(
    model: nn.Module,
    fresh: Callable[[int], nn.Module],
    layers: Sequence[str],
    images: Tensor,
    targets: Sequence[int] | Tensor,
    maps: Sequence[NDArray[np.float32]],
) -> Sanity:
    """Test Grad-CAM by cascading randomisation.

    Adebayo et al., "Sanity Checks for Saliency Maps" (NeurIPS 2018), section 3.1: from the head down to the
    first layer the weights are replaced by newly initialised ones; maps that explain the trained network
    must change.

    Args:
        model: the trained network; only a copy of it is changed.
        fresh: number of a draw -> the same network, its weights and buffers newly initialised.
        layers, images, targets: as for :func:`coarse_maps`.
        maps: of the trained network, a layer each (N, h, w).

    Raises:
        RunError: Grad-CAM does not work on a layer.
    """
    order = blocks(model, images.shape[1:])[::-1]
    same, other = [], []
    for draw in range(DRAWS):
        stages = []
        for changed in _cascade(model, fresh(draw), order):
            new = coarse_maps(changed, layers, images, targets)
            stages.append([own_and_other(*pair) for pair in zip(maps, new, strict=True)])
        same.append([[own for own, _ in row] for row in stages])
        other.append([rest for _, rest in stages[-1]])
    return Sanity(order, np.array(same), np.array(other))


def _cascade(model: nn.Module, fresh: nn.Module, order: Sequence[str]) -> Iterator[nn.Module]:
    """Yield the network after each stage; what belongs to no block is randomised in the last one."""
    changed = copy.deepcopy(model)
    for name in order[:-1]:
        changed.get_submodule(name).load_state_dict(fresh.get_submodule(name).state_dict())
        yield changed
    changed.load_state_dict(fresh.state_dict())
    yield changed


def own_and_other(
    first: NDArray[np.float32], second: NDArray[np.float32]
) -> tuple[NDArray[np.float64], float]:
    """Compare two networks' maps at one layer.

    Args:
        first, second: (N, h, w), of the same N images.

    Returns:
        The rank correlation of each image's two maps (N,), NaN where one is constant; and the mean over the
        pairs of different images, NaN without one.
    """
    correlations = rank_correlations(first.reshape(len(first), -1), second.reshape(len(second), -1))
    own = correlations.diagonal().copy()
    np.fill_diagonal(correlations, np.nan)
    return own, float(mean_known(correlations))


def judge(same: NDArray[np.float64]) -> tuple[float | None, Verdict]:
    """Judge whether a layer's maps depend on the weights.

    Args:
        same: the rank correlations of its maps after the last stage, any shape.

    Returns:
        Their mean without NaN, None where all are NaN; and ``failed`` where it is above ``MOST``,
        ``not judged`` from fewer than ``ENOUGH`` comparisons.
    """
    comparisons = int(np.isfinite(same).sum())
    if not comparisons:
        return None, "not judged"
    mean = float(mean_known(same))
    if comparisons < ENOUGH:
        return mean, "not judged"
    return mean, "failed" if mean > MOST else "passed"


def judge_gain(gains: NDArray[np.float64]) -> Verdict:
    """Judge whether maps find what the network uses better than random maps do.

    Args:
        gains: (N,), by how much the area of each image's map is better than the area of a random map.

    Returns:
        ``failed`` where they are not better on average, ``passed`` where the 95 % t interval of the mean
        gain lies above 0, else ``not judged``; always ``not judged`` from fewer than ``ENOUGH`` images.
    """
    if len(gains) < ENOUGH:
        return "not judged"
    if gains.mean() <= 0:
        return "failed"
    interval = t_interval(gains.tolist())
    return "passed" if interval is not None and interval[0] > 0 else "not judged"


def together(verdicts: Iterable[Verdict]) -> Verdict:
    """Join the verdicts of several checks: failed where one failed, passed where all passed."""
    given = set(verdicts)
    return "failed" if "failed" in given else "not judged" if "not judged" in given else "passed"
