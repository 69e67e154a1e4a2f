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


def test_several_sweeps_are_drawn_with_the_range_of_their_choices(lab: Lab) -> None:
    place = lab()
    place.finish()
    place.sweep(peaks=(0.6, 0.7, 0.65))
    three = drawn(place, "range_test")
    place.sweep(peaks=(0.7, 0.7, 0.65))
    nearer = drawn(place, "range_test")
    assert three is not None and nearer is not None
    assert "3 sweeps of up to 60 training batches" in three.caption
    assert "(the median of 3 sweeps; the band is the range of their choices), LRMIN" in three.caption
    assert nearer.png != three.png


def test_range_tests_of_the_runs_are_drawn_together(lab: Lab) -> None:
    place = lab(schedule={"epochs": 4, "peak_epoch": 1}, range_test={"per": "seed"})
    for seed, peak in ((0, 0.6), (1, 0.7)):
        place.sweep(seed=seed, peaks=(peak, peak))
        place.finish(seed=seed)
    picture = drawn(place, "range_test")
    assert picture is not None and "4 sweeps of up to 60 training batches" in picture.caption
    assert "of each run for itself: the line is the median of 2 runs, the band their range" in picture.caption
    rates = drawn(place, "learning_rate")
    assert (
        rates is not None
        and "Each run has an LRMAX of its own: thin lines are the other runs" in rates.caption
    )
