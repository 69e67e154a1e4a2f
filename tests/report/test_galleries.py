"""Galleries: the right images, in the right order and in their own colours."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from harness.analysis.results import read_results
from harness.analysis.runs import Run
from harness.attribution.maps import layer_maps
from harness.data.arrays import mean_std, split_of
from harness.models.weights import load_weights
from harness.report import galleries
from harness.report.style import Picture

Lab = Callable[..., Any]


def first_run(lab: Any) -> Run:
    return read_results(lab.study, lab.folder, [0], ["base"]).runs[0]


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB"))


def logits_with(lab: Any, wrong: dict[int, float]) -> np.ndarray:
    """Logits (360, 10): right but for these images, whose wrong class has this lead."""
    labels = lab.data.evaluation.labels
    logits = np.eye(10)[labels] * 5
    for index, lead in wrong.items():
        logits[index] = np.eye(10)[(labels[index] + 1) % 10] * lead
    return logits


def test_the_most_confident_errors_come_first_and_equal_ones_by_index(lab: Lab) -> None:
    place = lab(seeds=[0])
    place.finish(logits=logits_with(place, {50: 2.0, 7: 4.0, 9: 2.0, 200: 6.0}))
    choice = galleries.choose(first_run(place), 3)
    assert choice.wrong and choice.indices.tolist() == [200, 7, 9]
    assert choice.words() == "The 3 most confident of 4 errors of the run with seed 0"
    assert galleries.choose(first_run(place), 25).words().startswith("All 4 errors")


def test_without_errors_the_least_confident_images_are_shown(lab: Lab) -> None:
    place = lab(seeds=[0])
    logits = logits_with(place, {})
    logits[33] /= 4
    place.finish(logits=logits)
    choice = galleries.choose(first_run(place), 25)
    assert not choice.wrong and choice.indices[0] == 33 and len(choice.indices) == 25
    picture = galleries.misclassified(choice, place.data.evaluation)
    assert "No image of the run with seed 0 is misclassified" in picture.caption
    assert "least confident" in galleries.gradcam(choice, place.data.evaluation, ["res2"]).caption


@pytest.fixture
def coloured(lab: Lab) -> Any:
    """A study of plain images: red where the label is even, blue where it is odd."""
    place = lab(seeds=[0], augment={"train": []})
    labels = place.data.evaluation.labels
    images = np.zeros((360, 32, 32, 3), dtype=np.uint8)
    images[labels % 2 == 0, ..., 0] = 200
    images[labels % 2 == 1, ..., 2] = 220
    place.split = split_of(images, labels, place.data.evaluation.classes)
    return place


def test_misclassified_images_keep_their_colours(coloured: Any) -> None:
    labels = coloured.data.evaluation.labels
    even, odd = int(np.flatnonzero(labels % 2 == 0)[0]), int(np.flatnonzero(labels % 2 == 1)[0])
    coloured.finish(logits=logits_with(coloured, {even: 3.0, odd: 2.0}))
    found = pixels(galleries.misclassified(galleries.choose(first_run(coloured), 25), coloured.split))
    cell = found.shape[1] // 5
    assert found[cell // 2, cell // 2].tolist() == [200, 0, 0]
    assert found[cell // 2, cell + cell // 2].tolist() == [0, 0, 220]
    assert found[cell // 2, 2 * cell + cell // 2].tolist() == [255, 255, 255]


def test_augmented_samples_keep_their_colours_beside_the_original(coloured: Any) -> None:
    coloured.finish()
    found = pixels(galleries.augmented(first_run(coloured), coloured.split))
    unit = found.shape[1] / (1.4 + 8)
    for column in range(8):
        for label in (0, 1):
            place = int((0.4 + label + 0.5) * unit), int((1.4 + column + 0.5) * unit)
            expected = [0, 0, 220] if label % 2 else [200, 0, 0]
            assert np.abs(found[place].astype(int) - expected).max() <= 1


def test_cutout_is_visible_in_the_augmented_samples_and_not_in_the_original(lab: Lab) -> None:
    place = lab(seeds=[0])
    place.finish()
    picture = galleries.augmented(first_run(place), place.data.train)
    found = pixels(picture)
    unit = found.shape[1] / (1.4 + 8)
    grey = (found == 90).all(axis=2)
    assert grey[:, int(2.4 * unit) :].sum() > 40 * (unit / 5) ** 2
    assert grey[: int(10.4 * unit), int(1.4 * unit) : int(2.4 * unit)].sum() < (unit / 5) ** 2
    assert "PadIfNeeded, RandomCrop, CoarseDropout, Normalize" in picture.caption


def test_images_of_another_size_than_the_originals_can_be_shown(lab: Lab) -> None:
    place = lab(seeds=[0], augment={"train": [{"transform": "Resize", "height": 24, "width": 40}]})
    place.finish()
    assert galleries.augmented(first_run(place), place.data.train).png


def test_gradcam_shows_the_predicted_and_the_actual_class(lab: Lab) -> None:
    place = lab(seeds=[0])
    place.finish()
    choice = galleries.choose(first_run(place), 4)
    evaluation = place.data.evaluation
    named = galleries.gradcam(choice, evaluation, ["layer1", "res2"])
    assert "upper row: evidence for the predicted class; lower row: for the actual one" in named.caption
    again = galleries.gradcam(choice, evaluation, ["layer1", "res2"])
    assert (named == again) is True
    stages = ["prep", "layer1", "res1", "layer2", "layer3", "res2"]
    assert galleries.explain(choice, evaluation, []).layers == stages


def test_each_image_is_explained_for_its_predicted_and_its_actual_class(lab: Lab) -> None:
    place = lab(seeds=[0])
    place.finish()
    choice, evaluation = galleries.choose(first_run(place), 4), place.data.evaluation
    found = galleries.explain(choice, evaluation, ["layer2", "res2"])
    assert found.shown.tolist() == evaluation.images[choice.indices].tolist()
    model, _ = load_weights(choice.run.folder.path / "model.safetensors")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in mean_std(place.data.train))
    inputs = (torch.from_numpy(found.shown).permute(0, 3, 1, 2) / 255 - mean) / std
    logits = model(inputs).detach().numpy()
    expected = layer_maps(model, ["layer2", "res2"], inputs, logits.argmax(1).tolist())
    np.testing.assert_allclose(found.predicted, expected, atol=1e-3)
    labels = evaluation.labels[choice.indices].tolist()
    expected = layer_maps(model, ["layer2", "res2"], inputs, labels)
    assert found.actual is not None
    np.testing.assert_allclose(found.actual, expected, atol=1e-3)


def test_an_overlay_changes_nothing_where_there_is_no_evidence() -> None:
    image = np.full((2, 2, 3), 40, dtype=np.uint8)
    found = galleries.overlay(image, np.array([[0, 0], [0, 1]], dtype=np.float32))
    assert (found[0] == 40).all() and found[1, 1].mean() > 120
