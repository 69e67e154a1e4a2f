"""The learning-rate range test: ignite's ``FastaiLRFinder`` with its traps repaired, and the choice of LRMAX.

Smith, "Cyclical Learning Rates for Training Neural Networks" (2017), section 3.3, in fastai's form: the
rate rises at every step of a fresh network's training, and loss and accuracy are held against it.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from ignite.handlers import FastaiLRFinder
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import nn
from torch.optim import Optimizer

from harness.errors import RunError
from harness.schedule import Rates
from harness.seeding import generators_restored
from harness.study_file.schedules import RangeTest

Floats = NDArray[np.float64]
# The sweep ends when ignite's own smoothed loss exceeds this multiple of its best (ignite's default).
DIVERGENCE = 5.0
# A Gaussian over 1/40 of the sweep. Unlike a running average it does not shift a peak to higher rates.
SMOOTHING_SHARE = 40
# Fewer rates than FEWEST, or rates more than COARSEST times the one before, are too few to choose from.
FEWEST, COARSEST = 20, 2.0
MANY = 50  # rates to ask for where there were too few, at least


@dataclass(frozen=True)
class Sweep:
    """What was measured at each step, all of shape (steps,); the arrays end before the first non-finite loss.

    Attributes:
        lr: the rate that the step used.
        loss: of the batch, before the step's update.
        accuracy: of the batch, fraction.
        diverged: whether the sweep ended early because the loss ran away.
    """

    lr: Floats
    loss: Floats
    accuracy: Floats
    diverged: bool

    @property
    def smoothed_loss(self) -> Floats:
        """Zero-lag Gaussian smoothing of ``loss``."""
        return smooth(self.loss)

    @property
    def smoothed_accuracy(self) -> Floats:
        """Zero-lag Gaussian smoothing of ``accuracy``."""
        return smooth(self.accuracy)


def smooth(values: Floats) -> Floats:
    """Zero-lag Gaussian smoothing, mirrored at the ends."""
    smoothed: Floats = gaussian_filter1d(values, _sigma(len(values)), mode="reflect")
    return smoothed


def _sigma(steps: int) -> float:
    return max(1.0, steps / SMOOTHING_SHARE)


def sweep(
    trainer: Engine, model: nn.Module, optimizer: Optimizer, batches: Iterable[object], settings: RangeTest
) -> Sweep:
    """Run the range test; afterwards model, optimizer and random state are as they were.

    Args:
        trainer: a bare one, without a schedule, as :func:`~harness.training.engines.create_trainer` makes it.
        batches: one epoch's; iterated anew when exhausted, after ``set_epoch(n)`` where it has that.

    Raises:
        RunError: the loss was not finite within the first steps.
    """
    space = np.geomspace if settings.mode == "exponential" else np.linspace
    planned = space(settings.start_lr, settings.end_lr, settings.iterations)
    rates: list[float] = []
    losses: list[float] = []
    accuracies: list[float] = []

    def set_rate(engine: Engine) -> None:
        # The finder's own first rates are off by one step; set here, the sweep is exact at both ends.
        rates.append(float(planned[len(rates)]))
        for group in optimizer.param_groups:
            group["lr"] = rates[-1]

    def note_result(engine: Engine) -> None:
        output: Any = engine.state.output
        losses.append(float(output["loss"]))
        accuracies.append(float((output["logits"].argmax(1) == output["labels"]).float().mean()))
        if not math.isfinite(losses[-1]):
            engine.terminate()

    def next_epoch(engine: Engine) -> None:
        if hasattr(batches, "set_epoch"):
            batches.set_epoch(engine.state.epoch)
        engine.set_data(batches)

    model_state = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer_state = copy.deepcopy(optimizer.state_dict())
    was_training = model.training
    # The finder leaves its own handlers behind where a batch or a step raises.
    handlers = {event: list(attached) for event, attached in trainer._event_handlers.items()}
    trainer.add_event_handler(Events.EPOCH_STARTED, next_epoch)
    trainer.add_event_handler(Events.ITERATION_STARTED, set_rate)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, note_result)
    finder = FastaiLRFinder()
    steps_per_epoch = len(batches)  # type: ignore[arg-type]
    try:
        for group in optimizer.param_groups:
            group["lr"] = settings.start_lr  # the finder divides by it
        with (
            warnings.catch_warnings(),
            generators_restored(),
            finder.attach(
                trainer,
                to_save={"model": model, "optimizer": optimizer},
                output_transform=lambda output: output["loss"],
                num_iter=settings.iterations - 1,  # it runs one more than it is told
                start_lr=float(settings.start_lr),
                end_lr=float(settings.end_lr),
                step_mode="exp" if settings.mode == "exponential" else "linear",
                diverge_th=DIVERGENCE,
            ) as sweeping,
        ):
            warnings.simplefilter("ignore", UserWarning)  # "did not diverge": we judge that ourselves
            epochs = math.ceil(settings.iterations / steps_per_epoch)
            sweeping.run(batches, max_epochs=epochs, epoch_length=steps_per_epoch)
    finally:
        trainer._event_handlers.clear()
        trainer._event_handlers.update(handlers)
        model.load_state_dict(model_state)
        optimizer.load_state_dict(optimizer_state)
        model.train(was_training)
    finite = next((at for at, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
    if finite == 0:  # before the first update: no rate is the cause
        raise RunError("range test: the first batch's loss is not finite; look at data, augment and model")
    if finite < 5:
        how = "is not finite" if finite < len(losses) else "runs away"
        raise RunError(f"range test: the loss {how} after {finite} steps; {_lower(planned)}")
    early = len(losses) < settings.iterations or finite < len(losses)
    return Sweep(np.array(rates[:finite]), np.array(losses[:finite]), np.array(accuracies[:finite]), early)


def choose(result: Sweep, settings: RangeTest) -> tuple[Rates, list[str]]:
    """LRMAX by the study's criterion, LRMIN = LRMAX / divisor, and what is doubtful about them.

    Criteria: ``accuracy``: peak of the smoothed accuracy. ``minimum``: lowest smoothed loss. ``steepest``:
    steepest fall of the smoothed loss over log(lr) (fastai's "slope"). ``valley``: the point two thirds along
    the longest stretch over which the smoothed loss keeps falling (fastai's "valley").
    """
    loss, accuracy = result.smoothed_loss, result.smoothed_accuracy
    if settings.criterion == "accuracy":
        at = int(np.argmax(accuracy))
    elif settings.criterion == "minimum":
        at = int(np.argmin(loss))
    elif settings.criterion == "steepest":
        at = int(np.argmin(np.gradient(loss, np.log(result.lr))))
    else:
        first, last = _longest_fall(loss)
        at = first + round((last - first) * 2 / 3)
    lr_max = float(result.lr[at])
    return Rates(lr_max / settings.lr_min_divisor, lr_max), _doubts(result, at, settings)


def _doubts(result: Sweep, at: int, settings: RangeTest) -> list[str]:
    """Say why the rate at an index is a doubtful choice, and which key of the study mends that."""
    loss, rates, steps = result.smoothed_loss, result.lr, len(result.lr)
    edge = max(1, steps // 50)
    first, lowest, margin = float(loss[0]), int(np.argmin(loss)), _noise(result)
    risen = np.flatnonzero(loss > first + margin)
    turns_at = int(risen[0]) if len(risen) else steps
    doubts = []
    apart = (settings.end_lr / settings.start_lr) ** (1 / (settings.iterations - 1))
    coarse = settings.mode == "exponential" and apart > COARSEST
    if settings.iterations < FEWEST or coarse:
        wanted = 1 + math.ceil(math.log(settings.end_lr / settings.start_lr) / math.log(1.1))
        each = f", each {apart:.3g} times the one before," if coarse else ""
        doubts.append(
            f"{settings.iterations} rates{each} are too few to choose from; "
            f"raise range_test.iterations to {max(MANY, wanted if settings.mode == 'exponential' else 0)}"
        )
    lower = _lower(rates)
    chosen = f"lr_max = {rates[at]:.4g}"
    if loss[at] > first + margin:
        mend = lower if turns_at <= edge else "lower range_test.end_lr"
        doubts.append(f"the loss at {chosen} is {loss[at]:.3g}, above its {first:.3g} at the start; {mend}")
    elif doubts:  # nothing more can be told from so few rates
        pass
    elif first - loss[lowest] <= margin:
        if turns_at == steps and not result.diverged:
            doubts.append("no rate of the sweep lowers the loss; raise range_test.end_lr")
        elif turns_at <= settings.iterations / 5:
            doubts.append(f"the loss rises from the first rates on; {lower}")
        else:
            doubts.append("no rate lowers the loss before it rises; raise range_test.iterations")
    elif at < edge and settings.criterion == "accuracy" and lowest >= edge:
        doubts.append(
            f"{chosen} lies at the start of the sweep, but the loss falls until lr = {rates[lowest]:.4g}; "
            "choose another range_test.criterion"
        )
    elif at < edge:
        doubts.append(f"{chosen} lies at the start of the sweep; {lower}")
    elif at >= steps - edge and result.diverged:
        doubts.append(f"{chosen} is where the loss ran away; raise range_test.iterations")
    elif at >= steps - edge:
        doubts.append(f"{chosen} lies at the end of the sweep; raise range_test.end_lr")
    elif lowest >= steps - edge and result.diverged:  # one that runs away is smoothed into a rise
        doubts.append(
            f"the loss falls until lr = {rates[-1]:.4g} and is not finite at the next step; "
            "look at data and precision, or raise range_test.iterations"
        )
    elif lowest >= steps - edge:
        doubts.append("the loss still falls where the sweep ends; raise range_test.end_lr")
    elif steps < FEWEST:
        doubts.append(
            f"the loss ran away after {steps} of {settings.iterations} steps, too few to choose from; "
            "lower range_test.end_lr"
        )
    return doubts


def _lower(rates: Floats) -> str:
    """Say which key makes the first rates smaller; where they lie far apart, the second depends on end_lr."""
    return f"lower range_test.{'end' if rates[1] > COARSEST * rates[0] else 'start'}_lr"


def _noise(result: Sweep) -> float:
    """By how much the smoothed loss may differ from its start by chance, or too little to matter.

    Four standard deviations of what Gaussian smoothing leaves of the batches' noise until the loss is
    lowest; that noise is taken by the median absolute deviation.
    """
    smoothed = result.smoothed_loss
    residuals = (result.loss - smoothed)[: max(int(np.argmin(smoothed)) + 1, FEWEST)]
    noise = 1.4826 * float(np.median(np.abs(residuals - np.median(residuals))))
    left = noise / math.sqrt(2 * math.sqrt(math.pi) * _sigma(len(smoothed)))
    return max(4 * left, 0.02 * abs(float(smoothed[0])))


def _longest_fall(values: Floats) -> tuple[int, int]:
    """First and last index of the longest stretch without a rise."""
    best, start = (0, 0), 0
    for at in range(1, len(values)):
        if values[at] > values[at - 1]:
            start = at
        if at - start > best[1] - best[0]:
            best = (start, at)
    return best
