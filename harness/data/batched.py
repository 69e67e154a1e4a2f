"""The common transforms on a whole batch of tensors: the same pixels as Albumentations, many times faster.

Parameters are drawn from the distributions that Albumentations 2.0.8 draws from, for a whole batch and on the
CPU, so that every device sees the same; a pure function then applies them, on the device where the images
are. Neighbouring pads, crops and flips become two gathers, and images stay uint8 until they are normalised.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.data.augment import reference_pipeline
from harness.errors import StudyError

Parameters = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class TensorPipeline:
    """Steps in the order in which they run; each is one transform or composition of the pipeline."""

    steps: tuple[Step, ...]

    def draw(self, batch: int, height: int, width: int, generator: torch.Generator) -> Parameters:
        """Random parameters for one batch of ``(height, width)`` images.

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
        places: Places | None = None
        for step, drawn in zip(self.steps, parameters, strict=True):
            drawn = None if drawn is None else drawn.to(device)
            if isinstance(step, Move):
                if places is not None and None not in (places.fill, step.fill) and places.fill != step.fill:
                    images, places = places.gather(images), None
                rows, columns = (torch.arange(length, device=device)[None] for length in images.shape[1:3])
                places = step.move(places or Places(rows, columns), drawn)
            else:
                if places is not None:
                    images, places = places.gather(images), None
                if images is given and isinstance(step, Dropout):
                    images = images.clone()
                images = step.apply(images, drawn)
        if places is not None:
            images = places.gather(images)
        return images.to(torch.float32).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Places:
    """Where the pixels of a batch come from, while it is only moved; -1 is outside of the image.

    Args:
        rows: source row of each row, int64 ``(B or 1, H')``.
        columns: source column of each column, int64 ``(B or 1, W')``.
        fill: colour of what comes from outside.
    """

    rows: Tensor
    columns: Tensor
    fill: tuple[float, ...] | None = None

    def gather(self, images: Tensor) -> Tensor:
        """The moved ``(B, H', W', 3)`` images."""
        batch, height, width, channels = images.shape
        device = images.device
        source = images.view(batch * height, width * channels)
        first_rows = torch.arange(batch, device=device)[:, None] * height
        rows = torch.where(self.rows < 0, batch * height, first_rows + self.rows)
        columns = torch.where(self.columns < 0, width, self.columns)
        if self.fill is not None:  # one more column of it, and one more row
            colour = _constant(self.fill, source.dtype, device)
            source = torch.cat([source, colour.expand(batch * height, channels)], dim=1)
            source = torch.cat([source, colour.repeat(width + 1)[None]])
        # Whole rows, then the values in them: pixels of three bytes are slow to move one by one.
        moved = source.index_select(0, rows.view(-1))
        channel = torch.arange(channels, device=device)
        values = (columns[:, :, None] * channels + channel).view(len(columns), 1, -1)
        shape = (batch, rows.shape[1], values.shape[2])
        moved = moved.view(*shape[:2], -1).gather(2, values.expand(shape))
        return moved.view(*shape[:2], columns.shape[1], channels)


@dataclass(frozen=True)
class Pad:
    """``Pad`` and ``PadIfNeeded``; which pixel the border repeats is what cv2 says."""

    transform: Any
    fill: tuple[float, ...] | None

    def _sides(self, height: int, width: int) -> tuple[int, int, int, int]:
        sides = self.transform.get_params_dependent_on_data({"shape": (height, width)}, {})
        return sides["pad_top"], sides["pad_bottom"], sides["pad_left"], sides["pad_right"]

    def size(self, height: int, width: int) -> tuple[int, int]:
        top, bottom, left, right = self._sides(height, width)
        return height + top + bottom, width + left + right

    def draw(self, batch: int, height: int, width: int, generator: torch.Generator) -> None:
        return None

    def move(self, places: Places, parameters: Tensor | None) -> Places:
        top, bottom, left, right = self._sides(places.rows.shape[1], places.columns.shape[1])
        rows, columns = self._extend(places.rows, top, bottom), self._extend(places.columns, left, right)
        return Places(rows, columns, places.fill if self.fill is None else self.fill)

    def _extend(self, sources: Tensor, before: int, after: int) -> Tensor:
        extended = torch.nn.functional.pad(sources, (1, 0), value=-1)  # what lies outside comes first
        places = _border(before, sources.shape[1], after, self.transform.border_mode)
        return extended.index_select(1, _constant(places, torch.int64, sources.device))


@dataclass(frozen=True)
class Crop:
    """``RandomCrop``; parameters are ``(B, 2)``: top and left."""

    height: int
    width: int
    fill = None

    def size(self, height: int, width: int) -> tuple[int, int]:
        return self.height, self.width

    def draw(self, batch: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        if self.height > height or self.width > width:
            raise StudyError(
                f"RandomCrop of {self.width}x{self.height} pixels from {width}x{height}: pad the images first"
            )
        room = torch.tensor([height - self.height + 1, width - self.width + 1])
        return _below(room.expand(batch, 2), generator)

    def move(self, places: Places, parameters: Tensor | None) -> Places:
        assert parameters is not None
        top, left = parameters.unsqueeze(2).unbind(1)
        batch = len(parameters)
        device = parameters.device
        rows = places.rows.expand(batch, -1).gather(1, top + torch.arange(self.height, device=device))
        columns = places.columns.expand(batch, -1).gather(1, left + torch.arange(self.width, device=device))
        return Places(rows, columns, places.fill)


@dataclass(frozen=True)
class Flip:
    """Flips and their ``OneOf`` / ``Sequential``; parameters are ``(B,)``: 1 for horizontal + 2 for vertical.

    Args:
        probabilities: of 0, 1, 2 and 3.
    """

    probabilities: tuple[float, ...]
    fill = None

    def size(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def draw(self, batch: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        edges = torch.tensor(self.probabilities, dtype=torch.float64).cumsum(0)[:3]
        drawn = torch.rand(batch, dtype=torch.float64, generator=generator)
        return torch.searchsorted(edges, drawn, right=True)

    def move(self, places: Places, parameters: Tensor | None) -> Places:
        assert parameters is not None
        horizontal, vertical = ((parameters & bit).bool()[:, None] for bit in (1, 2))
        rows = torch.where(vertical, places.rows.flip(1), places.rows)
        columns = torch.where(horizontal, places.columns.flip(1), places.columns)
        return Places(rows, columns, places.fill)


Move = Pad | Crop | Flip


@dataclass(frozen=True)
class Dropout:
    """``CoarseDropout``; parameters ``(B, most holes, 4)``: x_min, y_min, x_max, y_max; no area, no hole.

    Cuts into the images that it is given.
    """

    number: tuple[int, int]
    heights: tuple[float, float]
    widths: tuple[float, float]
    fill: tuple[float, ...]
    p: float

    def draw(self, batch: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        fewest, most = self.number
        number = fewest + _below(torch.full((batch,), most - fewest + 1), generator)
        applied = torch.rand(batch, dtype=torch.float64, generator=generator) < self.p
        pixels = self.heights[1] >= 1  # Albumentations lets the heights decide for both
        limits = []
        for length, (low, high) in ((width, self.widths), (height, self.heights)):
            if pixels:
                smallest = int(low)
                choices = torch.full((batch, most), int(min(high, length)) - smallest + 1)
                sides = smallest + _below(choices, generator)
            else:
                share = torch.rand(batch, most, dtype=torch.float64, generator=generator)
                sides = (length * (low + (high - low) * share)).long()
            start = _below(length - sides + 1, generator)
            limits.append((start, start + sides))
        (x_min, x_max), (y_min, y_max) = limits
        holes = torch.stack([x_min, y_min, x_max, y_max], dim=2)
        cut = applied[:, None] & (torch.arange(most) < number[:, None])
        return holes * cut[:, :, None]

    def apply(self, images: Tensor, parameters: Tensor | None) -> Tensor:
        assert parameters is not None
        batch, height, width, channels = images.shape
        device, dtype = images.device, images.dtype
        fill = _constant(self.fill, dtype, device).repeat(width)
        x = torch.arange(width * channels, device=device) // channels
        y = torch.arange(height, device=device)
        first_kinds = 2 * torch.arange(batch, device=device)[:, None]
        cut = images.view(batch * height, width * channels)
        for hole in parameters.unbind(1):
            x_min, y_min, x_max, y_max = hole[:, :, None].unbind(1)
            inside = ((x >= x_min) & (x < x_max)).to(dtype)
            # An image has two kinds of rows, beside the hole and through it; each row picks its kind.
            crossed = ((y >= y_min) & (y < y_max)).long()
            kinds = (first_kinds + crossed).view(-1)
            keep = torch.stack([torch.ones_like(inside), 1 - inside], dim=1).view(2 * batch, -1)
            keep = keep.index_select(0, kinds)
            if any(self.fill):
                filled = torch.stack([torch.zeros_like(inside), inside * fill], dim=1).view(2 * batch, -1)
                torch.addcmul(filled.index_select(0, kinds), cut, keep, out=cut)
            else:
                cut.mul_(keep)
        return images


@dataclass(frozen=True)
class Normalize:
    """``Normalize`` by mean and standard deviation, in Albumentations' float32 arithmetic."""

    mean: tuple[float, ...]
    factor: tuple[float, ...]

    def draw(self, batch: int, height: int, width: int, generator: torch.Generator) -> None:
        return None

    def apply(self, images: Tensor, parameters: Tensor | None) -> Tensor:
        batch, height, width, _ = images.shape
        # Whole images as rows: arithmetic along 3 channels is not vectorised.
        mean = _constant(self.mean, torch.float32, images.device).repeat(height * width)
        factor = _constant(self.factor, torch.float32, images.device).repeat(height * width)
        return images.to(torch.float32).view(batch, -1).sub_(mean).mul_(factor).view(images.shape)


Step = Pad | Crop | Flip | Dropout | Normalize


def tensor_pipeline(transforms: list[dict[str, Any]]) -> TensorPipeline | None:
    """The pipeline on tensors, or None where a transform or an argument has no exact counterpart here.

    Covered: Pad and PadIfNeeded (not at random positions), RandomCrop, HorizontalFlip and VerticalFlip (alone
    or in OneOf and Sequential), CoarseDropout that fills with numbers, and Normalize by mean and std.

    Raises:
        StudyError: the transforms are wrong; see :func:`harness.data.augment.check_transforms`.
    """
    steps: list[Step] = []
    normalised = False
    for transform in reference_pipeline(transforms).transforms:
        step = _step(transform, normalised)
        if step is None:
            return None
        normalised = normalised or isinstance(step, Normalize)
        steps.append(step)
    # Moving pixels and normalising them commute, and bytes move faster.
    for place in range(len(steps) - 1):
        following = steps[place + 1]
        if isinstance(steps[place], Normalize) and isinstance(following, Move) and following.fill is None:
            steps[place], steps[place + 1] = following, steps[place]
    return TensorPipeline(tuple(steps))


def _step(transform: Any, normalised: bool) -> Step | None:
    import albumentations as A
    import cv2

    kind = type(transform)
    flips = _flip_probabilities(transform)
    if flips is not None:
        return Flip(tuple(flips.tolist()))
    if kind is A.CoarseDropout:
        fill = _fill(transform.fill, normalised)
        heights, widths = transform.hole_height_range, transform.hole_width_range
        if fill is None or (heights[1] < 1 < widths[1]):
            return None
        return Dropout(transform.num_holes_range, heights, widths, fill, transform.p)
    if transform.p != 1:  # the others change size or type: none of them is for some images only
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
    """One value a channel; None for what is no number, or would be rounded to bytes."""
    if isinstance(fill, str):
        return None
    values = tuple(fill) if isinstance(fill, tuple) else (fill,) * 3
    exact = normalised or all(value in range(256) for value in values)
    return values if len(values) == 3 and exact else None


def _flip_probabilities(transform: Any, forced: bool = False) -> np.ndarray | None:
    """Probabilities of no flip, horizontal, vertical and both; None where anything but flips is in it."""
    import albumentations as A

    kind = type(transform)
    p = 1.0 if forced else transform.p
    result = np.eye(4)[0]
    if kind in (A.HorizontalFlip, A.VerticalFlip):
        result = np.eye(4)[1 if kind is A.HorizontalFlip else 2]
    elif kind is A.Sequential:
        for child in transform.transforms:
            following = _flip_probabilities(child)
            if following is None:
                return None
            result = sum(result[code] * following[np.arange(4) ^ code] for code in range(4))
    elif kind is A.OneOf:
        children = [_flip_probabilities(child, forced=True) for child in transform.transforms]
        if any(child is None for child in children):
            return None
        result = np.average(np.array(children), axis=0, weights=[child.p for child in transform.transforms])
    elif kind is not A.NoOp:
        return None
    mixed: np.ndarray = (1 - p) * np.eye(4)[0] + p * result
    return mixed


@lru_cache(maxsize=1000)
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A small tensor that is copied to the device once: a copy at every batch would wait for the device."""
    return torch.tensor(values, dtype=dtype, device=device)


@lru_cache(maxsize=1000)
def _border(before: int, length: int, after: int, mode: int) -> tuple[int, ...]:
    """Which of ``length`` places, counted from 1, each place of a padded row repeats; 0 is none of them."""
    import cv2

    return tuple(cv2.borderInterpolate(place, length, mode) + 1 for place in range(-before, length + after))


def _below(choices: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform integers from 0 to below ``choices`` (int64, any shape)."""
    drawn = torch.rand(choices.shape, dtype=torch.float64, generator=generator)
    return (drawn * choices).long()
