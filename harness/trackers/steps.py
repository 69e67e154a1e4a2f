"""An Ignite logger that hands all numbers of a run to one function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers.base_logger import BaseLogger, BaseOptimizerParamsHandler, BaseOutputHandler

from harness.store.run_files import OLD_HISTORY

Log = Callable[[dict[str, float], int], object]


class StepLogger(BaseLogger):
    """Calls ``log(values, step)`` with the loss and rates of a step, and with the metrics of an epoch.

    Args:
        log: gets values such as ``{"epoch": 2, "epoch/eval_accuracy": 0.9}``, and the number of training
            steps so far, which never falls.
    """

    def __init__(self, log: Log) -> None:
        self.log = log

    def _create_output_handler(self, *args: Any, **kwargs: Any) -> OutputHandler:
        return OutputHandler(*args, **kwargs)

    def _create_opt_params_handler(self, *args: Any, **kwargs: Any) -> OptimizerParamsHandler:
        return OptimizerParamsHandler(*args, **kwargs)


class OutputHandler(BaseOutputHandler):
    """Logs a step's output, or an epoch's metrics."""

    def __call__(self, engine: Engine, logger: StepLogger, event_name: str | Events) -> None:
        """Call the logger's function."""
        if self.metric_names is None:
            values = self._setup_output_metrics_state_attrs(engine, key_tuple=False)
        else:
            metrics = {name: engine.state.metrics.get(name) for name in self.metric_names}
            values = epoch_values(engine.state.epoch, metrics)
        logger.log(values, engine.state.iteration)


class OptimizerParamsHandler(BaseOptimizerParamsHandler):
    """Logs the learning rate of each parameter group."""

    def __call__(self, engine: Engine, logger: StepLogger, event_name: str | Events) -> None:
        """Call the logger's function."""
        groups = enumerate(self.optimizer.param_groups)
        rates = {f"{self.param_name}/group_{at}": float(group[self.param_name]) for at, group in groups}
        logger.log(rates, engine.state.iteration)


def epoch_values(epoch: int, metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return what is logged of an epoch: its metrics by name, without old names of the same numbers."""
    names = [name for name in metrics if name not in OLD_HISTORY.values() and metrics[name] is not None]
    return {"epoch": epoch, **{f"epoch/{name}": float(metrics[name]) for name in names}}
