"""Which batches share a step of the optimizer: ``optimizer.accumulate``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ignite.engine import Engine


class Place(NamedTuple):
    """The place of a batch among those that share its step.

    Attributes:
        first, last: whether it begins the step's gradient, and whether the optimizer steps after it.
        share: of the step's images.
    """

    first: bool
    last: bool
    share: float


@dataclass(frozen=True)
class Accumulation:
    """Groups of an epoch's batches, each with one step of the optimizer; the last group may be smaller.

    Args:
        batches: of a group.
        batch_size: images of each batch but the epoch's last one.
        last_batch: images of that.
    """

    batches: int = 1
    batch_size: int = 1
    last_batch: int = 1

    def place(self, engine: Engine) -> Place:
        """Return the place of an engine's current batch; no group reaches from one epoch into the next."""
        if self.batches == 1:
            return Place(True, True, 1.0)
        epoch_length = engine.state.epoch_length or 1
        at = (engine.state.iteration - 1) % epoch_length
        first = at - at % self.batches
        count = min(self.batches, epoch_length - first)
        ends_epoch = first + count == epoch_length
        images = count * self.batch_size + (ends_epoch and self.last_batch - self.batch_size)
        mine = self.last_batch if at == epoch_length - 1 else self.batch_size
        return Place(at == first, at == first + count - 1, mine / images)
