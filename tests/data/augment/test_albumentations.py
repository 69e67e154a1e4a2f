"""The study's pipelines: what is refused and how, what is resolved, and the traps of Albumentations."""

from __future__ import annotations

import inspect
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import albumentations as A
import numpy as np
import pytest

from harness.data.augment import check_transforms, resolve
from harness.data.augment.albumentations import _classes, reference_pipeline, seed_pipeline
from harness.data.shapes import output_shape
from harness.errors import StudyError

Table = dict[str, Any]
CROP: Table = {"transform": "RandomCrop", "height": 32, "width": 32}
FLIP: Table = {"transform": "HorizontalFlip", "p": 0.5}
NORMALIZE: Table = {"transform": "Normalize", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
BOTH = (False, True)
IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def message(transforms: Any, **options: Any) -> str:
    with pytest.raises(StudyError) as caught:
        check_transforms(transforms, "augment.train", **options)
    text = str(caught.value)
    assert "\n" not in text and len(text) <= 600
    return text


def cutout(**arguments: Any) -> Table:
    return {"transform": "CoarseDropout", **arguments}


@pytest.mark.parametrize(
    ("table", "start", "contains"),
    [
        ({"transform": "RandomCop"}, ".transform: 'RandomCop'", "did you mean 'RandomCrop'?"),
        (cutout(max_holes=1), ".max_holes: ", "num_holes_range"),
        (cutout(num_holes=[1, 1]), ".num_holes: ", "'num_holes_range'?"),
        (cutout(num_holes_range=[1.5, 2]), ".num_holes_range: ", "int"),
        (cutout(num_holes_range=[2, 1]), ".num_holes_range: ", "less"),
        (cutout(fill="green"), ".fill: ", "random_uniform"),
        (FLIP | {"p": 1.5}, ".p: ", "less than or equal to 1, got 1.5"),
        (FLIP | {"p": "0.5"}, ".p: ", "valid number, got '0.5'"),
        (FLIP | {"p": True}, ".p: ", "valid number, got True"),
        ({"transform": "RandomCrop", "height": 32}, ".width: ", "missing"),
        ({"transform": "PadIfNeeded", "border_mode": "reflect101"}, ".border_mode: ", "reflect_101"),
        ({"transform": "PadIfNeeded", "border_mode": 4}, ".border_mode: 4", "reflect_101"),
        ({"transform": "Downscale", "interpolation_pair": {"upscale": "linaer"}}, ".", "linear"),
        ({"transform": "OneOf"}, ": transforms: ", "missing"),
        ({"transform": "OneOf", "transforms": [3]}, ".transforms[0]: ", "NAME"),
        ({"transform": "OneOf", "transforms": [FLIP | {"p": 2}]}, ".transforms[0].p: ", "got 2"),
        ({"transform": "OneOf", "transforms": [FLIP | {"p": 0}]}, ": ", "p > 0"),
        ({"transform": "SomeOf", "n": 2, "transforms": [FLIP]}, ".n: ", "2 of 1"),
        ({"transform": "Sequential", "transforms": [NORMALIZE]}, ": ", "every image"),
        ({"name": "HorizontalFlip"}, ": ", "transform ="),
        (NORMALIZE | {"std": [0, 1, 1]}, ".std: ", "above 0"),
        (NORMALIZE | {"mean": [0.5, 0.5]}, ".mean: ", "3 channels"),
        (NORMALIZE | {"p": 0.5}, ".p: ", "every image"),
        ({"transform": "MaskDropout"}, ".transform: ", "needs more than the image"),
        ({"transform": "HistogramMatching", "reference_images": ["x.png"]}, ".transform: ", "needs"),
    ],
)
def test_a_mistake_is_one_line_with_its_path_and_the_way_out(table: Table, start: str, contains: str) -> None:
    text = message([FLIP, table])
    assert text.startswith(f"augment.train[1]{start}") and contains in text


@pytest.mark.parametrize("name", ["Lambda", "Compose", "BasicTransform", "os", "Serializable", ""])
def test_a_name_reaches_transforms_and_nothing_else(name: str) -> None:
    assert message([{"transform": name}]).startswith("augment.train[0].transform: ")
    compositions = ("OneOf", "RandomOrder", "Sequential", "SomeOf")
    assert all(issubclass(cls, A.BasicTransform) or key in compositions for key, cls in _classes().items())


def test_the_defaults_of_every_transform_pass_the_strict_check() -> None:
    needed: dict[str, Any] = {
        "height": 16,
        "width": 16,
        "size": [16, 16],
        "min_max_height": [8, 16],
        "px": [0, 3],
    }
    needed |= {"num_grid_xy": [3, 3], "magnitude": 3, "max_size": 20, "transforms": [FLIP]}
    also = {"LongestMaxSize": ["max_size"], "SmallestMaxSize": ["max_size"], "CropAndPad": ["px"]}
    for name, cls in _classes().items():
        parameters = inspect.signature(cls).parameters.values()
        arguments = {one.name: needed[one.name] for one in parameters if one.default is one.empty}
        arguments |= {key: needed[key] for key in also.get(name, [])}
        for parameter in parameters:
            plain = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
            constant = "interpolation" in parameter.name or parameter.name == "border_mode"
            if plain not in (parameter.empty, None) and not constant:
                arguments.setdefault(parameter.name, plain)
        check_transforms([{"transform": name, **arguments}], "augment.train")


@pytest.mark.parametrize(
    "table",
    [
        FLIP,
        CROP,
        {"transform": "RandomCrop", "height": 300, "width": 300},
        {"transform": "OneOf", "transforms": [{"transform": "HorizontalFlip", "p": 1.0}]},
        {"transform": "Sequential", "p": 1.0, "transforms": [FLIP]},
        {"transform": "PadIfNeeded", "min_height": 2000, "min_width": 2000, "position": "random"},
        {"transform": "GaussNoise", "p": 1.0},
    ],
)
def test_a_random_transform_is_refused_where_the_pipeline_must_be_deterministic(table: Table) -> None:
    assert "must be deterministic" in message([table], deterministic=True)
    check_transforms([table], "augment.train")


def test_fixed_transforms_are_deterministic() -> None:
    fixed = [
        {"transform": "Resize", "height": 40, "width": 40, "interpolation": "area"},
        {"transform": "CenterCrop", "height": 32, "width": 32},
        {"transform": "HorizontalFlip", "p": 1.0},
        {"transform": "Sequential", "p": 1.0, "transforms": [{"transform": "ToGray", "p": 1.0}]},
        NORMALIZE,
    ]
    check_transforms(fixed, "augment.test", deterministic=True)
    assert output_shape(fixed, 28, 30) == (32, 32)


def test_without_normalize_the_train_split_s_own_comes_last() -> None:
    train, test = resolve([CROP], [], (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    own = NORMALIZE | {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "max_pixel_value": 255.0}
    assert (train, test) == ([CROP, own], [own])
    assert json.loads(json.dumps([train, test])) == [train, test]


def test_test_takes_the_normalize_of_train_last_and_keeps_its_own() -> None:
    resize = {"transform": "Resize", "height": 32, "width": 32}
    train, test = resolve([NORMALIZE, FLIP], [resize], (0.1,) * 3, (0.2,) * 3)
    assert (train, test) == ([NORMALIZE, FLIP], [resize, NORMALIZE])
    other = NORMALIZE | {"mean": [0.4, 0.4, 0.4]}
    assert resolve([NORMALIZE], [other], (0.1,) * 3, (0.2,) * 3) == ([NORMALIZE], [other])
    train[0]["mean"][0] = test[1]["std"][0] = 9.0
    assert NORMALIZE["mean"][0] == 0.5 and NORMALIZE["std"][0] == 0.25, "nothing is shared with the study"


def test_a_second_normalize_and_one_in_test_alone_are_refused() -> None:
    assert message([NORMALIZE, FLIP, NORMALIZE]).startswith("augment.train[2]: a second Normalize")
    with pytest.raises(StudyError, match="augment.test has a Normalize"):
        resolve([FLIP], [NORMALIZE], (0.1,) * 3, (0.2,) * 3)


def test_constants_are_given_by_name_and_pairs_of_integers_stay_integers() -> None:
    pipeline = reference_pipeline([{"transform": "PadIfNeeded", "border_mode": "reflect_101"}])
    assert pipeline.transforms[0].border_mode == 4
    (transform,) = reference_pipeline([cutout(hole_height_range=[8, 8], hole_width_range=[0.1, 0.2])])
    assert repr(transform.hole_height_range) == "(8, 8)", "fractions of the image would be (8.0, 8.0)"
    assert repr(transform.hole_width_range) == "(0.1, 0.2)"


def test_two_flips_of_a_seeded_pipeline_are_independent() -> None:
    """Albumentations' own ``set_random_seed`` makes them one: never both states apart."""
    flips = [FLIP, {"transform": "VerticalFlip", "p": 0.5}]

    def outcomes(seed_it: Callable[[Any], Any]) -> Counter[tuple[bool, bool]]:
        pipeline = reference_pipeline(flips)
        seed_it(pipeline)
        seen: Counter[tuple[bool, bool]] = Counter()
        for _ in range(400):
            image = pipeline(image=IMAGE)["image"]
            states = {(h, v): IMAGE[:: -1 if v else 1, :: -1 if h else 1] for h in BOTH for v in BOTH}
            seen[next(state for state, flipped in states.items() if np.array_equal(image, flipped))] += 1
        return seen

    ours = outcomes(lambda pipeline: seed_pipeline(pipeline, 3))
    assert all(ours[h, v] > 60 for h in BOTH for v in BOTH)
    theirs = outcomes(lambda pipeline: pipeline.set_random_seed(3))
    assert theirs[True, False] == theirs[False, True] == 0, "the library is repaired: seed_pipeline may go"


def test_a_seed_repeats_the_pipeline_and_leaves_global_generators_alone() -> None:
    pipeline = reference_pipeline([CROP | {"height": 8, "width": 8}, {"transform": "GaussNoise", "p": 1.0}])
    before = random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist()

    def run(seed: int) -> bytes:
        seed_pipeline(pipeline, seed)
        return b"".join(pipeline(image=IMAGE)["image"].tobytes() for _ in range(3))

    assert run(1) == run(1) != run(2)
    assert (random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist()) == before


def test_no_look_for_updates_and_no_import_before_it_is_needed() -> None:
    program = (
        "import sys; from harness.data import augment; assert 'albumentations' not in sys.modules\n"
        "augment.check_transforms([], 'augment.train'); assert 'albumentations' not in sys.modules\n"
        "import urllib.request\ndef refuse(*args, **options): raise SystemExit('asked the network')\n"
        "urllib.request.OpenerDirector.open = refuse\n"
        "augment.check_transforms([{'transform': 'HorizontalFlip'}], 'augment.train')\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "NO_ALBUMENTATIONS_UPDATE"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=600)
