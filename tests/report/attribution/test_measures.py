"""A variant's attributions: agreement of seeds, what is judged and warned about, and what is left out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from harness.analysis.results import read_results
from harness.errors import DataError
from harness.models import MODELS, build_model
from harness.models.network import NetworkConfig
from harness.models.weights import weights_bytes
from harness.report import write_report
from harness.report.attribution import runs as attribution_runs
from harness.report.attribution.measures import Attributions, measure, sanity_warnings
from harness.report.attribution.page import attribution_blocks
from harness.report.attribution.runs import MOST_SEEDS
from harness.report.images import RunImages
from harness.schema import Strict
from harness.seeding import global_seed

Lab = Callable[..., Any]
WISH = {"layers": ["layer1", "res2"], "images": 4}


def measured(place: Any, load_data: Any = None) -> tuple[list[Attributions], dict[str, str]]:
    results = read_results(place.study, place.folder, place.study.seeds, list(place.study.recipes))
    return measure(results, RunImages(results, load_data or place.load_data))


def random_weights(place: Any, seed: int) -> bytes:
    with global_seed(seed, "test"):
        model = build_model("custom_resnet", {"width": 4}, 10)
    metadata = {
        "model": {"name": "custom_resnet", "width": 4},
        "classes": list(place.data.train.classes),
        "image_shape": [3, 32, 32],
    }
    return weights_bytes(model, NetworkConfig.from_json(metadata))


def test_identical_seeds_agree_wholly_and_unrelated_ones_not_at_all(lab: Lab) -> None:
    seeds = [0, 3, 6, 9, 12]
    place = lab(seeds=seeds, variants={"untrained": {"loss.l1": 1e-6}}, attribution={**WISH, "images": 25})
    for seed in seeds:
        place.finish("base", seed)  # all of them have the same weights
        place.finish("untrained", seed, weights=random_weights(place, seed))
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


def test_one_seed_has_no_agreement(lab: Lab) -> None:
    place = lab(seeds=[0], attribution=WISH)
    place.finish()
    (found,), _ = measured(place)
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


def test_the_images_are_the_first_of_the_split_whatever_the_results(lab: Lab) -> None:
    place = lab(seeds=[0], attribution=WISH)
    place.finish()
    (first,), _ = measured(place)
    place.finish(logits=np.roll(np.eye(10)[place.data.evaluation.labels], 1, axis=1) * 9)
    (second,), _ = measured(place)
    np.testing.assert_array_equal(first.sanity, second.sanity)
    np.testing.assert_array_equal(first.curves, second.curves)


def test_what_cannot_be_measured_has_its_reason(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    place = lab(seeds=[0], variants={"other": {"attribution.layers": ["no_such"]}}, attribution=WISH)
    place.finish("base")
    place.finish("other")

    def gone(variant: str) -> Any:
        raise DataError("not in the data folder")

    assert measured(place, gone) == ([], dict.fromkeys(("base", "other"), "not in the data folder"))
    found, errors = measured(place)
    assert [one.variant for one in found] == ["base"]
    assert "no layer 'no_such'" in errors["other"]
    monkeypatch.setattr(attribution_runs, "BUDGET", 1e6)
    assert "more than 1e+06 operations" in measured(place)[1]["base"]


def test_a_variant_without_a_finished_run_is_not_measured(lab: Lab) -> None:
    place = lab(seeds=[0], attribution=WISH)
    place.fail("base", 0)
    assert measured(place) == ([], {})


def test_passing_and_unjudged_layers_are_not_warned_about(lab: Lab) -> None:
    place = lab(seeds=[0], attribution=WISH)
    place.finish()
    (found,), _ = measured(place)
    assert [layer.verdict for layer in found.numbers] == ["not judged"] * 2  # four images are too few
    assert [layer.checks["randomisation"] for layer in found.numbers] == ["passed"] * 2
    assert sanity_warnings([found]) == []
    alike = replace(found, sanity=np.where(np.arange(2)[:, None] == 1, 0.9, found.sanity))
    (line,) = sanity_warnings([alike])
    assert line.startswith("base: Grad-CAM fails the model-randomisation check at res2 (0.90) ")
    assert "layer1" not in line


def test_a_layer_passes_only_where_it_passes_every_check(lab: Lab) -> None:
    place = lab(seeds=[0], attribution={**WISH, "images": 20})
    place.finish()
    (found,), _ = measured(place)
    falling = np.linspace(0.9, 0.1, 11) ** np.linspace(2, 3, 20)[:, None]
    good = np.stack([falling**1.2, falling[:, ::-1] ** 0.8, falling, falling[:, ::-1]])  # than random maps
    curves = np.repeat(good[:, None], 2, axis=1)
    fine = replace(found, curves=curves)
    assert [layer.verdict for layer in fine.numbers] == ["passed"] * 2 and sanity_warnings([fine]) == []
    for check, kind in (("deletion", 0), ("insertion", 1)):
        lost = curves.copy()
        lost[kind, 1], lost[kind + 2, 1] = curves[kind + 2, 1], curves[kind, 1]  # the random maps are better
        first, second = (worse := replace(found, curves=lost)).numbers
        assert (first.verdict, second.verdict, second.failed) == ("passed", "failed", [check])
        (line,) = sanity_warnings([worse])
        assert f"the {check} check at res2 (" in line and "layer1" not in line
        page = attribution_blocks([worse])[0]
        assert [row[7] for row in page.rows] == ["passed", f"failed: {check}"]
    alike = curves.copy()
    alike[:2] = alike[2:]
    assert [layer.verdict for layer in replace(found, curves=alike).numbers] == ["failed"] * 2


class FixedEdges(nn.Module):
    """Horizontal differences that no training changes, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.edges = Differences()
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, 10))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.edges(images))


class Differences(nn.Module):
    """How steep the brightness is along each row: (N, 3, H, W) -> (N, 1, H, W - 1)."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(1, keepdim=True).diff(dim=3).abs()


class FixedEdgesOptions(Strict):
    """It has none."""

    def build(self, classes: int) -> nn.Module:
        return FixedEdges()


class Picky(FixedEdges):
    """A network that looks at values, as no counting of operations on shapes alone can."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) if images.mean() < 9 else super().forward(-images)


class PickyOptions(Strict):
    """It has none."""

    def build(self, classes: int) -> nn.Module:
        return Picky()


@pytest.fixture
def own_network(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Strict]], Any]:
    """A finished run of someone's own network."""

    def finish(options: type[Strict]) -> Any:
        module = ModuleType("own_network_of_a_test")
        module.Options = options  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(MODELS, "own", f"{module.__name__}:Options")
        place = lab(seeds=[0], model={"name": "own"}, attribution={"layers": ["edges"], "images": 25})
        network = NetworkConfig("own", {}, place.data.train.classes, (3, 32, 32))
        with global_seed(0, "test"):
            place.finish(weights=weights_bytes(network.build(), network))
        return place

    return finish


def test_a_layer_that_does_not_depend_on_the_weights_is_warned_about_in_the_report(
    own_network: Callable[[type[Strict]], Any],
) -> None:
    place = own_network(FixedEdgesOptions)
    summary = write_report(place.study, place.folder, [0], ["base"], place.load_data)
    (line,) = [line for line in summary.warnings if "Grad-CAM" in line]
    assert line.startswith("base: Grad-CAM fails the model-randomisation check at edges (1.00) ")
    assert "fails the model-randomisation check" in (place.folder.path / "report.html").read_text()
    assert [row["sanity_check"] for row in place.table("attributions")] == ["failed"]


def test_a_network_that_looks_at_its_values_is_measured(own_network: Callable[[type[Strict]], Any]) -> None:
    found, errors = measured(own_network(PickyOptions))
    assert [one.layers for one in found] == [["edges"]] and not errors
