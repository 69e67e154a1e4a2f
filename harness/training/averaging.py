"""The average of a network's weights: Ignite's ``EMAHandler``, or torch's ``AveragedModel``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from ignite.engine import CallableEventWithFilter, Engine, Events
from ignite.handlers import EMAHandler
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, update_bn

from harness.device import autocast
from harness.errors import RunError
from harness.messages import one_line
from harness.models.outside import OutsideState
from harness.study_file.averaging import Averages, Ema, NoAveraging, Swa
from harness.training.distributed import broadcast_buffers

MOMENTUM = "ema_momentum"  # the handler's attribute of ``engine.state``
Batch = tuple[Tensor, Tensor]


class Averaging:
    """The averaged network of a training, which is evaluated and saved instead of the trained one.

    Until the first update it is a copy of the trained network, made by :meth:`refresh`.

    Attributes:
        network: the averaged network, in eval mode.
        model: the trained one.
        updates: how many there have been; part of the state.
    """

    network: nn.Module

    def __init__(self, config: Ema | Swa, model: nn.Module) -> None:
        self.config, self.model, self.updates = config, model, 0

    def attach(self, trainer: Engine) -> None:
        """Update the average after the steps or epochs that the study names."""
        trainer.add_event_handler(self._when(), self.update)

    def update(self, engine: Engine) -> None:
        """Add the trained weights to the average."""
        self.updates += 1

    def refresh(self, batches: Iterable[Batch] = ()) -> None:
        """Prepare the averaged network for an evaluation; in all processes of a run at once.

        Args:
            batches: un-augmented train batches, for batch norm's statistics; only SWA reads them.

        Raises:
            RunError: the networks do not have the same buffers.
        """
        self._check_buffers()
        with torch.no_grad():
            for average, newest in zip(self.network.parameters(), self.model.parameters(), strict=True):
                if not (self.updates and newest.requires_grad):  # a constant's average has rounding errors
                    average.copy_(newest)
            for buffer, trained in zip(self.network.buffers(), self.model.buffers(), strict=True):
                if not self.updates:
                    buffer.copy_(trained)
        self._follow_other_state()
        if self.updates:
            self._compute_statistics(batches)
            self._follow_other_state()  # a user's network may count its passes
        broadcast_buffers(self.network)

    def state_dict(self) -> dict[str, Any]:
        """Return the average, with what a user's network has outside its ``state_dict``."""
        outside = OutsideState(self.network).state_dict()
        return {"updates": self.updates, "network": self.network.state_dict(), "outside": outside}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the average to a checkpoint's."""
        self.updates = int(state["updates"])
        self.network.load_state_dict(state["network"])
        OutsideState(self.network).load_state_dict(state["outside"])

    def _when(self) -> Events | CallableEventWithFilter:
        """Return the event of an update; batches are counted over the whole training, as Ignite does."""
        every, first = self.config.every, self.config.start_epoch
        if every is None:
            return Events.EPOCH_COMPLETED(event_filter=lambda engine, epoch: epoch >= first)
        return Events.ITERATION_COMPLETED(
            event_filter=lambda engine, step: engine.state.epoch >= first and step % every == 0
        )

    def _compute_statistics(self, batches: Iterable[Batch]) -> None:
        """Do nothing: the statistics of batch norm are averaged too."""

    def _follow_other_state(self) -> None:
        """Copy from the trained network what is neither parameter nor buffer, and so has no average."""
        state = self.model.state_dict()
        if rest := {key: value for key, value in state.items() if not isinstance(value, Tensor)}:
            self.network.load_state_dict(rest, strict=False)
        attributes = OutsideState(self.model, buffers=False).state_dict()
        OutsideState(self.network, buffers=False).load_state_dict(attributes)

    def _check_buffers(self) -> None:
        ours, theirs = (
            {name: buffer.shape for name, buffer in network.named_buffers()}
            for network in (self.network, self.model)
        )
        if differing := sorted(ours.items() ^ theirs.items()):
            raise RunError(
                f"averaging: its forward makes or resizes the buffer {differing[0][0]}, which has no "
                'average; make it in __init__, or set averaging.kind = "none"'
            )


class EmaAveraging(Averaging):
    def __init__(self, config: Ema, model: nn.Module) -> None:
        super().__init__(config, model)
        self._handler = EMAHandler(model, momentum=config.momentum, handle_buffers="update")
        self.network = self._handler.ema_model

    def attach(self, trainer: Engine) -> None:
        self._handler.attach(trainer, MOMENTUM, warn_if_exists=False, event=self._when())
        super().attach(trainer)

    def update(self, engine: Engine) -> None:
        super().update(engine)
        for buffer in self.network.buffers():
            if not buffer.is_floating_point():  # the handler lets the networks share these
                buffer.data = buffer.data.clone()


class SwaAveraging(Averaging):
    def __init__(self, config: Swa, model: nn.Module, device: str, precision: str) -> None:
        super().__init__(config, model)
        self._averaged = AveragedModel(model)
        self.network, self._device, self._precision = self._averaged.module, device, precision

    def update(self, engine: Engine) -> None:
        super().update(engine)
        self._averaged.update_parameters(self.model)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._averaged.n_averaged.fill_(self.updates)

    def _compute_statistics(self, batches: Iterable[Batch]) -> None:
        """Compute batch norm's mean and variance for the averaged weights.

        A layer that the pass does not update keeps those of the trained network: a user's network may keep
        some in eval mode.
        """
        with autocast(self._device, self._precision):
            update_bn(batches, self.network)
        newest = dict(self.model.named_modules())
        for name, module in self.network.named_modules():
            if (
                isinstance(module, _BatchNorm)
                and module.track_running_stats
                and not module.num_batches_tracked
            ):
                for average, buffer in zip(module.buffers(), newest[name].buffers(), strict=True):
                    average.copy_(buffer)
        self.network.eval()


def create_averaging(config: Averages, model: nn.Module, device: str, precision: str) -> Averaging | None:
    """Make the average of a new network's weights; None where the study averages nothing.

    Raises:
        RunError: the network cannot be copied.
    """
    if isinstance(config, NoAveraging):
        return None
    try:
        made = (
            EmaAveraging(config, model)
            if isinstance(config, Ema)
            else SwaAveraging(config, model, device, precision)
        )
    except Exception as error:  # a user's network may raise anything
        raise RunError(
            f"averaging: a copy of the network cannot be made: {type(error).__name__}: {one_line(error, 200)}"
        ) from None
    made.network.eval()  # a user's method may return None
    return made
