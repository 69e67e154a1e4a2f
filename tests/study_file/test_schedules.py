"""``[schedule]`` and ``[range_test]``: defaults, what is impossible, and when a range test is wanted."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import StudyError
from harness.study_file.load import resolve
from tests.conftest import TINY

ONE_CYCLE = {"kind": "one_cycle_lr", "epochs": 4, "lr_max": 0.1, "pct_start": 0.3}


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (
            {"kind": "tringle", "epochs": 1},
            "kind: expected 'triangle', 'one_cycle_lr', 'constant', .*'module:function', got 'trin",
        ),
        ({"kind": ["triangle"], "epochs": 1}, "kind: .*'module:function', got"),
        ({"kind": "constant", "epochs": 1, "lr": 0.1, "peak_epoch": 1}, "peak_epoch: unknown key"),
        ({"kind": "constant", "epochs": 1}, "lr: missing"),
        ({**ONE_CYCLE, "pct_start": 0}, "pct_start: .*more than 0, got 0"),
        ({**ONE_CYCLE, "pct_start": 1}, "pct_start: .*less than 1, got 1"),
        ({**ONE_CYCLE, "div_factor": 0}, "div_factor: .*at least"),
        ({**ONE_CYCLE, "div_factor": 5e-324}, "div_factor: .*at least"),
        ({**ONE_CYCLE, "final_div_factor": 5e-324}, "final_div_factor: .*at least"),
        ({**ONE_CYCLE, "step": "iteration"}, "step: .*'batch', 'epoch' or 'batch_and_epoch'"),
        ({**ONE_CYCLE, "cycle_momentum": [0.9]}, "cycle_momentum: .*at least 2"),
        ({**ONE_CYCLE, "cycle_momentum": [0.85, 1.0]}, r"cycle_momentum\[1\]: .*less than 1"),
        ({**ONE_CYCLE, "total_steps": 0}, "total_steps: .*at least 1"),
        ({**ONE_CYCLE, "lr_max": "fnd"}, "lr_max: expected a rate >= 0 or \"find\", got 'fnd'"),
        ({"epochs": 4, "peak_epoch": 1, "final": "find"}, 'final: expected a rate >= 0 or "lr_min"'),
    ],
)
def test_an_impossible_schedule_is_refused_with_the_key(schedule: Any, expected: str) -> None:
    with pytest.raises(StudyError, match=rf"^study: schedule\.{expected}"):
        resolve({**TINY, "schedule": schedule})


@pytest.mark.parametrize("schedule", [[], "constant"])
def test_a_schedule_is_a_table(schedule: Any) -> None:
    with pytest.raises(StudyError, match="^study: schedule: expected a table"):
        resolve({**TINY, "schedule": schedule})


def test_a_schedule_without_a_kind_is_a_triangle_that_finds_its_rates_and_does_not_annihilate() -> None:
    schedule = resolve({**TINY, "schedule": {"epochs": 4, "peak_epoch": 1}}).schedule
    rates = {"lr_max": "find", "lr_min": "find", "final": "lr_min"}
    assert schedule.model_dump() == {"kind": "triangle", "epochs": 4, "peak_epoch": 1.0, **rates}


@pytest.mark.parametrize(
    ("schedule", "finds"),
    [
        ({"epochs": 4, "peak_epoch": 1}, True),
        ({"epochs": 4, "peak_epoch": 1, "lr_max": 0.1}, True),
        ({"epochs": 4, "peak_epoch": 1, "lr_max": 0.1, "lr_min": 0.01}, False),
        (ONE_CYCLE, False),
        ({**ONE_CYCLE, "lr_max": "find"}, True),
        ({"kind": "constant", "epochs": 4, "lr": "find"}, True),
        ({"kind": "constant", "epochs": 4, "lr": 0.1}, False),
    ],
)
def test_a_range_test_is_wanted_where_a_rate_is_left_open_or_where_it_is_asked_for(
    schedule: dict[str, Any], finds: bool
) -> None:
    study = resolve({**TINY, "schedule": schedule})
    assert study.schedule.finds == finds == (study.range_test_settings is not None)
    assert resolve({**TINY, "schedule": schedule, "range_test": {}}).range_test_settings is not None
