"""Handlers of a run's trainer, besides its log and its checkpoint; each has one duty."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray
from torch import Tensor

from harness.data.batches import Batches
from harness.device import synchronize
from harness.models.outside import OutsideState
from harness.seeding import derive_seed, seed_generators
from harness.statistics.classification import accuracy_from_logits, cross_entropy_from_logits
from harness.store.atomic import atomic_write
from harness.training.assembly import Assembly
from harness.training.checkpoint import Writer
from harness.training.distributed import broadcast
from harness.training.failures import NonFiniteLoss
from harness.training.log import Log
from harness.training.progress import Say, after_epoch, report


class StopOnNonFiniteLoss:
    """Raises :class:`NonFiniteLoss` with the first iteration whose loss is not finite.

    On a CPU it does so at that iteration; on other devices at the end of the epoch, because reading a loss
    waits for the device.
    """

    def __init__(self, device: str) -> None:
        self.read_at = Events.ITERATION_COMPLETED if device == "cpu" else Events.EPOCH_COMPLETED
        self.losses: list[Tensor] = []  # not read yet, still on the device

    def attach(self, trainer: Engine) -> None:
        """Attach the handlers to a trainer."""
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self.keep)
        trainer.add_event_handler(self.read_at, self.read)

    def keep(self, engine: Engine) -> None:
        """Keep the loss of a step."""
        output: Any = engine.state.output
        self.losses.append(output["loss"])

    def read(self, engine: Engine) -> None:
        """Read the kept losses, in all processes at once, and raise the error."""
        finite = torch.stack(self.losses).isfinite().tolist()
        first = engine.state.iteration - len(finite) + 1
        self.losses.clear()
        worst = float(next((first + at for at, fine in enumerate(finite) if not fine), math.inf))
        worst = float(idist.all_reduce(worst, "MIN"))
        if math.isfinite(worst):
            raise NonFiniteLoss(int(worst), 1 + (int(worst) - 1) // (engine.state.epoch_length or 1))


class Evaluation:
    """Evaluates after each epoch (in float32 after the last) and stores ``trainer.state.metrics``.

    Args:
        batches: of the evaluation split.
        statistics: returns an epoch's train batches, for the averaged network's batch norm.
    """

    def __init__(
        self,
        assembly: Assembly,
        batches: Batches,
        device: str,
        statistics: Callable[[int], Iterable[tuple[Tensor, Tensor]]] = lambda epoch: (),
    ) -> None:
        self.assembly, self.batches, self.device, self.statistics = assembly, batches, device, statistics

    def __call__(self, engine: Engine) -> None:
        """Evaluate the averaged network if there is one, and, once they differ, the weights as trained too.

        Raises:
            NonFiniteLoss: the loss of the evaluation is not finite.
        """
        started = time.perf_counter()
        last, assembly = engine.state.epoch == engine.state.max_epochs, self.assembly
        raw_loss = raw_accuracy = None
        if assembly.averaging is not None and assembly.raw_evaluators is not None:
            assembly.averaging.refresh(self.statistics(engine.state.epoch))
            if assembly.averaging.updates:
                raw_loss, raw_accuracy = self._measure(assembly.raw_evaluators[last], engine)
        loss, accuracy = self._measure(assembly.final_evaluator if last else assembly.evaluator, engine)
        synchronize(self.device)
        seconds = time.perf_counter() - started
        engine.state.metrics |= {
            "eval_loss": loss,
            "eval_accuracy": accuracy,
            "raw_loss": raw_loss,
            "raw_accuracy": raw_accuracy,
            "eval_seconds": seconds,
        }

    def _measure(self, evaluator: Engine, engine: Engine) -> tuple[float, float]:
        """Return loss and accuracy."""
        evaluator.run(self.batches)
        logits, labels = predictions(evaluator)
        loss = cross_entropy_from_logits(logits, labels)
        if not math.isfinite(loss):
            raise NonFiniteLoss(engine.state.iteration, engine.state.epoch, evaluated=True)
        return loss, accuracy_from_logits(logits, labels)


def predictions(evaluator: Engine) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the logits ``(N, classes)`` and labels ``(N,)`` of an evaluator's last run."""
    logits, labels = evaluator.state.predictions  # type: ignore[attr-defined]
    return logits.numpy(), labels.numpy()


def seed_epoch(engine: Engine, batches: Batches, dropout: int) -> None:
    """Seed an epoch's order, augmentation and dropout by (seed, purpose, epoch) alone.

    Dropout can only use torch's global generators; the caller restores these after the run.

    Args:
        batches: have the seeds of order and augmentation.
        dropout: the seed of everything that the network draws from the global generators.
    """
    batches.set_epoch(engine.state.epoch)
    engine.set_data(batches)
    seed_generators(derive_seed(dropout, "dropout", engine.state.epoch, idist.get_rank()))


def share_outside_state(outside: OutsideState) -> None:
    """Copy rank 0's state outside the ``state_dict`` to all processes, as DDP does with buffers."""
    outside.load_state_dict(broadcast(outside.state_dict()))


def write_history(log: Log, path: Path, writer: Writer) -> None:
    """Write ``history.csv``."""
    writer.write(partial(atomic_write, path, log.history()))


def report_epoch(log: Log, name: str, epochs: int, say: Say) -> None:
    """Tell an epoch's numbers."""
    split = "test" if log.variant.recipe.data.holdout is None else "hold-out"
    report(say, name, after_epoch(epochs, log.variant.steps_per_epoch, log.epochs[-1], split))
