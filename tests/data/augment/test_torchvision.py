"""torchvision's transforms: what is refused and how, and the same pixels as torchvision gives by itself."""

from __future__ import annotations

import inspect
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.data.arrays import split_of
from harness.data.augment import check_transforms, parse, resolve
from harness.data.augment.torchvision import _classes
from harness.data.batches import Batches
from harness.data.shapes import output_shape
from harness.errors import StudyError
from harness.imports import ALLOWED, FOLDERS
from harness.seeding import derive_seed
from harness.vision import import_torchvision

import_torchvision()
from torchvision.transforms import v2  # noqa: E402

Table = dict[str, Any]
CROP: Table = {"transform": "RandomCrop", "size": 12, "padding": 4}
FLIP: Table = {"transform": "RandomHorizontalFlip"}
ERASE: Table = {"transform": "RandomErasing", "p": 0.5}
NORMALIZE: Table = {"transform": "Normalize", "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 0.3]}
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 12, 12, 3), dtype=np.uint8)
SPLIT = split_of(IMAGES, np.arange(20) % 10, list("0123456789"))


def stamped(*tables: Table) -> list[Table]:
    return [table | {"library": "torchvision"} for table in tables]


def message(transforms: Any, **options: Any) -> str:
    with pytest.raises(StudyError) as caught:
        check_transforms(transforms, "augment.train", library="torchvision", **options)
    text = str(caught.value)
    assert "\n" not in text and len(text) <= 600
    return text


@pytest.mark.parametrize(
    ("table", "start", "contains"),
    [
        ({"transform": "RandomCop"}, ".transform: 'RandomCop'", "did you mean 'RandomCrop'?"),
        ({"transform": "HorizontalFlip"}, ".transform: ", 'albumentations has it: augment.library = "albu'),
        ({"transform": "RandomCrop"}, ".size: ", "missing"),
        (CROP | {"paddng": 4}, ".paddng: ", "did you mean 'padding'?"),
        (CROP | {"padding": "4"}, ".padding: ", "got '4'"),
        (CROP | {"padding": 1.5}, ".padding: ", "got 1.5"),
        (CROP | {"padding_mode": "mirror"}, ".padding_mode: ", "'reflect'"),
        (FLIP | {"p": 1.5}, ": ", "interval [0.0, 1.0]"),
        (FLIP | {"p": "0.5"}, ".p: ", "valid number, got '0.5'"),
        (FLIP | {"p": True}, ".p: ", "valid number, got True"),
        (ERASE | {"value": "green"}, ": ", "random"),
        (ERASE | {"scale": [-1.0, 0.5]}, ": ", "Scale"),
        ({"transform": "RandAugment", "magnitude": 9.5}, ".magnitude: ", "got 9.5"),
        ({"transform": "RandAugment", "interpolation": "linear"}, ".interpolation: ", "'bilinear'"),
        ({"transform": "RandAugment", "interpolation": 2}, ".interpolation: ", "bilinear"),
        ({"transform": "AutoAugment", "policy": "cifar"}, ".policy: ", "'cifar10'"),
        ({"transform": "ToDtype", "dtype": "half"}, ".dtype: ", "float32"),
        ({"transform": "ColorJitter", "hue": 0.9}, ": ", "hue"),
        ({"transform": "GaussianNoise", "clip": 1}, ".clip: ", "boolean"),
        ({"transform": "RandomApply"}, ": transforms: ", "missing"),
        ({"transform": "RandomApply", "transforms": [3]}, ".transforms[0]: ", "NAME"),
        ({"transform": "RandomApply", "transforms": [FLIP | {"q": 2}]}, ".transforms[0].q: ", "not an"),
        ({"transform": "RandomChoice", "transforms": [FLIP], "p": [0.5, 0.5]}, ".p: ", "each of 1"),
        ({"transform": "RandomChoice", "transforms": [FLIP], "p": [0.0]}, ".p: ", "above 0"),
        ({"transform": "Compose", "transforms": [NORMALIZE]}, ": ", "every image"),
        ({"transform": "Compose", "transforms": [{"transform": "AlternatingFlip"}]}, ": ", "first transform"),
        ({"name": "RandomHorizontalFlip"}, ": ", "transform ="),
        (NORMALIZE | {"std": [0.0, 1.0, 1.0]}, ".std: ", "above 0"),
        (NORMALIZE | {"mean": [0.5, 0.5]}, ".mean: ", "3 channels"),
        ({"transform": "MixUp"}, ".transform: ", "augment.batch"),
        ({"transform": "FiveCrop", "size": 8}, ".transform: ", "several images"),
        ({"transform": "RandomIoUCrop"}, ".transform: ", "needs more than the image"),
    ],
)
def test_a_mistake_is_one_line_with_its_path_and_the_way_out(table: Table, start: str, contains: str) -> None:
    text = message([FLIP, table])
    assert text.startswith(f"augment.train[1]{start}") and contains in text


def test_albumentations_has_no_randaugment_and_the_error_says_who_has() -> None:
    for table in (
        {"transform": "RandAugment"},
        {"transform": "OneOf", "transforms": [{"transform": "RandAugment"}]},
    ):
        with pytest.raises(StudyError, match='torchvision has it: augment.library = "torchvision"'):
            check_transforms([table], "augment.train")


@pytest.mark.parametrize("name", ["Lambda", "Transform", "functional", "torch", ""])
def test_a_name_reaches_transforms_and_nothing_else(name: str) -> None:
    assert message([{"transform": name}]).startswith("augment.train[0].transform: ")
    assert all(issubclass(cls, v2.Transform) for cls in _classes().values())


def test_the_defaults_of_every_transform_pass_the_check() -> None:
    needed: dict[str, Any] = {
        "size": 12, "padding": 2, "transforms": [FLIP], "degrees": 10, "min_size": 12, "max_size": 14,
        "kernel_size": 3, "mean": [0.5], "std": [0.5], "dtype": "float32", "quality": 50, "bits": 4,
        "threshold": 100.0, "sharpness_factor": 1.5, "target_size": [12, 12],
    }  # fmt: skip
    for name, cls in _classes().items():
        parameters = inspect.signature(cls).parameters.values()
        arguments = {one.name: needed[one.name] for one in parameters if one.default is one.empty}
        for parameter in parameters:
            plain = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
            if isinstance(plain, bool | int | float | str | list):
                arguments.setdefault(parameter.name, getattr(plain, "value", plain))
        check_transforms([{"transform": name, **arguments}], "augment.train", library="torchvision")


COLOUR = {"transform": "ColorJitter", "brightness": 0.4, "contrast": [0.8, 1.2], "hue": 0.1}
PIPELINES: dict[str, tuple[list[Table], list[Any]]] = {
    "crop and flip": ([CROP, FLIP], [v2.RandomCrop(12, padding=4), v2.RandomHorizontalFlip()]),
    "randaugment": (
        [{"transform": "RandAugment", "num_ops": 3, "magnitude": 12}],
        [v2.RandAugment(3, 12)],
    ),
    "trivial": (
        [{"transform": "TrivialAugmentWide", "interpolation": "bilinear", "fill": [1, 2, 3]}],
        [v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR, fill=[1, 2, 3])],
    ),
    "autoaugment": (
        [{"transform": "AutoAugment", "policy": "cifar10"}, FLIP],
        [v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10), v2.RandomHorizontalFlip()],
    ),
    "colours": ([COLOUR], [v2.ColorJitter(brightness=0.4, contrast=(0.8, 1.2), hue=0.1)]),
    "erasing": ([ERASE], [v2.RandomErasing(0.5)]),
    "resized crop": (
        [{"transform": "RandomResizedCrop", "size": [12, 12], "scale": [0.5, 1.0]}],
        [v2.RandomResizedCrop(12, scale=(0.5, 1.0))],
    ),
    "compositions": (
        [
            {"transform": "RandomApply", "p": 0.7, "transforms": [FLIP, {"transform": "RandomVerticalFlip"}]},
            {"transform": "RandomChoice", "p": [0.2, 0.8], "transforms": [COLOUR, ERASE]},
            {"transform": "RandomOrder", "transforms": [{"transform": "RandomInvert"}, FLIP]},
        ],
        [
            v2.RandomApply([v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()], 0.7),
            v2.RandomChoice([v2.ColorJitter(0.4, (0.8, 1.2), hue=0.1), v2.RandomErasing(0.5)], p=[0.2, 0.8]),
            v2.RandomOrder([v2.RandomInvert(), v2.RandomHorizontalFlip()]),
        ],
    ),
}
TO_FLOAT = v2.ToDtype(torch.float32, scale=True)
THEIRS = v2.Normalize([0.5, 0.4, 0.3], [0.25, 0.2, 0.3])


@pytest.mark.parametrize("name", PIPELINES)
def test_every_image_has_torchvisions_pixels_from_the_same_state_of_torchs_generator(name: str) -> None:
    ours, theirs = PIPELINES[name]
    cases: list[tuple[list[Table], list[Any]]] = [
        ([*ours, NORMALIZE], [*theirs, TO_FLOAT, THEIRS]),
        ([*ours, NORMALIZE, ERASE], [*theirs, TO_FLOAT, THEIRS, v2.RandomErasing(0.5)]),
    ]
    for tables, steps in cases:
        check_transforms(tables, "augment.train", library="torchvision")
        batches = Batches(SPLIT, stamped(*tables), 8, seed=3, shuffle=False)
        batches.set_epoch(2)
        compose = v2.Compose(steps)
        for batch, (images, _) in enumerate(batches):
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(derive_seed(3, "train/augment", 2, batch))
                given = torch.from_numpy(IMAGES[8 * batch : 8 * batch + 8]).permute(0, 3, 1, 2)
                expected = torch.stack([compose(image.contiguous()) for image in given])
            assert torch.equal(images, expected)
            assert images.is_contiguous(memory_format=torch.channels_last)


def test_images_of_a_batch_are_drawn_for_one_by_one() -> None:
    same = split_of(np.repeat(IMAGES[:1], 20, axis=0), SPLIT.labels, SPLIT.classes)
    (images, _) = next(iter(Batches(same, stamped(FLIP, NORMALIZE), 20, seed=0, shuffle=False)))
    assert len({image.numpy().tobytes() for image in images}) == 2


@pytest.mark.parametrize(
    "table",
    [
        FLIP,
        CROP,
        {"transform": "RandomCrop", "size": 300},
        {"transform": "RandAugment"},
        {"transform": "RandomApply", "transforms": [{"transform": "Grayscale"}], "p": 1.0},
    ],
)
def test_a_random_transform_is_refused_where_the_pipeline_must_be_deterministic(table: Table) -> None:
    assert "must be deterministic" in message([table], deterministic=True)


def test_fixed_transforms_are_deterministic() -> None:
    fixed: list[Table] = [
        {"transform": "Resize", "size": [40, 40], "interpolation": "bicubic"},
        {"transform": "CenterCrop", "size": 32},
        {"transform": "Pad", "padding": [2, 2], "padding_mode": "reflect"},
        {"transform": "Grayscale", "num_output_channels": 3},
        NORMALIZE,
    ]
    check_transforms(fixed, "augment.test", library="torchvision", deterministic=True)
    assert output_shape(stamped(*fixed), 28, 30) == (36, 36)


def test_normalize_is_added_from_the_train_data_or_taken_from_the_study() -> None:
    train, test = resolve([CROP], [], (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "torchvision")
    own = {"transform": "Normalize", "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    assert (train, test) == (stamped(CROP, own), stamped(own))
    assert parse(train).library.NAME == "torchvision" and parse(train).tables == [CROP, own]
    assert resolve([NORMALIZE, ERASE], [], (0.1,) * 3, (0.2,) * 3, "torchvision") == (
        stamped(NORMALIZE, ERASE),
        stamped(NORMALIZE),
    )


RESIZED = {"transform": "Resize", "size": [8, 8]}


@pytest.mark.parametrize(
    ("transforms", "contains"),
    [
        ([{"transform": "RandomResize", "min_size": 10, "max_size": 14}], "size varies"),
        ([{"transform": "RandomApply", "transforms": [RESIZED], "p": 1e-6}], "size varies (8x8, 12x12)"),
        ([{"transform": "RandomChoice", "transforms": [RESIZED, FLIP], "p": [1e-6, 1.0]}], "size varies"),
        ([{"transform": "RandomZoomOut", "p": 1e-6}], "size varies"),
        ([{"transform": "RandomRotation", "degrees": 40, "expand": True}], "size varies"),
        ([{"transform": "RandomCrop", "size": 64}], "fails on an image of 12x12 pixels"),
        ([ERASE | {"p": 1e-6, "value": [1.0, 2.0]}], "fails on an image of 12x12 pixels"),
        ([{"transform": "Grayscale"}], "expected uint8, float32 or float64 images of 3 channels"),
        ([{"transform": "Pad", "padding": 1024}] * 2, "at most 2048 is allowed in between"),
        (
            [
                {"transform": "RandomApply", "transforms": [{"transform": "ToDtype", "dtype": "float32"}]},
                NORMALIZE,
            ],
            "some images come to Normalize as bytes",
        ),
    ],
)
def test_a_pipeline_that_gives_no_images_of_one_size_is_refused(transforms: Any, contains: str) -> None:
    check_transforms(transforms, "augment.train", library="torchvision")
    with pytest.raises(StudyError) as caught:
        output_shape(stamped(*transforms), 12, 12, "augment.train")
    assert str(caught.value).startswith("augment.train: ")
    assert contains in str(caught.value) and "\n" not in str(caught.value)


def test_a_size_that_every_branch_gives_is_accepted() -> None:
    either = {"transform": "RandomChoice", "transforms": [RESIZED, {"transform": "CenterCrop", "size": 8}]}
    assert output_shape(stamped(either, NORMALIZE), 12, 12) == (8, 8)
    rare = {"transform": "RandomApply", "transforms": [{"transform": "RandomZoomOut"}]}
    assert output_shape(stamped(rare, RESIZED), 12, 12) == (8, 8)


OWN = """
import itertools
import random
import numpy as np
import torch

class Shift:  # of the values of an array (H, W, 3) or a tensor (3, H, W)
    def __init__(self, most=10):
        self.most = most

    def __call__(self, image):
        by = {"numpy": np.random.randint(1, self.most), "torch": int(torch.randint(1, self.most, ())),
              "python": random.randrange(1, self.most)}
        return image // 2 + by["numpy"] + by["torch"] + by["python"]

def invert():
    return lambda image: 255 - image

def unseeded():
    own = itertools.count()
    return lambda image: image // 2 + next(own) % 100

def nothing():
    return None
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_transforms.py").write_text(OWN)
    monkeypatch.setenv(ALLOWED, "own_transforms")
    monkeypatch.setenv(FOLDERS, str(tmp_path))


SHIFT: Table = {"transform": "own_transforms:Shift", "most": 40}
INVERT: Table = {"transform": "own_transforms:invert"}
NORMAL = NORMALIZE | {"max_pixel_value": 255.0}


@pytest.mark.parametrize("library", ["albumentations", "torchvision"])
def test_transforms_of_ones_own_are_seeded_wherever_they_draw(own: None, library: str) -> None:
    of = {} if library == "albumentations" else {"library": library}
    check_transforms([SHIFT, INVERT], "augment.train", library=library)
    check_transforms([INVERT], "augment.test", library=library, deterministic=True)
    with pytest.raises(StudyError, match="Shift is random"):
        check_transforms([SHIFT], "augment.test", library=library, deterministic=True)
    tables = [table | of for table in (SHIFT, INVERT)]
    assert output_shape(tables, 12, 12) == (12, 12)
    found = []
    for workers in (0, 2, 0):
        batches = Batches(SPLIT, tables, 8, seed=0, shuffle=True, workers=workers)
        assert batches.path == library
        found.append(torch.cat([images for images, _ in batches]))
        random.seed(workers + 7)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    plain = next(iter(Batches(SPLIT, [INVERT | of], 20, seed=0, shuffle=False)))[0]
    np.testing.assert_array_equal(plain.permute(0, 2, 3, 1), 255 - IMAGES.astype(np.float32))


@pytest.mark.parametrize("library", ["albumentations", "torchvision"])
def test_what_is_wrong_with_a_transform_of_ones_own_is_one_line(own: None, library: str) -> None:
    def said(table: Table) -> str:
        with pytest.raises(StudyError) as caught:
            check_transforms([table], "augment.train", library=library)
            output_shape([table] if library == "albumentations" else stamped(table), 12, 12)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "add --allow os" in said({"transform": "os:system"})
    assert "no attribute 'missing'" in said({"transform": "own_transforms:missing"})
    assert "unexpected keyword argument 'least'" in said(SHIFT | {"least": 1})
    assert "gives NoneType" in said({"transform": "own_transforms:nothing"})
    assert "one seed gives two different images" in said({"transform": "own_transforms:unseeded"})
