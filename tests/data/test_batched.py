"""The tensor path gives Albumentations' pixels from Albumentations' parameters, and draws as it draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from harness.data.augment import reference_pipeline, seed_pipeline
from harness.data.batched import tensor_pipeline
from harness.data.shapes import output_shape
from harness.data.tensor_steps import Crop, Dropout, Flip, Normalize, Pad
from harness.errors import StudyError

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


def pad(mode: str, height: int = 16, width: int = 14, **more) -> dict:
    return {
        "transform": "PadIfNeeded",
        "min_height": height,
        "min_width": width,
        "border_mode": mode,
        **more,
    }


def dropout(number=(1, 1), height=(4, 4), width=(4, 4), p: float = 1.0, **more) -> dict:
    ranges = {"num_holes_range": number, "hole_height_range": height, "hole_width_range": width}
    return {"transform": "CoarseDropout", **{key: list(pair) for key, pair in ranges.items()}, "p": p, **more}


def through_albumentations(transforms, images=IMAGES, seed=0):
    """Albumentations' images and what it drew for each: ``[{transform name: [parameters, ...]}, ...]``."""
    import albumentations as A

    pipeline = A.Compose(reference_pipeline(transforms).transforms, save_applied_params=True)
    seed_pipeline(pipeline, seed)
    results, drawn = [], []
    for image in images:
        result = pipeline(image=image)
        results.append(result["image"])
        applied: dict[str, list[dict]] = {}
        for name, parameters in result["applied_transforms"]:
            applied.setdefault(name, []).append(parameters)
        drawn.append(applied)
    return np.stack(results), drawn


def parameters_of(pipeline, drawn):
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


def assert_same_pixels(transforms) -> None:
    expected, drawn = through_albumentations(transforms)
    pipeline = tensor_pipeline(transforms)
    assert pipeline is not None
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
    "divisor": {
        "transform": "PadIfNeeded",
        "min_height": None,
        "min_width": None,
        "pad_height_divisor": 7,
        "pad_width_divisor": 4,
    },
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


@pytest.mark.parametrize("name", PADS)
def test_every_padding_gives_the_same_pixels(name):
    assert_same_pixels([PADS[name]])
    assert_same_pixels([PADS[name], NORMALIZE])
    assert_same_pixels([NORMALIZE, PADS[name]])


@pytest.mark.parametrize("name", DROPOUTS)
def test_every_cutout_gives_the_same_pixels_before_and_after_normalising(name):
    assert_same_pixels([DROPOUTS[name]])
    assert_same_pixels([DROPOUTS[name], NORMALIZE])
    assert_same_pixels([NORMALIZE, DROPOUTS[name]])


@pytest.mark.parametrize("flip", [H_FLIP, V_FLIP, ONE_OF, H_FLIP | {"p": 1.0}, V_FLIP | {"p": 0.0}])
def test_every_flip_gives_the_same_pixels(flip):
    assert_same_pixels([flip])


def test_a_crop_gives_the_same_pixels():
    assert_same_pixels([CROP | {"height": 5, "width": 7}])
    assert_same_pixels([CROP])


@pytest.mark.parametrize(
    "normalize",
    [
        NORMALIZE,
        HALF,
        {"transform": "Normalize", "mean": 0.3, "std": [0.1, 0.2, 0.3]},
        NORMALIZE | {"max_pixel_value": 1.0},
    ],
)
def test_normalising_gives_the_same_float32_numbers(normalize):
    expected, _ = through_albumentations([normalize])
    pipeline = tensor_pipeline([normalize])
    assert pipeline is not None
    found = pipeline.apply(torch.from_numpy(IMAGES), (None,)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(found, expected)


PIPELINES = {
    "onecycle": [pad("reflect_101"), CROP, H_FLIP, dropout(), NORMALIZE],
    "chapter11": [pad("reflect"), CROP, H_FLIP | {"p": 0.7}, HALF, dropout(p=0.7)],
    "s11_l2": [pad("reflect_101"), CROP, H_FLIP | {"p": 0.7}, HALF, dropout(fill=0.25)],
    "s11_l1": [pad("constant"), CROP, ONE_OF, dropout((2, 2)), HALF],
    "assignment10_adam": [
        NORMALIZE,
        pad("reflect_101"),
        CROP,
        H_FLIP,
        dropout(p=0.5, fill=[0.4914, 0.4822, 0.4465]),
    ],
    "constant pad after normalising": [NORMALIZE, pad("constant", fill=[0.5, -1, 2]), CROP, H_FLIP],
    "flip before pad": [H_FLIP, pad("constant", fill=7), dropout(), CROP],
    "two fills": [
        pad("constant", fill=7),
        {"transform": "Pad", "padding": 2, "fill": 9, "border_mode": "constant"},
        CROP,
        NORMALIZE,
    ],
    "reflect what was filled": [
        pad("constant", fill=7),
        {"transform": "Pad", "padding": 3, "border_mode": "reflect"},
        CROP,
    ],
}


@pytest.mark.parametrize("name", PIPELINES)
def test_whole_pipelines_give_the_same_pixels(name):
    assert_same_pixels(PIPELINES[name])


def test_normalising_comes_after_moving_pixels():
    pipeline = tensor_pipeline(PIPELINES["assignment10_adam"])
    assert pipeline is not None
    assert [type(step) for step in pipeline.steps] == [Pad, Crop, Flip, Normalize, Dropout]


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
def test_what_has_no_exact_counterpart_is_left_to_albumentations(table):
    assert tensor_pipeline([H_FLIP, table]) is None


def test_a_crop_larger_than_the_images_is_refused():
    pipeline = tensor_pipeline([CROP | {"height": 40, "width": 40}])
    assert pipeline is not None
    with pytest.raises(StudyError, match="pad the images first"):
        pipeline.draw(2, 32, 32, torch.Generator())


def draw(transforms, size=4000, height=12, width=10, seed=1):
    pipeline = tensor_pipeline(transforms)
    assert pipeline is not None
    return pipeline.draw(size, height, width, torch.Generator().manual_seed(seed))


def assert_same_distribution(ours, theirs) -> None:
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


def test_crops_fall_where_albumentations_lets_them_fall():
    transforms = [CROP | {"height": 5, "width": 7}]
    _, drawn = through_albumentations(transforms, MANY)
    theirs = np.array([applied["RandomCrop"][0]["crop_coords"][:2] for applied in drawn])
    (ours,) = draw(transforms)
    assert_same_distribution(ours[:, 0], theirs[:, 1])
    assert_same_distribution(ours[:, 1], theirs[:, 0])
    assert_same_distribution(ours[:, 0] * 10 + ours[:, 1], theirs[:, 1] * 10 + theirs[:, 0])


@pytest.mark.parametrize("name", [name for name in DROPOUTS if name != "cutout"])
def test_holes_are_as_many_as_large_and_where_albumentations_cuts_them(name):
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
def test_flips_are_as_frequent_as_albumentations_makes_them(flip):
    _, drawn = through_albumentations([flip], MANY)
    pipeline = tensor_pipeline([flip])
    (theirs,) = parameters_of(pipeline, drawn)
    (ours,) = draw([flip])
    assert_same_distribution(ours, theirs)


@pytest.mark.parametrize(("p", "code"), [(0.0, 0), (1.0, 1)])
def test_a_flip_of_certain_outcome_always_has_it(p, code):
    (codes,) = draw([H_FLIP | {"p": p}])
    assert (codes == code).all()


def test_flips_crops_and_holes_are_drawn_independently():
    crops, flips, holes = draw([CROP | {"height": 6, "width": 5}, H_FLIP, dropout()])
    samples = [crops[:, 0], crops[:, 1], flips, holes[:, 0, 0], holes[:, 0, 1]]
    for index, one in enumerate(samples):
        for other in samples[:index]:
            assert stats.chi2_contingency(stats.contingency.crosstab(one, other).count).pvalue > 1e-3


def test_parameters_depend_on_the_generator_alone():
    transforms = PIPELINES["onecycle"]
    before = torch.get_rng_state()
    first, again, other = (draw(transforms, 50, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    pairs = [(a, b, c) for a, b, c in zip(first, again, other, strict=True) if a is not None]
    assert len(pairs) == 3
    assert all(torch.equal(a, b) and not torch.equal(a, c) for a, b, c in pairs)


def test_the_order_of_memory_of_the_given_images_does_not_matter():
    pipeline = tensor_pipeline(PIPELINES["onecycle"])
    parameters = draw(PIPELINES["onecycle"], len(IMAGES))
    strided = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert not strided.is_contiguous()
    assert torch.equal(
        pipeline.apply(strided, parameters), pipeline.apply(torch.from_numpy(IMAGES), parameters)
    )


@pytest.mark.cuda
@pytest.mark.parametrize("name", PIPELINES)
def test_cuda_gives_the_same_images(name):
    pipeline = tensor_pipeline(PIPELINES[name])
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
