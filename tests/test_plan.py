"""From a study to its runs: what a digest covers, and what libraries refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.data import load_data
from harness.data.arrays import Data
from harness.errors import StudyError
from harness.outline import make_outline
from harness.plan import make_plan, resolve_variant
from harness.store.folders import StudyFolder
from harness.study_file.config import Recipe, Study

SHORT = {"kind": "one_cycle_lr", "epochs": 3, "lr_max": 0.1, "pct_start": 0.3, "total_steps": 9}


def load(recipe: Recipe) -> Data:
    config = recipe.data
    return load_data("digits", Path(), train_limit=config.train_limit, test_limit=config.test_limit)


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data("digits", Path(), train_limit=160, test_limit=60)


def digest(study: Study, data: Data) -> str:
    return resolve_variant(study, "base", data, device="cpu").digest


@pytest.mark.parametrize(
    "change",
    [
        ("schedule.epochs", 4),
        ("schedule.lr_max", 0.1),
        ("optimizer.momentum", 0.8),
        ("optimizer", {"name": "Adagrad"}),
        ("model.width", 3),
        ("data.batch_size", 16),
        ("loss.label_smoothing", 0.1),
        ("augment.train", []),
        ("augment.test", [{"transform": "CenterCrop", "height": 32, "width": 32}]),
        ("augment", {"train": [{"transform": "AlternatingFlip"}]}),
        ("augment", {"batch": [{"transform": "MixUp"}]}),
        ("augment", {"library": "torchvision", "train": [{"transform": "RandomCrop", "size": 32}]}),
        ("precision", "float32"),
    ],
)
def test_the_digest_covers_what_decides_a_result(
    tiny: Callable[..., Study], data: Data, change: tuple[str, Any]
) -> None:
    fixed = ("precision", "bfloat16")
    assert digest(tiny(fixed), data) != digest(tiny(fixed, change), data)


def test_the_digest_covers_the_data_and_a_range_test_that_is_used(
    tiny: Callable[..., Study], data: Data
) -> None:
    fewer = load_data("digits", Path(), train_limit=160, test_limit=50)
    assert digest(tiny(), data) != digest(tiny(), fewer)
    rate = ("schedule.lr_max", "find")
    assert digest(tiny(rate), data) != digest(tiny(rate, ("range_test", {"iterations": 50})), data)


@pytest.mark.parametrize(
    ("change", "packages"),
    [
        ({}, set()),
        ({"library": "albumentations", "batch": []}, set()),
        ({"train": [{"transform": "AlternatingFlip"}]}, set()),
        ({"batch": [{"transform": "CutMix"}]}, {"torchvision"}),
        ({"library": "torchvision", "train": [{"transform": "RandAugment"}]}, {"torchvision"}),
        ({"train": [{"transform": "GaussianBlur"}]}, {"albumentations", "opencv-python-headless"}),
    ],
)
def test_the_digest_has_the_packages_that_compute_the_pixels(
    tiny: Callable[..., Study], data: Data, change: dict[str, Any], packages: set[str]
) -> None:
    identity = resolve_variant(tiny(("augment", change)), "base", data, device="cpu").identity
    assert set(identity["versions"]) == {"torch", "pytorch-ignite", *packages}
    assert ("batch" in identity["recipe"]["augment"]) == bool(change.get("batch"))


FOUND = (("schedule.lr_max", "find"), ("range_test.iterations", 50))


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (("range_test.repeats", 3), True),  # the default, which earlier versions did not have
        (("range_test.per", "variant"), True),
        (("range_test.repeats", 1), False),
        (("range_test.repeats", 5), False),
        (("range_test.per", "seed"), False),
    ],
)
def test_the_digest_has_sweeps_and_their_sharing_only_where_a_study_changes_them(
    tiny: Callable[..., Study], data: Data, change: tuple[str, Any], same: bool
) -> None:
    plain = resolve_variant(tiny(*FOUND), "base", data, device="cpu")
    assert not {"repeats", "per"} & set(plain.identity["recipe"]["range_test"])
    assert (digest(tiny(*FOUND, change), data) == plain.digest) is same
    assert digest(tiny(FOUND[1], change), data) == digest(tiny(), data)  # its rates are numbers


@pytest.mark.parametrize(
    "change",
    [
        ("seeds", [7]),
        ("question", "Another?"),
        ("target.accuracy", 0.9),
        ("attribution.images", 9),
        ("data.bits", 12),  # what it does to images is in their checksum
        ("range_test", {"iterations": 50}),  # its rates are numbers: the sweep is only looked at
        ("references", {"x": {"test_accuracy": 0.5}}),
    ],
)
def test_the_digest_leaves_out_what_does_not(
    tiny: Callable[..., Study], data: Data, change: tuple[str, Any]
) -> None:
    assert digest(tiny(), data) == digest(tiny(change), data)


@pytest.mark.parametrize(
    ("train", "size", "words"),
    [
        (
            [],
            (1500, 2000),
            "images of 2000x1500 pixels; at most 1024 is allowed: set data.image_size, or crop",
        ),
        ([], (6, 6), "images of 6x6 pixels; at least 8 is needed: set data.image_size, or Resize"),
        (
            None,
            (1500, 2000),
            "afterwards train images have 32x32 pixels, test images 2000x1500; make them equal",
        ),
    ],
)
def test_images_of_a_size_that_no_run_takes_are_refused_with_the_way_out(
    tiny: Callable[..., Study], train: list[Any] | None, size: tuple[int, int], words: str
) -> None:
    study = tiny() if train is None else tiny(("augment.train", train))
    with pytest.raises(StudyError, match=f"^tiny: augment: {words}"):
        make_outline(study, "base", 100, size, 10)


def test_planning_leaves_the_global_random_state_as_it_was(tiny: Callable[..., Study], data: Data) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    resolve_variant(tiny(), "base", data, device="cpu")
    assert torch.equal(before, torch.get_rng_state())


def test_runs_come_in_the_order_of_variants_then_seeds(tiny: Callable[..., Study], tmp_path: Path) -> None:
    study = tiny(("variants", {"wide": {"model.width": 3}, "none": {"augment.train": []}}), ("seeds", [3, 1]))
    plan = make_plan(study, StudyFolder(tmp_path, "tiny"), load, device="cpu")
    named = [(variant.name, folder.seed) for variant, folder in plan.runs()]
    assert named == [(v, s) for v in ("base", "wide", "none") for s in (3, 1)]
    only = make_plan(study, StudyFolder(tmp_path, "tiny"), load, variants=["none", "base"], device="cpu")
    assert [variant.name for variant in only.variants] == ["base", "none"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("model.name", "custom_resnt"), "did you mean 'custom_resnet'"),
        (("model.widht", 3), "model.widht: unknown key, did you mean 'width'"),
        (("optimizer.name", "SDG"), "did you mean 'SGD'"),
        (("optimizer.momentun", 0.9), "optimizer.momentun: torch.optim.SGD has no such argument"),
        (("augment.train", [{"transform": "RandomCorp"}]), "augment.train\\[0\\]"),
        (("attribution.layers", ["layer9"]), "no layer 'layer9' \\(its stages: prep, layer1"),
        (("augment.train", [{"transform": "CenterCrop", "height": 16, "width": 16}]), "make them equal"),
        (("precision", "float16"), "needs a GPU"),
        (("schedule", SHORT), "schedule.total_steps: 9 are fewer than the 15"),
    ],
)
def test_what_a_library_refuses_is_one_line(
    tiny: Callable[..., Study], data: Data, change: tuple[str, Any], message: str
) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        resolve_variant(tiny(change), "base", data, device="cpu")
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_there_is_refused(tiny: Callable[..., Study], data: Data) -> None:
    with pytest.raises(StudyError, match="--device cuda:99"):
        resolve_variant(tiny(), "base", data, device="cuda:99")


def test_the_headline_variant_has_its_published_numbers(cifar10: Path) -> None:
    from harness.study_file.load import load_study

    study = load_study("onecycle")
    variant = resolve_variant(study, "base", load_data("cifar10", cifar10, progress=False), device="cpu")
    assert variant.outline.parameters == 6_573_120 and variant.steps_per_epoch == 98
    assert variant.outline.flops_per_image * 24 * 50_000 == pytest.approx(2.73e15, rel=0.01)
    normalise = variant.train_transforms[-1]
    assert normalise["transform"] == "Normalize"
    assert normalise["mean"] == pytest.approx([0.49139968, 0.48215841, 0.44653091], abs=1e-8)
