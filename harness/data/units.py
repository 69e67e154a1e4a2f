"""Check, before any work, that both pipelines give a network values in the units it is normalised for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.arrays import Data, Split, split_of
from harness.data.batches import Batches
from harness.errors import StudyError

IMAGES = 64  # of the train split, evenly spaced
# Between sound pipelines these stay far inside: Normalize by a split's own numbers gives a gain of about 4, a
# mean of 0 and a std of 1.
LEAST_GAIN, MOST_GAIN = 0.1, 100.0  # std of the values over that of the pixels as fractions of 255
LEAST_STD, MOST_STD = 0.05, 20.0
MOST_OFFSET = 10.0  # mean over std
MOST_RATIO = 8.0  # std of the train images' values over that of the test images', or the other way


# What was found, by content: the variants of a study mostly share their images and pipelines.
_problems: dict[tuple[str, str], str | None] = {}


@dataclass(frozen=True)
class Values:
    """Mean and standard deviation over all values of a batch."""

    mean: float
    std: float


def check_units(data: Data, train: list[dict[str, Any]], test: list[dict[str, Any]], where: str) -> None:
    """Send the same images through both pipelines and compare what comes out.

    Args:
        train, test: the resolved pipelines.
        where: the study and variant, for the message.

    Raises:
        StudyError: values that are not finite, of a scale that no Normalize is meant to give, or of two.
    """
    key = data.train.sha256, json.dumps([train, test], sort_keys=True)
    if key not in _problems:
        _problems[key] = _problem(data.train, {"train": train, "test": test})
    if problem := _problems[key]:
        raise StudyError(f"{where}: {problem}")


def _problem(split: Split, pipelines: dict[str, list[dict[str, Any]]]) -> str | None:
    normalized = [
        [step for step in pipeline if step["transform"] == "Normalize"] for pipeline in pipelines.values()
    ]
    if all(normalized) and normalized[0] != normalized[1]:
        return "augment: train and test have different Normalize; give both the same, or leave it out of test"
    chosen = np.unique(np.linspace(0, len(split) - 1, min(IMAGES, len(split))).astype(int))
    images = split.images[chosen]
    # within a channel: what lies between them is no contrast
    raw = Values(float(images.mean()) / 255, float(images.std(axis=(0, 1, 2)).max()) / 255)
    found = {}
    for name, pipeline in pipelines.items():
        values = _values(images, split.labels[chosen], split.classes, pipeline)
        if not np.isfinite(values).all():
            return f"augment.{name}: the network would be fed values that are not finite"
        found[name] = Values(float(values.mean()), float(values.std()))
        if odd := _odd(found[name], raw):
            return (
                f"augment.{name}: the network would be fed values of mean {found[name].mean:.3g} and std "
                f"{found[name].std:.3g}; {odd}"
            )
    ratio = (found["train"].std + 1e-9) / (found["test"].std + 1e-9)
    apart = abs(found["train"].mean - found["test"].mean) / max(found["train"].std, found["test"].std, 1e-9)
    if raw.std > 1 / 255 and (not 1 / MOST_RATIO <= ratio <= MOST_RATIO or apart > MOST_OFFSET):
        return (
            f"augment: the same images reach the network with mean {found['train'].mean:.3g} and std "
            f"{found['train'].std:.3g} in training, {found['test'].mean:.3g} and {found['test'].std:.3g} in "
            "evaluation; scale both alike (ToFloat, Normalize)"
        )
    return None


def _odd(values: Values, raw: Values) -> str | None:
    """Why values are of no usual scale; None where they are, or where the pixels hardly differ."""
    if raw.std <= 1 / 255:
        return None
    gain = values.std / raw.std
    if (gain < LEAST_GAIN and values.std < LEAST_STD) or (gain > MOST_GAIN and values.std > MOST_STD):
        return "scale them once, and give Normalize's mean and std as fractions of max_pixel_value"
    offset = abs(values.mean) / max(values.std, 1e-9)
    if offset > MOST_OFFSET and offset > 3 * raw.mean / raw.std:
        return "give Normalize's mean as a fraction of max_pixel_value, such as 0.5 and not 127.5"
    return None


def _values(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    pipeline: list[dict[str, Any]],
) -> NDArray[np.float32]:
    split = split_of(np.ascontiguousarray(images), labels, classes)
    batch, _ = next(iter(Batches(split, pipeline, len(split), seed=0, purpose="units", shuffle=False)))
    values: NDArray[np.float32] = batch.float().numpy()
    return values
