"""The tensor path gives Albumentations' pixels from Albumentations' parameters, and draws as it draws."""

from __future__ import annotations

from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
from scipy import stats

from harness.data.augment.albumentations import reference_pipeline, seed_pipeline
from harness.data.shapes import output_shape
from harness.data.tensor_pipeline import TensorPipeline, tensor_pipeline
from harness.data.tensor_steps import Crop, Dropout, Flip, Normalize, Pad
from harness.errors import StudyError

Table = dict[str, Any]
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 12, 10, 3), dtype=np.uint8)
NORMALIZE = {"transform": "Normalize", "mean": [0.4914, 0.4822, 0.4465], "std": [0.247, 0.2435, 0.2616]}
HALF = {"transform": "Normalize", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
CROP = {"transform": "RandomCrop", "height": 12, "width": 10}
H_FLIP = {"transform": "HorizontalFlip", "p": 0.5}
V_FLIP = {"transform": "VerticalFlip", "p": 0.5}
ONE_OF = {
    "transform": "OneOf",
    "p": 0.5,
    "transforms": [
        H_FLIP,
        V_FLIP,
        {"transform": "Sequential", "transforms": [H_FLIP | {"p": 1.0}, V_FLIP | {"p": 1.0}]},
    ],
}


def pad(mode: str, height: int | None = 16, width: int | None = 14, **more: Any) -> Table:
    sizes = {"min_height": height, "min_width": width}
    return {"transform": "PadIfNeeded", **sizes, "border_mode": mode, **more}


def dropout(
    number: Any = (1, 1), height: Any = (4, 4), width: Any = (4, 4), p: float = 1.0, **more: Any
) -> Table:
    ranges = {"num_holes_range": number, "hole_height_range": height, "hole_width_range": width}
    return {"transform": "CoarseDropout", **{key: list(pair) for key, pair in ranges.items()}, "p": p, **more}


def through_albumentations(transforms: list[Table], images: Any = IMAGES) -> tuple[Any, list[Any]]:
    """Albumentations' images and what it drew for each: ``[{transform name: [parameters, ...]}, ...]``."""
    pipeline = A.Compose(reference_pipeline(transforms).transforms, save_applied_params=True)
    seed_pipeline(pipeline, 0)
    results, drawn = [], []
    for image in images:
        result = pipeline(image=image)
        results.append(result["image"])
        applied: dict[str, list[Table]] = {}
        for name, parameters in result["applied_transforms"]:
            applied.setdefault(name, []).append(parameters)
        drawn.append(applied)
    return np.stack(results), drawn


def parameters_of(pipeline: TensorPipeline, drawn: list[Any]) -> Any:
    """Albumentations' parameters in the tensor pipeline's form; no kind of step stands in it twice."""
    parameters: list[torch.Tensor | None] = []
    for step in pipeline.steps:
        if isinstance(step, Crop):
            places = [applied["RandomCrop"][0]["crop_coords"] for applied in drawn]
            parameters.append(torch.tensor([[y, x] for x, y, _, _ in places]))
        elif isinstance(step, Flip):
            counts = [(len(a.get("HorizontalFlip", ())), len(a.get("VerticalFlip", ()))) for a in drawn]
            parameters.append(torch.tensor([h % 2 + 2 * (v % 2) for h, v in counts]))
        elif isinstance(step, Dropout):
            holes = torch.zeros(len(drawn), step.number[1], 4, dtype=torch.int64)
            for image, applied in enumerate(drawn):
                for each in applied.get("CoarseDropout", ()):
                    holes[image, : len(each["holes"])] = torch.from_numpy(each["holes"])
            parameters.append(holes)
        else:
            parameters.append(None)
    return tuple(parameters)


def tensors(transforms: list[Table]) -> TensorPipeline:
    pipeline = tensor_pipeline(transforms)
    assert pipeline is not None
    return pipeline


def assert_same_pixels(transforms: list[Table]) -> None:
    expected, drawn = through_albumentations(transforms)
    pipeline = tensors(transforms)
    before = torch.from_numpy(IMAGES.copy())
    images = before.clone()
    found = pipeline.apply(images, parameters_of(pipeline, drawn))
    assert torch.equal(images, before), "the given images are left as they are"
    assert found.dtype == torch.float32 and found.is_contiguous(memory_format=torch.channels_last)
    found_images = found.permute(0, 2, 3, 1).numpy()
    if expected.dtype == np.uint8:
        np.testing.assert_array_equal(found_images, expected)
    else:
        np.testing.assert_allclose(found_images, expected, rtol=0, atol=1e-6)
    assert expected.shape[1:3] == output_shape(transforms, *IMAGES.shape[1:3])


PADS = {
    "constant": pad("constant"),
    "filled": pad("constant", fill=127),
    "colour": pad("constant", fill=[10, 20, 255]),
    "replicate": pad("replicate"),
    "reflect": pad("reflect"),
    "reflect_101": pad("reflect_101"),
    "wrap": pad("wrap"),
    "far": pad("reflect", 64, 61),
    "not needed": pad("constant", 8, 8),
    "top left": pad("reflect_101", position="top_left"),
    "bottom right": pad("constant", position="bottom_right", fill=9),
    "divisor": pad("constant", None, None, pad_height_divisor=7, pad_width_divisor=4),
    "sides": {"transform": "Pad", "padding": [1, 2, 3, 4], "border_mode": "reflect", "p": 1.0},
}
DROPOUTS = {
    "cutout": dropout(),
    "half": dropout(p=0.5),
    "several": dropout((2, 5), (1, 7), (2, 10), p=0.7, fill=[1, 2, 3]),
    "fractions": dropout((1, 3), (0.1, 0.6), (0.2, 0.9), fill=127),
    "larger than the image": dropout((1, 2), (3, 40), (3, 40)),
    "as wide as the image": dropout((1, 2), (0.3, 0.6), (0.5, 1.0)),
    "heights decide": dropout((2, 2), (2, 6), (0.2, 2.5), fill=255),
}


STEPS = PADS | DROPOUTS


@pytest.mark.parametrize("name", STEPS)
def test_every_padding_and_cutout_gives_the_same_pixels_before_and_after_normalising(name: str) -> None:
    for transforms in ([STEPS[name]], [STEPS[name], NORMALIZE], [NORMALIZE, STEPS[name]]):
        assert_same_pixels(transforms)


SURE_FLIPS = [H_FLIP | {"p": 1.0}, V_FLIP | {"p": 0.0}]


@pytest.mark.parametrize(
    "transform", [H_FLIP, V_FLIP, ONE_OF, *SURE_FLIPS, CROP, CROP | {"height": 5, "width": 7}]
)
def test_every_flip_and_crop_gives_the_same_pixels(transform: Table) -> None:
    assert_same_pixels([transform])


@pytest.mark.parametrize(
    "normalize",
    [NORMALIZE, HALF, HALF | {"mean": 0.3, "std": [0.1, 0.2, 0.3]}, NORMALIZE | {"max_pixel_value": 1.0}],
)
def test_normalising_gives_the_same_float32_numbers(normalize: Table) -> None:
    expected, _ = through_albumentations([normalize])
    found = tensors([normalize]).apply(torch.from_numpy(IMAGES), (None,)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(found, expected)


PIPELINES = {
    "onecycle": [pad("reflect_101"), CROP, H_FLIP, dropout(), NORMALIZE],
    "chapter11": [pad("reflect"), CROP, H_FLIP | {"p": 0.7}, HALF, dropout(p=0.7)],
    "s11_l2": [pad("reflect_101"), CROP, H_FLIP | {"p": 0.7}, HALF, dropout(fill=0.25)],
    "s11_l1": [pad("constant"), CROP, ONE_OF, dropout((2, 2)), HALF],
    "assignment10_adam": [NORMALIZE, pad("reflect_101"), CROP, H_FLIP, dropout(p=0.5, fill=[0.5, 0.4, 0.4])],
    "constant pad after normalising": [NORMALIZE, pad("constant", fill=[0.5, -1, 2]), CROP, H_FLIP],
    "flip before pad": [H_FLIP, pad("constant", fill=7), dropout(), CROP],
    "two fills": [pad("constant", fill=7), pad("constant", 20, 18, fill=9), CROP, NORMALIZE],
    "reflect what was filled": [pad("constant", fill=7), pad("reflect", 22, 20), CROP],
}


@pytest.mark.parametrize("name", PIPELINES)
def test_whole_pipelines_give_the_same_pixels(name: str) -> None:
    assert_same_pixels(PIPELINES[name])


def test_normalising_comes_after_moving_pixels() -> None:
    steps = tensors(PIPELINES["assignment10_adam"]).steps
    assert [type(step) for step in steps] == [Pad, Crop, Flip, Normalize, Dropout]


@pytest.mark.parametrize(
    "table",
    [
        {"transform": "GaussianBlur"},
        pad("constant", position="random"),
        pad("constant", p=0.5),
        pad("constant", fill=0.5),
        CROP | {"p": 0.5},
        CROP | {"pad_if_needed": True},
        dropout(fill="random"),
        dropout(fill=300),
        dropout(fill=[1, 2]),
        NORMALIZE | {"normalization": "min_max"},
        {"transform": "OneOf", "transforms": [H_FLIP, {"transform": "Transpose"}]},
        {"transform": "SomeOf", "transforms": [H_FLIP, V_FLIP]},
    ],
)
def test_what_has_no_exact_counterpart_is_left_to_albumentations(table: Table) -> None:
    assert tensor_pipeline([H_FLIP, table]) is None


def draw(transforms: list[Table], size: int = 4000, seed: int = 1) -> Any:
    return tensors(transforms).draw(size, 12, 10, torch.Generator().manual_seed(seed))


def test_a_crop_larger_than_the_images_is_refused() -> None:
    with pytest.raises(StudyError, match="pad the images first"):
        draw([CROP | {"height": 40, "width": 40}])


def assert_same_distribution(ours: Any, theirs: Any) -> None:
    """Two samples of whole numbers: chi-square where the values are few, Kolmogorov-Smirnov in any case."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    values = np.union1d(ours, theirs)
    table = np.array([[(sample == value).sum() for value in values] for sample in (ours, theirs)])
    common = table[:, table.sum(0) >= 20]
    assert table.sum() - common.sum() < 0.02 * table.sum(), "values that only one of them draws"
    if common.shape[1] > 1:
        assert stats.chi2_contingency(common).pvalue > 1e-3
    assert stats.ks_2samp(ours, theirs).pvalue > 1e-3


MANY = np.zeros((3000, 12, 10, 3), dtype=np.uint8)


def test_crops_fall_where_albumentations_lets_them_fall() -> None:
    transforms = [CROP | {"height": 5, "width": 7}]
    _, drawn = through_albumentations(transforms, MANY)
    theirs = np.array([applied["RandomCrop"][0]["crop_coords"][:2] for applied in drawn])
    (ours,) = draw(transforms)
    assert_same_distribution(ours[:, 0], theirs[:, 1])
    assert_same_distribution(ours[:, 1], theirs[:, 0])
    assert_same_distribution(ours[:, 0] * 10 + ours[:, 1], theirs[:, 1] * 10 + theirs[:, 0])


@pytest.mark.parametrize("name", [name for name in DROPOUTS if name != "cutout"])
def test_holes_are_as_many_as_large_and_where_albumentations_cuts_them(name: str) -> None:
    transforms = [DROPOUTS[name]]
    _, drawn = through_albumentations(transforms, MANY)
    theirs = [applied["CoarseDropout"][0]["holes"] if applied else np.zeros((0, 4)) for applied in drawn]
    (holes,) = draw(transforms)
    ours = [image[image[:, 2] > 0].numpy() for image in holes]  # a hole that is cut ends to the right of 0
    if name != "heights decide":  # there a hole may be of no width at the left edge, and look as if not cut
        assert_same_distribution([len(image) for image in ours], [len(image) for image in theirs])
    first = np.array([image[0] for image in ours if len(image)])
    expected = np.array([image[0] for image in theirs if len(image) and image[0, 2] > 0])
    for corner in range(4):
        assert_same_distribution(first[:, corner], expected[:, corner])
    for low, high in ((0, 2), (1, 3)):
        assert_same_distribution(first[:, high] - first[:, low], expected[:, high] - expected[:, low])
    if holes.shape[1] > 1:
        seconds = [image[1] for image in ours if len(image) > 1]
        assert_same_distribution([hole[0] for hole in seconds], first[:, 0])


@pytest.mark.parametrize(
    "flip",
    [
        H_FLIP | {"p": 0.3},
        V_FLIP | {"p": 0.7},
        ONE_OF,
        {"transform": "Sequential", "p": 0.8, "transforms": [H_FLIP, V_FLIP | {"p": 0.3}, H_FLIP]},
        {"transform": "OneOf", "p": 0.9, "transforms": [H_FLIP | {"p": 0.1}, ONE_OF, {"transform": "NoOp"}]},
    ],
)
def test_flips_are_as_frequent_as_albumentations_makes_them(flip: Table) -> None:
    _, drawn = through_albumentations([flip], MANY)
    (theirs,) = parameters_of(tensors([flip]), drawn)
    (ours,) = draw([flip])
    assert_same_distribution(ours, theirs)


def test_a_flip_of_certain_outcome_always_has_it() -> None:
    for p in (0.0, 1.0):
        assert (draw([H_FLIP | {"p": p}])[0] == p).all()


def test_flips_crops_and_holes_are_drawn_independently() -> None:
    crops, flips, holes = draw([CROP | {"height": 6, "width": 5}, H_FLIP, dropout()])
    samples = [crops[:, 0], crops[:, 1], flips, holes[:, 0, 0], holes[:, 0, 1]]
    for index, one in enumerate(samples):
        for other in samples[:index]:
            assert stats.chi2_contingency(stats.contingency.crosstab(one, other).count).pvalue > 1e-3


def test_parameters_depend_on_the_generator_alone() -> None:
    transforms = PIPELINES["onecycle"]
    before = torch.get_rng_state()
    first, again, other = (draw(transforms, 50, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    pairs = [(a, b, c) for a, b, c in zip(first, again, other, strict=True) if a is not None]
    assert len(pairs) == 3
    assert all(torch.equal(a, b) and not torch.equal(a, c) for a, b, c in pairs)


def test_the_order_of_memory_of_the_given_images_does_not_matter() -> None:
    pipeline, images = tensors(PIPELINES["onecycle"]), torch.from_numpy(IMAGES)
    parameters = draw(PIPELINES["onecycle"], len(IMAGES))
    strided = images.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert not strided.is_contiguous()
    assert torch.equal(pipeline.apply(strided, parameters), pipeline.apply(images, parameters))


@pytest.mark.cuda
@pytest.mark.parametrize("name", PIPELINES)
def test_cuda_gives_the_same_images(name: str) -> None:
    pipeline = tensors(PIPELINES[name])
    parameters = draw(PIPELINES[name], len(IMAGES))
    images = torch.from_numpy(IMAGES)
    expected = pipeline.apply(images, parameters)
    torch.use_deterministic_algorithms(True)
    try:
        found = pipeline.apply(images.cuda(), parameters)
    finally:
        torch.use_deterministic_algorithms(False)
    assert found.is_cuda and found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-6)
