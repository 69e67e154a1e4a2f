"""What all parts of the GPU benchmark share: options, rows, and the images they train on."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TRAIN_IMAGES, TEST_IMAGES = 50_000, 10_000
QUICK_TRAIN_IMAGES, QUICK_TEST_IMAGES = 320, 100
QUICK_WIDTH, QUICK_BATCH = 4, 64
LOGIT_SCALE = 0.125  # as the studies have it
LATE = "out of time"


@dataclass(frozen=True)
class Options:
    """What a part is told.

    Args:
        device: "cpu", "cuda" or "cuda:N".
        data: the folder that holds cifar10/; None: synthetic images of the same size.
        quick: a narrow network, few images, few steps: it shows that a part works, its times mean nothing.
        folder: a temporary folder that all parts share.
        ends: when the part is stopped, in seconds of ``time.time()``.
        settings: ``--set`` for the studies of the parts that compare no settings.
    """

    device: str
    data: str | None
    quick: bool
    folder: str
    ends: float
    settings: Sequence[str] = ()

    @property
    def cuda(self) -> bool:
        """Whether there is a GPU."""
        return self.device.startswith("cuda")

    @property
    def width(self) -> int:
        """Width of the custom ResNet."""
        return QUICK_WIDTH if self.quick else 64

    @property
    def batch(self) -> int:
        """Images of a training step."""
        return QUICK_BATCH if self.quick else 512


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Args:
        what: was measured.
        result: with its unit.
        n: how many measurements the result is the median of, or what else it stands on.
        notes: what else is known.
        values: the same as numbers, for programs.
    """

    what: str
    result: str
    n: str = ""
    notes: str = ""
    values: dict[str, Any] = field(default_factory=dict)


def needs_cuda(what: str) -> Row:
    """Stand in for a row that only a GPU can give."""
    return Row(what, "needs CUDA")


def failed(what: str, error: BaseException | str) -> Row:
    """Make a row of an error, in one line."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    return Row(what, "failed", notes=" ".join(text.split())[:300] or "no message")


def attempt(what: str, measure: Callable[[], Row]) -> Row:
    """Measure; whatever the device, a compiler or a command raises becomes a row."""
    try:
        return measure()
    except Exception as error:
        return failed(what, error)


def time_for(seconds: float, options: Options) -> bool:
    """Tell whether so many seconds are left; a dry run takes its time."""
    return options.quick or options.ends - time.time() >= seconds


def synthetic_images(options: Options) -> Path:
    """Write Parquet shards of CIFAR-10's size below ``options.folder``, once.

    An image is half noise and half its class's colour, so that a network can learn it.

    Returns:
        The folder that ``--data`` names; the images lie in its ``images/``.
    """
    root = Path(options.folder) / "synthetic"
    if not root.is_dir():
        unfinished = Path(options.folder) / f"unfinished-{os.getpid()}"
        (unfinished / "images").mkdir(parents=True)
        counts = (QUICK_TRAIN_IMAGES, QUICK_TEST_IMAGES) if options.quick else (TRAIN_IMAGES, TEST_IMAGES)
        for seed, (name, count) in enumerate(zip(("train", "test"), counts, strict=True)):
            _write_shard(unfinished / "images" / f"{name}.parquet", count, seed)
        unfinished.rename(root)
    return root


def _write_shard(file: Path, count: int, seed: int) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    colours = np.random.default_rng(10).integers(0, 128, (10, 1, 1, 3), np.uint8)
    images = rng.integers(0, 128, (count, 32, 32, 3), np.uint8) + colours[labels]
    # PPM is a line of text before the pixels: quick to write and to read
    encoded = [b"P6 32 32 255\n" + image.tobytes() for image in images]
    names = [f"class {label}" for label in labels]
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": encoded, "label": names}), buffer, compression="none")
    file.write_bytes(buffer.getvalue())
