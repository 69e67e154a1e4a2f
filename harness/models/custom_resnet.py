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

Its options make the forms that others have published, among them cifar10-fast's bag of tricks: Page, "How to
Train Your ResNet 8" (2019).
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from harness.models.norms import GhostBatchNorm2d
from harness.models.whitening import PatchWhitening
from harness.schema import Strict


class CustomResNetOptions(Strict):
    """The differences between the published forms of the assignment's network, and its regularisation."""

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
    bn_scale: Annotated[float, Field(gt=0, le=1e3)] | None = None
    """Batch norm's factors, all fixed at this number, while its biases are learned (cifar10-fast's bag of
    tricks: 1). Without it they are learned too."""
    activation: Literal["relu", "celu", "gelu"] = "relu"
    """The function after each batch norm; as defined in torch."""
    celu_alpha: Annotated[float, Field(gt=0, le=1e3)] = 1.0
    """CELU's alpha; the smaller, the more like ReLU (cifar10-fast: 0.075, and 0.3 with `bn_scale = 1.0`)."""
    whitening: bool = False
    """A fixed first layer, in place of prep's 3x3 convolution: 27 filters that make the 3x3 patches of the
    run's own train images uncorrelated, then a learned 1x1 convolution (cifar10-fast's bag of tricks)."""
    whitening_eps: Annotated[float, Field(gt=0, le=1e3)] = 0.01
    """Added to the variance of each of the patches' principal components before its root divides them, so
    that faint ones are not amplified without limit."""

    def build(self, classes: int) -> CustomResNet:
        """Make the network, with torch's default initialisation, drawn from its global generator."""
        return CustomResNet(self, classes)

    def batch_norm(self, channels: int) -> nn.BatchNorm2d:
        """Make a batch norm."""
        norm: nn.BatchNorm2d
        if self.ghost_batch is None:
            norm = nn.BatchNorm2d(channels, momentum=self.bn_momentum)
        else:
            norm = GhostBatchNorm2d(channels, self.ghost_batch, momentum=self.bn_momentum)
        if self.bn_scale is not None:
            nn.init.constant_(norm.weight, self.bn_scale)
            norm.weight.requires_grad_(False)
        return norm

    def activate(self) -> nn.Module:
        """Make an activation."""
        if self.activation == "celu":
            return nn.CELU(self.celu_alpha)
        return nn.GELU() if self.activation == "gelu" else nn.ReLU()


class ConvBlock(nn.Sequential):
    """A convolution 3x3, [max-pool 2], batch norm, [Dropout2d], [activation], in the published order."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        options: CustomResNetOptions,
        *,
        pool: bool = False,
        bias: bool = False,
        active: bool = True,
        whitened: bool = False,
    ) -> None:
        layers: list[nn.Module] = []
        if whitened:
            layers.append(whitening := PatchWhitening(options.whitening_eps))
            layers.append(nn.Conv2d(whitening.out_channels, channels, 1, bias=bias))
        else:
            layers.append(nn.Conv2d(channels_in, channels, 3, padding=1, bias=bias))
        if pool:
            layers.append(nn.MaxPool2d(2))
        layers.append(options.batch_norm(channels))
        if options.dropout and options.dropout_kind == "channel":
            layers.append(nn.Dropout2d(options.dropout))
        if active:
            layers.append(options.activate())
        super().__init__(*layers)


class Residual(nn.Module):
    """Two convolution blocks and the skip around them, in one of the three published forms."""

    def __init__(self, channels: int, options: CustomResNetOptions) -> None:
        super().__init__()
        self.form = options.residual
        self.branch = nn.Sequential(
            ConvBlock(channels, channels, options),
            ConvBlock(channels, channels, options, active=self.form == "add"),
        )
        if self.form != "add":
            self.activation = options.activate()

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs of the same shape (N, C, H, W)."""
        branch: Tensor = self.branch(x)
        if self.form == "add":
            return x + branch
        inner: Tensor = self.activation(x + branch)
        return x + inner if self.form == "double" else inner


class CustomResNet(nn.Module):
    """The network; its named stages are ``prep, layer1, res1, layer2, layer3, res2``."""

    def __init__(self, options: CustomResNetOptions, classes: int) -> None:
        super().__init__()
        width, bias = options.width, options.conv_bias
        self.prep = ConvBlock(3, width, options, bias=bias, whitened=options.whitening)
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
