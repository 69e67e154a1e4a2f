"""Size and type of the images that an augmentation pipeline gives, by following its every branch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from harness.data.augment import parse
from harness.data.augment.library import Node
from harness.errors import StudyError
from harness.messages import one_line

LARGEST_BETWEEN = 2048  # pixels of a side, between two transforms
_DRAWS = 12  # how often each transform draws its parameters
_MOST_KINDS = 8  # kinds of images to follow; of more, only the smallest and the largest
_MOST_ORDERED = 12  # transforms of a random order whose orders are tried; of more, any may follow any
_Kind = tuple[tuple[int, ...], str]  # an image's shape and type
_Images = dict[_Kind, np.ndarray]  # one image of each kind that may leave a transform


def output_shape(
    transforms: list[dict[str, Any]], height: int, width: int, where: str = "augment"
) -> tuple[int, int]:
    """Return height and width after the pipeline, in pixels, the same for every branch, however rare.

    Raises:
        StudyError: the pipeline fails on such an image, the size varies, no finite RGB image results, or a
            user's transform draws from a generator of its own.
    """
    if max(height, width) > LARGEST_BETWEEN:
        raise StudyError(
            f"{where}: images are {width}x{height} pixels; at most {LARGEST_BETWEEN} is allowed: "
            "set data.image_size"
        )
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    parsed = parse(transforms)
    nodes, run = parsed.library.nodes(parsed.tables), parsed.run()
    images = _after_all(nodes, {_kind(noise): noise}, where)
    for seed in range(5):  # also run the pipeline as training does
        image = _guarded(lambda: run(noise[None], seed)[0], noise, where)  # noqa: B023
        images[_kind(image)] = image
        again = _guarded(lambda: run(noise[None], seed)[0], noise, where)  # noqa: B023
        if not np.array_equal(image, again, equal_nan=image.dtype.kind == "f"):
            raise StudyError(
                f"{where}: one seed gives two different images; let your own transform draw from the global "
                "generator of torch, numpy or Python, which the harness seeds"
            )
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


def _kind(image: np.ndarray) -> _Kind:
    return image.shape, image.dtype.str


def _after_all(nodes: Sequence[Node], images: _Images, where: str) -> _Images:
    for node in nodes:
        images = _after(node, images, where)
    return images


def _after(node: Node, images: _Images, where: str) -> _Images:
    """Return the images that a transform may give."""
    leaving = {} if node.p == 1 else dict(images)
    if node.p == 0:
        return leaving
    if node.apply is not None:
        leaving |= _applied(node, node.apply, images, where)
    elif node.kind == "all":
        leaving |= _after_all(node.children, images, where)
    elif node.kind == "one":
        for child in node.children:
            leaving |= _after(child, images, where)
    else:
        leaving |= _selected(node, images, where)
    kinds = sorted(leaving, key=lambda kind: (math.prod(kind[0]), kind))
    if len(kinds) > _MOST_KINDS:
        leaving = {kind: leaving[kind] for kind in kinds[: _MOST_KINDS // 2] + kinds[-_MOST_KINDS // 2 :]}
    return leaving


def _selected(selection: Node, images: _Images, where: str) -> _Images:
    """Return the images that some of the children give, in their order or in any."""
    children, ordered = selection.children, selection.kind == "some"
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


def _applied(
    node: Node, apply: Callable[[np.ndarray, int], np.ndarray], images: _Images, where: str
) -> _Images:
    if node.name == "Normalize" and len({dtype for _, dtype in images}) > 1:
        raise StudyError(
            f"{where}: some images come to Normalize as bytes and some as floats; convert all or none"
        )
    leaving: _Images = {}
    for image in images.values():
        for seed in range(max(3, _DRAWS // len(images))):
            result = _guarded(lambda: apply(image, seed), image, f"{where}: {node.name}")  # noqa: B023
            if max(result.shape[:2]) > LARGEST_BETWEEN:  # checked before the next transform enlarges it
                raise StudyError(
                    f"{where}: an image is {result.shape[1]}x{result.shape[0]} pixels after {node.name}; "
                    f"at most {LARGEST_BETWEEN} is allowed in between"
                )
            leaving.setdefault(_kind(result), result)
    return leaving


def _guarded(make: Callable[[], np.ndarray], image: np.ndarray, where: str) -> np.ndarray:
    """Return the result of a call on an image; turn any exception into a StudyError."""
    try:
        return make()
    except StudyError as error:
        raise StudyError(f"{where}: {error}") from None
    except Exception as error:  # a transform may raise anything: the study is invalid
        height, width = image.shape[:2]
        failure = one_line(f"{where}: fails on an image of {width}x{height} pixels: {error}")
        raise StudyError(failure) from None
