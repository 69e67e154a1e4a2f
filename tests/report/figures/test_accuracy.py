"""The figure of every run against the target: a place for each variant, and lines that squeeze no dots."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.report.figures import accuracy
from tests.report.figures.conftest import caption, drawn

Lab = Callable[..., Any]


def axes_of(lab: Any) -> Any:
    picture = drawn(lab, "accuracy")
    assert picture is not None and picture.figure is not None
    return picture.figure.axes[0]


def test_the_n_of_each_variant_stands_beside_its_runs_and_the_best_is_on_top(lab: Lab) -> None:
    place = lab(variants={"no_cutout": {"augment.train": []}})
    for variant, seed in (("base", 0), ("base", 2), ("no_cutout", 1)):
        place.finish(variant, seed, logits=place.logits(300 if variant == "base" else 310))
    axes = axes_of(place)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["no_cutout", "base"]
    assert [text.get_text().split("\n")[1] for text in axes.texts] == ["n = 1", "n = 2"]


def test_a_variant_that_only_failed_has_its_place(lab: Lab) -> None:
    place = lab(variants={"lost": {"optimizer.momentum": 0.99}})
    for seed in range(3):
        place.finish("base", seed)
        place.fail("lost", seed)
    axes = axes_of(place)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["base", "lost"]
    assert [text.get_text() for text in axes.texts].count("3 of 3 failed") == 1


@pytest.mark.parametrize(("target", "far"), [(0.1, True), (0.98, False)])
def test_the_axis_shows_the_spread_and_a_far_target_is_named_at_the_border(
    lab: Lab, target: float, far: bool
) -> None:
    place = lab(target={"test_accuracy": target}, references={"all": {"test_accuracy": 1.0}})
    for seed in range(3):
        place.finish("base", seed, logits=place.logits(351 + 3 * seed))
    axes = axes_of(place)
    low, high = axes.get_xlim()
    assert high - low < 0.06 and high <= 1  # nothing is above 100 %
    assert bool(low > target) is far
    goal = f"target {100 * target:g} %"
    assert (axes.get_title("left") == f"◀ {goal}") is far
    assert ("Dashed" in caption(place, "accuracy")) is not far


def test_a_bar_of_mean_and_std_ends_at_100_percent(lab: Lab) -> None:
    place = lab()
    for seed, right in enumerate((360, 360, 350)):
        place.finish("base", seed, logits=place.logits(right))
    (bar,) = axes_of(place).containers
    (segment,) = bar.lines[2][0].get_segments()
    assert segment[:, 0].max() == 1 and axes_of(place).get_xlim()[1] == 1
    assert "A bar that would pass 0 or 100 % ends there." in caption(place, "accuracy")


def test_each_value_is_marked_where_it_is_drawn(lab: Lab) -> None:
    place = lab()
    for seed, right in enumerate((300, 320, 350)):
        place.finish("base", seed, logits=place.logits(right))
    picture = drawn(place, "accuracy")
    assert picture is not None
    texts = [mark.text for mark in picture.marks]
    assert texts[:3] == [f"base, seed {seed}: {value} %" for seed, value in enumerate((83.33, 88.89, 97.22))]
    assert texts[3].startswith("base: mean ± std 89.8 ± 7.0 %") and texts[3].endswith("(n = 3)")
    pixels = np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB")).astype(int)
    for mark in picture.marks:
        row, column = round(mark.y * pixels.shape[0]), round(mark.x * pixels.shape[1])
        red, _, blue = pixels[row, column]
        assert blue > red + 60  # the variant's blue, not the white beside it


def test_of_many_variants_the_best_and_the_baseline_are_drawn(lab: Lab) -> None:
    variants = {f"v{at}": {"loss.l1": 1e-6 * (at + 1)} for at in range(accuracy.MOST_ROWS + 3)}
    place = lab(seeds=[0], variants=variants)
    for at, variant in enumerate(place.study.recipes):
        place.finish(variant, 0, logits=place.logits(200 + at))  # the baseline is the worst
    names = [text.get_text() for text in axes_of(place).get_yticklabels()]
    assert len(names) == accuracy.MOST_ROWS
    assert names[0] == f"v{accuracy.MOST_ROWS + 2}" and names[-1] == "base"
    assert "the 31 with the best mean and the baseline, of 36 variants" in caption(place, "accuracy")
