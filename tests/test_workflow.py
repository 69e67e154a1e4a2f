"""What a request comes to; the way there is tested by the command: tests/test_study.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.workflow import Outcome, StudyOutcome


def outcome(
    *, failed: bool = False, lost: bool = False, met: bool = True, required: bool = True
) -> StudyOutcome:
    findings: Any = SimpleNamespace(met=met, failures=["a run"] * failed)
    return StudyOutcome(Path("results/tiny"), findings, ("a run",) * lost, required)


@pytest.mark.parametrize(
    ("status", "study"),
    [
        (0, outcome()),
        (0, outcome(met=False, required=False)),
        (3, outcome(met=False)),
        (3, outcome(met=False, lost=True)),
        (1, outcome(met=False, failed=True)),
        (1, outcome(lost=True)),
    ],
)
def test_the_exit_status_follows_from_what_became_of_a_study(status: int, study: StudyOutcome) -> None:
    assert study.status == status


def test_the_highest_exit_status_of_several_studies_counts() -> None:
    assert Outcome((outcome(), outcome(met=False), outcome(failed=True))).status == 3
    assert Outcome(()).status == 0
