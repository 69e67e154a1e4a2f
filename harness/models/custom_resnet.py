"""The assignment's custom ResNet, also known as DavidNet: 6,573,120 parameters at width 64.

| stage  | layers                                                      | output at 32x32 |
| ------ | ----------------------------------------------------------- | --------------- |
| prep   | conv 3x3, BN, ReLU                                          | 64 x 32 x 32    |
| layer1 | conv 3x3, max-pool 2, BN, ReLU                              | 128 x 16 x 16   |
| res1   | conv, BN, ReLU, conv, BN, ReLU, added to layer1's output    | 128 x 16 x 16   |
| layer2 | conv 3x3, max-pool 2, BN, ReLU                              | 256 x 8 x 8     |
| layer3 | conv 3x3, max-pool 2, BN, ReLU                              | 512 x 4 x 4     |
| res2   | conv, BN, ReLU, conv, BN, ReLU, added to layer3's output    | 512 x 4 x 4     |
| head   | max-pool over the map (4 x 4), fully connected              | logits          |
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from harness.schema import Strict


class CustomResNetOptions(Strict):
    """What the published forms of the assignment's network differ in, and what regularises it."""

    width: Annotated[int, Field(ge=1, le=1024)] = 64
    """Channels of the first stage; the later ones have 2, 4 and 8 times as many."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability of dropping; 0 is none."""
    dropout_kind: Literal["channel", "unit"] = "channel"
    """`channel`: whole maps, between batch norm and ReLU of all eight blocks (Dropout2d); `unit`: single
    values, after the last ReLU of each of the six stages."""
    conv_bias: bool = False
    """Biases in the four convolutions outside the residual branches."""
    fc_bias: bool = False
    """A bias in the fully connected layer."""
    residual: Literal["add", "inner", "double"] = "add"
    """`add`: x + branch(x), the branch ending in its ReLU; `inner`: relu(x + branch(x)), the branch ending in
    its batch norm; `double`: x + relu(x + branch(x))."""
    head: Literal["linear", "conv3x3"] = "linear"
    """`linear`, or a padded 3x3 convolution on the 1x1 map."""
    logit_scale: Annotated[float, Field(gt=0, le=1e3)] = 1.0
    """Factor on the logits (DavidNet: 0.125)."""
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Weight of the newest batch in batch norm's running statistics."""
    ghost_batch: Annotated[int, Field(ge=2, le=65_536)] | None = None
    """Images that are normalised together in training, by their own mean and variance: ghost batch norm,
    Hoffer et al. 2017, arXiv:1705.08741. Without it the whole batch."""

    def build(self, classes: int) -> CustomResNet:
        """Make the network, with torch's default initialisation, drawn from its global generator."""
        return CustomResNet(self, classes)


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
        if images.is_cuda:
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


class ConvBlock(nn.Sequential):
    """A convolution 3x3, [max-pool 2], batch norm, [Dropout2d], [ReLU], in the published order."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        options: CustomResNetOptions,
        *,
        pool: bool = False,
        bias: bool = False,
        relu: bool = True,
    ) -> None:
        layers: list[nn.Module] = [nn.Conv2d(channels_in, channels, 3, padding=1, bias=bias)]
        if pool:
            layers.append(nn.MaxPool2d(2))
        if options.ghost_batch is None:
            layers.append(nn.BatchNorm2d(channels, momentum=options.bn_momentum))
        else:
            layers.append(GhostBatchNorm2d(channels, options.ghost_batch, momentum=options.bn_momentum))
        if options.dropout and options.dropout_kind == "channel":
            layers.append(nn.Dropout2d(options.dropout))
        if relu:
            layers.append(nn.ReLU())
        super().__init__(*layers)


class Residual(nn.Module):
    """Two convolution blocks and the skip around them, in one of the three published forms."""

    def __init__(self, channels: int, options: CustomResNetOptions) -> None:
        super().__init__()
        self.form = options.residual
        self.branch = nn.Sequential(
            ConvBlock(channels, channels, options),
            ConvBlock(channels, channels, options, relu=self.form == "add"),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs of the same shape (N, C, H, W)."""
        branch: Tensor = self.branch(x)
        if self.form == "add":
            return x + branch
        inner = F.relu(x + branch)
        return x + inner if self.form == "double" else inner


class CustomResNet(nn.Module):
    """The network; its named stages are ``prep, layer1, res1, layer2, layer3, res2``."""

    def __init__(self, options: CustomResNetOptions, classes: int) -> None:
        super().__init__()
        width, bias = options.width, options.conv_bias
        self.prep = ConvBlock(3, width, options, bias=bias)
        self.layer1 = ConvBlock(width, 2 * width, options, pool=True, bias=bias)
        self.res1 = Residual(2 * width, options)
        self.layer2 = ConvBlock(2 * width, 4 * width, options, pool=True, bias=bias)
        self.layer3 = ConvBlock(4 * width, 8 * width, options, pool=True, bias=bias)
        self.res2 = Residual(8 * width, options)
        self.head: nn.Module
        if options.head == "linear":
            self.head = nn.Sequential(nn.Flatten(), nn.Linear(8 * width, classes, bias=options.fc_bias))
        else:
            self.head = nn.Sequential(
                nn.Conv2d(8 * width, classes, 3, padding=1, bias=options.fc_bias), nn.Flatten()
            )
        self.unit_dropout = nn.Dropout(options.dropout if options.dropout_kind == "unit" else 0.0)
        self.logit_scale = options.logit_scale

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) for normalised images (N, 3, H, W); H and W at least 8."""
        x = images
        for stage in (self.prep, self.layer1, self.res1, self.layer2, self.layer3, self.res2):
            x = self.unit_dropout(stage(x))
        x = F.max_pool2d(x, x.shape[-2:])
        logits: Tensor = self.head(x)
        return logits if self.logit_scale == 1.0 else logits * self.logit_scale
