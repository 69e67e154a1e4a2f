"""``data.sampler``: which train images an epoch trains on, if not each of them once."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import WeightedRandomSampler

from harness.errors import StudyError
from harness.imports import import_allowed
from harness.messages import one_line, suggest
from harness.seeding import generator, generator_states

Sampler = Callable[[Tensor, torch.Generator], Tensor]


def balanced(labels: Tensor, draws: torch.Generator) -> Tensor:
    """Draw as many images as there are, with replacement, each class equally often on average.

    torch's ``WeightedRandomSampler``, with one over the images of its class as an image's weight.

    Args:
        labels: int64 ``(N,)``.
        draws: of the epoch.

    Returns:
        int64 ``(N,)``, indices of images.
    """
    weights = (1.0 / torch.bincount(labels).double())[labels]
    # it wants a sequence of floats, and takes a tensor
    return torch.tensor(list(WeightedRandomSampler(weights, len(labels), generator=draws)))  # type: ignore[arg-type]


SAMPLERS: dict[str, Sampler] = {"balanced": balanced}


def get_sampler(name: str, where: str = "study") -> Sampler:
    """Return a sampler by its name, or by the import path of a function of an allowed package.

    Raises:
        StudyError: there is none, or its package is not allowed.
    """
    place = f"{where}: data.sampler"
    if name in SAMPLERS:
        return SAMPLERS[name]
    if ":" not in name:
        hint = suggest(name, SAMPLERS)
        raise StudyError(f"{place}: no sampler {name!r}{hint}; or 'package.module:function' of your own")
    sampler = import_allowed(name, place)
    if not callable(sampler):
        raise StudyError(f"{place}: {one_line(name, 200)}: expected a function, got {type(sampler).__name__}")
    return cast(Sampler, sampler)


def draw_images(sampler: Sampler, labels: Tensor, draws: torch.Generator) -> Tensor:
    """Return the indices of an epoch's images, in the order in which they are trained on.

    Args:
        labels: int64 ``(N,)``; the sampler is given a copy.
        draws: the only generator that the sampler may draw from.

    Returns:
        int64 ``(N,)``.

    Raises:
        StudyError: the sampler raises an error, or returns something else.
    """
    count = len(labels)
    try:
        images = torch.as_tensor(sampler(labels.clone(), draws))
    except Exception as error:  # of a user's code
        raise StudyError(f"data.sampler: {type(error).__name__}: {one_line(error, 200)}") from None
    if images.shape != (count,) or images.is_floating_point() or images.dtype == torch.bool:
        raise StudyError(
            f"data.sampler: returned {images.dtype} {tuple(images.shape)}, expected integers ({count},)"
        )
    images = images.to("cpu", torch.int64)
    if count and not 0 <= int(images.min()) <= int(images.max()) < count:
        raise StudyError(
            f"data.sampler: returned indices from {int(images.min())} to {int(images.max())}, expected 0 to "
            f"{count - 1}"
        )
    return images


def check_sampler(name: str, where: str, labels: Tensor | None = None) -> None:
    """Try a sampler on the train images' labels, or on a few invented ones.

    Raises:
        StudyError: it does not exist, fails, or draws from another generator than the one it is given.
    """
    sampler = get_sampler(name, where)
    labels = torch.arange(64) % 8 if labels is None else labels
    before = generator_states()
    try:
        drawn = [draw_images(sampler, labels, generator(0, "sampler")) for _ in range(2)]
    except StudyError as error:
        raise StudyError(f"{where}: {error}") from None
    if generator_states() != before or not torch.equal(*drawn):
        raise StudyError(
            f"{where}: data.sampler: {name} draws from another generator than its own; pass that on, "
            "as in torch.randperm(n, generator=generator)"
        )
