"""Size and type of the images that an augmentation pipeline gives, by following its every branch."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np

from harness.data.augment import reference_pipeline, seed_pipeline
from harness.errors import StudyError
from harness.messages import one_line

LARGEST_BETWEEN = 2048  # pixels of a side, between two transforms
_DRAWS = 12  # how often each transform draws its parameters
_MOST_KINDS = 8  # kinds of images to follow; of more, only the smallest and the largest
_MOST_ORDERED = 12  # transforms of a RandomOrder whose orders are tried; of more, any may follow any
_Kind = tuple[tuple[int, ...], str]  # an image's shape and type
_Images = dict[_Kind, np.ndarray]  # one image of each kind that may leave a transform


def output_shape(
    transforms: list[dict[str, Any]], height: int, width: int, where: str = "augment"
) -> tuple[int, int]:
    """Return height and width after the pipeline, in pixels, the same for every branch, however rare.

    Raises:
        StudyError: the pipeline fails on such an image, the size varies, or no finite RGB image results.
    """
    if max(height, width) > LARGEST_BETWEEN:
        raise StudyError(
            f"{where}: images are {width}x{height} pixels; {LARGEST_BETWEEN} is the most: set data.image_size"
        )
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pipeline = reference_pipeline(transforms)
    images = _after_all(pipeline.transforms, {_kind(noise): noise}, where)
    for seed in range(5):  # also run the pipeline as training does
        seed_pipeline(pipeline, seed)
        image = _run(pipeline, noise, where)
        images[_kind(image)] = image
    for image in images.values():
        usual = image.dtype in (np.uint8, np.float32, np.float64) and image.shape[2:] == (3,)
        if not usual or not np.isfinite(image).all():
            raise StudyError(
                f"{where}: gives {image.dtype} {image.shape} (or values that are not finite), "
                "expected uint8, float32 or float64 images of 3 channels"
            )
    shapes = sorted({image.shape[:2] for image in images.values()})
    if len(shapes) > 1:
        sizes = ", ".join(f"{w}x{h}" for h, w in shapes[:4])
        raise StudyError(f"{where}: the image size varies ({sizes}); end with a crop or Resize of one size")
    return shapes[0][0], shapes[0][1]


class _Ends(random.Random):
    """A generator that draws the ends of a range often: there an image's size differs most."""

    def random(self) -> float:
        return min(max(3 * super().random() - 1, 2**-40), 1 - 2**-40)


def _kind(image: np.ndarray) -> _Kind:
    return image.shape, image.dtype.str


def _after_all(transforms: list[Any], images: _Images, where: str) -> _Images:
    for transform in transforms:
        images = _after(transform, images, where)
    return images


def _after(transform: Any, images: _Images, where: str, *, chosen: bool = False) -> _Images:
    """Return the images that a transform may give; what a OneOf has ``chosen`` ignores its p."""
    name = type(transform).__name__
    selects = name in ("SomeOf", "RandomOrder")
    certain = chosen and not selects  # these apply their own p even so
    leaving = {} if certain or transform.p == 1 else dict(images)
    if transform.p == 0 and not certain:
        return leaving
    if name == "Sequential":
        leaving |= _after_all(transform.transforms, images, where)
    elif name == "OneOf":
        for child in transform.transforms:
            if child.p > 0:
                leaving |= _after(child, images, where, chosen=True)
    else:
        leaving |= (_selected if selects else _applied)(transform, images, where)
    kinds = sorted(leaving, key=lambda kind: (math.prod(kind[0]), kind))
    if len(kinds) > _MOST_KINDS:
        leaving = {kind: leaving[kind] for kind in kinds[: _MOST_KINDS // 2] + kinds[-_MOST_KINDS // 2 :]}
    return leaving


def _selected(selection: Any, images: _Images, where: str) -> _Images:
    """Return the images that a SomeOf, which keeps the transforms' order, or a RandomOrder may give."""
    children, ordered = selection.transforms, type(selection).__name__ == "SomeOf"
    again = selection.replace or (not ordered and len(children) > _MOST_ORDERED)
    known: dict[tuple[int, _Kind], _Images] = {}

    def after(child: int, images: _Images) -> _Images:
        leaving: _Images = {}
        for kind, image in images.items():
            if (child, kind) not in known:
                known[child, kind] = _after(children[child], {kind: image}, where)
            leaving |= known[child, kind]
        return leaving

    # the transforms that may still follow -> the images so far
    reached = {tuple(range(len(children))): images}
    for _ in range(selection.n):
        following: dict[tuple[int, ...], _Images] = {}
        for open_, before in reached.items():
            for place, child in enumerate(open_):
                left = open_[: 0 if ordered else place] + open_[place + 1 :]
                if again:
                    left = open_[place:] if ordered else open_
                following.setdefault(left, {}).update(after(child, before))
        reached = following
    return {kind: image for images in reached.values() for kind, image in images.items()}


def _applied(transform: Any, images: _Images, where: str) -> _Images:
    name = type(transform).__name__
    if name == "Normalize":
        _check_normalized(transform, images, where)
    leaving: _Images = {}
    for image in images.values():
        for seed in range(max(3, _DRAWS // len(images))):
            transform.set_random_state(np.random.default_rng(seed), _Ends(seed))
            result = _run(transform, image, f"{where}: {name}", force_apply=True)
            if max(result.shape[:2]) > LARGEST_BETWEEN:  # checked before the next transform enlarges it
                raise StudyError(
                    f"{where}: an image is {result.shape[1]}x{result.shape[0]} pixels after {name}; "
                    f"{LARGEST_BETWEEN} is the most on the way"
                )
            leaving.setdefault(_kind(result), result)
    return leaving


def _check_normalized(normalize: Any, images: _Images, where: str) -> None:
    if len({dtype for _, dtype in images}) > 1:
        raise StudyError(
            f"{where}: some images come to Normalize as bytes and some as floats; convert all or none"
        )
    for image in images.values():  # Albumentations divides floats by a channel's std, even if that is 0
        if not np.isfinite(normalize(image=np.zeros_like(image))["image"]).all():
            raise StudyError(
                f"{where}: Normalize makes NaN of an image of one colour; normalise bytes, not floats"
            )


def _run(transform: Any, image: np.ndarray, where: str, **options: bool) -> np.ndarray:
    try:
        result: np.ndarray = transform(image=image, **options)["image"]
        return result
    except Exception as error:  # whatever a transform raises, the study is wrong
        height, width = image.shape[:2]
        failure = one_line(f"{where}: fails on an image of {width}x{height} pixels: {error}")
        raise StudyError(failure) from None
