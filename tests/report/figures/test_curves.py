"""The figure of loss and accuracy over the epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.report.figures.conftest import caption, drawn

Lab = Callable[..., Any]


def test_the_figure_names_the_band_and_each_variants_n(lab: Lab) -> None:
    place = lab(variants={"no_cutout": {"augment.train": []}})
    place.finish("no_cutout", 1)
    assert "One run (n = 1): no band." in caption(place, "curves")
    for seed in range(3):
        place.finish("base", seed)
    assert "bands: ± 1 std over seeds (divisor n - 1)" in caption(place, "curves")
    picture = drawn(place, "curves")
    assert picture is not None and picture.figure is not None
    (legend,) = picture.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["base (n = 3)", "no_cutout (n = 1)"]


def test_the_weights_as_trained_are_a_thin_line_where_their_average_was_evaluated(lab: Lab) -> None:
    place = lab()
    place.finish("base", 0)
    assert "Thin" not in caption(place, "curves")
    place.finish("base", 1, raw=0.02)
    assert "Thin: the weights as trained; thick: their average, which is evaluated." in caption(
        place, "curves"
    )


def test_every_epoch_of_a_line_can_be_pointed_at(lab: Lab) -> None:
    place = lab(seeds=[0, 1])
    for seed in range(2):
        place.finish("base", seed)
    picture = drawn(place, "curves")
    assert picture is not None
    texts = [mark.text for mark in picture.marks]
    last = place.results().of("base", "finished")
    mean = sum(run.history[-1]["eval_accuracy"] for run in last) / 2
    (found,) = [text for text in texts if text.startswith("base, epoch 4: test accuracy")]
    assert f"{100 * mean:.2f} ±" in found and found.endswith("% (n = 2)")
    assert len(texts) == 4 * 4  # panels and epochs
    assert all(0 < mark.x < 1 and 0 < mark.y < 1 for mark in picture.marks)
