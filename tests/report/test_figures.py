"""Figures of what was measured: drawn from real runs, the same bytes twice, captions that name every n."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.analysis.results import Results, read_results
from harness.analysis.summary import VariantSummary, summarise
from harness.report import figures
from harness.report.style import Picture

Lab = Callable[..., Any]


def read(lab: Any) -> tuple[Results, list[VariantSummary]]:
    results = read_results(lab.study, lab.folder, lab.study.seeds, list(lab.study.recipes))
    return results, summarise(results)


@pytest.fixture
def two(lab: Lab) -> tuple[Results, list[VariantSummary]]:
    """Two variants, of three runs and of one."""
    place = lab(
        variants={"no_cutout": {"augment.train": []}},
        references={"published": {"test_accuracy": 0.8, "runs": 2}},
    )
    for seed in range(3):
        place.finish("base", seed)
    place.finish("no_cutout", 1)
    return read(place)


def size(picture: Picture | None) -> tuple[int, int]:
    assert picture is not None
    return Image.open(io.BytesIO(picture.png)).size


def test_figures_are_the_same_bytes_twice(two: tuple[Results, list[VariantSummary]]) -> None:
    results, summaries = two
    for draw in (
        lambda: figures.curves(results, summaries),
        lambda: figures.accuracy(results, summaries),
        lambda: figures.per_class(results, "base"),
        lambda: figures.confusion(results, "base"),
    ):
        first = draw()
        same = first == draw()
        assert first is not None and same
        assert size(first)[0] == 1600


def test_captions_name_the_spread_and_its_n(two: tuple[Results, list[VariantSummary]]) -> None:
    results, summaries = two
    curves, accuracy = figures.curves(results, summaries), figures.accuracy(results, summaries)
    assert curves is not None and accuracy is not None
    assert "± 1 std over seeds (divisor n - 1), n = 1 to 3 finished runs a variant" in curves.caption
    assert "n: base 3, no_cutout 1" in accuracy.caption
    assert "± 1 std over 3 seeds" in figures.per_class(results, "base").caption
    assert "One run (seed 1): no ±" in figures.per_class(results, "no_cutout").caption
    assert figures.confusion(results, "base").caption.count("Pooled over 3 seeds;") == 1


def test_captions_name_the_weakest_class_and_the_most_frequent_error(lab: Lab) -> None:
    place = lab(seeds=[0])
    labels = place.data.evaluation.labels
    predicted = np.where((labels == 3) & (np.arange(360) % 2 == 0), 8, labels)
    place.finish("base", 0, logits=np.eye(10)[predicted] * 4)
    results, _ = read(place)
    share = 100 * np.mean(predicted[labels == 3] == 8)
    assert f"Lowest: 3, {100 - share:.1f} %" in figures.per_class(results, "base").caption
    assert f"3 taken for 8, {share:.1f} % of its images" in figures.confusion(results, "base").caption


def axes_of(picture: Picture | None) -> Any:
    assert picture is not None and picture.figure is not None
    return picture.figure.axes[0]


def test_a_variant_that_only_failed_has_its_place_in_the_figure(lab: Lab) -> None:
    place = lab(variants={"lost": {"optimizer.momentum": 0.99}})
    for seed in range(3):
        place.finish("base", seed)
        place.fail("lost", seed)
    axes = axes_of(figures.accuracy(*read(place)))
    assert [text.get_text() for text in axes.get_yticklabels()] == ["base", "lost"]
    assert axes.texts[1].get_text() == "3 of 3 failed"


@pytest.mark.parametrize(("target", "far"), [(0.1, True), (0.99, False)])
def test_a_far_target_does_not_squeeze_the_dots(lab: Lab, target: float, far: bool) -> None:
    place = lab(target={"test_accuracy": target}, references={"all": {"test_accuracy": 1.0}})
    labels = place.data.evaluation.labels
    for seed in range(3):
        predicted = np.where(np.arange(360) < 353 + seed, labels, (labels + 1) % 10)
        place.finish("base", seed, logits=np.eye(10)[predicted] * 3)
    picture = figures.accuracy(*read(place))
    low, high = axes_of(picture).get_xlim()
    assert high - low < 0.06 and high < 1.01  # nothing is above 100 %
    assert bool(low > target) is far
    assert picture is not None and ("A triangle at the border" in picture.caption) is far


def test_nothing_is_drawn_of_a_study_without_a_finished_run(lab: Lab) -> None:
    place = lab()
    place.fail("base", 0)
    results, summaries = read(place)
    assert figures.curves(results, summaries) is None
    assert figures.accuracy(results, summaries) is None


def test_a_hundred_oddly_named_classes_can_be_drawn(lab: Lab) -> None:
    place = lab(seeds=[0])
    names = ["$\\frac{", "<b>", "犬", "a\nb", "x" * 300] + [f"class {number}" for number in range(95)]
    rng = np.random.default_rng(0)
    place.finish("base", 0, logits=rng.normal(size=(360, 100)), classes=names)
    results, _ = read(place)
    per_class = figures.per_class(results, "base")
    assert len(names) == 100 and "empty cells are zero" in figures.confusion(results, "base").caption
    # of the 10 classes that have images none is left out
    assert size(per_class)[1] == round(200 * (1.0 + 0.24 * 10))
