"""Make the batches of an epoch, alone: order, augmentation and their way to the device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from benchmarks.gpu.shared import Options, Row
from benchmarks.gpu.step import set_up
from benchmarks.training import BATCH, make_bench
from harness.data.batches import Batches
from harness.device import synchronize
from harness.training.assembly import evaluation_batch


def rows(options: Options) -> Iterator[Row]:
    """Time whole epochs of Batches, nothing trained on them."""
    set_up(options)
    steps, epochs = (2, 2) if options.quick else (98, 5)
    bench = make_bench(options.device, steps)
    bench.train.clear()
    bench.test.clear()
    variant, most = bench.variant, evaluation_batch(options.device)
    for what, split, transforms, size in (
        ("train", bench.data.train, variant.train_transforms, BATCH),
        ("test", bench.data.evaluation, variant.test_transforms, most),
    ):
        made = Batches(split, transforms, size, seed=0, shuffle=what == "train", device=options.device)
        times = []
        for epoch in range(1, epochs + 2):  # the first one warms up
            made.set_epoch(epoch)
            synchronize(options.device)
            began = time.perf_counter()
            for _ in made:
                pass
            synchronize(options.device)
            times.append(1e3 * (time.perf_counter() - began) / len(made))
        first, *rest = times
        notes = f"first epoch {first:.2f} ms a batch; {min(rest):.2f} to {max(rest):.2f} ms"
        n, result = f"{epochs} epochs of {len(made)}", f"{statistics.median(rest):.2f} ms"
        yield Row(f"a {what} batch of {size} images", result, n, notes, {"ms": rest})
