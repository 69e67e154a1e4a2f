"""Augmentation: Albumentations image by image against the batched tensor path, on one core."""

from __future__ import annotations

import statistics
import time

import torch

from benchmarks.training import BATCH, Bench
from harness.data.batches import Batches


def images_per_second(bench: Bench, *, reference: bool, batches: int) -> float:
    """Median rate over single batches, on the CPU with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    transforms = bench.variant.train_transforms
    source = iter(Batches(bench.data.train, transforms, BATCH, seed=0, shuffle=True, reference=reference))
    seconds = []
    for _ in range(batches):
        started = time.perf_counter()
        images, _ = next(source)
        seconds.append((time.perf_counter() - started) / len(images))
    torch.set_num_threads(threads)
    return 1 / statistics.median(seconds[1:])
