"""The reliability diagram: how far confidence is from accuracy, of one run and of several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.report.figures.conftest import caption

Lab = Callable[..., Any]


def test_it_says_how_far_confidence_is_from_accuracy(lab: Lab) -> None:
    place = lab(seeds=[0])
    labels = place.data.evaluation.labels
    predicted = np.where(np.arange(360) < 180, labels, (labels + 1) % 10)  # half of them right, all certain
    place.finish("base", 0, logits=np.eye(10)[predicted] * 40)
    said = caption(place, "calibration")
    assert "One run (seed 0): accuracy of the images in each of 15 bins" in said
    assert "Confidence is on average 50.00 points above accuracy" in said


def test_several_seeds_are_pooled(lab: Lab) -> None:
    place = lab()
    for seed in range(3):
        place.finish("base", seed)
    said = caption(place, "calibration")
    assert "Pooled over 3 seeds" in said and "Dashes: single runs" in said
