"""Initialisation by train images, for networks that ask for it: a method ``initialise_from``."""

from __future__ import annotations

from typing import Any

from torch import nn

from harness.data.arrays import Split, limit
from harness.data.batches import Batches
from harness.errors import StudyError
from harness.messages import one_line

IMAGES = 5_000  # at most; Page (2019) took 10,000, airbench 5,000


def initialise_from_images(model: nn.Module, train: Split, transforms: list[dict[str, Any]]) -> None:
    """Call ``initialise_from(images)`` of the network and of each module in it that has such a method.

    The images are each class's first train images in the order of their files, as many of each class as can
    be, without augmentation but normalised: float32 (N, 3, H, W) on the CPU. So they are the same on all
    devices and in all processes of a run.

    Args:
        train: the run's own train images.
        transforms: the resolved pipeline of the images evaluated on, which draws nothing.

    Raises:
        StudyError: an error of such a method.
    """
    modules = [module for module in model.modules() if callable(getattr(module, "initialise_from", None))]
    if not modules:
        return
    some = limit(train, min(IMAGES, len(train)))  # files are often in the order of their classes
    images, _ = next(iter(Batches(some, transforms, IMAGES, seed=0, shuffle=False)))
    for module in modules:
        try:
            module.initialise_from(images)  # type: ignore[operator]
        except Exception as error:  # a user's code may raise anything
            raise StudyError(
                f"model.name: {type(module).__name__}.initialise_from, on images of {tuple(images.shape)}: "
                f"{type(error).__name__}: {one_line(error, 200)}"
            ) from error
