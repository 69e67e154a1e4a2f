"""The figure of attributions: the same bytes, any number of layers, and words that say what is drawn."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.analysis.attributions import Attributions
from harness.attribution.measures import NetworkMeasures
from harness.report.figures import attributions
from harness.report.figures.attributions import MOST_LAYERS
from harness.report.figures.style import DPI, WIDTH, Picture
from tests.report.figures.conftest import size


def made(layers: int, images: int = 5, **changes: Any) -> Attributions:
    """Measures of a network that does not exist: falling and rising curves."""
    rng = np.random.default_rng(layers)
    falling = np.linspace(0.95, 0.1, 11) ** rng.uniform(1, 4, (layers, 5, 1))
    network = NetworkMeasures(
        stages=["head", "b", "a"],
        sanity=rng.uniform(-0.2, 0.3, (3, 3, layers, 5)),
        sanity_other=np.zeros((3, layers)),
        curves=np.stack([falling, falling[..., ::-1], falling**0.7, falling[..., ::-1] ** 1.4]),
        predicted=np.empty((layers, 0)),
        empty=np.zeros((layers, 5), dtype=bool),
    )
    return Attributions(
        variant="base",
        seed=4,
        seeds=(4,),
        images=images,
        layers=[f"layer{at}" for at in range(layers)],
        agreement=np.empty((0, layers, 5)),
        agreement_other=np.empty((0, layers)),
        network=replace(network, **changes),
    )


def drawn(measured: Attributions) -> Picture:
    findings: Any = SimpleNamespace(attributions=[measured])
    picture = attributions.draw(findings, "base")
    assert picture is not None and attributions.draw(findings, "other") is None
    return picture


def test_the_same_numbers_are_the_same_bytes() -> None:
    same = drawn(made(6)) == drawn(made(6))
    other = made(6, sanity=made(6).network.sanity + 0.1)
    assert same and drawn(made(6)).png != drawn(other).png


@pytest.mark.parametrize("layers", [1, 3, 4, MOST_LAYERS])
def test_every_row_of_layers_takes_its_own_place(layers: int) -> None:
    picture = drawn(made(layers))
    width, height = size(picture)
    assert width == round(WIDTH * DPI) and abs(height - DPI * (2.9 + 0.5 + 1.75 * -(-layers // 3))) <= 1
    assert "The first" not in picture.caption


def test_more_layers_than_can_be_read_are_cut_with_a_word() -> None:
    picture = drawn(made(MOST_LAYERS + 1))
    assert f"The first {MOST_LAYERS} of {MOST_LAYERS + 1} layers." in picture.caption
    assert size(picture) == size(drawn(made(MOST_LAYERS)))


def test_layers_without_a_rank_correlation_leave_gaps() -> None:
    sanity = made(2).network.sanity
    sanity[:, :, 0] = np.nan
    sanity[:, 1, 1] = np.nan
    assert drawn(made(2, sanity=sanity)).png
    assert drawn(made(2, sanity=np.full_like(sanity, np.nan))).png


def test_the_caption_says_which_run_and_how_many_images() -> None:
    caption = drawn(made(2)).caption
    assert "Run with seed 4, the first 5 evaluation images" in caption and "mean of 3 draws" in caption
    one = drawn(made(2, images=1)).caption
    assert "the first evaluation image," in one
