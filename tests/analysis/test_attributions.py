"""A variant's attributions: of which seeds and images, what is judged, kept in the cache, and left out."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness import device
from harness.analysis import attributions
from harness.analysis.attributions import (
    MOST_SEEDS,
    Attributions,
    affordable,
    measure,
    network_measures,
    part_of,
    seed_agreement,
)
from harness.analysis.images import RunImages
from harness.analysis.results import read_results
from harness.analysis.runs import Run
from harness.analysis.warnings import sanity_warnings
from harness.attribution.measures import NetworkMeasures
from harness.errors import DataError, RunError
from harness.models import MODELS
from harness.models.network import NetworkConfig
from harness.models.weights import weights_bytes
from harness.report.topics import attribution
from harness.report.write import write_report
from harness.schema import Strict
from harness.seeding import global_seed
from harness.store.folders import WEIGHTS
from tests.lab import sections

Lab = Callable[..., Any]
SETTINGS = {"layers": ["layer1", "res2"], "images": 4}
LAYERS = ["prep", "layer1", "res1", "layer2", "layer3", "res2"]


def measured(place: Any, load_data: Any = None) -> tuple[list[Attributions], dict[str, str]]:
    results = read_results(place.study, place.folder, place.study.seeds, list(place.study.recipes))
    return measure(results, RunImages(results, load_data or place.load_data))


def changed(one: Attributions, **changes: Any) -> Attributions:
    return replace(one, network=replace(one.network, **changes))


def weights_of(place: Any, seed: int, name: str, **options: Any) -> bytes:
    """The weights file of a network that learnt nothing."""
    network = NetworkConfig(name, options, place.data.train.classes, (3, 32, 32))
    with global_seed(seed, "test"):
        return weights_bytes(network.build(), network)


@pytest.fixture
def one(lab: Lab) -> Any:
    """A study with one finished run."""
    made = lab(seeds=[0], attribution=SETTINGS)
    made.finish()
    return made


# ---- seeds and images -----------------------------------------------------------------------------------


def test_identical_seeds_agree_wholly_and_unrelated_ones_not_at_all(lab: Lab) -> None:
    seeds = [0, 3, 6, 9, 12]
    place = lab(
        seeds=seeds, variants={"untrained": {"loss.l1": 1e-6}}, attribution={**SETTINGS, "images": 25}
    )
    for seed in seeds:
        place.finish("base", seed)  # all of them have the same weights
        place.finish("untrained", seed, weights=weights_of(place, seed, "custom_resnet", width=4))
    (base, untrained), errors = measured(place)
    assert errors == {}
    for layer in base.numbers:
        assert layer.agreement == pytest.approx(1)
    for layer in untrained.numbers:
        assert layer.agreement is not None and abs(layer.agreement) < 0.15


def test_agreement_is_over_the_pairs_of_the_first_seeds(lab: Lab) -> None:
    seeds = list(range(MOST_SEEDS + 2))
    place = lab(seeds=seeds, attribution={"layers": ["res2"], "images": 2})
    for seed in seeds[1:]:
        place.finish("base", seed)
    (found,), _ = measured(place)
    assert found.seeds == tuple(seeds[1:-1]) and found.seed == 1
    assert found.pairs == MOST_SEEDS * (MOST_SEEDS - 1) // 2


def test_one_seed_has_no_agreement(one: Any) -> None:
    (found,), _ = measured(one)
    assert found.pairs == 0
    assert all(layer.agreement is None and layer.agreement_other is None for layer in found.numbers)


def test_one_image_is_enough_to_measure_and_too_few_to_judge(lab: Lab) -> None:
    place = lab(seeds=[0, 1], attribution={"layers": ["res2"], "images": 1})
    place.finish(seed=0)
    place.finish(seed=1)
    (found,), _ = measured(place)
    (layer,) = found.numbers
    assert found.images == 1 and layer.verdict == "not judged"
    assert layer.agreement_other is None and layer.sanity_other is None
    assert 0 <= layer.deletion <= 1 and 0 <= layer.insertion_random <= 1


def test_the_images_are_the_first_of_the_split_whatever_the_results(one: Any) -> None:
    (first,), _ = measured(one)
    one.finish(logits=np.roll(np.eye(10)[one.data.evaluation.labels], 1, axis=1) * 9)
    (second,), _ = measured(one)
    np.testing.assert_array_equal(first.network.sanity, second.network.sanity)
    np.testing.assert_array_equal(first.network.curves, second.network.curves)


def test_what_cannot_be_measured_has_its_reason(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    place = lab(seeds=[0], variants={"other": {"attribution.layers": ["no_such"]}}, attribution=SETTINGS)
    place.finish("base")
    place.finish("other")

    def gone(variant: str) -> Any:
        raise DataError("not in the data folder")

    assert measured(place, gone) == ([], dict.fromkeys(("base", "other"), "not in the data folder"))
    found, errors = measured(place)
    assert [each.variant for each in found] == ["base"]
    assert "no layer 'no_such'" in errors["other"]
    monkeypatch.setattr(attributions, "BUDGET", 1e6)
    assert "more than 1e+06 operations" in measured(place)[1]["base"]


def test_a_variant_without_a_finished_run_is_not_measured(lab: Lab) -> None:
    place = lab(seeds=[0], attribution=SETTINGS)
    place.fail("base", 0)
    assert measured(place) == ([], {})


# ---- verdicts -------------------------------------------------------------------------------------------


def test_passing_and_unjudged_layers_are_not_warned_about(one: Any) -> None:
    (found,), _ = measured(one)
    assert [layer.verdict for layer in found.numbers] == ["not judged"] * 2  # four images are too few
    assert [layer.checks["randomisation"] for layer in found.numbers] == ["passed"] * 2
    assert sanity_warnings([found]) == []
    alike = changed(found, sanity=np.where(np.arange(2)[:, None] == 1, 0.9, found.network.sanity))
    (line,) = sanity_warnings([alike])
    assert line.startswith("base: Grad-CAM fails the model-randomisation check at res2 (0.90) ")
    assert "layer1" not in line


def test_a_layer_passes_only_where_it_passes_every_check(lab: Lab) -> None:
    place = lab(seeds=[0], attribution={**SETTINGS, "images": 20})
    place.finish()
    (found,), _ = measured(place)
    falling = np.linspace(0.9, 0.1, 11) ** np.linspace(2, 3, 20)[:, None]
    good = np.stack([falling**1.2, falling[:, ::-1] ** 0.8, falling, falling[:, ::-1]])  # than random maps
    curves = np.repeat(good[:, None], 2, axis=1)
    fine = changed(found, curves=curves)
    assert [layer.verdict for layer in fine.numbers] == ["passed"] * 2 and sanity_warnings([fine]) == []
    for check, kind in (("deletion", 0), ("insertion", 1)):
        lost = curves.copy()
        lost[kind, 1], lost[kind + 2, 1] = curves[kind + 2, 1], curves[kind, 1]  # the random maps are better
        first, second = (worse := changed(found, curves=lost)).numbers
        assert (first.verdict, second.verdict, second.failed) == ("passed", "failed", [check])
        (line,) = sanity_warnings([worse])
        assert f"the {check} check at res2 (" in line and "layer1" not in line
        findings = replace(place.findings(), attributions=[worse])
        page = next(block for block in sections(findings, attribution) if block.kind == "table")
        assert [row[7] for row in page.rows] == ["passed", f"failed: {check}"]
    alike = curves.copy()
    alike[:2] = alike[2:]
    assert [layer.verdict for layer in changed(found, curves=alike).numbers] == ["failed"] * 2


# ---- networks of someone's own --------------------------------------------------------------------------


class FixedEdges(nn.Module):
    """Horizontal differences that no training changes, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.edges = Differences()
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, 10))

    def forward(self, images: Tensor) -> Any:
        return self.head(self.edges(images))


class Differences(nn.Module):
    """How steep the brightness is along each row: (N, 3, H, W) -> (N, 1, H, W - 1)."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(1, keepdim=True).diff(dim=3).abs()


class Picky(FixedEdges):
    """A network that looks at values, as no counting of operations on shapes alone can."""

    def forward(self, images: Tensor) -> Any:
        return super().forward(images) if images.mean() < 9 else super().forward(-images)


@pytest.fixture
def own_network(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Callable[[type[nn.Module]], Any]:
    """A finished run of someone's own network."""

    def finish(network: type[nn.Module]) -> Any:
        class Options(Strict):
            """It has none."""

            def build(self, classes: int) -> nn.Module:
                return network()

        module = ModuleType("own_network_of_a_test")
        module.Options = Options  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(MODELS, "own", f"{module.__name__}:Options")
        place = lab(seeds=[0], model={"name": "own"}, attribution={"layers": ["edges"], "images": 25})
        place.finish(weights=weights_of(place, 0, "own"))
        return place

    return finish


def test_a_layer_that_does_not_depend_on_the_weights_is_warned_about_in_the_report(
    own_network: Callable[[type[nn.Module]], Any],
) -> None:
    place = own_network(FixedEdges)
    summary = write_report(place.study, place.folder, [0], ["base"], place.load_data)
    (line,) = [line for line in summary.warnings if "Grad-CAM" in line]
    assert line.startswith("base: Grad-CAM fails the model-randomisation check at edges (1.00) ")
    assert "fails the model-randomisation check" in (place.folder.path / "report.html").read_text()
    assert [row["sanity_check"] for row in place.table("attributions")] == ["failed"]


def test_a_network_that_looks_at_its_values_is_measured(
    own_network: Callable[[type[nn.Module]], Any],
) -> None:
    found, errors = measured(own_network(Picky))
    assert [each.layers for each in found] == [["edges"]] and not errors


# ---- one run's numbers, and the cache -------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def place(lab: Lab) -> Any:
    """A study with two finished runs."""
    made = lab(seeds=[0, 1])
    made.finish(seed=0)
    made.finish(seed=1)
    return made


def runs_of(place: Any) -> list[Run]:
    return read_results(place.study, place.folder, place.study.seeds, ["base"]).of("base", "finished")


def network(place: Any, run: Run | None = None) -> NetworkMeasures:
    evaluation = place.data.evaluation
    chosen = part_of(evaluation, np.arange(4))
    return network_measures(run or runs_of(place)[0], ["layer1", "res2"], chosen, evaluation, 3)[1]


def agreement(place: Any) -> tuple[Any, Any]:
    return seed_agreement(runs_of(place), ["layer1", "res2"], part_of(place.data.evaluation, np.arange(4)))


def same(first: Any, second: Any) -> bool:
    """Whether two of what is measured are equal, number by number."""
    pairs = zip(
        *(each if isinstance(each, tuple) else vars(each).values() for each in (first, second)), strict=True
    )
    return all(np.array_equal(one, two, equal_nan=np.asarray(one).dtype.kind == "f") for one, two in pairs)


def test_the_curves_begin_at_the_probability_that_the_run_predicted(place: Any) -> None:
    curves = network(place).curves
    with np.load(runs_of(place)[0].folder.path / "predictions.npz") as arrays:
        logits, labels = arrays["logits"][:4].astype(np.float64), arrays["labels"][:4]
    expected = np.exp(logits)[range(4), labels] / np.exp(logits).sum(axis=1)
    for kind, step in ((0, 0), (1, -1), (2, 0), (3, -1)):
        np.testing.assert_allclose(curves[kind, ..., step], [expected] * 2, atol=1e-4)


def test_predicted_and_true_class_are_compared_on_at_most_so_many_errors(place: Any) -> None:
    assert network(place).predicted.shape == (2, 3)
    place.finish(seed=0, logits=np.eye(10)[place.data.evaluation.labels] * 9)
    assert network(place).predicted.shape == (2, 0)


def test_empty_layers_take_the_stages(place: Any) -> None:
    chosen = part_of(place.data.evaluation, np.arange(1))
    layers, found = network_measures(runs_of(place)[0], [], chosen, place.data.evaluation, 1)
    assert layers == LAYERS and found.stages == ["head", *LAYERS[::-1]]


def test_kept_numbers_are_those_of_a_new_computation(place: Any, cache: Path) -> None:
    first, seeds = network(place), agreement(place)
    assert len(list(cache.iterdir())) == 2
    kept = network(place), agreement(place)
    for path in cache.iterdir():
        path.unlink()
    again = network(place), agreement(place)
    assert all(same(*pair) for pair in ((first, kept[0]), (first, again[0])))
    assert all(same(*pair) for pair in ((seeds, kept[1]), (seeds, again[1])))


def test_kept_numbers_need_no_weights(place: Any, cache: Path) -> None:
    first, runs = network(place), runs_of(place)
    (runs[0].folder.path / WEIGHTS).unlink()
    assert same(first, network(place, runs[0]))


def test_a_damaged_entry_is_computed_again(place: Any, cache: Path, caplog: Any) -> None:
    first = network(place)
    (path,) = cache.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes(8) + b"\xff")
    with caplog.at_level(logging.WARNING):
        assert same(first, network(place))
    assert "damaged, rebuilding it" in caplog.text
    assert path.read_bytes() == content


def test_another_method_weights_images_layers_and_threads_are_other_entries(
    place: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation, runs = place.data.evaluation, runs_of(place)
    names = np.frombuffer(json.dumps([[], []]).encode(), dtype=np.uint8)
    empty = {name: np.ones(1) for name in NetworkMeasures.__dataclass_fields__ if name != "stages"}
    built = []

    def entry(name: str, key: dict[str, Any], build: Any) -> dict[str, Any]:
        if key not in built:
            built.append(key)
        return {"names": names, **empty}

    monkeypatch.setattr(attributions, "cached_arrays", entry)

    def entries(run: Run, layer: str = "res2", first: int = 0, errors: int = 1) -> int:
        network_measures(run, [layer], part_of(evaluation, np.arange(first, first + 2)), evaluation, errors)
        return len(built)

    assert [entries(runs[0]), entries(runs[0])] == [1, 1]
    assert entries(runs[1]) == 2
    assert [entries(runs[0], "prep"), entries(runs[0], first=1), entries(runs[0], errors=2)] == [3, 4, 5]
    assert runs[0].record is not None
    origin = {**runs[0].provenance, "threads": 3}
    monkeypatch.setattr(device, "usable_cores", lambda: 8)
    assert entries(replace(runs[0], record=replace(runs[0].record, provenance=origin))) == 6
    for number, constant in enumerate(("VERSION", "DRAWS", "STEPS"), 7):
        monkeypatch.setattr(attributions, constant, 77)
        assert entries(runs[0]) == number


def test_threads_and_global_generator_are_left_as_they_were(place: Any, cache: Path) -> None:
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
    assert 25 <= affordable(run, LAYERS) < 30
    assert affordable(run, []) == affordable(run, LAYERS)


def test_images_that_are_too_large_for_one_are_refused_in_one_line(place: Any) -> None:
    run = runs_of(place)[0]
    run.recipe["model"] = {"name": "resnet18"}
    assert run.record is not None
    run.record.image_shape[1:] = [512, 512]
    with pytest.raises(RunError, match="one image of 3x512x512 would take more than 6e\\+12 operations"):
        affordable(run, [])
