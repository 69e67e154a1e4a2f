"""The study's pipelines: what is refused and how, what is resolved, and the traps of Albumentations."""

from __future__ import annotations

import inspect
import json
import os
import random
import subprocess
import sys
from collections import Counter

import albumentations as A
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.augment import (
    _classes,
    check_transforms,
    reference_pipeline,
    resolve,
    seed_pipeline,
)
from harness.data.shapes import output_shape
from harness.errors import StudyError

CROP = {"transform": "RandomCrop", "height": 32, "width": 32}
FLIP = {"transform": "HorizontalFlip", "p": 0.5}
NORMALIZE = {"transform": "Normalize", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def message(transforms, **options) -> str:
    with pytest.raises(StudyError) as caught:
        check_transforms(transforms, "augment.train", **options)
    text = str(caught.value)
    assert "\n" not in text and len(text) <= 600
    return text


@pytest.mark.parametrize(
    ("table", "start", "contains"),
    [
        ({"transform": "RandomCop"}, "augment.train[1].transform: 'RandomCop'", "did you mean 'RandomCrop'?"),
        ({"transform": "CoarseDropout", "max_holes": 1}, "augment.train[1].max_holes: ", "num_holes_range"),
        (
            {"transform": "CoarseDropout", "num_holes": [1, 1]},
            "augment.train[1].num_holes: ",
            "'num_holes_range'?",
        ),
        (
            {"transform": "CoarseDropout", "num_holes_range": [1.5, 2]},
            "augment.train[1].num_holes_range: ",
            "int",
        ),
        (
            {"transform": "CoarseDropout", "num_holes_range": [2, 1]},
            "augment.train[1].num_holes_range: ",
            "less",
        ),
        ({"transform": "CoarseDropout", "fill": "green"}, "augment.train[1].fill: ", "random_uniform"),
        (FLIP | {"p": 1.5}, "augment.train[1].p: ", "less than or equal to 1, got 1.5"),
        (FLIP | {"p": "0.5"}, "augment.train[1].p: ", "valid number, got '0.5'"),
        (FLIP | {"p": True}, "augment.train[1].p: ", "valid number, got True"),
        ({"transform": "RandomCrop", "height": 32}, "augment.train[1].width: ", "missing"),
        (
            {"transform": "PadIfNeeded", "border_mode": "reflect101"},
            "augment.train[1].border_mode: ",
            "reflect_101",
        ),
        ({"transform": "PadIfNeeded", "border_mode": 4}, "augment.train[1].border_mode: 4", "reflect_101"),
        (
            {"transform": "Downscale", "interpolation_pair": {"upscale": "linaer"}},
            "augment.train[1].",
            "linear",
        ),
        ({"transform": "OneOf"}, "augment.train[1]: transforms: ", "missing"),
        ({"transform": "OneOf", "transforms": [3]}, "augment.train[1].transforms[0]: ", "NAME"),
        (
            {"transform": "OneOf", "transforms": [FLIP | {"p": 2}]},
            "augment.train[1].transforms[0].p: ",
            "got 2",
        ),
        ({"transform": "OneOf", "transforms": [FLIP | {"p": 0}]}, "augment.train[1]: ", "p > 0"),
        ({"transform": "SomeOf", "n": 2, "transforms": [FLIP]}, "augment.train[1].n: ", "2 of 1"),
        ({"transform": "Sequential", "transforms": [NORMALIZE]}, "augment.train[1]: ", "every image"),
        ({"name": "HorizontalFlip"}, "augment.train[1]: ", "transform ="),
        (NORMALIZE | {"std": [0, 1, 1]}, "augment.train[1].std: ", "above 0"),
        (NORMALIZE | {"mean": [0.5, 0.5]}, "augment.train[1].mean: ", "3 channels"),
        (NORMALIZE | {"p": 0.5}, "augment.train[1].p: ", "every image"),
        ({"transform": "MaskDropout"}, "augment.train[1].transform: ", "needs more than the image"),
        (
            {"transform": "HistogramMatching", "reference_images": ["x.png"]},
            "augment.train[1].transform: ",
            "needs",
        ),
    ],
)
def test_a_mistake_is_one_line_with_its_path_and_the_way_out(table, start, contains):
    text = message([FLIP, table])
    assert text.startswith(start)
    assert contains in text


@pytest.mark.parametrize(
    "name",
    ["Lambda", "Compose", "ReplayCompose", "BasicTransform", "DualTransform", "os", "Serializable", ""],
)
def test_a_name_reaches_transforms_and_nothing_else(name):
    assert message([{"transform": name}]).startswith("augment.train[0].transform: ")
    assert all(
        issubclass(cls, A.BasicTransform) or name in ("OneOf", "RandomOrder", "Sequential", "SomeOf")
        for name, cls in _classes().items()
    )


def test_the_defaults_of_every_transform_pass_the_strict_check():
    for name, cls in _classes().items():
        parameters = inspect.signature(cls).parameters.values()
        wanted = {p.name for p in parameters if p.default is p.empty} | (
            {"max_size"} if name in ("LongestMaxSize", "SmallestMaxSize") else set()
        )
        given = {"height": 16, "width": 16, "size": [16, 16], "min_max_height": [8, 16], "px": [0, 3]}
        given |= {"num_grid_xy": [3, 3], "magnitude": 3, "max_size": 20, "transforms": [FLIP]}
        arguments = {key: given[key] for key in wanted | ({"px"} if name == "CropAndPad" else set())}
        for parameter in parameters:
            plain = parameter.default
            plain = list(plain) if isinstance(plain, tuple) else plain
            constant = "interpolation" in parameter.name or parameter.name == "border_mode"
            if parameter.default is not parameter.empty and plain is not None and not constant:
                arguments.setdefault(parameter.name, plain)
        check_transforms([{"transform": name, **arguments}], "augment.train")


def test_normalize_stands_once():
    assert message([NORMALIZE, FLIP, NORMALIZE]).startswith("augment.train[2]: a second Normalize")


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
def test_a_random_transform_is_refused_where_the_pipeline_must_be_deterministic(table):
    assert "must be deterministic" in message([table], deterministic=True)
    check_transforms([table], "augment.train")


def test_fixed_transforms_are_deterministic():
    fixed = [
        {"transform": "Resize", "height": 40, "width": 40, "interpolation": "area"},
        {"transform": "CenterCrop", "height": 32, "width": 32},
        {"transform": "HorizontalFlip", "p": 1.0},
        {"transform": "Sequential", "p": 1.0, "transforms": [{"transform": "ToGray", "p": 1.0}]},
        NORMALIZE,
    ]
    check_transforms(fixed, "augment.test", deterministic=True)
    assert output_shape(fixed, 28, 30) == (32, 32)


def test_without_normalize_the_train_split_s_own_comes_last():
    train, test = resolve([CROP], [], (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    own = {
        "transform": "Normalize",
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "max_pixel_value": 255.0,
    }
    assert (train, test) == ([CROP, own], [own])
    assert json.loads(json.dumps([train, test])) == [train, test]


def test_test_takes_the_normalize_of_train_last_and_keeps_its_own():
    resize = {"transform": "Resize", "height": 32, "width": 32}
    train, test = resolve([NORMALIZE, FLIP], [resize], (0.1,) * 3, (0.2,) * 3)
    assert (train, test) == ([NORMALIZE, FLIP], [resize, NORMALIZE])
    other = NORMALIZE | {"mean": [0.4, 0.4, 0.4]}
    assert resolve([NORMALIZE], [other], (0.1,) * 3, (0.2,) * 3) == ([NORMALIZE], [other])


def test_a_normalize_in_test_alone_is_refused():
    with pytest.raises(StudyError, match="augment.test has a Normalize"):
        resolve([FLIP], [NORMALIZE], (0.1,) * 3, (0.2,) * 3)


def test_resolving_shares_nothing_with_the_study():
    train, test = resolve([NORMALIZE], [], (0.1,) * 3, (0.2,) * 3)
    train[0]["mean"][0] = test[0]["std"][0] = 9.0
    assert NORMALIZE["mean"][0] == 0.5 and NORMALIZE["std"][0] == 0.25


def test_output_shape_is_that_of_the_images():
    pad = {"transform": "PadIfNeeded", "min_height": 40, "min_width": 36, "border_mode": "reflect"}
    assert output_shape([pad, NORMALIZE], 32, 32) == (40, 36)
    assert output_shape([], 28, 30) == (28, 30)


@pytest.mark.parametrize(
    ("transforms", "contains"),
    [
        ([{"transform": "RandomScale", "p": 1.0}], "size varies"),
        ([{"transform": "RandomCrop", "height": 16, "width": 16, "p": 0.001}], "size varies (16x16, 32x32)"),
        ([{"transform": "RandomCrop", "height": 64, "width": 64}], "fails on an image of 32x32 pixels"),
        ([{"transform": "CoarseDropout", "fill": [1, 2], "p": 0.01}], "fails on an image of 32x32 pixels"),
        ([{"transform": "ToFloat"}, {"transform": "FromFloat", "dtype": "uint16"}], "gives uint16"),
    ],
)
def test_a_pipeline_that_gives_no_images_of_one_size_is_refused(transforms, contains):
    with pytest.raises(StudyError) as caught:
        output_shape(transforms, 32, 32, "augment.train")
    assert str(caught.value).startswith("augment.train: ")
    assert contains in str(caught.value) and "\n" not in str(caught.value)


SMALLER = {"transform": "RandomCrop", "height": 16, "width": 16, "p": 1.0}
SURE_FLIP = FLIP | {"p": 1.0}
SELECTIONS = ("SomeOf", "RandomOrder")


def some(name, *transforms, **options):
    return {"transform": name, "p": 1.0, "transforms": list(transforms)} | options


@pytest.mark.parametrize(
    "transforms",
    [
        [some("OneOf", SMALLER, SURE_FLIP, p=1e-6)],
        [some("OneOf", SMALLER | {"p": 1e-6}, SURE_FLIP)],
        [some("OneOf", some("SomeOf", SMALLER, n=1, p=0.999))],
        [some("SomeOf", *[SURE_FLIP] * 49, SMALLER, n=1)],
        [some("SomeOf", SURE_FLIP, SMALLER, n=2, p=1e-6)],
        [some("SomeOf", SURE_FLIP, SMALLER, n=2, replace=True)],
        [some("RandomOrder", SMALLER, {"transform": "Pad", "padding": 4, "p": 1.0}, n=2)],
        [some("Sequential", some("OneOf", some("Sequential", SMALLER, p=1e-6), SURE_FLIP), p=1e-6)],
        [{"transform": "RandomScale", "scale_limit": [0.0, 0.032], "p": 1.0}],  # 33 pixels in 2 % of draws
    ],
)
def test_a_size_that_varies_in_a_branch_rarely_taken_is_refused(transforms):
    with pytest.raises(StudyError, match="the image size varies"):
        output_shape(transforms, 32, 32)
    assert output_shape([*transforms, SMALLER], 32, 32) == (16, 16)


@pytest.mark.parametrize(
    "transforms",
    [
        [some("OneOf", SMALLER, SMALLER | {"transform": "CenterCrop"})],
        [some("OneOf", SMALLER, SURE_FLIP | {"p": 0.0})],
        [some("SomeOf", SURE_FLIP, SMALLER, n=2)],
        [some("RandomOrder", SMALLER, SURE_FLIP, n=2)],
        [some("Sequential", some("Sequential", SMALLER))],
    ],
)
def test_a_size_that_every_branch_gives_is_accepted(transforms):
    assert output_shape(transforms, 32, 32) == (16, 16)


def pipelines():
    leaves = st.builds(
        lambda leaf, p: leaf | {"p": p},
        st.sampled_from([SMALLER, FLIP, {"transform": "Pad", "padding": 4}, {"transform": "Transpose"}]),
        st.sampled_from([0.1, 0.9, 1.0, 1.0]),
    )

    def compositions(children):
        inner = st.lists(children, min_size=1, max_size=3)
        return st.builds(
            lambda composition, inner, p, n: some(
                composition, *inner, p=p, **({"n": min(n, len(inner))} if composition in SELECTIONS else {})
            ),
            st.sampled_from(["OneOf", "Sequential", *SELECTIONS]),
            inner,
            st.sampled_from([0.1, 1.0, 1.0]),
            st.integers(1, 3),
        )

    return st.lists(st.recursive(leaves, compositions, max_leaves=5), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(pipelines())
def test_images_leave_an_accepted_pipeline_in_its_size(transforms):
    pipeline = reference_pipeline(transforms)
    image = IMAGE[:, :24]
    try:
        accepted = output_shape(transforms, 32, 24)
    except StudyError as error:
        assert "size varies" in str(error) or "fails on an image" in str(error)
        return
    for seed in range(60):
        seed_pipeline(pipeline, seed)
        assert pipeline(image=image)["image"].shape == (*accepted, 3)


@pytest.mark.parametrize("normalization", ["image", "image_per_channel", "min_max", "min_max_per_channel"])
def test_images_may_be_normalised_each_by_itself(normalization):
    own = {"transform": "Normalize", "normalization": normalization}
    train, test = resolve([own, FLIP], [], (0.5,) * 3, (0.25,) * 3)
    for pipeline in (train, test):
        check_transforms(pipeline, "augment.train")
        assert output_shape(pipeline, 32, 32) == (32, 32)


@pytest.mark.parametrize(
    ("transforms", "words"),
    [
        ([{"transform": "ToFloat", "p": 0.001}, NORMALIZE], "some images come to Normalize as bytes"),
        (
            [{"transform": "ToFloat"}, {"transform": "Normalize", "normalization": "image_per_channel"}],
            "makes NaN of an image of one colour",
        ),
    ],
)
def test_a_normalize_that_fails_some_images_only_is_refused(transforms, words):
    with pytest.raises(StudyError, match=words):
        output_shape(transforms, 32, 32)


def test_photographs_that_are_too_large_are_refused_with_the_way_out():
    with pytest.raises(StudyError, match="images are 4000x3000 pixels; .*: set data.image_size"):
        output_shape([NORMALIZE], 3000, 4000)


def test_constants_are_given_by_name():
    pipeline = reference_pipeline([{"transform": "PadIfNeeded", "border_mode": "reflect_101"}])
    assert pipeline.transforms[0].border_mode == 4


def test_pairs_of_integers_stay_integers():
    cutout = {"transform": "CoarseDropout", "hole_height_range": [8, 8], "hole_width_range": [0.1, 0.2]}
    (transform,) = reference_pipeline([cutout]).transforms
    assert repr(transform.hole_height_range) == "(8, 8)", "fractions of the image would be (8.0, 8.0)"
    assert repr(transform.hole_width_range) == "(0.1, 0.2)"


def test_two_flips_of_a_seeded_pipeline_are_independent():
    """Albumentations' own ``set_random_seed`` makes them one: never both states apart."""
    flips = [FLIP, {"transform": "VerticalFlip", "p": 0.5}]

    def outcomes(seed_it) -> Counter[tuple[bool, bool]]:
        pipeline = reference_pipeline(flips)
        seed_it(pipeline)
        seen: Counter[tuple[bool, bool]] = Counter()
        for _ in range(400):
            image = pipeline(image=IMAGE)["image"]
            states = {(h, v): IMAGE[:: -1 if v else 1, :: -1 if h else 1] for h in (0, 1) for v in (0, 1)}
            seen[next(state for state, flipped in states.items() if np.array_equal(image, flipped))] += 1
        return seen

    ours = outcomes(lambda pipeline: seed_pipeline(pipeline, 3))
    assert all(ours[h, v] > 60 for h in (0, 1) for v in (0, 1))
    theirs = outcomes(lambda pipeline: pipeline.set_random_seed(3))
    assert theirs[1, 0] == theirs[0, 1] == 0, "the library is repaired: seed_pipeline may go"


def test_a_seed_repeats_the_pipeline_and_leaves_global_generators_alone():
    pipeline = reference_pipeline([CROP | {"height": 8, "width": 8}, {"transform": "GaussNoise", "p": 1.0}])
    before = random.getstate(), np.random.get_state()[1].tolist()

    def run(seed: int) -> bytes:
        seed_pipeline(pipeline, seed)
        return b"".join(pipeline(image=IMAGE)["image"].tobytes() for _ in range(3))

    assert run(1) == run(1) != run(2)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_no_look_for_updates_and_no_import_before_it_is_needed():
    program = (
        "import sys; from harness.data import augment; assert 'albumentations' not in sys.modules\n"
        "augment.check_transforms([], 'augment.train'); assert 'albumentations' not in sys.modules\n"
        "import urllib.request\ndef refuse(*args, **options): raise SystemExit('asked the network')\n"
        "urllib.request.OpenerDirector.open = refuse\n"
        "augment.check_transforms([{'transform': 'HorizontalFlip'}], 'augment.train')\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "NO_ALBUMENTATIONS_UPDATE"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=600)
