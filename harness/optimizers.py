"""Optimizers by name: any class of ``torch.optim``, with its own arguments."""

from __future__ import annotations

import inspect
from typing import Any, get_args

import torch
from torch import nn
from torch.optim import Optimizer

from harness.errors import StudyError
from harness.messages import one_line, suggest
from harness.study_file.parts import OptimizerConfig

# LBFGS needs a closure, SparseAdam sparse gradients: no step of one forward and backward pass does.
_UNFIT_OPTIMIZERS = ("LBFGS", "SparseAdam", "Optimizer")
_NO_USE = {
    "maximize": "it makes the loss rise",
    "capturable": "no CUDA graph is captured here",
    "differentiable": "no gradient is taken through a step here",
}
_GRADIENT = torch.tensor([[1.0, 0.5], [-0.5, 2.0]])
# Optimizers that torch can run as one CUDA kernel, unless the study sets one of these arguments itself.
_FUSED, _OWN_KERNELS = ("SGD", "Adam", "AdamW"), {"foreach", "fused", "capturable", "differentiable"}


def create_optimizer(config: OptimizerConfig, model: nn.Module, where: str = "study") -> Optimizer:
    """Make a ``torch.optim`` optimizer of all parameters; the schedule sets its rate before the first step.

    Raises:
        StudyError: no such optimizer, or arguments that it refuses.
    """
    classes: dict[str, Any] = {
        name: value
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, Optimizer) and name not in _UNFIT_OPTIMIZERS
    }
    if config.name not in classes:
        raise StudyError(
            f"{where}: optimizer.name: torch.optim has no usable {config.name!r}"
            f"{suggest(config.name, classes)}"
        )
    kind = classes[config.name]
    _check_options(kind, config.options, f"{where}: optimizer")
    options = {
        key: tuple(value) if isinstance(value, list) else value for key, value in config.options.items()
    }
    if config.name in _FUSED and not _OWN_KERNELS & options.keys() and _all_on_cuda(model):
        options["fused"] = True
    try:
        # with lr=0 a missing schedule is noticed at once
        optimizer: Optimizer = kind(model.parameters(), lr=0.0, **options)
        return optimizer
    except Exception as error:  # whatever the optimizer's own checks raise
        raise StudyError(f"{where}: optimizer: torch.optim.{config.name} says: {one_line(error)}") from None


def _check_options(optimizer: type[Optimizer], options: dict[str, Any], where: str) -> None:
    """Check the options' names, and their types against those of the optimizer's defaults."""
    parameters = inspect.signature(optimizer).parameters
    arguments = {key: argument for key, argument in parameters.items() if key not in ("params", "lr")}
    for key, value in options.items():
        place = f"{where}.{one_line(key, 80)}"
        if key not in arguments:
            hint = suggest(key, arguments.keys() - _NO_USE.keys())
            raise StudyError(f"{place}: torch.optim.{optimizer.__name__} has no such argument{hint}")
        default, got = arguments[key].default, one_line(repr(value), 80)
        if isinstance(default, bool) or bool in get_args(arguments[key].annotation):
            if not isinstance(value, bool):
                raise StudyError(f"{place}: expected true or false, got {got}")
            if value and key in _NO_USE:
                raise StudyError(f"{place}: {_NO_USE[key]}; remove it")
        elif isinstance(default, tuple):
            if not isinstance(value, list) or len(value) != len(default) or not all(map(_is_number, value)):
                example = [0.001 if part is None else part for part in default]
                wanted = f"a list of {len(default)} numbers such as {example}"
                raise StudyError(f"{place}: expected {wanted}, got {got}")
        elif _is_number(default) and not _is_number(value):
            raise StudyError(f"{place}: expected a number such as {default}, got {got}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _all_on_cuda(model: nn.Module) -> bool:
    parameters = list(model.parameters())
    return bool(parameters) and all(weights.is_cuda and weights.is_floating_point() for weights in parameters)


def check_step(config: OptimizerConfig, where: str = "study", *, scheduled: bool = True) -> None:
    """Take three steps with a small matrix: some wrong arguments raise an error only then.

    Args:
        scheduled: whether the rate changes from step to step.

    Raises:
        StudyError: the optimizer refuses the arguments, or its steps go uphill or do not follow the rate.
    """
    try:
        ends = [_end_of_steps(config, where, rate) for rate in (0.01, 0.02)]
    except StudyError:
        raise
    except Exception as error:  # whatever it meets
        raise StudyError(f"{where}: optimizer: torch.optim.{config.name} says: {one_line(error)}") from None
    chosen = f"{where}: optimizer: torch.optim.{config.name} with {config.options}"
    if not all(end.isfinite().all() for end in ends):
        raise StudyError(f"{chosen} makes weights that are not finite; change these")
    if any(float((_GRADIENT * (end - 1)).sum()) > 0 for end in ends):
        raise StudyError(f"{chosen} steps uphill: the loss would rise; change these")
    if scheduled and torch.equal(*ends):
        raise StudyError(
            f"{where}: optimizer.name: {config.name} does not follow the learning rate after its first step, "
            "so no schedule and no range test has an effect; choose another"
        )


def _end_of_steps(config: OptimizerConfig, where: str, rate: float) -> torch.Tensor:
    """Return a parameter after a step at 0.01 and two at the rate; two, as ASGD follows it one step late."""
    parameter = nn.Parameter(torch.ones(2, 2))
    optimizer = create_optimizer(config, nn.ParameterList([parameter]), where)
    parameter.grad = _GRADIENT.clone()
    for lr in (0.01, rate, rate):
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
    return parameter.detach()
