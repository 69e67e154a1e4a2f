"""What listens to a run's trainer beside its log and its checkpoint; each has one duty."""

from __future__ import annotations

import math
import time
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
from harness.training.progress import Say, epoch_line


class StopOnNonFiniteLoss:
    """Raises :class:`NonFiniteLoss` with the first iteration whose loss is not finite.

    On a CPU at that iteration; elsewhere reading a loss waits for the device: at the end of its epoch.
    """

    def __init__(self, device: str) -> None:
        self.read_at = Events.ITERATION_COMPLETED if device == "cpu" else Events.EPOCH_COMPLETED
        self.losses: list[Tensor] = []  # not read yet, still on the device

    def attach(self, trainer: Engine) -> None:
        """Listen to a trainer."""
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self.keep)
        trainer.add_event_handler(self.read_at, self.read)

    def keep(self, engine: Engine) -> None:
        """Keep a step's loss."""
        output: Any = engine.state.output
        self.losses.append(output["loss"])

    def read(self, engine: Engine) -> None:
        """Read the losses kept, in all processes at once."""
        finite = torch.stack(self.losses).isfinite().tolist()
        first = engine.state.iteration - len(finite) + 1
        self.losses.clear()
        worst = float(next((first + at for at, fine in enumerate(finite) if not fine), math.inf))
        worst = float(idist.all_reduce(worst, "MIN"))
        if math.isfinite(worst):
            raise NonFiniteLoss(int(worst), 1 + (int(worst) - 1) // (engine.state.epoch_length or 1))


class Evaluation:
    """Evaluates after an epoch, after the last one in float32; ``trainer.state.metrics`` gets the numbers."""

    def __init__(self, assembly: Assembly, batches: Batches, device: str) -> None:
        self.assembly, self.batches, self.device = assembly, batches, device

    def __call__(self, engine: Engine) -> None:
        """Evaluate.

        Raises:
            NonFiniteLoss: of the evaluation alone.
        """
        started = time.perf_counter()
        last = engine.state.epoch == engine.state.max_epochs
        evaluator = self.assembly.final_evaluator if last else self.assembly.evaluator
        evaluator.run(self.batches)
        logits, labels = predictions(evaluator)
        synchronize(self.device)
        seconds = time.perf_counter() - started
        loss = cross_entropy_from_logits(logits, labels)
        if not math.isfinite(loss):
            raise NonFiniteLoss(engine.state.iteration, engine.state.epoch, evaluated=True)
        accuracy = accuracy_from_logits(logits, labels)
        engine.state.metrics |= {"test_loss": loss, "test_accuracy": accuracy, "eval_seconds": seconds}


def predictions(evaluator: Engine) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the logits ``(N, classes)`` and labels ``(N,)`` of an evaluator's last run."""
    logits, labels = evaluator.state.predictions  # type: ignore[attr-defined]
    return logits.numpy(), labels.numpy()


def seed_epoch(engine: Engine, batches: Batches, seed: int) -> None:
    """Begin an epoch with its own order, augmentation and dropout, drawn from (seed, purpose, epoch) alone.

    Dropout knows only torch's global generators; the caller restores these after the run.
    """
    batches.set_epoch(engine.state.epoch)
    engine.set_data(batches)
    seed_generators(derive_seed(seed, "dropout", engine.state.epoch, idist.get_rank()))


def share_outside_state(outside: OutsideState) -> None:
    """Give all processes what rank 0's network keeps outside its ``state_dict``, as DDP does with buffers."""
    outside.load_state_dict(broadcast(outside.state_dict()))


def write_history(log: Log, path: Path, writer: Writer) -> None:
    """Write ``history.csv``."""
    writer.write(partial(atomic_write, path, log.history()))


def say_epoch(log: Log, name: str, epochs: int, say: Say) -> None:
    """Say an epoch's numbers in a line."""
    say(epoch_line(name, epochs, log.epochs[-1]))
