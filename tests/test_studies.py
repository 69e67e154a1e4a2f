"""The built-in studies: the libraries accept them, and the published recipes are what was published."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from harness.outline import check_recipe, make_outline
from harness.schedule import lr_milestones, momentum_milestones, rates_at, resolve_rates
from harness.study_file.builtin import builtin_studies
from harness.study_file.load import load_study
from harness.study_file.schedules import OneCycle

PARAMETERS = {
    "onecycle": 6_573_120,
    "annealed": 6_573_120,
    "onecycle_adam": 6_573_120,
    "chapter11": 6_573_120,
    "s11_l2": 6_573_120,
    "assignment8": 6_573_130,
    "s11_l1": 6_574_090,
    "assignment10_adam": 6_614_080,
}
PUBLISHED = {
    "chapter11": 0.9165,
    "s11_l2": 0.9318,
    "assignment8": 0.9099,
    "s11_l1": 0.9158,
    "assignment10_adam": 0.8805,
}


@pytest.mark.parametrize("name", sorted(builtin_studies()))
def test_the_libraries_accept_it(name: str) -> None:
    study = load_study(name)
    assert study.name == name and study.question.endswith("?")
    for variant in study.recipes:
        check_recipe(study, variant)


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_the_cifar10_networks_have_the_published_parameters(name: str) -> None:
    study = load_study(name)
    assert study.data.batch_size == 512
    facts = make_outline(study, "base", 50_000, (32, 32), 10)
    assert facts.parameters == PARAMETERS[name] and facts.steps_per_epoch == 98


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_published_recipe_never_uses_a_found_rate_and_names_its_reference(name: str) -> None:
    study = load_study(name)
    assert not study.schedule.finds and study.range_test is not None
    assert study.references["published"].accuracy == PUBLISHED[name]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_published_recipes_schedule_is_torchs(name: str) -> None:
    schedule = load_study(name).schedule
    assert isinstance(schedule, OneCycle) and schedule.total_steps is not None
    parameter = torch.nn.Parameter(torch.zeros(1))
    low, high = schedule.cycle_momentum or (0.85, 0.95)
    optimizer = torch.optim.SGD([parameter], lr=1.0, momentum=0.9)
    reference = OneCycleLR(
        optimizer,
        max_lr=float(schedule.lr_max),
        total_steps=schedule.total_steps,
        pct_start=schedule.pct_start,
        anneal_strategy="linear",
        div_factor=schedule.div_factor,
        final_div_factor=schedule.final_div_factor,
        cycle_momentum=schedule.cycle_momentum is not None,
        base_momentum=low,
        max_momentum=high,
    )
    rates, momenta = [], []
    for _ in range(schedule.epochs):
        for _ in range(98):
            group = optimizer.param_groups[0]
            rates.append(group["lr"])
            momenta.append(group["momentum"])
            optimizer.step()
            if schedule.step != "epoch":
                reference.step()
        if schedule.step != "batch" and len(rates) < schedule.epochs * 98:
            reference.step()
    steps = np.arange(schedule.epochs * 98)
    ours = rates_at(lr_milestones(schedule, resolve_rates(schedule, None), 98), steps)
    np.testing.assert_allclose(ours, rates, rtol=0, atol=1e-12)
    cycled = momentum_milestones(schedule, 98)
    if cycled is not None:
        np.testing.assert_allclose(rates_at(cycled, steps), momenta, rtol=0, atol=1e-12)
