"""In what size images leave a pipeline: every branch is followed, and what gives no one size is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.augment import check_transforms, resolve
from harness.data.augment.albumentations import reference_pipeline, seed_pipeline
from harness.data.shapes import output_shape
from harness.errors import StudyError

Table = dict[str, Any]
FLIP: Table = {"transform": "HorizontalFlip", "p": 0.5}
NORMALIZE: Table = {"transform": "Normalize", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_output_shape_is_that_of_the_images() -> None:
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
def test_a_pipeline_that_gives_no_images_of_one_size_is_refused(transforms: Any, contains: str) -> None:
    with pytest.raises(StudyError) as caught:
        output_shape(transforms, 32, 32, "augment.train")
    assert str(caught.value).startswith("augment.train: ")
    assert contains in str(caught.value) and "\n" not in str(caught.value)


SMALLER = {"transform": "RandomCrop", "height": 16, "width": 16, "p": 1.0}
SURE_FLIP = FLIP | {"p": 1.0}
SELECTIONS = ("SomeOf", "RandomOrder")


def some(name: str, *transforms: Table, **options: Any) -> Table:
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
def test_a_size_that_varies_in_a_branch_rarely_taken_is_refused(transforms: Any) -> None:
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
def test_a_size_that_every_branch_gives_is_accepted(transforms: Any) -> None:
    assert output_shape(transforms, 32, 32) == (16, 16)


def pipelines() -> st.SearchStrategy[list[Table]]:
    leaves = st.builds(
        lambda leaf, p: leaf | {"p": p},
        st.sampled_from([SMALLER, FLIP, {"transform": "Pad", "padding": 4}, {"transform": "Transpose"}]),
        st.sampled_from([0.1, 0.9, 1.0, 1.0]),
    )

    def compositions(children: st.SearchStrategy[Table]) -> st.SearchStrategy[Table]:
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
def test_images_leave_an_accepted_pipeline_in_its_size(transforms: Any) -> None:
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
def test_images_may_be_normalised_each_by_itself(normalization: str) -> None:
    own = {"transform": "Normalize", "normalization": normalization}
    train, test = resolve([own, FLIP], [], (0.5,) * 3, (0.25,) * 3)
    for pipeline in (train, test):
        check_transforms(pipeline, "augment.train")
        assert output_shape(pipeline, 32, 32) == (32, 32)


def test_a_normalize_that_fails_some_images_only_is_refused() -> None:
    with pytest.raises(StudyError, match="some images come to Normalize as bytes"):
        output_shape([{"transform": "ToFloat", "p": 0.001}, NORMALIZE], 32, 32)
    by_itself = {"transform": "Normalize", "normalization": "image_per_channel"}
    with pytest.raises(StudyError, match="returns NaN for an image of one colour"):
        output_shape([{"transform": "ToFloat"}, by_itself], 32, 32)


def test_photographs_that_are_too_large_are_refused_with_the_way_out() -> None:
    with pytest.raises(StudyError, match="images are 4000x3000 pixels; .*: set data.image_size"):
        output_shape([NORMALIZE], 3000, 4000)
