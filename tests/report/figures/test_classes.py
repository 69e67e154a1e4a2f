"""Figures of a variant's classes: what they say of several runs and of one, and any names and numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from harness.report.figures.style import DPI
from tests.report.figures.conftest import caption, drawn, size

Lab = Callable[..., Any]


def test_captions_name_the_spread_and_its_n(lab: Lab) -> None:
    place = lab(variants={"no_cutout": {"augment.train": []}})
    for seed in range(3):
        place.finish("base", seed)
    place.finish("no_cutout", 1)
    assert "± 1 std over 3 seeds" in caption(place, "per_class")
    assert "the run with seed 1; whiskers: 95 % Clopper-Pearson" in caption(place, "per_class", "no_cutout")
    assert caption(place, "confusion").count("Pooled over 3 seeds;") == 1


def test_captions_name_the_weakest_class_and_the_most_frequent_error(lab: Lab) -> None:
    place = lab(seeds=[0])
    labels = place.data.evaluation.labels
    predicted = np.where((labels == 3) & (np.arange(360) % 2 == 0), 8, labels)
    place.finish("base", 0, logits=np.eye(10)[predicted] * 4)
    share = 100 * np.mean(predicted[labels == 3] == 8)
    assert f"Lowest: 3, {100 - share:.1f} %" in caption(place, "per_class")
    assert f"3 predicted as 8, {share:.1f} % of its images" in caption(place, "confusion")


def test_a_hundred_oddly_named_classes_can_be_drawn(lab: Lab) -> None:
    place = lab(seeds=[0])
    names = ["$\\frac{", "<b>", "犬", "a\nb", "x" * 300] + [f"class {number}" for number in range(95)]
    place.finish("base", 0, logits=np.random.default_rng(0).normal(size=(360, 100)), classes=names)
    assert "empty cells are 0" in caption(place, "confusion")
    # of the 10 classes that have images none is left out
    assert size(drawn(place, "per_class"))[1] == round(DPI * (1.0 + 0.24 * 10))


def test_whiskers_stay_inside_0_to_100_percent(lab: Lab) -> None:
    place = lab()
    labels = place.data.evaluation.labels
    for seed in range(3):  # class 0 is always right, in class 1 one run of three is wrong about most images
        wrong = (labels == 1) & (np.arange(360) % 4 > 0) & (seed == 0)
        place.finish("base", seed, logits=3 * np.eye(10)[np.where(wrong, 2, labels)])
    picture = drawn(place, "per_class")
    assert picture is not None and picture.figure is not None
    (axes,) = picture.figure.axes
    bars: list[Any] = axes.containers
    ends = [segment[:, 0] for bar in bars for segment in bar.lines[2][0].get_segments()]
    assert len(ends) == 10 and max(map(max, ends)) == 1 and min(map(min, ends)) < 0.7
    assert axes.get_xlim()[0] >= 0 and axes.get_xlim()[1] <= 1
