"""Batch norm over groups of a batch's images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GhostBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over groups of about ``ghost_batch`` images; in evaluation it is ordinary batch norm.

    The groups of a batch are as equal as possible, so that the last one is not too small for a variance. The
    running statistics count each group with its share of ``momentum``, all groups together like one batch.
    """

    momentum: float
    synchronised = False  # its groups are smaller than a device's part of a batch, so it is not synchronised

    def __init__(self, channels: int, ghost_batch: int, *, momentum: float) -> None:
        super().__init__(channels, momentum=momentum)
        self.ghost_batch = ghost_batch

    def forward(self, images: Tensor) -> Tensor:
        """Return outputs of the same shape (N, C, H, W)."""
        # torch's update_bn sets no momentum, for statistics of whole batches as in evaluation
        grouped = self.training and self.momentum is not None
        groups = round(len(images) / self.ghost_batch) if grouped else 1
        if groups < 2:
            return super().forward(images)
        if images.is_cuda:  # a CPU takes 3 to 14 times as long that way as group after group
            return self._on_gpu(images, groups)
        # the gradient of split is one concatenation, that of tensor_split a batch of zeros for every group
        sizes = [(len(images) + at) // groups for at in range(groups)]
        parameters = self.running_mean, self.running_var, self.weight, self.bias
        share = self.momentum / groups
        return torch.cat(
            [
                F.batch_norm(group, *parameters, training=True, momentum=share, eps=self.eps)
                for group in torch.split(images, sizes)
            ]
        )

    def _on_gpu(self, images: Tensor, groups: int) -> Tensor:
        """Normalise the same groups in fewer operators, because many small kernels are slow on a GPU."""
        size, larger = divmod(len(images), groups)
        few = (groups - larger) * size  # the smaller groups come first
        parts = [self._at_once(images[:few], groups - larger, groups)]
        if larger:
            parts.append(self._at_once(images[few:], larger, groups))
        return torch.cat(parts) if larger else parts[0]

    def _at_once(self, images: Tensor, groups: int, all_groups: int) -> Tensor:
        """Normalise groups of equal size, together; ``all_groups`` counts all groups of the batch."""
        grouped = torch.unflatten(images, 0, (groups, -1)).float()
        variance, mean = torch.var_mean(grouped, dim=(1, 3, 4), correction=0, keepdim=True)
        scale = self.weight[:, None, None] * torch.rsqrt(variance + self.eps)
        normalised = (grouped - mean) * scale + self.bias[:, None, None]
        with torch.no_grad():
            # The same result as updating them by one group after another, each with momentum / groups.
            momentum = self.momentum / all_groups
            steps = torch.arange(groups - 1, -1, -1, device=images.device, dtype=torch.float32)
            weights = momentum * (1 - momentum) ** steps[:, None]
            pixels = grouped[0, :, 0].numel()
            unbiased = variance.view(groups, -1) * (pixels / (pixels - 1))
            kept = (1 - momentum) ** groups
            for running, newest in ((self.running_mean, mean.view(groups, -1)), (self.running_var, unbiased)):
                assert running is not None
                running.mul_(kept).add_((weights * newest).sum(0))
        return torch.flatten(normalised.to(images.dtype), 0, 1)
