"""Check, before any work, that both pipelines give a network values in the units it is normalised for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.data.arrays import Data, Split, split_of
from harness.data.batches import Batches
from harness.errors import StudyError

IMAGES = 64  # taken from the train split, evenly spaced
# Limits that sound pipelines do not come near: Normalize by a split's own numbers gives a gain of about 4, a
# mean of 0 and a std of 1.
LEAST_GAIN, MOST_GAIN = 0.1, 100.0  # std of the values over that of the pixels as fractions of 255
LEAST_STD, MOST_STD = 0.05, 20.0
MOST_OFFSET = 10.0  # mean divided by std
MOST_RATIO = 8.0  # std of the train images' values divided by that of the test images', or the inverse


# Cached by content: the variants of a study mostly share their images and pipelines.
_problems: dict[tuple[str, str], str | None] = {}


@dataclass(frozen=True)
class Values:
    """Mean and standard deviation over all values of a batch."""

    mean: float
    std: float


def check_units(data: Data, train: list[dict[str, Any]], test: list[dict[str, Any]], where: str) -> None:
    """Send the same images through both pipelines, and compare the values.

    Args:
        train, test: the resolved pipelines.
        where: the study and variant, for the message.

    Raises:
        StudyError: values are not finite, of an unusual scale, or of two different scales.
    """
    key = data.train.sha256, json.dumps([train, test], sort_keys=True)
    if key not in _problems:
        _problems[key] = _problem(data.train, {"train": train, "test": test})
    if problem := _problems[key]:
        raise StudyError(f"{where}: {problem}")


def _problem(split: Split, pipelines: dict[str, list[dict[str, Any]]]) -> str | None:
    normalize = [
        [step for step in pipeline if step["transform"] == "Normalize"] for pipeline in pipelines.values()
    ]
    if all(normalize) and normalize[0] != normalize[1]:
        return "augment: train and test have different Normalize; give both the same, or leave it out of test"
    chosen = np.unique(np.linspace(0, len(split) - 1, min(IMAGES, len(split))).astype(int))
    few = split_of(split.images[chosen], split.labels[chosen], split.classes)
    # within each channel: a difference between channels is no contrast
    pixels = Values(float(few.images.mean()) / 255, float(few.images.std(axis=(0, 1, 2)).max()) / 255)
    by_pipeline = {}
    for name, pipeline in pipelines.items():
        batch, _ = next(iter(Batches(few, pipeline, len(few), seed=0, purpose="units", shuffle=False)))
        array = batch.float().numpy()
        if not np.isfinite(array).all():
            return f"augment.{name}: the network would get values that are not finite"
        values = by_pipeline[name] = Values(float(array.mean()), float(array.std()))
        if odd := _odd(values, pixels):
            return (
                f"augment.{name}: the network would get values of mean {values.mean:.3g} and std "
                f"{values.std:.3g}; {odd}"
            )
    train, test = by_pipeline["train"], by_pipeline["test"]
    ratio = (train.std + 1e-9) / (test.std + 1e-9)
    offset = abs(train.mean - test.mean) / max(train.std, test.std, 1e-9)
    if pixels.std > 1 / 255 and (not 1 / MOST_RATIO <= ratio <= MOST_RATIO or offset > MOST_OFFSET):
        return (
            f"augment: the same images reach the network with mean {train.mean:.3g} and std {train.std:.3g} "
            f"in training, {test.mean:.3g} and {test.std:.3g} in evaluation; scale both alike (ToFloat, "
            "Normalize)"
        )
    return None


def _odd(values: Values, pixels: Values) -> str | None:
    """Say what makes the scale of values unusual; None where it is usual, or the pixels hardly differ."""
    if pixels.std <= 1 / 255:
        return None
    gain = values.std / pixels.std
    if (gain < LEAST_GAIN and values.std < LEAST_STD) or (gain > MOST_GAIN and values.std > MOST_STD):
        return "scale them once, and give Normalize's mean and std as fractions of max_pixel_value"
    offset = abs(values.mean) / max(values.std, 1e-9)
    if offset > MOST_OFFSET and offset > 3 * pixels.mean / pixels.std:
        return "give Normalize's mean as a fraction of max_pixel_value, such as 0.5 and not 127.5"
    return None
