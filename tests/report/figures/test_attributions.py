"""The figure of attributions: the same bytes, any number of layers, and words that say what is drawn."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from harness.report.attribution.figure import MOST_LAYERS, attributions
from harness.report.attribution.measures import Attributions
from PIL import Image


def made(layers: int, **changes: Any) -> Attributions:
    """Measures of a network that does not exist: falling and rising curves."""
    rng = np.random.default_rng(layers)
    falling = np.linspace(0.95, 0.1, 11) ** rng.uniform(1, 4, (layers, 5, 1))
    curves = np.stack([falling, falling[..., ::-1], falling**0.7, falling[..., ::-1] ** 1.4])
    found = Attributions(
        variant="base",
        seed=4,
        seeds=(4,),
        images=5,
        errors=0,
        layers=[f"layer{at}" for at in range(layers)],
        stages=["head", "b", "a"],
        agreement=np.empty((0, layers, 5)),
        agreement_other=np.empty((0, layers)),
        predicted=np.empty((layers, 0)),
        sanity=rng.uniform(-0.2, 0.3, (3, 3, layers, 5)),
        sanity_other=np.zeros((3, layers)),
        curves=curves,
        empty=np.zeros((layers, 5), dtype=bool),
    )
    return replace(found, **changes)


def size(png: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(png)).size


def test_the_same_numbers_are_the_same_bytes() -> None:
    assert attributions(made(6)) == attributions(made(6))
    assert attributions(made(6)).png != attributions(replace(made(6), sanity=made(6).sanity + 0.1)).png


@pytest.mark.parametrize("layers", [1, 3, 4, MOST_LAYERS])
def test_every_row_of_layers_takes_its_own_place(layers: int) -> None:
    picture = attributions(made(layers))
    width, height = size(picture.png)
    assert width == 1600 and height == 200 * (2.9 + 0.5 + 1.75 * -(-layers // 3))
    assert "The first" not in picture.caption


def test_more_layers_than_can_be_read_are_cut_with_a_word() -> None:
    picture = attributions(made(MOST_LAYERS + 1))
    assert f"The first {MOST_LAYERS} of {MOST_LAYERS + 1} layers." in picture.caption
    assert size(picture.png) == size(attributions(made(MOST_LAYERS)).png)


def test_layers_without_a_rank_correlation_leave_gaps() -> None:
    sanity = made(2).sanity
    sanity[:, :, 0] = np.nan
    sanity[:, 1, 1] = np.nan
    assert attributions(made(2, sanity=sanity)).png
    assert attributions(made(2, sanity=np.full_like(sanity, np.nan))).png


def test_the_caption_says_which_run_and_how_many_images() -> None:
    caption = attributions(made(2)).caption
    assert "Run with seed 4, the first 5 evaluation images" in caption and "mean of 3 draws" in caption
    one = attributions(made(2, images=1)).caption
    assert "the first evaluation image," in one
