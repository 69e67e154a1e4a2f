"""The sweep of a range test: Ignite's ``FastaiLRFinder``, with workarounds for its errors.

A new network is trained with a rate that rises at every step; the loss and accuracy of each step are stored.
"""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from ignite.handlers import FastaiLRFinder
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import nn
from torch.optim import Optimizer

from harness.data.arrays import Data
from harness.data.batches import Batches
from harness.device import prepare
from harness.errors import RunError
from harness.optimizers import set_rate
from harness.plan import Variant
from harness.seeding import generators_restored, global_seed
from harness.study_file.schedules import RangeTest
from harness.training.assembly import assemble, train_batches
from harness.training.progress import Progress, Say, report, watch

Floats = NDArray[np.float64]
# The sweep ends when Ignite's own smoothed loss exceeds this multiple of its best (Ignite's default).
DIVERGENCE = 5.0
# A Gaussian over 1/40 of the sweep. Unlike a running average it does not shift a peak to higher rates.
SMOOTHING_SHARE = 40
COARSE = 2.0  # ratio of two neighbouring rates above which they are too far apart
LEAST_STEPS = 5  # needed for a choice


@dataclass(frozen=True)
class Sweep:
    """The measurements of each step, all (steps,); the arrays end before the first loss that is not finite.

    Attributes:
        lr: the rate that the step used.
        loss: of the batch, before the step's update.
        accuracy: of the batch, fraction.
        diverged: whether the sweep ended early because the loss diverged.
    """

    lr: Floats
    loss: Floats
    accuracy: Floats
    diverged: bool

    @property
    def smoothed_loss(self) -> Floats:
        """Return the smoothed loss."""
        return smooth(self.loss)

    @property
    def smoothed_accuracy(self) -> Floats:
        """Return the smoothed accuracy."""
        return smooth(self.accuracy)


def smooth(values: Floats) -> Floats:
    """Smooth by a Gaussian, which has no lag, mirrored at the ends."""
    smoothed: Floats = gaussian_filter1d(values, smoothing_sigma(len(values)), mode="reflect")
    return smoothed


def smoothing_sigma(steps: int) -> float:
    """Return the Gaussian's standard deviation, in steps."""
    return max(1.0, steps / SMOOTHING_SHARE)


def sweep_variant(
    variant: Variant, data: Data, settings: RangeTest, *, repeat: int = 1, threads: int, say: Say
) -> Sweep:
    """Sweep a new network over the rates, with the range test's seed and augmented train batches.

    Args:
        repeat: which of the range test's sweeps, from 1. All have the range test's seed, and each draws
            initialisation, order and augmentation for a purpose of its own; the first is the only one that
            version 0.2 made.
    """
    prepare(variant.device, threads)
    purpose = "range_test" if repeat == 1 else f"range_test/{repeat}"
    with global_seed(settings.seed, f"{purpose}/initialisation"):
        model = variant.new_network(data)
    assembly = assemble(variant, model, compiled=variant.compute.compiled)
    place = f"sweep {repeat} of {settings.sweeps}"

    def within(engine: Engine) -> Progress:
        done = repeat - 1 + engine.state.iteration / settings.iterations
        return Progress(done / settings.sweeps, place, sweep=True)

    watch(assembly.trainer, say, within)
    batches = train_batches(variant, data, settings.seed, purpose=purpose)
    started = time.perf_counter()
    with global_seed(settings.seed, f"{purpose}/dropout"):
        swept = sweep(assembly.trainer, model, assembly.optimizer, batches, settings)
    seconds = time.perf_counter() - started
    done = Progress(repeat / settings.sweeps, place, steps=len(swept.lr), seconds=seconds, sweep=True)
    report(say, variant.name, done)
    return swept


def sweep(
    trainer: Engine, model: nn.Module, optimizer: Optimizer, batches: Batches, settings: RangeTest
) -> Sweep:
    """Run the sweep; restore model, optimizer and random state afterwards.

    Args:
        trainer: without a schedule, as :func:`~harness.training.engines.create_trainer` makes it.
        batches: of one epoch; repeated when exhausted.

    Raises:
        RunError: the loss was not finite within the first steps.
    """
    space = np.geomspace if settings.mode == "exponential" else np.linspace
    recorder = _Recorder(optimizer, space(settings.start_lr, settings.end_lr, settings.iterations))
    steps = len(batches)
    with _restored(trainer, model, optimizer):
        trainer.add_event_handler(Events.EPOCH_STARTED, _next_epoch, batches)
        trainer.add_event_handler(Events.ITERATION_STARTED, recorder.set_rate)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, recorder.note)
        for group in optimizer.param_groups:
            group["lr"] = settings.start_lr  # the finder divides by it
        with (
            warnings.catch_warnings(),
            generators_restored(),
            FastaiLRFinder().attach(
                trainer,
                to_save={"model": model, "optimizer": optimizer},
                output_transform=lambda output: output["loss"],
                num_iter=settings.iterations - 1,  # the finder runs one step more than requested
                start_lr=float(settings.start_lr),
                end_lr=float(settings.end_lr),
                step_mode="exp" if settings.mode == "exponential" else "linear",
                diverge_th=DIVERGENCE,
            ) as finder,
        ):
            warnings.simplefilter("ignore", UserWarning)  # "did not diverge": the harness decides that
            finder.run(batches, max_epochs=math.ceil(settings.iterations / steps), epoch_length=steps)
    return recorder.result(settings.iterations)


def lower_rates(rates: Floats) -> str:
    """Say which key makes the first rates smaller: start_lr, or end_lr where they are far apart."""
    return f"lower range_test.{'end' if rates[1] > COARSE * rates[0] else 'start'}_lr"


class _Recorder:
    """Sets the planned rate of every step, and stores its loss and accuracy."""

    def __init__(self, optimizer: Optimizer, planned: Floats) -> None:
        self.optimizer, self.planned = optimizer, planned
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.accuracies: list[float] = []

    def set_rate(self) -> None:
        """Set the rate, because the finder's own first rates are late by a step."""
        self.rates.append(float(self.planned[len(self.rates)]))
        set_rate(self.optimizer, self.rates[-1])

    def note(self, engine: Engine) -> None:
        """Store the step's loss and accuracy; end the sweep at a loss that is not finite."""
        output: Any = engine.state.output
        self.losses.append(float(output["loss"]))
        self.accuracies.append(float((output["logits"].argmax(1) == output["labels"]).float().mean()))
        if not math.isfinite(self.losses[-1]):
            engine.terminate()

    def result(self, iterations: int) -> Sweep:
        """Return the measurements before the first loss that is not finite."""
        steps = len(self.losses)
        finite = steps - (not math.isfinite(self.losses[-1]))
        if finite == 0:  # before the first update, so the rate is not the cause
            raise RunError(
                "range test: the first batch's loss is not finite; look at data, augment and model"
            )
        if finite < LEAST_STEPS:
            how = "is not finite" if finite < steps else "runs away"
            raise RunError(f"range test: the loss {how} after {finite} steps; {lower_rates(self.planned)}")
        measured = (self.rates, self.losses, self.accuracies)
        lr, loss, accuracy = (np.array(values[:finite]) for values in measured)
        return Sweep(lr, loss, accuracy, diverged=finite < iterations)


def _next_epoch(engine: Engine, batches: Batches) -> None:
    batches.set_epoch(engine.state.epoch)
    engine.set_data(batches)


@contextmanager
def _restored(trainer: Engine, model: nn.Module, optimizer: Optimizer) -> Iterator[None]:
    """Restore all three after the block; the finder leaves handlers behind if a batch or step raises."""
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer_state, was_training = copy.deepcopy(optimizer.state_dict()), model.training
    handlers = {event: list(attached) for event, attached in trainer._event_handlers.items()}
    try:
        yield
    finally:
        trainer._event_handlers.clear()
        trainer._event_handlers.update(handlers)
        model.load_state_dict(weights)
        optimizer.load_state_dict(optimizer_state)
        model.train(was_training)
