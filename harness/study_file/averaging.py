"""``[averaging]``: averaging of the weights during training."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harness.schema import Strict
from harness.study_file.values import Count

Epoch = Annotated[int, Field(ge=1, le=100_000)]


class NoAveraging(Strict):
    """The weights of the last step are evaluated and saved."""

    kind: Literal["none"] = "none"
    """No averaging; needed only in a variant of a study that averages."""

    def in_words(self) -> str:
        """Return what is evaluated and saved, for people."""
        return "of the last step"


class Ema(Strict):
    """An exponential moving average of the weights, by Ignite's ``EMAHandler``.

    At an update each averaged weight becomes (1 - `momentum`) times itself plus `momentum` times the newest
    one. The buffers are averaged too, so batch norm's mean and variance; integer ones are copied. The
    averaged network is evaluated after each epoch, saved, exported and explained.
    """

    kind: Literal["ema"]
    """Kind of the average."""
    momentum: Annotated[float, Field(gt=0, lt=1)]
    """The share of the newest weights in an update, as in Ignite. Other programs have a decay d, the share of
    the old average: `momentum` is 1 - d. cifar10-fast's `update_ema(momentum=0.99, update_freq=5)` decays by
    0.99 a step, 0.99 ** 5 an update: `momentum = 0.049`, `every = 5`."""
    every: Count = 1
    """Number of batches between updates, counted over the whole training."""
    start_epoch: Epoch = 1
    """The first epoch with updates. Before it, the average is a copy of the weights at the end of each epoch.
    With 1 it starts from the initial weights."""

    @model_validator(mode="before")
    @classmethod
    def _no_decay(cls, table: Any) -> Any:
        if isinstance(table, dict) and "decay" in table:
            raise ValueError("a decay d is written momentum = 1 - d here: the share of the newest weights")
        return table

    def in_words(self) -> str:
        """Return what is evaluated and saved, for people."""
        steps = "step" if self.every == 1 else f"{self.every} steps"
        return f"moving average, {self.momentum:g} of the newest every {steps} from epoch {self.start_epoch}"


class Swa(Strict):
    """The mean of the weights (stochastic weight averaging), by torch's ``AveragedModel`` and ``update_bn``.

    Batch norm's mean and variance are computed anew for the averaged weights before each evaluation, from
    un-augmented train images (the transforms of `augment.test`), in the study's precision: a pass
    through the network for each epoch from `start_epoch` on. Before it, all buffers are copied from the
    newest weights. The averaged network is evaluated after each epoch, saved, exported and explained.
    """

    kind: Literal["swa"]
    """Kind of the average."""
    start_epoch: Epoch
    """The first epoch whose weights are averaged. Before it, the average is a copy of the weights at the end
    of each epoch."""
    every: Count | None = None
    """Number of batches between updates, counted over the whole training. By default one update at the end of
    each epoch."""
    bn_images: Count | None = None
    """Number of train images for batch norm's mean and variance, drawn anew in each epoch and rounded up to
    whole batches. By default all train images, as in torch."""

    def in_words(self) -> str:
        """Return what is evaluated and saved, for people."""
        steps = "of each epoch's end" if self.every is None else f"of every {self.every} steps"
        return f"mean {steps} from epoch {self.start_epoch}"


Averages = NoAveraging | Ema | Swa
