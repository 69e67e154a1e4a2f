"""The reliability diagram: how far confidence is from accuracy, of one run and of several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.report.figures import calibration
from tests.report.figures.conftest import caption, drawn

Lab = Callable[..., Any]


def axes_of(lab: Any) -> Any:
    picture = drawn(lab, "calibration")
    assert picture is not None and picture.figure is not None
    return picture.figure.axes


def test_it_says_how_far_confidence_is_from_accuracy(lab: Lab) -> None:
    place = lab(seeds=[0])
    labels = place.data.evaluation.labels
    predicted = np.where(np.arange(360) < 180, labels, (labels + 1) % 10)  # half of them right, all certain
    place.finish("base", 0, logits=np.eye(10)[predicted] * 40)
    said = caption(place, "calibration")
    assert "Dots: accuracy of the run with seed 0" in said and "95 % Clopper-Pearson" in said
    assert "Mean confidence is 50.00 points above accuracy" in said


def test_whiskers_are_one_std_over_the_seeds_and_single_runs_are_dashes(lab: Lab) -> None:
    place = lab()
    for seed in range(3):
        place.finish("base", seed, logits=40 * place.logits(180 + 60 * seed))  # all in the last bin
    top, _ = axes_of(place)
    (bar,) = top.containers
    ((x, low), (_, high)) = bar.lines[2][0].get_segments()[0].tolist()
    assert x == pytest.approx(1) and (low, high) == pytest.approx((4 / 6 - 1 / 6, 4 / 6 + 1 / 6))
    said = caption(place, "calibration")
    assert "mean ± 1 std over the 3 seeds" in said and "Dashes: single runs" in said
    ece = 100 * (1 - np.array([180, 240, 300]) / 360)
    assert [text.get_text() for text in top.texts] == [
        f"ECE = {ece.mean():.2f} ± {ece.std(ddof=1):.2f} points\nn = 3 runs of 360 images"
    ]


def test_bins_with_few_images_are_merged_and_hold_all_images(lab: Lab) -> None:
    place = lab(seeds=[0, 1])
    for seed in range(2):
        noise = np.random.default_rng(seed).normal(size=(360, 10))
        place.finish("base", seed, logits=0.6 * noise + 0.6 * place.logits(300))
    _, below = axes_of(place)
    heights = [bar.get_height() for bar in below.patches]
    assert sum(heights) == pytest.approx(360) and min(heights) >= calibration.FEWEST_IMAGES
    runs = place.results().of("base", "finished")
    assert len(heights) < max(np.count_nonzero(run.predictions.reliability.counts) for run in runs)
