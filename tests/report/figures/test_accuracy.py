"""The figure of every run against the target: a place for each variant, and lines that squeeze no dots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.report.figures.conftest import caption, drawn

Lab = Callable[..., Any]


def axes_of(lab: Any) -> Any:
    picture = drawn(lab, "accuracy")
    assert picture is not None and picture.figure is not None
    return picture.figure.axes[0]


def test_the_caption_names_the_n_of_each_variant(lab: Lab) -> None:
    place = lab(variants={"no_cutout": {"augment.train": []}})
    for variant, seed in (("base", 0), ("base", 2), ("no_cutout", 1)):
        place.finish(variant, seed)
    assert "n: base 2, no_cutout 1" in caption(place, "accuracy")


def test_a_variant_that_only_failed_has_its_place(lab: Lab) -> None:
    place = lab(variants={"lost": {"optimizer.momentum": 0.99}})
    for seed in range(3):
        place.finish("base", seed)
        place.fail("lost", seed)
    axes = axes_of(place)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["base", "lost"]
    assert [text.get_text() for text in axes.texts].count("3 of 3 failed") == 1


@pytest.mark.parametrize(("target", "far"), [(0.1, True), (0.99, False)])
def test_a_far_target_does_not_squeeze_the_dots(lab: Lab, target: float, far: bool) -> None:
    place = lab(target={"test_accuracy": target}, references={"all": {"test_accuracy": 1.0}})
    labels = place.data.evaluation.labels
    for seed in range(3):
        predicted = np.where(np.arange(360) < 353 + seed, labels, (labels + 1) % 10)
        place.finish("base", seed, logits=np.eye(10)[predicted] * 3)
    low, high = axes_of(place).get_xlim()
    assert high - low < 0.06 and high < 1.01  # nothing is above 100 %
    assert bool(low > target) is far
    assert ("A triangle at the border" in caption(place, "accuracy")) is far
