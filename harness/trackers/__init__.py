"""Trackers by name: they show runs in another tool, through Ignite's own logger handlers.

A new tracker is a file with a class like the two here, and a line below; every tool that Ignite has a logger
for (Weights & Biases, ClearML, Neptune, ...) needs the same few methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from harness.errors import StudyError
from harness.messages import check_installed, one_line, suggest

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


class Tracker(Protocol):
    """Shows a study's runs in another tool. If a method raises an error, the study continues without it."""

    def begin(self, plan: Plan) -> None:
        """Create the study and its variants in the tool, before the first run."""

    def logger(self, variant: Variant, folder: RunFolder) -> BaseLogger:
        """Return Ignite's logger for a run; for a resumed run one that continues the earlier entries.

        Its module has an ``OutputHandler`` and an ``OptimizerParamsHandler``, as those of Ignite do.
        """

    def end(self, logger: BaseLogger, folder: RunFolder, record: Mapping[str, Any]) -> None:
        """Show how a run ended; ``record`` is the content of its run.json."""

    def report(self, folder: StudyFolder, variants: Sequence[Mapping[str, Any]]) -> None:
        """Show a report: ``variants`` are those of report.json, mean and std over seeds, and their number."""


def check_tracker(name: str) -> None:
    """Refuse an unknown tracker, without importing it.

    Raises:
        StudyError: there is no tracker of that name, or its package is not installed.
    """
    if name not in TRACKERS:
        raise StudyError(f"--tracker {name}: not a tracker{suggest(name, TRACKERS)}")
    if (package := TRACKERS[name][1]) is not None:
        check_installed(package, f"--tracker {name}")


def get_tracker(name: str) -> GuardedTracker:
    """Import the tracker of a name that :func:`check_tracker` accepts."""
    return GuardedTracker(name, resolve_name(TRACKERS[name][0])())


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
        self, variant: Variant, folder: RunFolder, trainer: Engine, optimizer: Optimizer, say: Say
    ) -> None:
        """Show a run's loss and rates every ``EVERY`` steps, and its epochs' ``EPOCH_METRICS``."""
        self.open = self._try(lambda: self.tracker.logger(variant, folder), say)
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
            cause = f"{type(error).__name__}: {one_line(error, 200)}"
            say(f"warning: --tracker {self.name}: {cause}; the study goes on without it")
            return None
