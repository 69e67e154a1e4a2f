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
    assert "“accuracy”; it should" in used.caption and "used by the runs" in used.caption
    assert "Losses above the frame are cut off" in used.caption
    assert "not used: the study gives its own rates" in unused.caption
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
    assert "(line: the median of 3 sweeps; points and band: their choices)" in three.caption
    assert nearer.png != three.png


def test_range_tests_of_the_runs_are_drawn_together(lab: Lab) -> None:
    place = lab(schedule={"epochs": 4, "peak_epoch": 1}, range_test={"per": "seed"})
    for seed, peak in ((0, 0.6), (1, 0.7)):
        place.sweep(seed=seed, peaks=(peak, peak))
        place.finish(seed=seed)
    picture = drawn(place, "range_test")
    assert picture is not None and "4 sweeps of up to 60 training batches" in picture.caption
    assert "for each run by itself: the line is the median of 2 runs, the band their range" in picture.caption
    rates = drawn(place, "learning_rate")
    assert rates is not None and "Each run has its own LRMAX: thin lines are the other runs" in rates.caption


def test_the_chosen_rates_are_named_with_their_values_and_each_sweeps_choice_is_a_point(lab: Lab) -> None:
    place = lab()
    place.sweep(peaks=(0.6, 0.7, 0.65))
    picture = drawn(place, "range_test")
    assert picture is not None and picture.figure is not None
    record = place.results().range_tests["base"].record
    names = [f"LRMIN\n{record['lr_min']:.3g}", f"LRMAX\n{record['lr_max']:.3g}"]
    for axes in picture.figure.axes:
        assert [text.get_text() for text in axes.texts] == names
    assert [mark.text.split(",")[0] for mark in picture.marks[3:]] == [
        f"chosen: {rate:.4g}" for rate in record["choices"]
    ]
    (legend,) = picture.figure.legends
    assert legend.get_title().get_text() == "criterion: accuracy; LRMIN = LRMAX / 10"
