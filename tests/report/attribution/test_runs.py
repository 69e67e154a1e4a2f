"""Measures of real runs' weights: independent of the cache, and equal to what plain numpy and Captum give."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from scipy.stats import spearmanr

from harness import device
from harness.analysis.results import read_results
from harness.analysis.runs import Run
from harness.data.arrays import mean_std
from harness.errors import RunError
from harness.models import build_model
from harness.models.weights import load_weights
from harness.report.attribution import runs as attribution_runs
from harness.report.attribution.runs import affordable, network_measures, part_of, seed_agreement
from harness.seeding import global_seed

Lab = Callable[..., Any]
LAYERS = ["layer1", "res2"]
IMAGES = 4


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def place(lab: Lab) -> Any:
    made = lab(seeds=[0, 1])
    made.finish(seed=0)
    made.finish(seed=1)
    return made


def runs_of(place: Any) -> list[Run]:
    return read_results(place.study, place.folder, place.study.seeds, ["base"]).of("base", "finished")


def network(place: Any, run: Run | None = None) -> dict[str, np.ndarray]:
    evaluation = place.data.evaluation
    chosen = part_of(evaluation, np.arange(IMAGES))
    return network_measures(run or runs_of(place)[0], LAYERS, chosen, evaluation, 3)


def agreement(place: Any) -> dict[str, np.ndarray]:
    return seed_agreement(runs_of(place), LAYERS, part_of(place.data.evaluation, np.arange(IMAGES)))


def inputs(place: Any, indices: Any) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in mean_std(place.data.train))
    images = torch.from_numpy(place.data.evaluation.images[indices])
    return (images.permute(0, 3, 1, 2) / 255 - mean) / std


def captum_maps(model: torch.nn.Module, layer: str, images: torch.Tensor, targets: Any) -> np.ndarray:
    cam = LayerGradCam(model.eval(), model.get_submodule(layer))
    found = cam.attribute(images, torch.as_tensor(targets), relu_attributions=True)
    return found[:, 0].detach().numpy()


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """NaN where one is constant, without scipy's warning of it."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first.ravel(), second.ravel()).statistic)


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind == "f") for name in first
    )


def test_agreement_is_that_of_captums_maps_and_scipys_ranks(place: Any) -> None:
    found = agreement(place)
    images, targets = inputs(place, range(IMAGES)), place.data.evaluation.labels[:IMAGES]
    for at, layer in enumerate(LAYERS):
        first, second = (
            captum_maps(load_weights(run.folder.path / "model.safetensors")[0], layer, images, targets)
            for run in runs_of(place)
        )
        expected = [spearman(*pair) for pair in zip(first, second, strict=True)]
        np.testing.assert_allclose(found["same"][0, at], expected, atol=1e-3)


def test_sanity_is_that_of_a_network_drawn_anew(place: Any) -> None:
    found = network(place)
    images, targets = inputs(place, range(IMAGES)), place.data.evaluation.labels[:IMAGES]
    model, _ = load_weights(runs_of(place)[0].folder.path / "model.safetensors")
    with global_seed(2, "randomise"):
        fresh = build_model("custom_resnet", {"width": 4, "bn_momentum": 0.5}, 10)
    maps = [captum_maps(one, "layer1", images, targets) for one in (model, fresh)]
    expected = [spearman(*pair) for pair in zip(*maps, strict=True)]
    np.testing.assert_allclose(found["sanity"][2, -1, 0], expected, atol=1e-3)


def test_the_curves_begin_at_the_probability_that_the_run_predicted(place: Any) -> None:
    curves = network(place)["curves"]
    with np.load(runs_of(place)[0].folder.path / "predictions.npz") as arrays:
        logits, labels = arrays["logits"][:IMAGES].astype(np.float64), arrays["labels"][:IMAGES]
    expected = np.exp(logits)[range(IMAGES), labels] / np.exp(logits).sum(axis=1)
    for kind, step in ((0, 0), (1, -1), (2, 0), (3, -1)):
        np.testing.assert_allclose(curves[kind, ..., step], [expected] * len(LAYERS), atol=1e-4)


def test_the_control_is_one_random_map_for_each_resolution(place: Any) -> None:
    evaluation = place.data.evaluation
    chosen = part_of(evaluation, np.arange(IMAGES))
    curves = network_measures(runs_of(place)[0], ["layer1", "res1", "res2"], chosen, evaluation, 1)["curves"]
    for own, control in ((0, 2), (1, 3)):
        np.testing.assert_array_equal(curves[control, 0], curves[control, 1])
        assert not np.allclose(curves[control, 0], curves[control, 2])
        assert not np.allclose(curves[own], curves[control])


def test_predicted_and_true_class_are_compared_on_the_most_confident_errors(place: Any) -> None:
    run = runs_of(place)[0]
    assert run.predictions is not None
    wrong = run.predictions.wrong
    chosen = wrong[np.argsort(-run.predictions.confidence[wrong], kind="stable")][:3]
    model, _ = load_weights(run.folder.path / "model.safetensors")
    images = inputs(place, chosen)
    first = captum_maps(model, "res2", images, run.predictions.predicted[chosen])
    second = captum_maps(model, "res2", images, run.predictions.labels[chosen])
    expected = [spearman(*pair) for pair in zip(first, second, strict=True)]
    np.testing.assert_allclose(network(place)["predicted"][1], expected, atol=1e-3)


def test_without_an_error_nothing_is_predicted_wrong(place: Any) -> None:
    place.finish(seed=0, logits=np.eye(10)[place.data.evaluation.labels] * 9)
    assert network(place)["predicted"].shape == (2, 0)


def test_empty_layers_take_the_stages(place: Any) -> None:
    chosen = part_of(place.data.evaluation, np.arange(1))
    found = network_measures(runs_of(place)[0], [], chosen, place.data.evaluation, 1)
    layers, stages = json.loads(found["names"].tobytes())
    assert layers == ["prep", "layer1", "res1", "layer2", "layer3", "res2"]
    assert stages == ["head", *layers[::-1]]


# ---- the cache ------------------------------------------------------------------------------------------


def test_kept_numbers_are_those_of_a_new_computation(place: Any, cache: Path) -> None:
    first, seeds = network(place), agreement(place)
    assert len(list(cache.iterdir())) == 2
    kept = network(place), agreement(place)
    for path in cache.iterdir():
        path.unlink()
    again = network(place), agreement(place)
    assert all(same(*pair) for pair in ((first, kept[0]), (first, again[0])))
    assert all(same(*pair) for pair in ((seeds, kept[1]), (seeds, again[1])))


def test_kept_numbers_need_no_weights(place: Any) -> None:
    first, runs = network(place), runs_of(place)
    (runs[0].folder.path / "model.safetensors").unlink()
    assert same(first, network(place, runs[0]))


def test_a_damaged_entry_is_computed_again(place: Any, cache: Path, caplog: Any) -> None:
    first = network(place)
    (path,) = cache.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes(8) + b"\xff")
    with caplog.at_level(logging.WARNING):
        assert same(first, network(place))
    assert "damaged and built again" in caplog.text
    assert path.read_bytes() == content


@pytest.mark.parametrize("constant", ["VERSION", "DRAWS", "STEPS"])
def test_another_method_is_another_entry(
    place: Any, cache: Path, monkeypatch: pytest.MonkeyPatch, constant: str
) -> None:
    network(place)
    # only the key is looked at: the entry is found or not
    monkeypatch.setattr(attribution_runs, constant, 77)
    monkeypatch.setattr(attribution_runs, "_build_network", lambda *_: {"built": np.ones(1)})
    assert network(place).keys() == {"built"}


def test_other_weights_images_layers_and_threads_are_other_entries(
    place: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation, runs = place.data.evaluation, runs_of(place)
    part = part_of(evaluation, np.arange(2))

    def entries() -> int:
        return len(list(cache.iterdir()))

    monkeypatch.setattr(attribution_runs, "_build_network", lambda *_: {"built": np.ones(1)})
    network_measures(runs[0], ["res2"], part, evaluation, 1)
    network_measures(runs[0], ["res2"], part, evaluation, 1)
    assert entries() == 1
    network_measures(runs[1], ["res2"], part, evaluation, 1)
    network_measures(runs[0], ["prep"], part, evaluation, 1)
    network_measures(runs[0], ["res2"], part_of(evaluation, np.arange(1, 3)), evaluation, 1)
    network_measures(runs[0], ["res2"], part, evaluation, 2)
    assert entries() == 5
    origin = {**runs[0].provenance, "threads": 3}
    other = replace(runs[0], record=replace(runs[0].record, provenance=origin))
    monkeypatch.setattr(device, "usable_cores", lambda: 8)
    network_measures(other, ["res2"], part, evaluation, 1)
    assert entries() == 6


def test_threads_and_global_generator_are_left_as_they_were(place: Any) -> None:
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    try:
        torch.set_num_threads(2)
        network(place)
        agreement(place)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.random.get_rng_state(), state)


# ---- the budget -----------------------------------------------------------------------------------------


def test_the_full_network_can_afford_25_images(place: Any) -> None:
    run = runs_of(place)[0]
    run.recipe["model"] = {"name": "custom_resnet"}
    assert 25 <= affordable(run, ["prep", "layer1", "res1", "layer2", "layer3", "res2"]) < 30
    assert affordable(run, []) == affordable(run, ["prep", "layer1", "res1", "layer2", "layer3", "res2"])


def test_images_that_are_too_large_for_one_are_refused_in_one_line(place: Any) -> None:
    run = runs_of(place)[0]
    run.recipe["model"] = {"name": "resnet18"}
    run.record.image_shape[1:] = [512, 512]
    with pytest.raises(RunError, match="one image of 3x512x512 would take more than 6e\\+12 operations"):
        affordable(run, [])
