"""The figure of Grad-CAM: each image explained for its predicted and its actual class."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from harness.analysis.examples import Examples, choose_examples
from harness.analysis.results import read_results
from harness.attribution.maps import layer_maps
from harness.data.arrays import mean_std
from harness.models.weights import load_weights
from harness.report.figures import gradcam
from harness.report.figures.style import DPI, HEIGHT, WIDTH
from tests.report.figures.conftest import caption, drawn, size

Lab = Callable[..., Any]


def examples_of(lab: Any) -> Examples:
    return choose_examples(read_results(lab.study, lab.folder, [0], ["base"]).runs[0], 4)


def test_it_shows_the_predicted_and_the_actual_class(lab: Lab) -> None:
    place = lab(seeds=[0], attribution={"layers": ["layer1", "res2"], "images": 4})
    place.finish()
    said = "(upper row) and for the actual class (lower row)"
    assert said in caption(place, "gradcam")
    same = drawn(place, "gradcam") == drawn(place, "gradcam")
    assert same
    place.finish(logits=np.eye(10)[place.data.evaluation.labels] * 5)
    assert said not in caption(place, "gradcam") and "least confident" in caption(place, "gradcam")


def test_empty_layers_take_the_stages(lab: Lab) -> None:
    place = lab(seeds=[0])
    place.finish()
    explanation = gradcam.explain(examples_of(place), place.data.evaluation, [])
    assert explanation.layers == ["prep", "layer1", "res1", "layer2", "layer3", "res2"]


def test_each_image_is_explained_for_its_predicted_and_its_actual_class(lab: Lab) -> None:
    place = lab(seeds=[0])
    place.finish()
    examples, evaluation = examples_of(place), place.data.evaluation
    found = gradcam.explain(examples, evaluation, ["layer2", "res2"])
    assert found.shown.tolist() == evaluation.images[examples.indices].tolist()
    model, _ = load_weights(examples.run.folder.path / "model.safetensors")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in mean_std(place.data.train))
    inputs = (torch.from_numpy(found.shown).permute(0, 3, 1, 2) / 255 - mean) / std
    predicted = model(inputs).detach().numpy().argmax(1).tolist()
    actual = evaluation.labels[examples.indices].tolist()
    for maps, classes in ((found.predicted, predicted), (found.actual, actual)):
        assert maps is not None
        expected = layer_maps(model, ["layer2", "res2"], inputs, classes)
        np.testing.assert_allclose(maps, expected, atol=1e-3)


def test_an_overlay_changes_nothing_where_there_is_no_evidence() -> None:
    image = np.full((2, 2, 3), 40, dtype=np.uint8)
    found = gradcam.overlay(image, np.array([[0, 0], [0, 1]], dtype=np.float32))
    assert (found[0] == 40).all() and found[1, 1].mean() > 120


def test_columns_name_the_layer_and_the_resolution_of_its_maps(lab: Lab) -> None:
    place = lab(seeds=[0], attribution={"layers": ["layer1", "res2"], "images": 2})
    place.finish()
    picture = drawn(place, "gradcam")
    assert picture is not None and picture.figure is not None
    texts = [text.get_text() for text in picture.figure.texts]
    assert {"image", "layer1, 16x16", "res2, 4x4", "positive evidence for the class"} <= set(texts)


@pytest.mark.parametrize("images", [1, 25, 100])
def test_it_fits_a_page_however_many_images_are_asked_for(lab: Lab, images: int) -> None:
    place = lab(seeds=[0], attribution={"layers": ["prep", "layer1", "res2"], "images": images})
    place.finish("base", 0, logits=place.logits(0))  # 360 errors
    width, height = size(drawn(place, "gradcam"))
    assert width == round(WIDTH * DPI) and height <= HEIGHT * DPI
    (shown,) = re.findall(r"The (\d*) ?most confident of 360", caption(place, "gradcam")) or ["1"]
    assert int(shown or 1) == {1: 1, 25: 25}.get(images, int(shown or 1)) and int(shown or 1) <= images
