"""Initialisation by train images: in runs, range tests and rehearsals, and of no other image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.attribution.maps import layer_maps
from harness.data.arrays import Data, mean_std, split_of
from harness.errors import StudyError
from harness.models import initialise
from harness.models.initialise import initialise_from_images
from harness.models.weights import load_weights, network_of, weights_bytes
from harness.models.whitening import PatchWhitening
from harness.plan import Variant, resolve_variant
from harness.seeding import global_seed
from harness.study_file.config import Study
from harness.training.range_test.sweep import sweep_variant
from harness.training.rehearsal import rehearse
from tests.training.tiny_runs import assert_resumes, data_of, run

Tiny = Callable[..., Study]
WHITENED: dict[str, Any] = {
    "width": 2, "whitening": True, "activation": "celu", "bn_scale": 1.0, "ghost_batch": 16,
}  # fmt: skip
FILTERS = "prep.0.weight"


class Asking(nn.Module):
    """A user's network that starts from the mean image."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.linear(images.mean((2, 3)))
        return logits

    def initialise_from(self, images: Tensor) -> None:
        if len(images) > 1_000_000:
            raise ValueError("too many")
        with torch.no_grad():
            self.linear.bias.fill_(images.mean())


class Failing(Asking):
    def initialise_from(self, images: Tensor) -> None:
        raise ValueError("no idea")


@pytest.fixture
def study(tiny: Tiny) -> Study:
    return tiny(("model", {"name": "custom_resnet", **WHITENED}), ("attribution.layers", ["prep", "res2"]))


def filters(variant: Variant, data: Data, seed: int = 0) -> Tensor:
    with global_seed(seed, "test"):
        return variant.new_network(data).state_dict()[FILTERS]


def test_the_images_are_the_first_of_each_class_normalised_and_not_augmented(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data_of(study)
    variant = resolve_variant(study, "base", data, device="cpu")
    monkeypatch.setattr(initialise, "IMAGES", 50)
    given: list[Tensor] = []
    monkeypatch.setattr(PatchWhitening, "initialise_from", lambda self, images: given.append(images))
    variant.new_network(data)
    mean, std = (np.array(values) for values in mean_std(data.train))
    labels, places = data.train.labels, []
    for label in range(10):
        places += np.flatnonzero(labels == label)[:5].tolist()
    first = data.train.images[sorted(places)]
    expected = torch.from_numpy((first / 255 - mean) / std).permute(0, 3, 1, 2).float()
    (images,) = given
    torch.testing.assert_close(images, expected, rtol=1e-4, atol=1e-5)


def test_seeds_share_the_filters_and_evaluation_images_decide_nothing(study: Study) -> None:
    data = data_of(study)
    variant = resolve_variant(study, "base", data, device="cpu")
    first = filters(variant, data)
    noise = np.random.default_rng(0).integers(0, 256, data.evaluation.images.shape, dtype=np.uint8)
    other = split_of(noise, data.evaluation.labels, data.evaluation.classes)
    assert torch.equal(first, filters(variant, replace(data, evaluation=other), seed=1))
    train = split_of(data.train.images[::-1].copy() // 2, data.train.labels, data.train.classes)
    assert not torch.equal(first, filters(variant, replace(data, train=train)))


def test_a_network_that_does_not_ask_costs_no_images(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    study = tiny()
    data = data_of(study)
    variant = resolve_variant(study, "base", data, device="cpu")
    monkeypatch.setattr(initialise, "Batches", None)
    variant.new_network(data)


def test_a_run_trains_all_but_the_filters_and_its_weights_are_enough(study: Study, tmp_path: Path) -> None:
    record, folder, variant = run(study, tmp_path)
    assert record.status == "finished", record.error
    data = data_of(study)
    fixed = filters(variant, data)
    saved = load_file(folder.weights_file)
    assert torch.equal(saved[FILTERS], fixed)
    model, network = load_weights(folder.weights_file)
    assert torch.equal(model.state_dict()[FILTERS], fixed)
    assert not model.get_parameter(FILTERS).requires_grad
    again, _ = network_of(weights_bytes(model, network), "again")
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(images), again(images))
    (maps,) = layer_maps(model, ["prep"], images, [0, 1])
    assert maps.shape == (2, 32, 32)


def test_a_killed_run_goes_on_to_the_same_bytes(study: Study, tmp_path: Path) -> None:
    _, whole, _ = run(study, tmp_path / "whole")
    assert_resumes(study, tmp_path / "again", "epoch 2 of 3", whole)


def test_a_range_test_starts_from_the_same_filters(
    tiny: Tiny, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data_of(study)
    variant = resolve_variant(study, "base", data, device="cpu")
    made: list[nn.Module] = []
    new_network = Variant.new_network

    def noted(self: Variant, data: Data) -> nn.Module:
        made.append(new_network(self, data))
        return made[-1]

    monkeypatch.setattr(Variant, "new_network", noted)
    settings = tiny(("range_test.iterations", 30)).range_test
    assert settings is not None
    sweep_variant(variant, data, settings, threads=1, say=lambda line: None)
    assert torch.equal(made[0].state_dict()[FILTERS], filters(variant, data))


def test_other_draws_of_the_hold_out_have_their_own_filters(study: Study, tiny: Tiny) -> None:
    from harness.data import load_data

    changes = ("data.holdout", 200), ("data.holdout_draws", 2)
    study = tiny(("model", {"name": "custom_resnet", **WHITENED}), *changes)
    load = [load_data("digits", Path(), holdout=200, draw=draw, train_limit=160) for draw in (0, 1)]
    variant = resolve_variant(study, "base", load[0], device="cpu")
    first, second = (filters(variant.of_run(draw, load[draw]), load[draw]) for draw in (0, 1))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("net", ["Asking", "Failing"])
def test_a_users_network_may_ask_too(net: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_ALLOW", "tests")
    model = {"name": f"tests.models.test_initialise:{net}"}
    study = tiny(("model", model), ("attribution.layers", []))
    data = data_of(study)
    variant = resolve_variant(study, "base", data, device="cpu")
    if net == "Failing":
        with pytest.raises(
            StudyError, match=r"Failing.initialise_from, on images of \(160, 3, 32, 32\): Value"
        ):
            rehearse(variant, data)
        return
    assert rehearse(variant, data).cannot_resume == ""
    bias = variant.new_network(data).state_dict()["linear.bias"]
    assert bias.unique().numel() == 1 and abs(float(bias[0])) < 1e-3


def test_it_leaves_the_random_generators_as_they_are() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    split = split_of(images, np.arange(20) % 2, ("a", "b"))
    normalise = [{"transform": "Normalize", "mean": [0.5] * 3, "std": [0.5] * 3, "max_pixel_value": 255.0}]
    layer = PatchWhitening(0.01)
    before = torch.get_rng_state()
    initialise_from_images(nn.Sequential(layer), split, normalise)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(layer.weight, PatchWhitening(0.01).weight)
