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
from harness.study_file.schedules import OneCycle, Triangle

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


HEADLINES = {"onecycle": "search_onecycle", "annealed": "search_annealed", "record": "search_record"}
CROP_AND_CUTOUT = {"PadIfNeeded", "RandomCrop", "CoarseDropout"}
FLIPS = {"HorizontalFlip", "AlternatingFlip"}


@pytest.mark.parametrize(("name", "search"), HEADLINES.items())
def test_a_headline_is_searched_on_images_and_seeds_that_do_not_measure_it(name: str, search: str) -> None:
    headline, searched = load_study(name), load_study(search)
    assert not set(headline.seeds) & set(searched.seeds)
    for recipe in headline.recipes.values():
        assert recipe.data.holdout is None
    for recipe in searched.recipes.values():
        assert recipe.data.source == "cifar10" and recipe.data.holdout == 5000
        assert not recipe.varies("holdout")  # all recipes are judged on the same images


@pytest.mark.parametrize("name", [*HEADLINES, *HEADLINES.values()])
def test_a_headlines_recipes_stay_within_their_budget(name: str) -> None:
    study = load_study(name)
    within_rules, same_network = "onecycle" in name, "record" not in name
    for variant, recipe in study.recipes.items():
        assert recipe.schedule.epochs == 24 and recipe.data.batch_size == 512
        assert not recipe.augment.test  # no test-time augmentation
        facts = make_outline(study, variant, 50_000, (32, 32), 10)
        assert facts.parameters <= 7_000_000
        if same_network:
            assert facts.parameters == 6_573_120 and recipe.model.options.get("activation", "relu") == "relu"
        if within_rules:
            schedule, names = recipe.schedule, {table["transform"] for table in recipe.augment.train}
            assert isinstance(schedule, Triangle) and schedule.peak_epoch == 5
            assert schedule.lr_max == schedule.lr_min == "find" and schedule.final == "lr_min"
            assert names >= CROP_AND_CUTOUT and len(names & FLIPS) == 1 and names <= CROP_AND_CUTOUT | FLIPS
            assert not recipe.augment.batch


def test_the_record_begins_with_the_published_bag_of_tricks() -> None:
    study = load_study("record")
    steps = np.arange(24 * 98)
    rates = rates_at(lr_milestones(study.schedule, resolve_rates(study.schedule, None), 98), steps)
    expected = np.interp(steps / 98, [0, 24 / 5, 24 - 2], [0, 0.4, 0.04])
    # the peak lies between two steps, and is passed
    np.testing.assert_allclose(rates, expected, rtol=0, atol=0.4 / (4.8 * 98))
    np.testing.assert_allclose(rates[-2 * 98 :], 0.04, rtol=0, atol=1e-12)
    (biases,) = study.optimizer.groups
    assert biases.lr_factor == 64 and biases.options == {"weight_decay": 5e-4 / 64}
    assert study.averaging.kind == "ema" and study.averaging.every == 5
    assert study.averaging.momentum == pytest.approx(1 - 0.99**5, abs=5e-5)
