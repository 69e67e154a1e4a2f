"""The figure of loss and accuracy over the epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.report.figures.conftest import caption

Lab = Callable[..., Any]


def test_the_caption_names_the_band_and_its_n(lab: Lab) -> None:
    place = lab(variants={"no_cutout": {"augment.train": []}})
    place.finish("no_cutout", 1)
    assert "One finished run: no band." in caption(place, "curves")
    for seed in range(3):
        place.finish("base", seed)
    expected = "± 1 std over seeds (divisor n - 1), n = 1 to 3 finished runs a variant"
    assert expected in caption(place, "curves")


def test_the_weights_as_trained_are_a_thin_line_where_their_average_was_evaluated(lab: Lab) -> None:
    place = lab()
    place.finish("base", 0)
    assert "Thin" not in caption(place, "curves")
    place.finish("base", 1, raw=0.02)
    assert "Thin: the weights as trained, whose average is evaluated." in caption(place, "curves")
