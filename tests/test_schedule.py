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
from harness.schedule import (
    Rates,
    Schedule,
    corners,
    lr_milestones,
    momentum_milestones,
    rates_at,
    resolve_rates,
)
from harness.study_file.schedules import Constant, OneCycle, Triangle
from harness.training.engines import attach_schedule

Used = list[tuple[float, float | None]]  # rate and momentum (or beta1) of each step


def optimizer(name: str = "SGD") -> torch.optim.Optimizer:
    weights = [torch.nn.Parameter(torch.zeros(1))]
    return (
        torch.optim.Adam(weights, 123.0) if name == "Adam" else torch.optim.SGD(weights, 123.0, momentum=0.9)
    )


def rate_and_momentum(target: torch.optim.Optimizer) -> tuple[float, float | None]:
    group = target.param_groups[0]
    return group["lr"], group.get("momentum", group.get("betas", [None])[0])


def one_cycle(**options: Any) -> OneCycle:
    return OneCycle(**{"kind": "one_cycle_lr", "epochs": 2, "lr_max": 0.1, "pct_start": 0.5, **options})


def engine(
    schedule: Schedule, rates: Rates, steps_per_epoch: int, target: torch.optim.Optimizer, found: Used
) -> tuple[Engine, dict[str, Any]]:
    """A real engine that notes what the optimizer has at each step, and all that it takes to resume it."""
    trainer = Engine(lambda engine, batch: found.append(rate_and_momentum(target)))
    milestones = lr_milestones(schedule, rates, steps_per_epoch)
    handlers = attach_schedule(trainer, target, milestones, momentum_milestones(schedule, steps_per_epoch))
    return trainer, {"trainer": trainer, "optimizer": target, **handlers}


def used(
    schedule: Schedule, steps_per_epoch: int, rates: Rates | None = None, target: Any = None
) -> tuple[list[float], list[float | None]]:
    """The rates and momenta that the optimizer has in a run."""
    found: Used = []
    rates = rates or resolve_rates(schedule, None)
    trainer, _ = engine(schedule, rates, steps_per_epoch, target or optimizer(), found)
    trainer.run(range(steps_per_epoch), max_epochs=schedule.epochs)
    assert len(found) == schedule.epochs * steps_per_epoch
    return [lr for lr, _ in found], [momentum for _, momentum in found]


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
    found, _ = used(schedule, steps_per_epoch)
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
    found, _ = used(Triangle(epochs=epochs, peak_epoch=peak), steps_per_epoch, Rates(0.01, 0.1))
    assert all(0.01 - 1e-15 <= lr <= 0.1 + 1e-15 for lr in found)
    assert found[0] == found[-1] == 0.01 and max(found) == 0.1
    # at the step nearest to where the study puts it that leaves both legs
    nearest = min(max(round(peak * steps_per_epoch), 1), len(found) - 2)
    assert found.index(0.1) == nearest


@pytest.mark.parametrize(("epochs", "steps_per_epoch"), [(1, 1), (3, 4)])
def test_a_constant_rate_is_that_rate_at_every_step(epochs: int, steps_per_epoch: int) -> None:
    schedule = Constant(kind="constant", epochs=epochs, lr=0.05)
    assert set(used(schedule, steps_per_epoch)[0]) == {0.05}


# torch's OneCycleLR

STEPS = 98
PUBLISHED: dict[str, tuple[OneCycle, int, str]] = {
    name: (
        one_cycle(
            lr_max=lr_max, div_factor=div, final_div_factor=final_div, step=step, total_steps=total,
            pct_start=pct_start, epochs=epochs, cycle_momentum=momentum,
        ),
        STEPS,
        kind,
    )
    for name, lr_max, div, final_div, step, total, pct_start, epochs, momentum, kind in [
        ("chapter11", 0.0125, 10, 1, "epoch", 24, 0.25, 24, None, "SGD"),
        ("s11_l2", 0.044422151755141255, 10, 1, "batch", 2352, 0.167, 24, None, "SGD"),
        ("assignment8", 0.010235310218990263, 10, 1e4, "batch", 2352, 0.15, 24, [0.85, 0.95], "SGD"),
        ("s11_l1", 0.03, 32, 1, "batch_and_epoch", 2400, 5 / 24, 24, [0.85, 0.95], "SGD"),
        ("assignment10_adam", 0.191, 10, 1e4, "epoch", 25, 0.3, 25, [0.85, 0.95], "Adam"),
    ]
}  # fmt: skip
OTHERS = {
    f"{step} {epochs} {steps_per_epoch} {spare}": (
        one_cycle(
            lr_max=0.3, div_factor=20.0, final_div_factor=50.0, step=step, pct_start=0.4, epochs=epochs,
            total_steps=epochs * in_epoch + spare, cycle_momentum=[0.8, 0.9],
        ),
        steps_per_epoch,
        "SGD",
    )
    for epochs, steps_per_epoch in ((1, 12), (12, 1), (5, 7), (4, 4))
    for step, in_epoch in (("batch", steps_per_epoch), ("epoch", 1), ("batch_and_epoch", steps_per_epoch + 1))
    for spare in (0, 3)
    if (step, epochs, spare) != ("epoch", 1, 0)  # one schedule step is no cycle
}  # fmt: skip


def torchs(schedule: OneCycle, steps_per_epoch: int, name: str) -> Used:
    """The same from torch's own scheduler, stepped as the published notebooks step it."""
    target, momentum, total = optimizer(name), schedule.cycle_momentum, schedule.total_steps
    assert isinstance(schedule.lr_max, float) and total is not None
    scheduler = OneCycleLR(
        target,
        schedule.lr_max,
        total_steps=total,
        pct_start=schedule.pct_start,
        anneal_strategy="linear",
        div_factor=schedule.div_factor,
        final_div_factor=schedule.final_div_factor,
        cycle_momentum=momentum is not None,
        base_momentum=momentum[0] if momentum else 0.85,
        max_momentum=momentum[1] if momentum else 0.95,
    )
    found: Used = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in range(schedule.epochs * steps_per_epoch):
            found.append(rate_and_momentum(target))
            target.step()
            last_of_epoch = (step + 1) % steps_per_epoch == 0
            for _ in range((schedule.step != "epoch") + (schedule.step != "batch" and last_of_epoch)):
                if scheduler.last_epoch < total - 1:  # one more would change nothing that is used
                    scheduler.step()
    return found


@pytest.mark.parametrize("recipe", (PUBLISHED | OTHERS).values(), ids=(PUBLISHED | OTHERS).keys())
def test_rates_and_momenta_are_torchs_step_by_step(recipe: tuple[OneCycle, int, str]) -> None:
    schedule, steps_per_epoch, name = recipe
    target = optimizer(name)
    rates, momenta = used(schedule, steps_per_epoch, target=target)
    expected_rates, expected_momenta = zip(*torchs(*recipe), strict=True)
    np.testing.assert_allclose(rates, expected_rates, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        np.array(momenta, dtype=float), np.array(expected_momenta, dtype=float), rtol=0, atol=1e-12
    )
    assert schedule.cycle_momentum is not None or len(set(momenta)) == 1
    if name == "Adam":
        assert target.param_groups[0]["betas"][1] == 0.999


@pytest.mark.parametrize("name", ["s11_l2", "assignment8", "assignment10_adam", "chapter11"])
def test_the_schedule_steps_in_all_are_those_of_the_stepping(name: str) -> None:
    schedule, steps, _ = PUBLISHED[name]
    rates = resolve_rates(schedule, None)
    counted = schedule.model_copy(update={"total_steps": None})
    assert lr_milestones(schedule, rates, steps) == lr_milestones(counted, rates, steps)


def test_s11_l1_stops_before_its_schedule_is_through() -> None:
    found, _ = used(*PUBLISHED["s11_l1"][:2])
    assert found[-1] > 0.03 / 32, "the schedule's last 24 of 2400 steps are its epochs' extra ones"
    # the schedule step of the last optimizer step is 2351 + 23 = 2374 of 2399
    up = 2400 * 5 / 24 - 1
    assert found[-1] == pytest.approx(0.03 + (0.03 / 32 - 0.03) * (2374 - up) / (2399 - up), abs=1e-15)


def test_a_peak_between_two_steps_is_not_rounded_away() -> None:
    schedule, steps, _ = PUBLISHED["s11_l2"]
    found, _ = used(schedule, steps)
    up = 0.167 * 2352 - 1
    assert 391 < up < 392 and max(found) == max(found[391], found[392]) < schedule.lr_max  # type: ignore[operator]


# Corners


@pytest.mark.parametrize("name", ["s11_l1", "assignment10_adam"])
def test_rates_at_are_the_rates_that_are_used(name: str) -> None:
    schedule, steps, _ = PUBLISHED[name]
    milestones = lr_milestones(schedule, resolve_rates(schedule, None), steps)
    expected = rates_at(milestones, list(range(schedule.epochs * steps)))
    np.testing.assert_allclose(used(schedule, steps)[0], expected, rtol=0, atol=1e-15)


def test_milestones_are_rising_whole_steps_as_ignite_wants_them() -> None:
    for schedule, steps, _ in PUBLISHED.values():
        rates = lr_milestones(schedule, resolve_rates(schedule, None), steps)
        for milestones in (rates, momentum_milestones(schedule, steps)):
            at = [step for step, _ in milestones or []]
            assert at == sorted(set(at)) and all(isinstance(step, int) for step in at)


@pytest.mark.parametrize(
    "schedule",
    [
        Triangle(epochs=4, peak_epoch=1.5, lr_max=0.1, lr_min=0.01, final=0.001),
        Constant(kind="constant", epochs=4, lr=0.1),
        one_cycle(epochs=4, div_factor=10, pct_start=0.3),
        one_cycle(epochs=4, div_factor=10, pct_start=0.3, total_steps=60),
    ],
)
def test_the_corners_that_a_study_asks_for_are_what_training_steps(schedule: Schedule) -> None:
    rates = resolve_rates(schedule, None)
    at, values = zip(*corners(schedule, rates, 9), strict=True)
    stepped = rates_at(lr_milestones(schedule, rates, 9), list(range(36)))
    planned = np.interp(np.arange(36) / 9, at, values)
    # a triangle's corners are rounded to steps: the two differ by less than what one step changes
    assert np.abs(stepped - planned).max() <= np.abs(np.diff(stepped)).max() + 1e-12
    assert max(values) == 0.1


def test_rates_stay_finite_at_the_ends_of_what_the_schema_allows() -> None:
    schedule = one_cycle(lr_max=1e6, div_factor=1e-6, final_div_factor=1e-6)
    assert all(map(math.isfinite, used(schedule, 5)[0]))


# Resuming


@pytest.mark.parametrize("name", ["s11_l1", "assignment10_adam"])
def test_a_schedule_that_is_resumed_has_the_same_rates_and_momenta(name: str) -> None:
    schedule, _, kind = PUBLISHED[name]
    rates, seen = resolve_rates(schedule, None), []  # type: ignore[var-annotated]
    whole = list(zip(*used(schedule, STEPS, target=optimizer(kind)), strict=True))
    trainer, state = engine(schedule, rates, STEPS, optimizer(kind), seen)
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=9), trainer.terminate)
    trainer.run(range(STEPS), max_epochs=schedule.epochs)
    saved = {key: value.state_dict() for key, value in state.items()}
    assert len(seen) == 9 * STEPS
    trainer, state = engine(schedule, rates, STEPS, optimizer(kind), seen)
    for key, value in saved.items():
        state[key].load_state_dict(value)
    trainer.run(range(STEPS), max_epochs=schedule.epochs)
    assert seen == whole


# Rates left open, and what is refused


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Triangle(epochs=2, peak_epoch=1), Rates(0.001, 0.5)),
        (Triangle(epochs=2, peak_epoch=1, lr_max=0.2), Rates(0.001, 0.2)),
        (Triangle(epochs=2, peak_epoch=1, lr_min=0.2), Rates(0.2, 0.5)),
        (Triangle(epochs=2, peak_epoch=1, lr_min=0.1, lr_max=0.3), Rates(0.1, 0.3)),
        (Constant(kind="constant", epochs=1, lr="find"), Rates(0.5, 0.5)),
        (one_cycle(lr_max="find", div_factor=10), Rates(0.05, 0.5)),
    ],
)
def test_numbers_of_the_study_win_over_what_was_found(schedule: Schedule, expected: Rates) -> None:
    assert resolve_rates(schedule, Rates(0.001, 0.5)) == expected


@pytest.mark.parametrize(
    "schedule",
    [
        Triangle(epochs=2, peak_epoch=1, lr_max=0.1),
        Constant(kind="constant", epochs=1, lr="find"),
        one_cycle(lr_max="find"),
    ],
)
def test_a_rate_that_was_not_found_is_an_error(schedule: Schedule) -> None:
    with pytest.raises(StudyError, match='^schedule: a rate is "find", but there is no range test result$'):
        resolve_rates(schedule, None)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"pct_start": 0.01, "step": "epoch"}, "pct_start: 0.01 of 10 steps leave no rising leg; raise"),
        ({"pct_start": 0.1, "step": "epoch"}, "pct_start: 0.1 of 10 steps leave no rising leg"),
        ({"total_steps": 39}, "total_steps: 39 are fewer than the 40 that are stepped"),
        ({"step": "epoch", "total_steps": 9}, "total_steps: 9 are fewer than the 10"),
        ({"step": "batch_and_epoch", "total_steps": 48}, "total_steps: 48 are fewer than the 49"),
    ],
)
def test_a_one_cycle_that_cannot_be_stepped_is_refused(options: dict[str, Any], expected: str) -> None:
    schedule = one_cycle(epochs=10, cycle_momentum=[0.8, 0.9], **options)
    with pytest.raises(StudyError, match=f"^schedule.{expected}"):
        lr_milestones(schedule, Rates(0.01, 0.1), 4)
    with pytest.raises(StudyError, match=f"^schedule.{expected}"):
        momentum_milestones(schedule, 4)


def test_as_many_schedule_steps_as_are_stepped_are_enough() -> None:
    assert lr_milestones(one_cycle(epochs=10, total_steps=40), Rates(0.01, 0.1), 4)[-1][0] == 39


def test_momentum_is_cycled_only_where_the_schedule_says_so() -> None:
    assert momentum_milestones(Triangle(epochs=2, peak_epoch=1), 5) is None
    assert momentum_milestones(one_cycle(), 5) is None
