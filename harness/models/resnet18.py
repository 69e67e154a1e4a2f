"""torchvision's ResNet-18 with the usual stem for small images: a 3x3 convolution, no first pooling."""

from __future__ import annotations

from torch import nn

from harness.schema import Strict
from harness.vision import import_torchvision


class ResNet18Options(Strict):
    """It has none: 11,173,962 parameters at 10 classes."""

    def build(self, classes: int) -> nn.Module:
        """Make the network, with torchvision's initialisation; its stages are ``layer1`` to ``layer4``."""
        import_torchvision()
        from torchvision.models import resnet18

        model: nn.Module = resnet18(num_classes=classes)
        model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
        return model
