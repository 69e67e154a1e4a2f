"""The figure of a range test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.report.figures.conftest import drawn

Lab = Callable[..., Any]


def test_it_says_how_the_choice_was_made_and_whether_it_was_used(lab: Lab) -> None:
    place = lab()
    place.finish()
    place.sweep()
    used = drawn(place, "range_test")
    place.sweep(used=False)
    unused = drawn(place, "range_test")
    assert used is not None and unused is not None
    assert "“accuracy”, LRMIN = LRMAX / 10; used by the runs" in used.caption
    assert "Losses above the frame are cut off" in used.caption
    assert "not used: the study sets its rates itself" in unused.caption
    assert unused.png != used.png
