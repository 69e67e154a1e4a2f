"""``[augment]``: transforms of images and of batches, and limits of their numbers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from harness.messages import one_line
from harness.schema import Strict
from harness.study_file.values import Fraction, finite

# The most that a transform's number may be, by a word in its argument's name: memory and time are spent by it
# before the result can be judged. Factors multiply an image's size; counts along an axis are squared.
LIMITS = {"scale": 4, "percent": 4, "factor": 4, "control_points": 16, "holes_number": 64, "grid": 64}
LIMITS |= {"temperature": 100_000, "max_pixel_value": 100_000}
LARGEST = 1_024
MAX_TEXT = 20_000


def _bounded(pipeline: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Refuse a pipeline that is too long, or has numbers too large for any image."""
    if len(repr(pipeline)) > MAX_TEXT:  # every variant gets a copy
        raise ValueError(f"transforms and their numbers take more than {MAX_TEXT} characters")
    _check_numbers(finite(pipeline), "")
    return pipeline


def _check_numbers(value: Any, place: str) -> None:
    if isinstance(value, dict):
        name = value.get("transform", place)
        for key, part in value.items():
            _check_numbers(part, f"{name}.{key}")
    elif isinstance(value, list):
        for part in value:
            _check_numbers(part, place)
    elif isinstance(value, int | float):
        argument = place.rpartition(".")[2]
        most = next((limit for word, limit in LIMITS.items() if word in argument), LARGEST)
        if abs(value) > most:
            raise ValueError(f"{one_line(place, 80)}: {value:g} is too large; {most} is the most")


Pipeline = Annotated[list[dict[str, Any]], AfterValidator(_bounded), Field(max_length=50)]


class BatchTransform(Strict):
    """A transform of ``torchvision.transforms.v2`` for whole batches."""

    transform: Literal["MixUp", "CutMix"]
    """`MixUp` blends each image with another image of its batch; `CutMix` pastes a rectangle of the other
    image into it."""
    alpha: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Parameter of the Beta distribution from which each batch draws the other image's share."""
    p: Fraction | None = None
    """The share of batches that are mixed. Transforms without `p` share the remaining batches equally."""


def _shares_fit(tables: list[BatchTransform]) -> list[BatchTransform]:
    given = [table.p for table in tables if table.p is not None]
    if sum(given) > 1 + 1e-9:
        raise ValueError(f"the p of its transforms add up to {sum(given):g}; 1 is the most")
    if len(given) < len(tables) and sum(given) > 1 - 1e-9:
        raise ValueError(
            "its p leave nothing to the transform without one; give that p too, or lower the others"
        )
    return tables


Batch = Annotated[list[BatchTransform], AfterValidator(_shares_fit), Field(max_length=10)]


class Augment(Strict):
    """Augmentation, with the library's own names and arguments; see :mod:`harness.data.augment`."""

    library: Literal["albumentations", "torchvision"] = "albumentations"
    """The library of the transforms in `train` and `test`: Albumentations or `torchvision.transforms.v2`."""
    train: Pipeline = []
    """Transforms in order, such as `{ transform = "RandomCrop", height = 32, width = 32 }`; Normalize is
    added. Also `package.module:Name` of an allowed package. `AlternatingFlip`, as the first transform, flips
    each image at random in the first epoch, then alternates from epoch to epoch."""
    test: Pipeline = []
    """The same for the evaluated images."""
    batch: Batch = []
    """Mixing of images and labels in a train batch, after `train`, by `torchvision.transforms.v2`:
    `{ transform = "MixUp", alpha = 0.2, p = 0.5 }`, or `CutMix`. Each batch uses one of them. `alpha`
    (default 1) is the parameter of the Beta distribution of the shares. `p` is the share of batches that are
    mixed; transforms without `p` share the remaining batches."""
