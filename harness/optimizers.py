"""Optimizers by name: any class of ``torch.optim``, or by import path, with its own arguments."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from harness.errors import StudyError
from harness.imports import import_allowed
from harness.messages import one_line, suggest
from harness.parameter_groups import freeze, split_parameters
from harness.seeding import generators_restored, seed_generators
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
    """Make an optimizer of all parameters that are not frozen; :func:`set_rate` sets its rate.

    The frozen parameters take no gradient from then on.

    Raises:
        StudyError: no such optimizer, arguments that it refuses, or groups that do not fit the network.
    """
    kind, label = _class_of(config.name, where)
    _check_options(kind, label, config.options, f"{where}: optimizer")
    for at, group in enumerate(config.groups):
        _check_options(kind, label, group.options, f"{where}: optimizer.groups[{at}]")
    options = _arguments(config.options)
    if config.name in _FUSED and not _OWN_KERNELS & options.keys() and _all_on_cuda(model):
        options["fused"] = True
    freeze(model, config.groups, where)
    trained: Any = model.parameters() if not config.groups else _groups(config, model, where)
    try:
        # with lr=0 a missing schedule is noticed at once
        optimizer = kind(trained, lr=0.0, **options)
    except Exception as error:  # the optimizer's own checks may raise anything
        # https://github.com/pytorch/pytorch/issues/166209
        way_out = "; for convolutions see docs/your-own.md: Muon" if config.name == "Muon" else ""
        raise StudyError(f"{where}: optimizer: {label} says: {one_line(error)}{way_out}") from None
    if not isinstance(optimizer, Optimizer):
        given = type(optimizer).__name__
        raise StudyError(f"{where}: optimizer.name: {label} gives {given}, not a torch.optim.Optimizer")
    return optimizer


def _class_of(name: str, where: str) -> tuple[Callable[..., Any], str]:
    """Return an optimizer's class, or a user's function that makes one, and its name for messages."""
    if ":" in name:
        place = f"{where}: optimizer.name: {one_line(name, 200)}"
        found = import_allowed(name, place)
        if not callable(found):
            raise StudyError(f"{place}: expected a class of optimizers, got {type(found).__name__}")
        return found, name
    classes: dict[str, Any] = {
        name: value
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, Optimizer) and name not in _UNFIT_OPTIMIZERS
    }
    if name not in classes:
        raise StudyError(
            f"{where}: optimizer.name: torch.optim has no usable {name!r}{suggest(name, classes)}"
        )
    return classes[name], f"torch.optim.{name}"


def _groups(config: OptimizerConfig, model: nn.Module, where: str) -> list[dict[str, Any]]:
    """Return torch's parameter groups: the unmatched parameters first, then each group's."""
    return [
        {
            "params": part.parameters,
            "lr_factor": 1.0 if part.group is None else part.group.lr_factor,
            **_arguments({} if part.group is None else part.group.options),
        }
        for part in split_parameters(model, config.groups, where)
        if not part.frozen
    ]


def _arguments(options: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of every group, multiplied by the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    scale_rates(optimizer)


def scale_rates(optimizer: Optimizer) -> None:
    """Multiply the rate of every group by its factor; :func:`rate_of` still gives the rate itself."""
    for group in optimizer.param_groups:
        if "lr_factor" in group:
            group["rate"] = group["lr"]
            group["lr"] = group["rate"] * group["lr_factor"]


def rate_of(optimizer: Optimizer) -> float:
    """Return the learning rate, before any group's factor."""
    group = optimizer.param_groups[0]
    return float(group.get("rate", group["lr"]))


def _check_options(optimizer: Callable[..., Any], label: str, options: dict[str, Any], where: str) -> None:
    """Check the options' names, and their types against those of the optimizer's defaults."""
    try:
        parameters = inspect.signature(optimizer).parameters
    except (TypeError, ValueError):  # a class of another language: it checks its arguments itself
        return
    arguments = {key: argument for key, argument in parameters.items() if key not in ("params", "lr")}
    any_name = any(argument.kind is argument.VAR_KEYWORD for argument in arguments.values())
    for key, value in options.items():
        place = f"{where}.{one_line(key, 80)}"
        if key not in arguments:
            if any_name:
                continue
            hint = suggest(key, arguments.keys() - _NO_USE.keys())
            raise StudyError(f"{place}: {label} has no such argument{hint}")
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

    The options of groups are tried likewise; an optimizer by import path also with a vector and a
    convolution's weights, and from a checkpoint.

    Args:
        scheduled: whether the rate changes from step to step.

    Raises:
        StudyError: the optimizer refuses the arguments, its steps go uphill or do not follow the rate, or it
            does not resume.
    """
    alone = config.model_copy(update={"groups": []})
    for at, group in enumerate(config.groups):
        if group.options:
            check_step(config.of_group(group), f"{where}: optimizer.groups[{at}]", scheduled=False)
    own = ":" in config.name
    _, label = _class_of(config.name, where)
    try:
        ends = [_end_of_steps(alone, where, rate) for rate in (0.01, 0.02)]
        resumed = _end_of_steps(alone, where, 0.02, resumed=True) if own else ends[1]
    except StudyError:
        raise
    except Exception as error:  # a user's optimizer may raise anything
        kind = f"{type(error).__name__}: " if own else ""
        raise StudyError(f"{where}: optimizer: {label} says: {kind}{one_line(error)}") from None
    chosen = f"{where}: optimizer: {label} with {config.options}"
    if not all(weights.isfinite().all() for end in ends for weights in end):
        raise StudyError(f"{chosen} makes weights that are not finite; change these")
    if any(float((_GRADIENT * (end[0] - 1)).sum()) > 0 for end in ends):
        raise StudyError(f"{chosen} would increase the loss; change these")
    if scheduled and all(map(torch.equal, *ends)):
        raise StudyError(
            f"{where}: optimizer.name: {config.name} does not follow the learning rate after its first step, "
            "so no schedule and no range test has an effect; choose another"
        )
    if not all(map(torch.equal, ends[1], resumed)):
        raise StudyError(
            f"{where}: optimizer.name: {label} takes other steps after a checkpoint, so a killed run "
            "could not resume; store what it keeps in self.state and its groups, as numbers and tensors"
        )


def _end_of_steps(config: OptimizerConfig, where: str, rate: float, *, resumed: bool = False) -> list[Tensor]:
    """Return parameters after a step at 0.01 and two at the rate; two, as ASGD follows it one step late.

    Args:
        resumed: before the last step, continue with a new optimizer from the state of the first one.
    """
    shapes = [(2, 2), (3,), (3, 2, 3, 3)] if ":" in config.name else [(2, 2)]
    model = nn.ParameterList([nn.Parameter(torch.ones(shape)) for shape in shapes])
    with generators_restored():
        seed_generators(0)
        optimizer = create_optimizer(config, model, where)
        for step, lr in enumerate((0.01, rate, rate)):
            if resumed and step == 2:
                optimizer = _resumed(optimizer, create_optimizer(config, model, where))
            for weights in model:
                weights.grad = torch.linspace(-1.0, 1.0, weights.numel()).reshape(weights.shape)
            model[0].grad = _GRADIENT.clone()
            set_rate(optimizer, lr)
            optimizer.step()
    return [weights.detach() for weights in model]


def _resumed(optimizer: Optimizer, new: Optimizer) -> Optimizer:
    """Load the state of an optimizer into a new one, as a checkpoint does."""
    content = io.BytesIO()
    torch.save(optimizer.state_dict(), content)
    content.seek(0)
    new.load_state_dict(torch.load(content, weights_only=True))
    return new
