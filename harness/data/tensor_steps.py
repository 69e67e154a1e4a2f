"""The steps of the tensor pipeline: each draws its parameters for a whole batch, and applies them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from harness.errors import StudyError


@dataclass(frozen=True)
class PixelSources:
    """The source row and column of each pixel, for steps that only move pixels; -1 is outside the image.

    Args:
        rows: source row of each row, int64 ``(B or 1, H')``.
        columns: source column of each column, int64 ``(B or 1, W')``.
        fill: colour of pixels that come from outside the image.
    """

    rows: Tensor
    columns: Tensor
    fill: tuple[float, ...] | None = None

    def gather(self, images: Tensor) -> Tensor:
        """Move the pixels; return images ``(B, H', W', 3)``."""
        batch, height, width, channels = images.shape
        device = images.device
        source = images.view(batch * height, width * channels)
        first_rows = torch.arange(batch, device=device)[:, None] * height
        rows = torch.where(self.rows < 0, batch * height, first_rows + self.rows)
        columns = torch.where(self.columns < 0, width, self.columns)
        if self.fill is not None:  # append a column and a row of this colour, as the source of outside pixels
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


class Fixed:
    """A step that draws nothing."""

    def draw(self, batch: int, height: int, width: int, generator: torch.Generator) -> None:
        return None


@dataclass(frozen=True)
class Pad(Fixed):
    """``Pad`` and ``PadIfNeeded``; cv2 says which pixel the border repeats."""

    transform: Any
    fill: tuple[float, ...] | None

    def _sides(self, height: int, width: int) -> tuple[int, int, int, int]:
        sides = self.transform.get_params_dependent_on_data({"shape": (height, width)}, {})
        return sides["pad_top"], sides["pad_bottom"], sides["pad_left"], sides["pad_right"]

    def size(self, height: int, width: int) -> tuple[int, int]:
        top, bottom, left, right = self._sides(height, width)
        return height + top + bottom, width + left + right

    def move(self, places: PixelSources, parameters: Tensor | None) -> PixelSources:
        top, bottom, left, right = self._sides(places.rows.shape[1], places.columns.shape[1])
        rows, columns = self._extend(places.rows, top, bottom), self._extend(places.columns, left, right)
        return PixelSources(rows, columns, places.fill if self.fill is None else self.fill)

    def _extend(self, sources: Tensor, before: int, after: int) -> Tensor:
        extended = torch.nn.functional.pad(sources, (1, 0), value=-1)  # the part outside comes first
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

    def move(self, places: PixelSources, parameters: Tensor | None) -> PixelSources:
        assert parameters is not None
        top, left = parameters.unsqueeze(2).unbind(1)
        batch = len(parameters)
        device = parameters.device
        rows = places.rows.expand(batch, -1).gather(1, top + torch.arange(self.height, device=device))
        columns = places.columns.expand(batch, -1).gather(1, left + torch.arange(self.width, device=device))
        return PixelSources(rows, columns, places.fill)


@dataclass(frozen=True)
class Flip:
    """Flips and their ``OneOf`` / ``Sequential``; parameters ``(B,)``: 1 for horizontal + 2 for vertical."""

    probabilities: tuple[float, ...]  # of 0, 1, 2 and 3
    fill = None

    def size(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def draw(self, batch: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        edges = torch.tensor(self.probabilities, dtype=torch.float64).cumsum(0)[:3]
        drawn = torch.rand(batch, dtype=torch.float64, generator=generator)
        return torch.searchsorted(edges, drawn, right=True)

    def move(self, places: PixelSources, parameters: Tensor | None) -> PixelSources:
        assert parameters is not None
        horizontal, vertical = ((parameters & bit).bool()[:, None] for bit in (1, 2))
        rows = torch.where(vertical, places.rows.flip(1), places.rows)
        columns = torch.where(horizontal, places.columns.flip(1), places.columns)
        return PixelSources(rows, columns, places.fill)


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
                choices = torch.full((batch, most), int(min(high, length)) - int(low) + 1)
                sides = int(low) + _below(choices, generator)
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
class Normalize(Fixed):
    """``Normalize`` by mean and standard deviation, in Albumentations' float32 arithmetic."""

    mean: tuple[float, ...]
    factor: tuple[float, ...]

    def apply(self, images: Tensor, parameters: Tensor | None) -> Tensor:
        batch, height, width, _ = images.shape
        # Whole images as rows: arithmetic along 3 channels is not vectorised.
        mean = _constant(self.mean, torch.float32, images.device).repeat(height * width)
        factor = _constant(self.factor, torch.float32, images.device).repeat(height * width)
        return images.to(torch.float32).view(batch, -1).sub_(mean).mul_(factor).view(images.shape)


Step = Pad | Crop | Flip | Dropout | Normalize


@lru_cache(maxsize=1000)
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a small tensor on the device, cached: a copy at every batch would wait for the device."""
    return torch.tensor(values, dtype=dtype, device=device)


@lru_cache(maxsize=1000)
def _border(before: int, length: int, after: int, mode: int) -> tuple[int, ...]:
    """Return the source of each place of a padded row, counted from 1; 0 is outside."""
    import cv2

    return tuple(cv2.borderInterpolate(place, length, mode) + 1 for place in range(-before, length + after))


def _below(choices: Tensor, generator: torch.Generator) -> Tensor:
    """Draw uniform integers in [0, ``choices``) (int64, any shape)."""
    drawn = torch.rand(choices.shape, dtype=torch.float64, generator=generator)
    return (drawn * choices).long()
