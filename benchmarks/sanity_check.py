"""How often the Grad-CAM sanity check fails a layer by chance, and when it fails.

``python -m benchmarks.sanity_check RUN...`` with folders of finished runs of digits or CIFAR-10: hundreds of
networks with new weights instead of the check's few, so that its verdicts can be counted.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from harness.analysis.attributions import part_of
from harness.attribution.maps import coarse_maps, stages
from harness.attribution.sanity import DRAWS, MOST, own_and_other
from harness.console import open_streams
from harness.data import load_data
from harness.data.batches import Batches
from harness.models.weights import load_weights
from harness.seeding import global_seed
from harness.statistics.rank_correlation import mean_known

NETWORKS, IMAGES = 300, 25


def means_of(run: Path) -> NDArray[np.float64]:
    """Return (networks, layers): each new network's mean rank correlation with the trained one's maps."""
    record = json.loads((run / "run.json").read_text())
    root = Path(os.environ.get("HARNESS_DATA", "."))
    data = load_data(record["recipe"]["data"]["source"], root, download=False, progress=False)
    chosen = part_of(data.evaluation, np.arange(IMAGES))
    pipeline = record["recipe"]["augment"]["test"]
    images, targets = next(iter(Batches(chosen, pipeline, IMAGES, seed=0, shuffle=False)))
    model, config = load_weights(run / "model.safetensors")
    layers = stages(model, images.shape[1:])
    maps = coarse_maps(model, layers, images, targets)
    means = []
    for network in range(NETWORKS):
        with global_seed(network, "benchmark"):
            fresh = config.build()
        fresh.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        new = coarse_maps(fresh, layers, images, targets)
        means.append([float(mean_known(own_and_other(*pair)[0])) for pair in zip(maps, new, strict=True)])
    return np.array(means)


def fixed_share(share: float, cells: int = 64, maps: int = 20_000) -> float:
    """Return the mean rank correlation of two normal maps that share this part of their variance."""
    rng = np.random.default_rng(0)
    fixed, *own = rng.normal(size=(3, maps, cells))
    ranks = [rankdata(np.sqrt(share) * fixed + np.sqrt(1 - share) * one, axis=1) for one in own]
    first, second = (one - one.mean(axis=1, keepdims=True) for one in ranks)
    length = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return float(((first * second).sum(axis=1) / length).mean())


def main() -> None:
    """Print a line for each named run."""
    open_streams()
    for name in sys.argv[1:]:
        means = means_of(Path(name))
        checks = means[: NETWORKS // DRAWS * DRAWS].reshape(-1, DRAWS, means.shape[1]).mean(axis=1)
        print(
            f"{name}: {checks.size} checks, mean {np.nanmean(checks):.3f}, std {np.nanstd(checks):.3f}, "
            f"highest {np.nanmax(checks):.2f}, failed {int((checks > MOST).sum())}; "
            f"single networks up to {np.nanmax(means):.2f}"
        )
    for share in (0.25, 0.5, 0.75):
        print(f"{share:.0%} of a map fixed: mean rank correlation {fixed_share(share):.2f}")


if __name__ == "__main__":
    main()
