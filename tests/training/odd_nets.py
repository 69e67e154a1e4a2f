"""Networks as people bring them: sound ones with habits; the wrong ones are in ``wrong_nets``."""

from __future__ import annotations

import random
from collections import deque, namedtuple
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.tv_tensors import Image


class Plain(nn.Module):
    """Convolution, batch norm, mean over the map, a linear layer; subclasses make it odd."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, classes)
        self.setup(classes)

    def setup(self, classes: int) -> None:
        """Add something."""

    def factor(self) -> Any:
        """Return what the logits are multiplied by."""
        return 1.0

    def features(self, images: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(images)))

    def pooled(self, images: Tensor) -> Tensor:
        return self.features(images).mean((2, 3))

    def forward(self, images: Tensor) -> Any:
        return self.fc(self.pooled(images)) * self.factor()


# ---- sound: what a checkpoint and the weights have to hold -------------------------------------------------


class Counter(Plain):
    def setup(self, classes: int) -> None:
        self.steps = 0

    def factor(self) -> float:
        self.steps += self.training
        return 1 + 0.1 * self.steps


class CounterInDict(Plain):
    def setup(self, classes: int) -> None:
        self.kept: dict[str, list[Any]] = {"steps": [0, "a"]}

    def factor(self) -> float:
        self.kept["steps"][0] += self.training
        return float(1 + 0.1 * self.kept["steps"][0])


class HookCounter(Plain):
    """It counts evaluations too."""

    def setup(self, classes: int) -> None:
        self.passes = 0
        self.conv.register_forward_hook(self.scale)

    def scale(self, layer: nn.Module, images: Any, maps: Tensor) -> Tensor:
        self.passes += 1
        return maps * (1 + 0.1 * self.passes)


class Centred(Plain):
    """It subtracts a running mean of its features; where that is kept, the subclasses say."""

    mean: Tensor

    def pooled(self, images: Tensor) -> Tensor:
        pooled = super().pooled(images)
        if self.training:
            self.mean = 0.5 * self.mean + pooled.detach().float().mean(0)
        return pooled - self.mean


class NotPersistent(Centred):
    def setup(self, classes: int) -> None:
        self.register_buffer("mean", torch.zeros(4), persistent=False)


class PlainTensor(Plain):
    def setup(self, classes: int) -> None:
        self.mixed = torch.randn(4, 4)

    def pooled(self, images: Tensor) -> Tensor:
        mixed: Tensor = super().pooled(images) @ self.mixed
        return mixed


class ExtraState(Counter):
    def get_extra_state(self) -> dict[str, Any]:
        return {"steps": self.steps, "more": [1, "a"]}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]


class Tied(Plain):
    def setup(self, classes: int) -> None:
        self.other = nn.Conv2d(3, 4, 3, padding=1)
        self.other.weight = self.conv.weight

    def features(self, images: Tensor) -> Tensor:
        maps: Tensor = super().features(images) + self.other(images)
        return maps


class Aliased(Plain):
    def setup(self, classes: int) -> None:
        self.register_buffer("part", self.conv.weight.detach()[1:3])


# ---- sound: what a check must not refuse -------------------------------------------------------------------


class Constant(Plain):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images) + torch.tensor([0.1])


class Item(Plain):
    def factor(self) -> float:
        return 2.0 if self.fc.weight.sum().item() > 0 else 1.0


class Recurrent(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(24, 8, batch_first=True)
        self.fc = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Any:
        rows = F.adaptive_avg_pool2d(images, 8).permute(0, 2, 1, 3).flatten(2)
        return self.fc(self.lstm(rows)[0][:, -1])


class OldWeightNorm(Plain):
    def setup(self, classes: int) -> None:
        self.conv = nn.utils.weight_norm(self.conv)


Outputs = namedtuple("Outputs", "logits auxiliary nothing")


class Auxiliary(Plain):
    def setup(self, classes: int) -> None:
        self.side = nn.Linear(4, classes)

    def forward(self, images: Tensor) -> Any:
        pooled = self.pooled(images)
        return Outputs(self.fc(pooled), self.side(pooled), None) if self.training else self.fc(pooled)


class Lazy(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d()
        self.fc = nn.LazyLinear(classes)

    def forward(self, images: Tensor) -> Any:
        return self.fc(F.relu(self.norm(self.conv(images))).flatten(1))


class Half(Plain):
    def setup(self, classes: int) -> None:
        self.half()


class View(nn.Module):
    """Its ``view`` needs images in the usual memory format."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.fc = nn.LazyLinear(classes)

    def forward(self, images: Tensor) -> Any:
        maps = F.relu(self.conv(images))
        return self.fc(maps.view(len(maps), -1))


class Function(Plain):
    def setup(self, classes: int) -> None:
        self.activation: Any = lambda values: values.relu_()

    def features(self, images: Tensor) -> Tensor:
        maps: Tensor = self.activation(self.norm(self.conv(images)))
        return maps


class Scripted(Function):
    def setup(self, classes: int) -> None:
        self.activation = torch.jit.script(nn.ReLU())


class KeepsMaps(Plain):
    def features(self, images: Tensor) -> Tensor:
        self.maps = super().features(images)
        return self.maps


class Autocast(Plain):
    def forward(self, images: Tensor) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(images)


class NoMaps(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fc = nn.LazyLinear(classes)

    def forward(self, images: Tensor) -> Any:
        return self.fc(images.flatten(1))


class HoldsItself(Plain):
    def setup(self, classes: int) -> None:
        self.kept: dict[str, Any] = {}
        self.kept["self"] = self.kept


class FreezesNorm(Plain):
    """As for fine-tuning; without the ``return self`` that is easily forgotten."""

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)
        self.norm.eval()


class Subclass(Plain):
    def setup(self, classes: int) -> None:
        self.picture = Image(torch.zeros(3, 4, 4))


class OfOtherTypes(Plain):
    turn: Tensor
    order: Tensor

    def setup(self, classes: int) -> None:
        self.register_buffer("turn", torch.full((4,), 1j))
        self.register_buffer("order", torch.arange(4))

    def pooled(self, images: Tensor) -> Tensor:
        pooled = super().pooled(images)[:, self.order]
        return pooled * (pooled * self.turn).imag


class Unused(Plain):
    """Parameters that not every step uses, or none does."""

    def setup(self, classes: int) -> None:
        self.more, self.never = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 4)

    def features(self, images: Tensor) -> Tensor:
        maps = super().features(images)
        return maps if self.training and random.random() < 0.5 else maps + self.more(maps)


class KeepsMean(Centred, Unused):
    """A running mean that is no buffer."""

    def setup(self, classes: int) -> None:
        super().setup(classes)
        self.mean = torch.zeros(4)


# ---- sound, but what they give of an image depends on more than the image ----------------------------------


class NoStatistics(Plain):
    def setup(self, classes: int) -> None:
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)


class DropsAlways(Plain):
    def forward(self, images: Tensor) -> Any:
        return F.dropout(super().forward(images), 0.5)


# ---- sound, but their state is not to be kept --------------------------------------------------------------


class Shared(Plain):
    """A list that two parts share: one reads it before the other writes."""

    def setup(self, classes: int) -> None:
        self.steps = self.conv.steps = [0.0]  # type: ignore[assignment]

    def factor(self) -> Any:
        before = 1 + 0.1 * self.conv.steps[0]  # type: ignore[index]
        self.steps[0] += self.training
        return before


class SeesWeights(Plain):
    """It sees the weights of another layer in an attribute."""

    def setup(self, classes: int) -> None:
        self.weight = self.fc.weight.detach()

    def forward(self, images: Tensor) -> Any:
        return super().forward(images) + self.pooled(images).float() @ self.weight.T


class OwnGenerator(Plain):
    def setup(self, classes: int) -> None:
        self.draws = np.random.default_rng(0)

    def factor(self) -> float:
        return 1 + self.draws.random() if self.training else 1.0


class LateGenerator(OwnGenerator):
    def setup(self, classes: int) -> None:
        self.steps, self.draws = 0, None  # type: ignore[assignment]

    def factor(self) -> float:
        if self.training and self.steps == 0:
            self.draws = np.random.default_rng(0)
        self.steps += self.training
        return super().factor()


class Deque(Plain):
    def setup(self, classes: int) -> None:
        self.scales = deque([1.0], maxlen=2)

    def factor(self) -> float:
        if self.training:
            self.scales.append(self.scales[-1] + 0.1)
        return self.scales[-1] if self.training else 1.0
