"""Trackers by name: they show runs in another tool, through Ignite's own logger handlers.

A new tracker is a subclass of :class:`Tracker`: in a file here and a line of ``TRACKERS``, or in a package of
its own that names it under the entry point ``harness.trackers`` (docs/trackers.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeVar

from harness.errors import StudyError
from harness.imports import import_allowed
from harness.messages import check_installed, one_line

if TYPE_CHECKING:
    from ignite.engine import Engine
    from ignite.handlers.base_logger import BaseLogger
    from torch.optim import Optimizer

    from harness.plan import Plan, Variant
    from harness.store.folders import RunFolder, StudyFolder

# name -> "module:class", and the package that it needs; the extra that installs it has the same name
TRACKERS: dict[str, tuple[str, str | None]] = {
    "tensorboard": ("harness.trackers.tensorboard:TensorBoard", "tensorboard"),
    "mlflow": ("harness.trackers.mlflow:MLflow", "mlflow"),
    "wandb": ("harness.trackers.wandb:WandB", "wandb"),
}
# of report.json, shown of each variant
REPORTED = [
    "accuracy_mean", "accuracy_std", "metric_mean", "metric_std", "test_accuracy_mean", "test_accuracy_std",
    "finished", "failed",
]  # fmt: skip
EVERY = 20  # steps; reading a loss waits for the device, and a server for each line
# test_loss and test_accuracy are the old names of eval_loss and eval_accuracy, until version 0.4
EPOCH_METRICS = [
    "train_loss", "train_accuracy", "eval_loss", "eval_accuracy", "test_loss", "test_accuracy",
    "images_per_second",
]  # fmt: skip

_Result = TypeVar("_Result")
Say = Callable[[str], None]


class Tracker:
    """Shows a study's runs in another tool. A subclass overrides what its tool needs; ``logger`` it must.

    It is pickled on its way to workers. If a method other than ``check`` raises an error, the study continues
    without the tracker.
    """

    def check(self) -> None:
        """Raise an error, before any work, if the tool cannot be used.

        Raises:
            StudyError: in one line, with what to do.
        """

    def begin(self, plan: Plan) -> None:
        """Create the study and its variants in the tool, before the first run."""

    def logger(self, variant: Variant, folder: RunFolder, done: Sequence[Mapping[str, Any]]) -> BaseLogger:
        """Return Ignite's logger for a run; for a resumed run one that continues the earlier entries.

        Its module has an ``OutputHandler`` and an ``OptimizerParamsHandler``, as those of Ignite do;
        :class:`harness.trackers.steps.StepLogger` is one that calls a function.

        Args:
            done: the epochs after which the run resumes, as rows of history.csv; empty for a new run.
        """
        raise NotImplementedError

    def end(self, logger: Any, folder: RunFolder, record: Mapping[str, Any]) -> None:
        """Show how a run ended.

        Args:
            logger: what :meth:`logger` returned.
            record: the content of its run.json.
        """

    def report(self, folder: StudyFolder, variants: Sequence[Mapping[str, Any]]) -> None:
        """Show a report: ``variants`` are those of report.json, mean and std over seeds, and their number."""


def installed() -> dict[str, str]:
    """Return the trackers of installed packages as name -> import path, after the entry point."""
    return {point.name: f"{point.module}:{point.attr}" for point in entry_points(group="harness.trackers")}


def check_tracker(name: str) -> None:
    """Refuse a tracker that is unknown, broken, not installed or not ready.

    Raises:
        StudyError: in one line.
    """
    tracker = _load(name)
    try:
        tracker.check()
    except StudyError:
        raise
    except Exception as error:  # another package may raise anything
        raise StudyError(f"--tracker {name}: {_cause(error)}") from None


def get_tracker(name: str) -> GuardedTracker:
    """Return the tracker of a name that :func:`check_tracker` accepts."""
    return GuardedTracker(name, _load(name))


def _load(name: str) -> Tracker:
    others = installed()
    if name in TRACKERS:
        path, package = TRACKERS[name]
        if package is not None:
            check_installed(package, f"--tracker {name}")
    elif name in others:
        path = others[name]
    else:
        known = {**others, **TRACKERS}
        raise StudyError(f"--tracker {name}: not a tracker; choose one of {', '.join(sorted(known))}")
    found = import_allowed(path, f"--tracker {name}", trusted=True)
    if not (isinstance(found, type) and issubclass(found, Tracker)):
        raise StudyError(f"--tracker {name}: {path} is not a subclass of harness.trackers.Tracker")
    try:
        return found()
    except Exception as error:  # so may its __init__
        raise StudyError(f"--tracker {name}: {_cause(error)}") from None


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error, 200)}"


class GuardedTracker:
    """A tracker that is switched off after its first error, which is reported: no study depends on it.

    Its methods are those of :class:`Tracker`, but it keeps the current run's logger itself.
    """

    def __init__(self, name: str, tracker: Tracker) -> None:
        self.name, self.tracker = name, tracker
        self.failed = False
        self.open: BaseLogger | None = None

    def begin(self, plan: Plan, say: Say) -> None:
        """Call :meth:`Tracker.begin`."""
        self._try(lambda: self.tracker.begin(plan), say)

    def follow(
        self,
        variant: Variant,
        folder: RunFolder,
        trainer: Engine,
        optimizer: Optimizer,
        done: Sequence[Mapping[str, Any]],
        say: Say,
    ) -> None:
        """Show a run's loss and rates every ``EVERY`` steps, and its epochs' ``EPOCH_METRICS``."""
        self.open = self._try(lambda: self.tracker.logger(variant, folder, done), say)
        if (logger := self.open) is not None:
            self._try(lambda: self._attach(logger, variant, trainer, optimizer, say), say)

    def _attach(
        self, logger: BaseLogger, variant: Variant, trainer: Engine, optimizer: Optimizer, say: Say
    ) -> None:
        from ignite.engine import Events

        ignite = import_module(type(logger).__module__)
        averaged = variant.recipe.averaging.kind != "none"
        metrics = EPOCH_METRICS + ["raw_loss", "raw_accuracy"] * averaged
        handlers = {
            Events.ITERATION_STARTED(every=EVERY): ignite.OptimizerParamsHandler(optimizer, "lr"),
            Events.ITERATION_COMPLETED(every=EVERY): ignite.OutputHandler(
                "step", output_transform=lambda output: {"loss": output["loss"]}
            ),
            Events.EPOCH_COMPLETED: ignite.OutputHandler("epoch", metric_names=metrics),
        }
        for event, handler in handlers.items():
            logger.attach(trainer, self._guard(handler, say), event)

    def end(self, folder: RunFolder, record: Mapping[str, Any], say: Say) -> None:
        """Call :meth:`Tracker.end` with the current run's logger."""
        if (logger := self.open) is not None:
            self._try(lambda: self.tracker.end(logger, folder, record), say)
            self.open = None

    def report(self, folder: StudyFolder, variants: Sequence[Mapping[str, Any]], say: Say) -> None:
        """Call :meth:`Tracker.report`."""
        self._try(lambda: self.tracker.report(folder, variants), say)

    def _guard(self, handler: Callable[..., None], say: Say) -> Callable[..., None]:
        return lambda *arguments: self._try(lambda: handler(*arguments), say)

    def _try(self, work: Callable[[], _Result], say: Say) -> _Result | None:
        if self.failed:
            return None
        try:
            return work()
        except Exception as error:  # another package, a server or a disk may raise anything
            self.failed = True
            say(f"warning: --tracker {self.name}: {_cause(error)}; the study continues without it")
            return None
