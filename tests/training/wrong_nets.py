"""Networks as people bring them: wrong ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.training.odd_nets import OwnGenerator, Plain


class TooMany(Plain):
    def __init__(self, classes: int) -> None:
        super().__init__(classes + 2)


class Pair(Plain):
    def forward(self, images: Tensor) -> Any:
        logits = super().forward(images)
        return logits, logits


class Table(Plain):
    def forward(self, images: Tensor) -> Any:
        return {"logits": super().forward(images)}


class Nothing(Plain):
    def forward(self, images: Tensor) -> Any:
        super().forward(images)


class Labels(Plain):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images).long()


class Detached(Plain):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images).detach()


class WrongWidth(Plain):
    def setup(self, classes: int) -> None:
        self.body = nn.Sequential(nn.ReLU(), nn.Linear(512, classes))

    def forward(self, images: Tensor) -> Any:
        return self.body(self.pooled(images))


class Broadcast(Plain):
    def forward(self, images: Tensor) -> Any:
        logits = super().forward(images)
        return logits + images.mean((2, 3))


class Misspelt(Plain):
    def forward(self, images: Tensor) -> Any:
        return self.no_such_layer(self.pooled(images))


class NoClasses(Plain):
    def __init__(self) -> None:
        super().__init__(10)


class More(Plain):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__(width)


def the_class(classes: int) -> Any:
    return Plain


class NoParameters(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()

    def forward(self, images: Tensor) -> Any:
        return images.mean((2, 3)).repeat(1, 4)[:, :10]


class NotFiniteAtFirst(Plain):
    def setup(self, classes: int) -> None:
        nn.init.constant_(self.fc.weight, float("nan"))


class OneChannel(Plain):
    def setup(self, classes: int) -> None:
        self.conv = nn.Conv2d(1, 4, 3)


class Raises(Plain):
    def factor(self) -> Any:
        raise KeyError("no such thing")


class RaisesWhenMade(Plain):
    def setup(self, classes: int) -> None:
        raise OSError("no such file")


class Frozen(Plain):
    def setup(self, classes: int) -> None:
        self.requires_grad_(False)


class RaisesInTraining(Plain):
    def factor(self) -> float:
        return 1 / 0 if self.training else 1.0


class Squeezed(Plain):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images).squeeze()


class NotFinite(Plain):
    def factor(self) -> float:
        return 1.0 if self.training else float("nan")


class Entropy(OwnGenerator):
    def setup(self, classes: int) -> None:
        self.draws = np.random.default_rng()


class OfTheClass(Plain):
    steps = 0

    def factor(self) -> float:
        OfTheClass.steps += self.training
        return 1 + 0.1 * OfTheClass.steps


class InAList(Plain):
    def setup(self, classes: int) -> None:
        self.layers = [nn.Linear(4, 4)]

    def pooled(self, images: Tensor) -> Tensor:
        mixed: Tensor = self.layers[0](super().pooled(images))
        return mixed


class SeedsWhenMade(Plain):
    def __init__(self, classes: int) -> None:
        torch.manual_seed(42)
        super().__init__(classes)


class SeedsInTraining(Plain):
    def factor(self) -> float:
        np.random.seed(0)
        return 1.0


class Softmax(Plain):
    def forward(self, images: Tensor) -> Any:
        logits = super().forward(images)
        return logits if self.training else logits.softmax(1)


class MadeInForward(Plain):
    def forward(self, images: Tensor) -> Any:
        if not hasattr(self, "more"):
            self.more = nn.Linear(10, 10)
        return self.more(super().forward(images))


class Sparse(Plain):
    def setup(self, classes: int) -> None:
        self.register_buffer("chosen", torch.eye(4).to_sparse())


class LateArray(Plain):
    """An array that the first steps do not change."""

    def setup(self, classes: int) -> None:
        self.steps, self.scale = 0, np.ones(1)

    def factor(self) -> float:
        self.steps += self.training
        if self.training and self.steps % 8 == 0:
            self.scale = self.scale + 0.5
        return float(self.scale[0])


class Explodes(Plain):
    def factor(self) -> float:
        return 1e30


class OneImageFails(Plain):
    """Batch norm over vectors: one image has no variance."""

    def setup(self, classes: int) -> None:
        self.last = nn.BatchNorm1d(classes)

    def forward(self, images: Tensor) -> Any:
        return self.last(super().forward(images))


class NotFiniteLater(Plain):
    steps: Tensor

    def setup(self, classes: int) -> None:
        self.register_buffer("steps", torch.zeros(()))

    def factor(self) -> float:
        self.steps += self.training
        return 1.0 if self.training or self.steps < 9 else float("nan")
