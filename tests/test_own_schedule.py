"""Schedules by import path: functions, and torch's scheduler classes."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import numpy as np
import pytest
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, ExponentialLR

from harness.errors import StudyError
from harness.imports import ALLOWED
from harness.outline import make_outline
from harness.own_schedule import own_rates
from harness.schedule import Rates
from harness.study_file.load import resolve
from harness.study_file.schedules import OwnSchedule
from tests.conftest import TINY
from tests.test_schedule import used
from tests.test_schedule_kinds import stepped

CALLS = itertools.count()


def halves(step: int, steps_per_epoch: int, epochs: int, lr_max: float, every: int = 1) -> float:
    return float(lr_max * 0.5 ** (step // steps_per_epoch // every))


def negative(step: int, steps_per_epoch: int, epochs: int, lr_max: float) -> float:
    return 0.1 - step


def text(*arguments: Any) -> Any:
    return "high"


def counts(step: int, *arguments: Any) -> float:
    return float(next(CALLS))


def draws(step: int, *arguments: Any) -> float:
    return random.random()


def fails(step: int, *arguments: Any) -> float:
    return 1 / (5 - step)


class Slower(ExponentialLR):
    def __init__(self, optimizer: Any) -> None:
        super().__init__(optimizer, 0.9)


NUMBER = 3


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOWED, "tests")


def own(name: str, **settings: Any) -> OwnSchedule:
    path = name if ":" in name else f"tests.test_own_schedule:{name}"
    return OwnSchedule(**{"kind": path, "epochs": 3, "lr_max": 0.4, **settings})


def torchs(name: str, **settings: Any) -> OwnSchedule:
    return own(f"torch.optim.lr_scheduler:{name}", **settings)


def test_a_function_gives_the_rate_of_every_step() -> None:
    assert used(own("halves"), 2)[0] == [0.4, 0.4, 0.2, 0.2, 0.1, 0.1]
    assert used(own("halves", options={"every": 2}), 2)[0] == [0.4] * 4 + [0.2] * 2


def test_a_functions_rates_follow_what_the_range_test_finds() -> None:
    rates, _ = used(own("halves", lr_max="find"), 1, Rates(0.0, 0.8))
    assert rates == [0.8, 0.4, 0.2]


def test_a_scheduler_of_torch_needs_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOWED)
    schedule = torchs("CosineAnnealingWarmRestarts", options={"T_0": 4, "eta_min": 0.01})
    twin = stepped(lambda target: CosineAnnealingWarmRestarts(target, 4, eta_min=0.01), 0.4, 15)
    np.testing.assert_allclose(used(schedule, 5)[0], twin, rtol=0, atol=1e-12)


def test_a_scheduler_is_stepped_after_every_batch_or_epoch() -> None:
    per_epoch = used(torchs("ExponentialLR", options={"gamma": 0.5}, step="epoch"), 2)[0]
    assert per_epoch == [0.4, 0.4, 0.2, 0.2, 0.1, 0.1]
    per_batch = used(torchs("ExponentialLR", options={"gamma": 0.5}), 2)[0]
    np.testing.assert_allclose(per_batch, [0.4 * 0.5**step for step in range(6)], rtol=1e-12)


def test_a_scheduler_class_of_ones_own_is_taken() -> None:
    rates, _ = used(own("Slower"), 1)
    np.testing.assert_allclose(rates, [0.4, 0.36, 0.324], rtol=1e-12)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (own("other_package:halves"), "importing 'other_package' is not allowed; add --allow"),
        (own("halfs"), "AttributeError: .*halfs"),
        (own("NUMBER"), "expected a function, or a class of torch.optim.lr_scheduler"),
        (own("negative"), "at step 1 of 6 it gives -0.9; expected a rate >= 0"),
        (own("text"), "at step 0 of 6: ValueError: could not convert"),
        (own("fails"), "at step 5 of 6: ZeroDivisionError"),
        (own("halves", step="epoch"), "a function is called for every step; remove schedule.step"),
        (own("halves", options={"evry": 2}), "at step 0 of 6: TypeError: .*evry"),
        (torchs("ReduceLROnPlateau"), "at step 1 of 6: TypeError: .*metrics"),
        (torchs("OneCycleLR", options={"max_lr": 0.1, "total_steps": 6}), "step 0 of 6: Value.*momentum"),
        (torchs("StepLR"), "at step 0 of 6: TypeError: .*step_size"),
        (torchs("warnings"), "expected a function, or a class of torch.optim.lr_scheduler"),
        (torchs("math"), "AttributeError|expected a function"),
        (torchs("LambdaLR", options={"lr_lambda": "x"}), "at step 0 of 6: TypeError"),
    ],
)  # fmt: skip
def test_what_is_no_schedule_is_refused_in_one_line(schedule: OwnSchedule, expected: str) -> None:
    with pytest.raises(StudyError, match=f"^schedule.kind: .*{expected}"):
        own_rates(schedule, 0.4, 2)


@pytest.mark.parametrize("name", ["counts", "draws"])
def test_a_schedule_that_differs_from_call_to_call_is_refused_before_any_work(name: str) -> None:
    study = resolve({**TINY, "schedule": own(name).model_dump()})
    with pytest.raises(StudyError, match="^tiny: schedule.kind: .*called twice, it gives two schedules"):
        make_outline(study, "base", 160, (32, 32), 10)


def test_its_source_is_in_the_digest() -> None:
    from harness.identity import import_paths

    study = resolve({**TINY, "schedule": own("halves").model_dump()})
    assert "tests.test_own_schedule:halves" in list(import_paths(study.model_dump()))


def test_rates_are_finite_and_no_larger_than_any() -> None:
    assert all(map(math.isfinite, own_rates(torchs("ExponentialLR", options={"gamma": 0.0}), 0.4, 2)))
    with pytest.raises(StudyError, match="it gives"):
        own_rates(torchs("ExponentialLR", options={"gamma": 1e6}), 0.4, 2)
