"""Optimizers by name: those of torch.optim, with their own arguments and their own refusals in one line."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
import torch
from torch import nn

from harness.errors import StudyError
from harness.optimizers import check_step, create_optimizer
from harness.outline import check_recipe
from harness.study_file.load import resolve
from harness.study_file.parts import OptimizerConfig
from tests.conftest import TINY

UNFIT = ("LBFGS", "SparseAdam", "Optimizer")
ALL = sorted(
    name
    for name, value in vars(torch.optim).items()
    if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and name not in UNFIT
)


def create(name: str, model: nn.Module | None = None, **options: Any) -> torch.optim.Optimizer:
    return create_optimizer(OptimizerConfig(name=name, **options), model or nn.Linear(3, 2, bias=False))


def refusal(name: str, **options: Any) -> str:
    with pytest.raises(StudyError) as caught:
        create(name, **options)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 500, "one line"
    return message


@pytest.mark.parametrize("name", ALL)
def test_every_optimizer_of_torch_takes_a_step_once_a_schedule_gives_it_a_rate(name: str) -> None:
    model = nn.Linear(3, 2, bias=False)
    optimizer = create(name, model)
    assert isinstance(optimizer, getattr(torch.optim, name))
    before = model.weight.detach().clone()
    for rate in (0.0, 0.1, 0.1):  # ASGD uses the rate of the step before
        optimizer.param_groups[0]["lr"] = rate
        model(torch.ones(4, 3)).sum().backward()
        optimizer.step()
    assert not torch.equal(before, model.weight)


def test_without_a_schedule_nothing_moves() -> None:
    model = nn.Linear(3, 2)
    before = model.weight.detach().clone()
    optimizer = create("SGD", model, momentum=0.9)
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    assert torch.equal(before, model.weight) and optimizer.param_groups[0]["lr"] == 0.0


def test_arguments_are_handed_on_by_their_own_names() -> None:
    group = create("SGD", momentum=0.9, nesterov=True, weight_decay=5e-4).param_groups[0]
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 5e-4)
    assert create("NAdam", betas=[0.8, 0.99]).param_groups[0]["betas"] == (0.8, 0.99), "torch wants a tuple"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("SDG", "did you mean 'SGD'"), ("adam", "did you mean 'Adam'"), ("LBFGS", ""), ("SparseAdam", ""),
     ("Optimizer", ""), ("lr_scheduler", ""), ("__name__", ""), ("x" * 200, "")],
)  # fmt: skip
def test_a_name_that_is_no_usable_optimizer_is_refused(name: str, hint: str) -> None:
    message = refusal(name)
    assert message.startswith(f"study: optimizer.name: torch.optim has no usable {name!r}")
    assert hint in message


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("SGD", {"nesterov": True}, "Nesterov momentum requires a momentum"),
        ("Adam", {"eps": -1.0}, "Invalid epsilon"),
        ("Adam", {"fused": True, "foreach": True}, "cannot be"),
    ],
)
def test_what_torch_refuses_is_said_in_its_words_on_one_line(
    name: str, options: dict[str, Any], says: str
) -> None:
    message = refusal(name, **options)
    assert message.startswith(f"study: optimizer: torch.optim.{name} says: ") and says in message


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        (
            "SGD",
            {"momentun": 0.9},
            "momentun: torch.optim.SGD has no such argument, did you mean 'momentum'?",
        ),
        ("SGD", {"params": [1]}, "params: torch.optim.SGD has no such argument (known: dampening, "),
        ("RMSprop", {"fused": True}, "fused: torch.optim.RMSprop has no such argument"),
        ("Adam", {"betas": [0.9]}, "betas: expected a list of 2 numbers such as [0.9, 0.999], got [0.9]"),
        ("Adam", {"betas": [0.9] * 3}, "betas: expected a list of 2 numbers"),
        ("Adam", {"betas": 0.9}, "betas: expected a list of 2 numbers"),
        ("Rprop", {"etas": [0.5, "x"]}, "etas: expected a list of 2 numbers such as [0.5, 1.2]"),
        ("Adafactor", {"eps": [1e-30]}, "eps: expected a list of 2 numbers"),
        ("Adam", {"eps": "small"}, "eps: expected a number such as 1e-08, got 'small'"),
        ("Adam", {"amsgrad": 1}, "amsgrad: expected true or false, got 1"),
        ("SGD", {"foreach": "yes"}, "foreach: expected true or false, got 'yes'"),
        ("SGD", {"maximize": True}, "maximize: it makes the loss rise; remove it"),
        ("Adam", {"capturable": True}, "capturable: no CUDA graph is captured here; remove it"),
        (
            "SGD",
            {"differentiable": True},
            "differentiable: no gradient is taken through a step here; remove it",
        ),
    ],
)
def test_an_argument_that_cannot_be_is_named_with_what_was_expected(
    name: str, options: dict[str, Any], says: str
) -> None:
    assert refusal(name, **options).startswith(f"study: optimizer.{says}")


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("value", ["x", True, 3, [], [0.1] * 5, {"a": 1}])
def test_no_value_of_another_kind_reaches_torch(name: str, value: Any) -> None:
    """Or torch takes it; its own words are of its internals."""
    parameters = inspect.signature(getattr(torch.optim, name)).parameters
    for key in parameters.keys() - {"params", "lr"}:
        try:
            config = OptimizerConfig(name=name, **{key: value})
        except ValueError:  # the schema refuses it
            continue
        try:
            check_step(config, scheduled=False)
        except StudyError as error:
            assert not re.search("index|unpack|supported between|subscriptable|argument", str(error))


def test_an_optimizer_that_steps_uphill_is_refused() -> None:
    uphill = OptimizerConfig(name="ASGD", lambd=-20.0, alpha=1.0)
    with pytest.raises(StudyError, match="ASGD with .*'lambd': -20.0.* would increase the loss"):
        check_step(uphill)


@pytest.mark.parametrize("dampening", [-0.5, 1, 1.001, 1.5, 1e308, True, "0.5"])
def test_dampening_that_turns_the_gradient_round_after_some_steps_is_refused(dampening: Any) -> None:
    """Above 1 the sum of SGD's gradients changes its sign, with 0.9 and 1.001 after 65 steps."""
    with pytest.raises(ValueError, match="dampening must be"):
        OptimizerConfig(name="SGD", momentum=0.9, dampening=dampening)


def test_an_optimizer_that_makes_weights_that_are_not_finite_is_refused() -> None:
    with pytest.raises(StudyError, match="RMSprop with .*'alpha': 1.5.* makes weights that are not finite"):
        check_step(OptimizerConfig(name="RMSprop", alpha=1.5))


@pytest.mark.parametrize("name", ["SGD", "RMSprop"])
def test_what_only_a_step_shows_is_refused_before_any_work(name: str) -> None:
    with pytest.raises(StudyError, match=f"^tiny: optimizer: torch.optim.{name} says: .*overflow"):
        check_step(OptimizerConfig(name=name, weight_decay=1e308), "tiny")


@pytest.mark.parametrize("name", ALL)
def test_an_optimizer_that_does_not_follow_the_rate_is_refused(name: str) -> None:
    """Found by stepping each with two rates, here over ten steps."""

    def end(rate: float) -> torch.Tensor:
        parameter = nn.Parameter(torch.ones(3, 3))
        optimizer = create_optimizer(OptimizerConfig(name=name), nn.ParameterList([parameter]))
        for step in range(10):
            optimizer.param_groups[0]["lr"] = rate if step else 0.01
            parameter.grad = torch.arange(9.0).reshape(3, 3) - 3
            optimizer.step()
        return parameter.detach()

    if torch.equal(end(0.01), end(0.05)):
        with pytest.raises(
            StudyError, match=f"tiny: optimizer.name: {name} does not follow the learning rate"
        ):
            check_step(OptimizerConfig(name=name), "tiny")
        check_step(OptimizerConfig(name=name), scheduled=False)
    else:
        check_step(OptimizerConfig(name=name))


def test_a_study_whose_rate_is_constant_may_use_any() -> None:
    schedule = {"kind": "constant", "epochs": 3, "lr": 0.1}
    rprop = {**TINY, "optimizer": {"name": "Rprop"}}
    check_recipe(resolve({**rprop, "schedule": schedule}), "base")
    for change in ({}, {"schedule": {**schedule, "lr": "find"}}):
        with pytest.raises(StudyError, match="Rprop does not follow the learning rate"):
            check_recipe(resolve({**rprop, **change}), "base")


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "NAdam", "Adafactor", "RMSprop"])
def test_a_step_with_usual_arguments_passes_and_draws_no_random_number(name: str) -> None:
    before = torch.get_rng_state()
    check_step(OptimizerConfig(name=name))
    assert torch.equal(torch.get_rng_state(), before)
