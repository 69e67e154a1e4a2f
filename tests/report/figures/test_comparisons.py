"""The figure of differences between variants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.report.figures.style import DPI
from tests.report.figures.conftest import caption, drawn, size

Lab = Callable[..., Any]


def test_the_caption_names_the_marks_and_what_is_corrected(lab: Lab) -> None:
    place = lab(variants={"no_cutout": {"augment.train": []}, "slow": {"optimizer.momentum": 0.1}})
    for variant in place.study.recipes:
        place.finish(variant, 0)
        place.finish(variant, 1)
    said = caption(place, "comparisons")
    assert "Diamonds: difference of the means; bars: its 95 % interval" in said
    assert "p is corrected by Holm over 2 comparisons; the intervals are not" in said


def test_all_pairs_are_named_in_pairs(lab: Lab) -> None:
    place = lab(comparisons="all", variants={"no_cutout": {"augment.train": []}})
    for seed in (0, 1):
        place.finish("base", seed)
        place.finish("no_cutout", seed)
    assert "a variant is better than the second, left" in caption(place, "comparisons")


def test_a_single_variant_has_no_comparisons(lab: Lab) -> None:
    place = lab()
    place.finish()
    assert drawn(place, "comparisons") is None


def test_a_variant_that_only_failed_has_its_failures_where_its_difference_would_be(lab: Lab) -> None:
    place = lab(variants={"lost": {"optimizer.momentum": 0.99}})
    for seed in range(4):
        place.finish("base", seed)
        place.fail("lost", seed)
    picture = drawn(place, "comparisons")
    assert picture is not None and picture.figure is not None
    (axes,) = picture.figure.axes
    assert "4 of 4 failed, base 0 of 4" in [text.get_text() for text in axes.texts]
    assert "the numbers of failed runs stand in its place" in picture.caption


def test_more_comparisons_than_can_be_read_are_cut_and_say_so(lab: Lab) -> None:
    names = [f"v{number}" for number in range(32)]
    place = lab(seeds=[0], variants={name: {"optimizer.momentum": 0.1} for name in names})
    for name in ("base", *names):
        place.finish(name, 0)
    picture = drawn(place, "comparisons")
    assert picture is not None and picture.caption.endswith(
        "Drawn: 30 of 32 comparisons, those of the best means."
    )
    assert size(picture)[1] == round(DPI * (1.0 + 0.27 * 30))
