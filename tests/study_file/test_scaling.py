"""``--set schedule.epochs``: what is placed by epochs moves with their number, and is said."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import StudyError
from harness.study_file.config import Study
from harness.study_file.load import load_study, resolve
from tests.conftest import TINY

LR = {"epochs": 20, "lr_max": 0.1}


def study(schedule: dict[str, Any], *settings: tuple[str, Any], **tables: Any) -> Study:
    return resolve({**TINY, "schedule": schedule, **tables}, settings)


@pytest.mark.parametrize(
    ("schedule", "key", "moved"),
    [
        ({**LR, "kind": "triangle", "lr_min": 0.01, "peak_epoch": 5}, "peak_epoch", 2.5),
        ({**LR, "kind": "piecewise", "points": [[0, 0.0], [5, 1.0], [20, 0.1]]}, "points",
         [[0.0, 0.0], [2.5, 1.0], [10.0, 0.1]]),
        ({**LR, "kind": "piecewise", "points": [[0, 1]], "momentum_points": [[20, 0.9]]}, "momentum_points",
         [[10.0, 0.9]]),
        ({**LR, "kind": "cosine", "warmup_epochs": 4}, "warmup_epochs", 2.0),
        ({**LR, "kind": "cosine", "cycle_epochs": 5}, "cycle_epochs", 2.5),
        ({**LR, "kind": "step", "milestones": [12, 18]}, "milestones", [6.0, 9.0]),
        ({**LR, "kind": "step", "every": 5}, "every", 2.5),
        ({**LR, "kind": "one_cycle_lr", "pct_start": 0.2, "total_steps": 101}, "total_steps", 50),
    ],
)  # fmt: skip
def test_each_kind_of_schedule_keeps_its_form(schedule: dict[str, Any], key: str, moved: Any) -> None:
    scaled = study(schedule, ("schedule.epochs", 10))
    assert getattr(scaled.recipes["base"].schedule, key) == moved and scaled.schedule.epochs == 10
    (note,) = [note for note in scaled.notes if f".{key} = " in note]
    assert note.startswith(f"schedule.{key} = ") and " for 10 epochs, in proportion (" in note
    assert f"--set schedule.{key}=..." in note
    kept = study(schedule, ("schedule.epochs", 20))
    assert getattr(kept.schedule, key) == schedule[key] and kept.notes == []


@pytest.mark.parametrize(("start", "epochs", "moved"), [(22, 3, 3), (22, 48, 43), (1, 3, 1), (24, 1, 1)])
def test_an_average_starts_after_the_same_share(start: int, epochs: int, moved: int) -> None:
    schedule = {"kind": "constant", "epochs": 24, "lr": 0.1}
    scaled = study(schedule, ("schedule.epochs", epochs), averaging={"kind": "swa", "start_epoch": start})
    assert scaled.averaging.model_dump()["start_epoch"] == moved


def test_the_headline_study_can_be_tried_in_three_epochs() -> None:
    trial = load_study("onecycle", settings=["schedule.epochs=3"])
    assert trial.schedule.model_dump()["peak_epoch"] == 0.625
    assert trial.notes == [
        "schedule.peak_epoch = 0.625 for 3 epochs, in proportion (5 for 24); --set schedule.peak_epoch=... "
        "changes it"
    ]


@pytest.mark.parametrize(
    "placed", [("schedule.peak_epoch", 1), ("schedule", {"epochs": 3, "peak_epoch": 1, "lr_max": 0.1})]
)
def test_what_the_same_command_places_stays(placed: tuple[str, Any]) -> None:
    settings = sorted([placed, ("schedule.epochs", 2)])
    trial = study({"epochs": 20, "peak_epoch": 5, "lr_max": 0.1}, *settings)
    assert trial.schedule.model_dump()["peak_epoch"] == 1 and trial.notes == []


def test_each_variant_scales_from_its_own_epochs() -> None:
    variants = {
        "late": {"schedule.peak_epoch": 10},
        "long": {"schedule.epochs": 40},
        "cosine": {"schedule": {"kind": "cosine", "epochs": 30, "warmup_epochs": 3, "lr_max": 0.1}},
    }
    trial = study({"epochs": 20, "peak_epoch": 5, "lr_max": 0.1}, ("schedule.epochs", 10), variants=variants)
    schedules = {name: recipe.schedule.model_dump() for name, recipe in trial.recipes.items()}
    peaks = {name: schedule.get("peak_epoch") for name, schedule in schedules.items()}
    assert peaks == {"base": 2.5, "late": 5.0, "long": 1.25, "cosine": None}
    assert schedules["cosine"]["warmup_epochs"] == 1.0
    assert len(trial.notes) == 5 and "replaces their own values in long and cosine" in trial.notes[-1]
    one = study({"epochs": 20, "peak_epoch": 5, "lr_max": 0.1},
                ("variants.late.schedule.epochs", 10), variants=variants)  # fmt: skip
    assert one.recipes["late"].schedule.model_dump()["peak_epoch"] == 5.0
    assert one.schedule.model_dump()["peak_epoch"] == 5


def test_values_that_a_grid_tries_stay() -> None:
    grid = {"schedule.peak_epoch": [1, 4]}
    trial = study({"epochs": 20, "peak_epoch": 5, "lr_max": 0.1}, ("schedule.epochs", 10), grid=grid)
    peaks = [recipe.schedule.model_dump()["peak_epoch"] for recipe in trial.recipes.values()]
    assert peaks == [2.5, 1, 4]


def test_a_file_that_contradicts_itself_stays_a_mistake() -> None:
    with pytest.raises(StudyError, match="peak_epoch must lie between 0 and epochs, got 5 of 3"):
        study({"epochs": 3, "peak_epoch": 5, "lr_max": 0.1})
    with pytest.raises(StudyError, match="peak_epoch must lie between 0 and epochs"):
        study({"epochs": 3, "peak_epoch": 5, "lr_max": 0.1}, ("schedule.epochs", 10))
    with pytest.raises(StudyError, match="schedule.epochs: expected a whole number"):
        study({"epochs": 3, "peak_epoch": 1, "lr_max": 0.1}, ("schedule.epochs", "x"))


@pytest.mark.parametrize("value", ["x", [[1]], {"a": 1}, True, None, float("nan")])
def test_a_placement_of_a_wrong_type_is_left_to_the_schema(value: Any) -> None:
    for key in ("peak_epoch", "points", "milestones", "total_steps"):
        with pytest.raises(StudyError):
            study({"kind": "step", "epochs": 3, key: value}, ("schedule.epochs", 10))
