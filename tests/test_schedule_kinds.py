"""Piecewise, cosine and step schedules: the rate of every step, against torch's schedulers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    SequentialLR,
    StepLR,
)

from harness.errors import StudyError
from harness.schedule import Rates, Schedule, corners, lr_milestones, rates_at, resolve_rates
from harness.study_file.load import resolve
from harness.study_file.schedules import Cosine, Piecewise, Step, Triangle
from tests.conftest import TINY
from tests.test_schedule import Used, engine, optimizer, used


def stepped(make: Callable[[Optimizer], LRScheduler], lr: float, steps: int) -> list[float]:
    """The rates of a scheduler of torch that is stepped after every batch."""

    def rates() -> Iterator[float]:
        target = SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
        scheduler = make(target)
        for _ in range(steps):
            yield target.param_groups[0]["lr"]
            target.step()
            scheduler.step()

    return list(rates())


def check(schedule: Schedule, expected: list[float], steps_per_epoch: int, found: Any = None) -> None:
    """Compare what an optimizer has at every step, and what a preview says of it."""
    rates = resolve_rates(schedule, found)
    np.testing.assert_allclose(used(schedule, steps_per_epoch, rates)[0], expected, rtol=0, atol=1e-12)
    milestones = lr_milestones(schedule, rates, steps_per_epoch)
    at = [step for step, _ in milestones]
    assert at == sorted(set(at)) and all(isinstance(step, int) for step in at)
    planned = rates_at(milestones, list(range(len(expected))))
    np.testing.assert_allclose(planned, expected, rtol=0, atol=1e-12)


# Piecewise

RECORD = [[0, 0.0], [5, 0.4], [22, 0.04], [24, 0.04]]
SHAPES: dict[str, tuple[list[list[float]], int, int]] = {
    "warm-up and flat tail": (RECORD, 24, 98),
    "the same, tail left out": (RECORD[:3], 24, 98),
    "zig-zag": ([[0, 0.01], [1, 0.1], [2, 0.01], [3, 0.1], [4, 0.01]], 5, 7),
    "jump": ([[0, 0.1], [2, 0.1], [2, 0.01], [4, 0.02]], 4, 5),
    "jump at the start": ([[0, 0.1], [0, 0.5], [2, 0.1]], 3, 5),
    "three at one epoch": ([[0, 0.1], [1, 0.5], [1, 0.3], [1, 0.2], [2, 0.1]], 3, 5),
    "begins late": ([[1.5, 0.3], [2, 0.1]], 3, 4),
    "corners between steps": ([[0, 0.0], [0.3, 0.4], [0.37, 0.1], [1.9, 0.2]], 2, 10),
    "several in one step": ([[0, 0.1], [1.01, 0.3], [1.02, 0.7], [1.03, 0.2], [3, 0.1]], 3, 4),
    "jump between steps": ([[0, 0.1], [1.1, 0.1], [1.1, 0.3], [3, 0.3]], 4, 3),
    "one corner": ([[0, 0.1]], 2, 3),
    "one step": ([[0, 0.1], [1, 0.3]], 1, 1),
    "one step an epoch": ([[0, 0.1], [2, 0.3], [5, 0.0]], 5, 1),
}


def line(points: list[list[float]], epochs: int, steps_per_epoch: int) -> Callable[[int], float]:
    """The rate at a step: by definition on the line at its epoch, jumps done; the end is the last step."""
    last = (epochs * steps_per_epoch - 1) / steps_per_epoch
    ends = points[-1][0] == epochs
    at = [min(epoch, last) if ends else epoch for epoch, _ in points]

    def rate(step: int) -> float:
        now = step / steps_per_epoch
        after = next((i for i, epoch in enumerate(at) if epoch > now + 1e-12), len(at))
        if after in (0, len(at)):
            return points[max(after - 1, 0)][1]
        share = (now - at[after - 1]) / (at[after] - at[after - 1])
        return points[after - 1][1] * (1 - share) + points[after][1] * share

    return rate


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_a_piecewise_schedule_is_torchs_lambda_schedule_step_by_step(shape: Any) -> None:
    points, epochs, steps_per_epoch = shape
    twin = stepped(
        lambda target: LambdaLR(target, line(points, epochs, steps_per_epoch)), 1.0, epochs * steps_per_epoch
    )
    schedule = Piecewise(kind="piecewise", epochs=epochs, points=points)
    check(schedule, twin, steps_per_epoch)
    factors = schedule.model_copy(update={"lr_max": 0.3})
    check(factors, [0.3 * rate for rate in twin], steps_per_epoch)
    found = schedule.model_copy(update={"lr_max": "find"})
    check(found, [0.25 * rate for rate in twin], steps_per_epoch, Rates(0.001, 0.25))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_piecewise_schedule_is_on_its_lines(data: st.DataObject) -> None:
    epochs, steps_per_epoch = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
    corner = st.sampled_from([*range(epochs + 1), *(step / steps_per_epoch for step in range(epochs))])
    epoch = st.one_of(corner, st.floats(0, epochs))
    at = sorted(data.draw(st.lists(epoch, min_size=1, max_size=6)))
    points = [[where, data.draw(st.sampled_from([0.0, 0.1, 0.25, 1.0]))] for where in map(float, at)]
    schedule = Piecewise(kind="piecewise", epochs=epochs, points=points)
    found, _ = used(schedule, steps_per_epoch)
    rate = line(points, epochs, steps_per_epoch)
    near = [abs(where * steps_per_epoch - round(where * steps_per_epoch)) for where in at]
    if all(distance == 0 or distance > 1e-6 for distance in near):  # rounding decides where a jump is
        np.testing.assert_allclose(found, [rate(step) for step in range(len(found))], rtol=0, atol=1e-9)
    assert min(value for _, value in points) <= min(found) <= max(found) <= max(value for _, value in points)


@pytest.mark.parametrize(("epochs", "peak", "steps"), [(24, 5, 98), (3, 1, 5), (12, 4, 1)])
def test_a_triangle_can_be_written_with_corners(epochs: int, peak: int, steps: int) -> None:
    triangle = Triangle(epochs=epochs, peak_epoch=peak, lr_max=0.4, lr_min=0.03)
    points = [[0.0, 0.03], [float(peak), 0.4], [float(epochs), 0.03]]
    piecewise = Piecewise(kind="piecewise", epochs=epochs, points=points)
    rates = resolve_rates(piecewise, None)
    assert rates == Rates(0.03, 0.4) == resolve_rates(triangle, None)
    assert lr_milestones(piecewise, rates, steps) == lr_milestones(triangle, rates, steps)


def test_the_momentum_of_a_piecewise_schedule_has_corners_of_its_own() -> None:
    schedule = Piecewise(
        kind="piecewise",
        epochs=4,
        points=[[0.0, 0.1]],
        momentum_points=[[0.0, 0.95], [2.0, 0.85], [4.0, 0.95]],
    )
    for name in ("SGD", "Adam"):
        _, momenta = used(schedule, 5, target=optimizer(name))
        expected = [line([[0, 0.95], [2, 0.85], [4, 0.95]], 4, 5)(step) for step in range(20)]
        np.testing.assert_allclose(np.array(momenta, float), expected, rtol=0, atol=1e-12)


# Cosine


@pytest.mark.parametrize(
    ("epochs", "steps", "final"), [(24, 98, 0.0), (1, 2, 0.1), (3, 7, 0.01), (2, 1, 0.0)]
)
def test_a_cosine_is_torchs_step_by_step(epochs: int, steps: int, final: float) -> None:
    schedule = Cosine(kind="cosine", epochs=epochs, lr_max=0.4, final=final)
    twin = stepped(
        lambda target: CosineAnnealingLR(target, epochs * steps, eta_min=final), 0.4, epochs * steps
    )
    check(schedule, twin, steps)
    found = schedule.model_copy(update={"lr_max": "find"})
    check(found, twin, steps, Rates(0.04, 0.4))
    assert resolve_rates(schedule, None) == Rates(final, 0.4)


@pytest.mark.parametrize(("epochs", "steps", "warmup"), [(24, 98, 5), (4, 5, 1), (6, 10, 0.5), (3, 4, 2)])
def test_a_cosine_after_a_warm_up_is_torchs_two_schedulers_in_sequence(
    epochs: int, steps: int, warmup: float
) -> None:
    schedule = Cosine(kind="cosine", epochs=epochs, lr_max=0.3, warmup_epochs=warmup, warmup_start=0.2)
    first = round(warmup * steps)

    def make(target: Optimizer) -> LRScheduler:
        rise = LinearLR(target, start_factor=0.2, total_iters=first)
        fall = CosineAnnealingLR(target, epochs * steps - first)
        return SequentialLR(target, [rise, fall], [first])

    check(schedule, stepped(make, 0.3, epochs * steps), steps)


@pytest.mark.parametrize(
    ("epochs", "steps", "cycle", "mult"), [(14, 10, 2, 2), (10, 7, 2.5, 1), (3, 20, 5, 1), (9, 3, 1, 3)]
)
def test_a_cosine_that_begins_again_is_torchs_warm_restarts(
    epochs: int, steps: int, cycle: float, mult: int
) -> None:
    schedule = Cosine(
        kind="cosine", epochs=epochs, lr_max=0.3, final=0.01, cycle_epochs=cycle, cycle_mult=mult
    )
    period = round(cycle * steps)
    twin = stepped(
        lambda target: CosineAnnealingWarmRestarts(target, period, mult, eta_min=0.01), 0.3, epochs * steps
    )
    check(schedule, twin, steps)


def test_a_cosine_of_one_step_is_refused() -> None:
    choices: list[dict[str, Any]] = [{}, {"cycle_epochs": 0.1}, {"warmup_epochs": 0.9}]
    for options in choices:
        schedule = Cosine(kind="cosine", epochs=1, lr_max=0.1, **options)
        with pytest.raises(StudyError, match="schedule: a cosine over . of . steps; it needs two"):
            lr_milestones(schedule, Rates(0.0, 0.1), 5 if options else 1)


# Steps


@pytest.mark.parametrize(
    ("epochs", "steps", "milestones", "gamma"),
    [
        (24, 98, [12, 18], 0.1),
        (4, 5, [1, 2, 3], 0.5),
        (3, 10, [0.5, 2.5], 0.2),
        (5, 1, [1, 2], 0.3),
        (2, 3, [], 1),
    ],
)
def test_steps_are_torchs_step_by_step(
    epochs: int, steps: int, milestones: list[float], gamma: float
) -> None:
    schedule = Step(kind="step", epochs=epochs, lr_max=0.1, milestones=milestones, gamma=gamma)
    at = [round(epoch * steps) for epoch in milestones]
    check(schedule, stepped(lambda t: MultiStepLR(t, at, gamma), 0.1, epochs * steps), steps)
    assert resolve_rates(schedule, None).lr_min == pytest.approx(0.1 * gamma ** len(milestones))


@pytest.mark.parametrize(("epochs", "steps", "every"), [(24, 98, 8), (3, 10, 0.1), (3, 10, 0.3), (2, 5, 7)])
def test_equal_steps_are_torchs_step_by_step(epochs: int, steps: int, every: float) -> None:
    schedule = Step(kind="step", epochs=epochs, lr_max=0.1, every=every, gamma=0.5)
    period = round(every * steps)
    check(schedule, stepped(lambda t: StepLR(t, period, 0.5), 0.1, epochs * steps), steps)


# All of them

KINDS: dict[str, Schedule] = {
    "piecewise": Piecewise(kind="piecewise", epochs=4, points=[[0, 0.0], [1, 0.4], [3, 0.1], [3, 0.02]]),
    "cosine": Cosine(kind="cosine", epochs=4, lr_max=0.4, warmup_epochs=1, cycle_epochs=1),
    "step": Step(kind="step", epochs=4, lr_max=0.4, milestones=[1, 2.5]),
}


@pytest.mark.parametrize("schedule", KINDS.values(), ids=KINDS.keys())
def test_a_schedule_that_is_resumed_has_the_same_rates(schedule: Schedule) -> None:
    rates, seen = resolve_rates(schedule, None), Used()
    whole = used(schedule, 9)[0]
    trainer, state = engine(schedule, rates, 9, optimizer(), seen)
    trainer.run(range(9), max_epochs=2)
    saved = {key: value.state_dict() for key, value in state.items()}
    trainer, state = engine(schedule, rates, 9, optimizer(), seen)
    for key, value in saved.items():
        state[key].load_state_dict(value)
    trainer.run(range(9), max_epochs=schedule.epochs)
    assert [lr for lr, _ in seen] == whole


@pytest.mark.parametrize("schedule", KINDS.values(), ids=KINDS.keys())
def test_the_corners_of_the_figure_are_what_training_steps(schedule: Schedule) -> None:
    rates = resolve_rates(schedule, None)
    at, values = zip(*corners(schedule, rates, 9.0), strict=True)
    assert at[0] == 0.0 and list(at) == sorted(at) and max(values) == 0.4
    jumps = [epoch for epoch in at if at.count(epoch) > 1]
    steps = [step for step in range(36) if step / 9 not in jumps]
    stepped = rates_at(lr_milestones(schedule, rates, 9), steps)
    np.testing.assert_allclose(stepped, np.interp(np.array(steps) / 9, at, values), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"points": []}, r"\.points: expected a list of at least 1"),
        ({"points": [[0, "lr_max"]]}, r"\.points\[0\]\[1\]: expected a number"),
        ({"points": [[0, 0.1, 2]]}, r"\.points\[0\]: "),
        ({"points": [[0, -0.1]]}, r"\.points\[0\]\[1\]: expected at least 0"),
        ({"points": [[2, 0.1], [1, 0.1]]}, ": points: the epochs must rise, got 1 after 2"),
        ({"points": [[0, 0.1], [5, 0.1]]}, ": points: a corner at epoch 5 of 4; set schedule.points too"),
        ({"points": [[0, 0.1]], "momentum_points": [[0, 1.0]]}, ": momentum_points: a momentum must be"),
        ({"points": [[0, 0.1]], "lr": 0.1}, r"\.lr: unknown key"),
        ({"kind": "cosine", "warmup_epochs": 4}, ": warmup_epochs must be below epochs, got 4 of 4"),
        ({"kind": "cosine", "warmup_start": 0.5}, ": warmup_start goes with warmup_epochs"),
        ({"kind": "cosine", "cycle_mult": 2}, ": cycle_mult goes with cycle_epochs"),
        ({"kind": "step"}, ": expected milestones, such as"),
        ({"kind": "step", "milestones": [1], "every": 2}, ": expected milestones, such as"),
        ({"kind": "step", "milestones": [2, 1]}, ": milestones: the epochs must rise"),
        ({"kind": "step", "milestones": [1, 4]}, ": milestones: epoch 4 of 4; set schedule.milestones too"),
        ({"kind": "step", "every": 1e-5}, ": every: falls 400000 times"),
        ({"kind": "step", "every": 1, "gamma": 0}, r"\.gamma: expected more than 0"),
    ],
)  # fmt: skip
def test_an_impossible_schedule_is_refused_with_the_key(schedule: dict[str, Any], expected: str) -> None:
    with pytest.raises(StudyError, match=f"^study: schedule{expected}"):
        resolve({**TINY, "schedule": {"kind": "piecewise", "epochs": 4, **schedule}})


@pytest.mark.parametrize(
    ("schedule", "finds"),
    [
        ({"kind": "piecewise", "points": [[0, 0.1]]}, False),
        ({"kind": "piecewise", "points": [[0, 1]], "lr_max": "find"}, True),
        ({"kind": "cosine"}, True),
        ({"kind": "cosine", "lr_max": 0.1}, False),
        ({"kind": "step", "every": 1}, True),
        ({"kind": "torch.optim.lr_scheduler:StepLR"}, True),
    ],
)
def test_a_range_test_is_run_where_lr_max_is_left_open(schedule: dict[str, Any], finds: bool) -> None:
    study = resolve({**TINY, "schedule": {"epochs": 4, **schedule}})
    assert study.schedule.finds == finds == (study.range_test_settings is not None)
