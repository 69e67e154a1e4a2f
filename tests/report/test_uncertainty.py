"""Figures of how sure one can be: the same bytes twice, captions that say what is drawn."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.analysis.results import Results, read_results
from harness.report import uncertainty
from harness.report.style import Picture

Lab = Callable[..., Any]


def read(lab: Any) -> Results:
    return read_results(lab.study, lab.folder, lab.study.seeds, list(lab.study.recipes))


def size(picture: Picture | None) -> tuple[int, int]:
    assert picture is not None
    return Image.open(io.BytesIO(picture.png)).size


@pytest.fixture(scope="module")
def results(shared_lab: Lab) -> Results:
    made = shared_lab(variants={"no_cutout": {"augment.train": []}, "slow": {"optimizer.momentum": 0.1}})
    for seed in range(3):
        made.finish("base", seed)
        made.finish("no_cutout", seed, logits=np.random.default_rng(seed).normal(size=(360, 10)))
    made.finish("slow", 1)
    return read(made)


def test_the_figures_are_the_same_bytes_twice(results: Results) -> None:
    for draw in (
        lambda: uncertainty.comparisons(results),
        lambda: uncertainty.calibration(results, "base"),
        lambda: uncertainty.calibration(results, "slow"),
    ):
        first = draw()
        same = first == draw()
        assert first is not None and same
        assert size(first)[0] == 1600


def test_the_comparisons_name_the_baseline_and_what_is_corrected(results: Results) -> None:
    picture = uncertainty.comparisons(results)
    assert picture is not None
    assert "Diamonds: difference of the means; bars: its 95 % interval" in picture.caption
    assert "p is corrected by Holm over 2 comparisons; the intervals are not" in picture.caption


def test_a_single_variant_has_no_comparisons(lab: Lab) -> None:
    made = lab()
    made.finish()
    assert uncertainty.comparisons(read(made)) is None


def test_more_comparisons_than_can_be_read_are_cut_and_say_so(lab: Lab) -> None:
    names = [f"v{number}" for number in range(32)]
    made = lab(seeds=[0], variants={name: {"optimizer.momentum": 0.1} for name in names})
    for name in ("base", *names):
        made.finish(name, 0)
    picture = uncertainty.comparisons(read(made))
    assert picture is not None and picture.caption.endswith("The first 30 of 32.")
    assert size(picture)[1] == round(200 * (1.0 + 0.45 * 30))


def test_calibration_says_how_far_confidence_is_from_accuracy(lab: Lab) -> None:
    made = lab(seeds=[0])
    labels = made.data.evaluation.labels
    predicted = np.where(np.arange(360) < 180, labels, (labels + 1) % 10)  # half of them right, all certain
    made.finish("base", 0, logits=np.eye(10)[predicted] * 40)
    caption = uncertainty.calibration(read(made), "base").caption
    assert "One run (seed 0): accuracy of the images in each of 15 bins" in caption
    assert "Confidence is on average 50.00 points above accuracy" in caption


def test_several_seeds_are_pooled(results: Results) -> None:
    caption = uncertainty.calibration(results, "base").caption
    assert "Pooled over 3 seeds" in caption and "Dashes: single runs" in caption
