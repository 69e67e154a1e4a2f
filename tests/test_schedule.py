"""The rate of every step, as ignite really sets it, against the triangle's corners and torch's OneCycleLR."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ignite.engine import Engine, Events
from torch.optim.lr_scheduler import OneCycleLR

from harness.errors import StudyError
from harness.schedule import Rates, lr_milestones, momentum_milestones, rates_at, resolve_rates
from harness.study_file.schedules import Constant, OneCycle, Triangle
from harness.training.engines import attach_schedule

Schedule = Triangle | OneCycle | Constant


def optimizer(name: str = "SGD", **options: Any) -> torch.optim.Optimizer:
    kind: Any = getattr(torch.optim, name)
    return kind([torch.nn.Parameter(torch.zeros(1))], lr=123.0, **options)


def used(
    schedule: Schedule, rates: Rates, steps_per_epoch: int, target: torch.optim.Optimizer | None = None
) -> list[tuple[float, float | None]]:
    """The rate and momentum (or beta1) that the optimizer has at each step of a real engine."""
    target = target or optimizer()
    found = []

    def step(engine: Engine, batch: int) -> None:
        group = target.param_groups[0]
        found.append((group["lr"], group.get("momentum", group.get("betas", [None])[0])))

    trainer = Engine(step)
    attach_schedule(
        trainer,
        target,
        lr_milestones(schedule, rates, steps_per_epoch),
        momentum_milestones(schedule, steps_per_epoch),
    )
    trainer.run(range(steps_per_epoch), max_epochs=schedule.epochs)
    assert len(found) == schedule.epochs * steps_per_epoch
    return found


def lrs(schedule: Schedule, rates: Rates, steps_per_epoch: int) -> list[float]:
    return [lr for lr, _ in used(schedule, rates, steps_per_epoch)]


# The triangle


@pytest.mark.parametrize(
    ("epochs", "peak_epoch", "steps_per_epoch", "final"),
    [
        (24, 5, 98, "lr_min"),
        (24, 5, 98, 0.0),
        (3, 1, 5, "lr_min"),
        (8, 2.5, 7, 1e-5),
        (2, 0.3, 10, "lr_min"),
        (1, 0.5, 20, "lr_min"),
        (12, 4, 1, "lr_min"),
        (5, 4.9, 97, 0.002),
    ],
)
def test_the_triangle_has_its_three_corners_exactly_and_straight_legs(
    epochs: int, peak_epoch: float, steps_per_epoch: int, final: Any
) -> None:
    schedule = Triangle(epochs=epochs, peak_epoch=peak_epoch, lr_max=0.4, lr_min=0.03, final=final)
    found = lrs(schedule, Rates(0.03, 0.4), steps_per_epoch)
    end = 0.03 if final == "lr_min" else final
    peak = round(peak_epoch * steps_per_epoch)
    assert found[0] == 0.03 and found[peak] == 0.4 and found[-1] == end
    assert max(found) == 0.4 and found.index(0.4) == peak
    rising, falling = np.diff(found[: peak + 1]), np.diff(found[peak:])
    np.testing.assert_allclose(rising, (0.4 - 0.03) / peak, rtol=1e-9)
    np.testing.assert_allclose(falling, (end - 0.4) / len(falling), rtol=1e-9)


def test_the_assignments_triangle_peaks_at_the_first_step_of_its_sixth_epoch() -> None:
    schedule = Triangle(epochs=24, peak_epoch=5)
    assert lr_milestones(schedule, Rates(0.01, 0.1), 98) == [(0, 0.01), (490, 0.1), (2351, 0.01)]


@pytest.mark.parametrize(("epochs", "steps_per_epoch"), [(1, 1), (2, 1), (1, 2)])
def test_a_run_too_short_for_a_peak_is_refused(epochs: int, steps_per_epoch: int) -> None:
    schedule = Triangle(epochs=epochs, peak_epoch=epochs / 2, final=0.007)
    with pytest.raises(StudyError, match=f"schedule: {epochs * steps_per_epoch} steps? in all leave no room"):
        lr_milestones(schedule, Rates(0.01, 0.1), steps_per_epoch)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_triangle_has_its_ends_and_its_peak(data: st.DataObject) -> None:
    epochs, steps_per_epoch = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 6))
    assume(epochs * steps_per_epoch > 2)
    peak = data.draw(st.floats(0.001, epochs - 0.001))
    schedule = Triangle(epochs=epochs, peak_epoch=peak)
    found = lrs(schedule, Rates(0.01, 0.1), steps_per_epoch)
    assert all(0.01 - 1e-15 <= lr <= 0.1 + 1e-15 for lr in found)
    assert found[0] == found[-1] == 0.01 and max(found) == 0.1
    # at the step nearest to where the study puts it that leaves both legs
    nearest = min(max(round(peak * steps_per_epoch), 1), len(found) - 2)
    assert found.index(0.1) == nearest


# Constant


@pytest.mark.parametrize(("epochs", "steps_per_epoch"), [(1, 1), (3, 4)])
def test_a_constant_rate_is_that_rate_at_every_step(epochs: int, steps_per_epoch: int) -> None:
    schedule = Constant(kind="constant", epochs=epochs, lr=0.05)
    assert set(lrs(schedule, Rates(0.05, 0.05), steps_per_epoch)) == {0.05}


# torch's OneCycleLR

STEPS = 98
# study: max LR, div, final div, stepping, schedule steps, pct_start, epochs, cycled momentum, optimizer
RECIPES: dict[str, tuple[float, float, float, str, int, float, int, list[float] | None, str]] = {
    "chapter11": (0.0125, 10, 1, "epoch", 24, 0.25, 24, None, "SGD"),
    "s11_l2": (0.044422151755141255, 10, 1, "batch", 2352, 0.167, 24, None, "SGD"),
    "assignment8": (0.010235310218990263, 10, 1e4, "batch", 2352, 0.15, 24, [0.85, 0.95], "SGD"),
    "s11_l1": (0.03, 32, 1, "batch_and_epoch", 2400, 5 / 24, 24, [0.85, 0.95], "SGD"),
    "assignment10_adam": (0.191, 10, 1e4, "epoch", 25, 0.3, 25, [0.85, 0.95], "Adam"),
}


def torchs(
    lr_max: float,
    div: float,
    final_div: float,
    step: str,
    total: int,
    pct_start: float,
    epochs: int,
    momentum: list[float] | None,
    name: str,
    steps_per_epoch: int = STEPS,
) -> list[tuple[float, float | None]]:
    """The same from torch's own scheduler, stepped as the published notebooks step it."""
    target = optimizer(name, **({"momentum": 0.9} if name == "SGD" else {}))
    scheduler = OneCycleLR(
        target,
        lr_max,
        total_steps=total,
        pct_start=pct_start,
        anneal_strategy="linear",
        div_factor=div,
        final_div_factor=final_div,
        cycle_momentum=momentum is not None,
        base_momentum=momentum[0] if momentum else 0.85,
        max_momentum=momentum[1] if momentum else 0.95,
    )
    found, stepped = [], 0

    def advance() -> None:
        nonlocal stepped
        stepped += 1
        if stepped < total:  # the last step of all would be one too many, and changes nothing that is used
            scheduler.step()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(epochs):
            for _ in range(steps_per_epoch):
                group = target.param_groups[0]
                found.append((group["lr"], group.get("momentum", group.get("betas", [None])[0])))
                target.step()
                if step != "epoch":
                    advance()
            if step != "batch":
                advance()
    return found


def one_cycle(recipe: tuple[Any, ...]) -> tuple[OneCycle, str]:
    lr_max, div, final_div, step, total, pct_start, epochs, momentum, name = recipe
    schedule = OneCycle(
        kind="one_cycle_lr",
        epochs=epochs,
        lr_max=lr_max,
        pct_start=pct_start,
        div_factor=div,
        final_div_factor=final_div,
        step=step,
        total_steps=total,
        cycle_momentum=momentum,
    )
    return schedule, name


def assert_same(ours: list[Any], theirs: list[Any]) -> None:
    np.testing.assert_allclose([lr for lr, _ in ours], [lr for lr, _ in theirs], rtol=0, atol=1e-12)
    momenta = [[momentum or 0.0 for _, momentum in rows] for rows in (ours, theirs)]
    np.testing.assert_allclose(*momenta, rtol=0, atol=1e-12)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_a_published_recipes_rates_and_momenta_are_torchs_step_by_step(recipe: tuple[Any, ...]) -> None:
    schedule, name = one_cycle(recipe)
    target = optimizer(name, **({"momentum": 0.9} if name == "SGD" else {}))
    ours = used(schedule, resolve_rates(schedule, None), STEPS, target)
    assert_same(ours, torchs(*recipe))
    assert any(momentum != ours[0][1] for _, momentum in ours) == (recipe[7] is not None)
    if name == "Adam":
        assert target.param_groups[0]["betas"][1] == 0.999


@pytest.mark.parametrize("name", ["s11_l2", "assignment8", "assignment10_adam", "chapter11"])
def test_the_schedule_steps_in_all_are_those_of_the_stepping(name: str) -> None:
    schedule, _ = one_cycle(RECIPES[name])
    rates = resolve_rates(schedule, None)
    assert lr_milestones(schedule, rates, STEPS) == lr_milestones(
        schedule.model_copy(update={"total_steps": None}), rates, STEPS
    )


def test_s11_l1_stops_before_its_schedule_is_through() -> None:
    schedule, _ = one_cycle(RECIPES["s11_l1"])
    found = lrs(schedule, resolve_rates(schedule, None), STEPS)
    assert found[-1] > 0.03 / 32, "the schedule's last 24 of 2400 steps are its epochs' extra ones"
    # the schedule step of the last optimizer step is 2351 + 23 = 2374 of 2399
    up = 2400 * 5 / 24 - 1
    assert found[-1] == pytest.approx(0.03 + (0.03 / 32 - 0.03) * (2374 - up) / (2399 - up), abs=1e-15)


CYCLES = [
    (step, epochs, steps_per_epoch, spare)
    for step in ("batch", "epoch", "batch_and_epoch")
    for epochs, steps_per_epoch in ((1, 12), (12, 1), (5, 7), (4, 4))
    for spare in (0, 3)
    if (step, epochs, spare) != ("epoch", 1, 0)  # one schedule step is no cycle
]


@pytest.mark.parametrize(("step", "epochs", "steps_per_epoch", "spare"), CYCLES)
def test_any_one_cycle_is_torchs(step: str, epochs: int, steps_per_epoch: int, spare: int) -> None:
    total = {
        "batch": epochs * steps_per_epoch,
        "epoch": epochs,
        "batch_and_epoch": epochs * (steps_per_epoch + 1),
    }[step]
    recipe = (0.3, 20.0, 50.0, step, total + spare, 0.4, epochs, [0.8, 0.9], "SGD")
    schedule, _ = one_cycle(recipe)
    ours = used(schedule, resolve_rates(schedule, None), steps_per_epoch, optimizer(momentum=0.9))
    assert_same(ours, torchs(*recipe, steps_per_epoch=steps_per_epoch))


def test_a_peak_between_two_steps_is_not_rounded_away() -> None:
    schedule, _ = one_cycle(RECIPES["s11_l2"])
    found = lrs(schedule, resolve_rates(schedule, None), STEPS)
    up = 0.167 * 2352 - 1
    assert 391 < up < 392 and max(found) == max(found[391], found[392]) < schedule.lr_max  # type: ignore[operator]


# What the corners say between them


@pytest.mark.parametrize("name", ["s11_l1", "assignment10_adam"])
def test_rates_at_are_the_rates_that_are_used(name: str) -> None:
    schedule, _ = one_cycle(RECIPES[name])
    rates = resolve_rates(schedule, None)
    steps = range(schedule.epochs * STEPS)
    expected = rates_at(lr_milestones(schedule, rates, STEPS), list(steps))
    np.testing.assert_allclose(lrs(schedule, rates, STEPS), expected, rtol=0, atol=1e-15)


def test_corners_are_rising_whole_steps_as_ignite_wants_them() -> None:
    for recipe in RECIPES.values():
        schedule, _ = one_cycle(recipe)
        for corners in (
            lr_milestones(schedule, resolve_rates(schedule, None), STEPS),
            momentum_milestones(schedule, STEPS),
        ):
            steps = [step for step, _ in corners or []]
            assert steps == sorted(set(steps)) and all(isinstance(step, int) for step in steps)


# Resuming


@pytest.mark.parametrize("recipe", [RECIPES["s11_l1"], RECIPES["assignment10_adam"]], ids=["SGD", "Adam"])
def test_a_schedule_that_is_resumed_goes_on_with_the_same_rates_and_momenta(recipe: tuple[Any, ...]) -> None:
    schedule, name = one_cycle(recipe)
    whole = used(
        schedule,
        resolve_rates(schedule, None),
        STEPS,
        optimizer(name, **({"momentum": 0.9} if name == "SGD" else {})),
    )
    seen: list[tuple[float, float]] = []

    def start() -> tuple[Engine, dict[str, Any]]:
        target = optimizer(name, **({"momentum": 0.9} if name == "SGD" else {}))

        def step(engine: Engine, batch: int) -> None:
            group = target.param_groups[0]
            seen.append((group["lr"], group["momentum"] if name == "SGD" else group["betas"][0]))

        trainer = Engine(step)
        rates = lr_milestones(schedule, resolve_rates(schedule, None), STEPS)
        handlers = attach_schedule(trainer, target, rates, momentum_milestones(schedule, STEPS))
        return trainer, {"trainer": trainer, "optimizer": target, **handlers}

    trainer, state = start()
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=9), trainer.terminate)
    trainer.run(range(STEPS), max_epochs=schedule.epochs)
    saved = {key: value.state_dict() for key, value in state.items()}
    assert len(seen) == 9 * STEPS
    trainer, state = start()
    for key, value in saved.items():
        state[key].load_state_dict(value)
    trainer.run(range(STEPS), max_epochs=schedule.epochs)
    assert seen == whole


# Rates left open


def test_numbers_of_the_study_win_over_what_was_found() -> None:
    found = Rates(0.001, 0.5)
    assert resolve_rates(Triangle(epochs=2, peak_epoch=1), found) == found
    assert resolve_rates(Triangle(epochs=2, peak_epoch=1, lr_max=0.2), found) == Rates(0.001, 0.2)
    assert resolve_rates(Triangle(epochs=2, peak_epoch=1, lr_min=0.2), found) == Rates(0.2, 0.5)
    assert resolve_rates(Triangle(epochs=2, peak_epoch=1, lr_min=0.1, lr_max=0.3), found) == Rates(0.1, 0.3)
    assert resolve_rates(Constant(kind="constant", epochs=1, lr="find"), found) == Rates(0.5, 0.5)
    one_cycle_ = OneCycle(kind="one_cycle_lr", epochs=2, lr_max="find", pct_start=0.5, div_factor=10)
    assert resolve_rates(one_cycle_, found) == Rates(0.05, 0.5)


@pytest.mark.parametrize(
    "schedule",
    [
        Triangle(epochs=2, peak_epoch=1, lr_max=0.1),
        Constant(kind="constant", epochs=1, lr="find"),
        OneCycle(kind="one_cycle_lr", epochs=2, lr_max="find", pct_start=0.5),
    ],
)
def test_a_rate_that_was_not_found_is_an_error(schedule: Schedule) -> None:
    with pytest.raises(StudyError, match='^schedule: a rate is "find", but there is no range test result$'):
        resolve_rates(schedule, None)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"pct_start": 0.01, "step": "epoch"},
            "schedule.pct_start: 0.01 of 10 steps leave no rising leg; raise",
        ),
        ({"pct_start": 0.1, "step": "epoch"}, "schedule.pct_start: 0.1 of 10 steps leave no rising leg"),
        (
            {"pct_start": 0.5, "total_steps": 39},
            "schedule.total_steps: 39 are fewer than the 40 that are stepped",
        ),
        (
            {"pct_start": 0.5, "step": "epoch", "total_steps": 9},
            "schedule.total_steps: 9 are fewer than the 10",
        ),
        (
            {"pct_start": 0.5, "step": "batch_and_epoch", "total_steps": 48},
            "schedule.total_steps: 48 are fewer than the 49",
        ),
    ],
)
def test_a_one_cycle_that_cannot_be_stepped_is_refused(options: dict[str, Any], expected: str) -> None:
    schedule = OneCycle(kind="one_cycle_lr", epochs=10, lr_max=0.1, cycle_momentum=[0.8, 0.9], **options)
    for corners in (
        lambda: lr_milestones(schedule, Rates(0.01, 0.1), 4),
        lambda: momentum_milestones(schedule, 4),
    ):
        with pytest.raises(StudyError) as caught:
            corners()
        assert str(caught.value).startswith(expected)


def test_as_many_schedule_steps_as_are_stepped_are_enough() -> None:
    schedule = OneCycle(kind="one_cycle_lr", epochs=10, lr_max=0.1, pct_start=0.5, total_steps=40)
    assert lr_milestones(schedule, Rates(0.01, 0.1), 4)[-1][0] == 39


def test_momentum_is_cycled_only_where_the_schedule_says_so() -> None:
    assert momentum_milestones(Triangle(epochs=2, peak_epoch=1), 5) is None
    assert momentum_milestones(OneCycle(kind="one_cycle_lr", epochs=2, lr_max=1, pct_start=0.5), 5) is None


def test_rates_stay_finite_at_the_ends_of_what_the_schema_allows() -> None:
    schedule = OneCycle(
        kind="one_cycle_lr", epochs=2, lr_max=1e6, pct_start=0.5, div_factor=1e-6, final_div_factor=1e-6
    )
    assert all(map(math.isfinite, lrs(schedule, resolve_rates(schedule, None), 5)))
