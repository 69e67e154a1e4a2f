"""MixUp and CutMix on whole batches, by ``torchvision.transforms.v2``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.seeding import cpu_seed
from harness.vision import import_torchvision

if TYPE_CHECKING:
    from harness.study_file.augment import BatchTransform


class Mixing:
    """Mixes the images of a batch, and their labels alike, by one transform chosen at random.

    torchvision mixes each image with the one before it in the batch, and the first with the last.

    Args:
        tables: the study's ``augment.batch``; not empty.
        classes: how many there are.
    """

    def __init__(self, tables: Sequence[BatchTransform], classes: int) -> None:
        import_torchvision()
        from torchvision.transforms import v2

        self._classes = classes
        kinds = {"MixUp": v2.MixUp, "CutMix": v2.CutMix}
        transforms = [kinds[table.transform](alpha=table.alpha, num_classes=classes) for table in tables]
        choices = zip([*transforms, self._unmixed], shares(tables), strict=True)
        used = [(transform, share) for transform, share in choices if share > 0]
        self._mix = used[0][0]
        if len(used) > 1:
            self._mix = v2.RandomChoice([transform for transform, _ in used], p=[share for _, share in used])

    def __call__(self, images: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Mix a batch.

        Args:
            images: float, ``(N, 3, H, W)``, on any device; not changed.
            labels: int64, ``(N,)``, on the same device.
            seed: of the draws; they are made on the CPU, and are the same for every device.

        Returns:
            Images as given, in channels_last memory, and the share of each class, float32 ``(N, classes)``.
        """
        with cpu_seed(seed):
            mixed, soft = self._mix(images, labels)
        return mixed.contiguous(memory_format=torch.channels_last), soft

    def _unmixed(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return images, F.one_hot(labels, self._classes).float()


def shares(tables: Sequence[BatchTransform]) -> list[float]:
    """Return the share of batches that each table's transform mixes, and of those left as they are.

    Tables without ``p`` share the rest equally.
    """
    given = [table.p for table in tables]
    left = max(0.0, 1 - sum(p for p in given if p is not None))
    open_ = sum(p is None for p in given)
    found = [left / open_ if p is None else p for p in given]
    return [*found, 0.0 if open_ else left]
