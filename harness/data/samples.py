"""Augmented images for figures, without normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from harness.data.augment import parse
from harness.data.batches import augmented
from harness.data.mixing import Mixing
from harness.data.tensor_pipeline import tensor_pipeline
from harness.seeding import derive_seed, generator
from harness.study_file.augment import BatchTransform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.data.augment.library import Table


def augment_images(images: NDArray[np.uint8], transforms: list[Table], seed: int) -> NDArray[np.uint8]:
    """Return augmented images, for a figure.

    Args:
        images: uint8, ``(N, H, W, 3)``.
        transforms: a resolved pipeline; its normalisation is undone afterwards.
        seed: of the draws.

    Returns:
        uint8, ``(N, H', W', 3)``.
    """
    pipeline, parsed = tensor_pipeline(transforms), parse(transforms)
    images = images.copy()
    if parsed.alternating:
        flipped = (torch.rand(len(images), generator=generator(seed, "samples/flip")) < 0.5).numpy()
        images[flipped] = images[flipped, :, ::-1]
    if pipeline is None:
        batch = augmented(parsed.run(), images, derive_seed(seed, "samples"))
    else:
        batch_size, height, width, _ = images.shape
        parameters = pipeline.draw(batch_size, height, width, generator(seed, "samples"))
        batch = pipeline.apply(torch.from_numpy(images), parameters)
    return denormalise(batch, transforms)


def mix_samples(
    images: NDArray[np.uint8], labels: NDArray[np.int64], classes: int, batch: list[Table], seed: int
) -> NDArray[np.uint8]:
    """Mix augmented images as the batches of a training are mixed, for a figure.

    Args:
        images: uint8, ``(N, K, H, W, 3)``: K batches of N images.
        labels: int64, ``(N,)``.
        batch: ``augment.batch`` as a record has it.

    Returns:
        uint8, of the same shape.
    """
    mixing = Mixing([BatchTransform(**table) for table in batch], classes)
    mixed = np.empty_like(images)
    for column in range(images.shape[1]):
        pixels = torch.from_numpy(images[:, column]).permute(0, 3, 1, 2).float()
        drawn, _ = mixing(pixels, torch.from_numpy(labels), derive_seed(seed, "samples/mix", part=column))
        mixed[:, column] = drawn.round().permute(0, 2, 3, 1).numpy().astype(np.uint8)
    return mixed


def denormalise(batch: Tensor, transforms: list[Table]) -> NDArray[np.uint8]:
    """Undo a batch's normalisation, by the mean and std in its pipeline.

    Normalisation by each image's own numbers cannot be undone: such images are stretched to 0 to 255.

    Args:
        batch: float, ``(B, 3, H, W)``.
        transforms: the resolved pipeline.

    Returns:
        uint8, ``(B, H, W, 3)``.
    """
    pixels = batch.detach().to("cpu", torch.float64).permute(0, 2, 3, 1).numpy()
    parsed = parse(transforms)
    for table in [table for table in parsed.tables if table["transform"] == "Normalize"]:
        if (units := parsed.library.normalisation(table)) is not None:
            mean, std = units
            pixels = 255 * (pixels * std + mean)
        else:
            low, high = pixels.min((1, 2, 3), keepdims=True), pixels.max((1, 2, 3), keepdims=True)
            pixels = 255 * (pixels - low) / np.maximum(high - low, 1e-12)
    return pixels.round().clip(0, 255).astype(np.uint8)
