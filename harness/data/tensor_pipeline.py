"""Pipelines of the common transforms on whole batches: the same pixels as Albumentations, many times faster.

Parameters are drawn from the distributions that Albumentations 2.0.8 draws from, for a whole batch and on the
CPU, so that every device sees the same; a pure function then applies them, on the device where the images
are. Neighbouring pads, crops and flips become two gathers, and images stay uint8 until they are normalised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.data.augment import albumentations, parse
from harness.data.tensor_steps import Crop, Dropout, Flip, Move, Normalize, Pad, PixelSources, Step

Parameters = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class TensorPipeline:
    """The steps of a pipeline, in order; each is one transform or composition."""

    steps: tuple[Step, ...]

    def draw(self, batch: int, height: int, width: int, generator: torch.Generator) -> Parameters:
        """Draw the random parameters for one batch of images of ``(height, width)`` pixels.

        Returns:
            An entry a step, int64 with the batch first, on the CPU; None where a step draws nothing.
        """
        parameters: list[Tensor | None] = []
        for step in self.steps:
            parameters.append(step.draw(batch, height, width, generator))
            if isinstance(step, Move):
                height, width = step.size(height, width)
        return tuple(parameters)

    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        """Run the steps.

        Args:
            images: uint8, ``(B, H, W, 3)``, on any device; not changed.
            parameters: from :meth:`draw`; best on the images' device, else they are copied there.

        Returns:
            float32, ``(B, 3, H', W')`` in channels_last memory, on the images' device.
        """
        given = images = images.contiguous()
        device = images.device
        places: PixelSources | None = None
        for step, drawn in zip(self.steps, parameters, strict=True):
            drawn = None if drawn is None else drawn.to(device)
            if isinstance(step, Move):
                if places is not None and None not in (places.fill, step.fill) and places.fill != step.fill:
                    images, places = places.gather(images), None
                rows, columns = (torch.arange(length, device=device)[None] for length in images.shape[1:3])
                places = step.move(places or PixelSources(rows, columns), drawn)
            else:
                if places is not None:
                    images, places = places.gather(images), None
                if images is given and isinstance(step, Dropout):
                    images = images.clone()
                images = step.apply(images, drawn)
        if places is not None:
            images = places.gather(images)
        return images.to(torch.float32).permute(0, 3, 1, 2)


def tensor_pipeline(transforms: list[dict[str, Any]]) -> TensorPipeline | None:
    """Return the pipeline on tensors, or None where a transform or an argument has no exact counterpart here.

    Covered: Pad and PadIfNeeded (not at random positions), RandomCrop, HorizontalFlip and VerticalFlip (alone
    or in OneOf and Sequential), CoarseDropout that fills with numbers, and Normalize by mean and std. The
    alternating flip is none of its steps.

    Raises:
        StudyError: the transforms are wrong; see :func:`harness.data.augment.check_transforms`.
    """
    parsed = parse(transforms)
    if parsed.library.NAME != albumentations.NAME:
        return None
    steps: list[Step] = []
    for transform in albumentations.reference_pipeline(parsed.tables).transforms:
        step = _step(transform, normalised=any(isinstance(other, Normalize) for other in steps))
        if step is None:
            return None
        steps.append(step)
    # Normalise last: moving pixels gives the same before and after it, and bytes move faster than floats.
    for place in range(len(steps) - 1):
        following = steps[place + 1]
        if isinstance(steps[place], Normalize) and isinstance(following, Move) and following.fill is None:
            steps[place], steps[place + 1] = following, steps[place]
    return TensorPipeline(tuple(steps))


def _step(transform: Any, normalised: bool) -> Step | None:
    import albumentations as A
    import cv2

    kind = type(transform)
    if (flips := _flip_probabilities(transform)) is not None:
        return Flip(tuple(flips.tolist()))
    if kind is A.CoarseDropout:
        fill = _fill(transform.fill, normalised)
        heights, widths = transform.hole_height_range, transform.hole_width_range
        if fill is None or (heights[1] < 1 < widths[1]):
            return None
        return Dropout(transform.num_holes_range, heights, widths, fill, transform.p)
    if transform.p != 1:  # the others change size or type: all images need them
        return None
    if kind in (A.Pad, A.PadIfNeeded) and getattr(transform, "position", "") != "random":
        if transform.border_mode != cv2.BORDER_CONSTANT:
            return Pad(transform, None)
        fill = _fill(transform.fill, normalised)
        return None if fill is None else Pad(transform, fill)
    if kind is A.RandomCrop and not transform.pad_if_needed:
        return Crop(transform.height, transform.width)
    if kind is A.Normalize and transform.normalization == "standard" and not normalised:
        values = (transform.mean_np, transform.denominator)
        return Normalize(*(tuple(np.broadcast_to(value, 3).tolist()) for value in values))
    return None


def _fill(fill: Any, normalised: bool) -> tuple[float, ...] | None:
    """Return one value a channel; None where it is not a number, or would be rounded to bytes."""
    if isinstance(fill, str):
        return None
    values = tuple(fill) if isinstance(fill, tuple) else (fill,) * 3
    exact = normalised or all(value in range(256) for value in values)
    return values if len(values) == 3 and exact else None


def _flip_probabilities(transform: Any, forced: bool = False) -> np.ndarray | None:
    """Return the probabilities of no flip, horizontal, vertical and both; None where it does more."""
    import albumentations as A

    kind, unchanged = type(transform), np.eye(4)[0]
    p = 1.0 if forced else transform.p
    result: Any = unchanged
    if kind in (A.HorizontalFlip, A.VerticalFlip):
        result = np.eye(4)[1 if kind is A.HorizontalFlip else 2]
    elif kind in (A.Sequential, A.OneOf):
        children = [_flip_probabilities(child, forced=kind is A.OneOf) for child in transform.transforms]
        flips = [child for child in children if child is not None]
        if len(flips) < len(children):
            return None
        if kind is A.OneOf:
            result = np.average(flips, axis=0, weights=[child.p for child in transform.transforms])
        else:
            for following in flips:
                result = sum(result[code] * following[np.arange(4) ^ code] for code in range(4))
    elif kind is not A.NoOp:
        return None
    return np.asarray((1 - p) * unchanged + p * result)
