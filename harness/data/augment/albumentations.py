"""Albumentations by its own names and arguments: a :class:`~harness.data.augment.library.Library`.

Names reach Albumentations' transforms and compositions and nothing else. Version 2.0.8 is the last one under
the MIT licence and is no longer maintained; it stays the reference for the pipelines that name it.
"""

from __future__ import annotations

import inspect
import os
import random
import warnings
from collections.abc import Callable, Collection
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
from pydantic import Field

from harness.data.augment.albumentations_arguments import check_types, constants
from harness.data.augment.library import Node, Table, check_names, draws, imported, name_of, tuples
from harness.errors import StudyError
from harness.messages import one_line
from harness.schema import Strict, validate
from harness.seeding import cpu_seed

if TYPE_CHECKING:
    import albumentations as A
    from numpy.typing import NDArray

    from harness.data.augment.library import Run

NAME, TITLE = "albumentations", "Albumentations"
PACKAGES: tuple[str, ...] = ("albumentations", "opencv-python-headless")

COMPOSITIONS = ("OneOf", "RandomOrder", "Sequential", "SomeOf")
_NEEDS_MORE = "needs more than the image: boxes, masks, other images or metadata"
_REFUSALS = {
    _NEEDS_MORE: "AtLeastOneBBoxRandomCrop BBoxSafeRandomCrop ConstrainedCoarseDropout FDA HistogramMatching "
    "CropNonEmptyMaskIfExists MaskDropout Mosaic OverlayElements PixelDistributionAdaptation "
    "RandomCropNearBBox RandomSizedBBoxSafeCrop TextImage",
    "runs code, which a study file cannot hold": "Lambda",
    "is not needed: batches are tensors in any case": "ToTensorV2 ToTensor3D",
}
REFUSED = {name: reason for reason, names in _REFUSALS.items() for name in names.split()}


class _Composition(Strict):  # Albumentations does not check these itself
    transforms: list[Any] = Field(min_length=1, max_length=50)
    p: float = Field(default=0.5, ge=0, le=1)


class _Selection(_Composition):
    n: int = Field(default=1, ge=1, le=50)
    replace: bool = False


class _RandomDrawn(Exception):
    """Raised where a transform asks for a random number."""


class _NoRandom:
    """A stand-in for a random generator that refuses every draw."""

    def __getattr__(self, name: str) -> NoReturn:
        raise _RandomDrawn(name)


def reference_pipeline(transforms: list[Table]) -> A.Compose:
    """Return the pipeline as Albumentations runs it.

    Seed it by :func:`seed_pipeline`, never by its own ``set_random_seed``.

    Raises:
        StudyError: as :func:`build`.
    """
    built = [build(table, f"augment[{index}]") for index, table in enumerate(transforms)]
    return _albumentations().Compose(built, strict=True)


def pipeline(tables: list[Table]) -> Run:
    """Return a function that runs the transforms, image after image."""
    compose = reference_pipeline(tables)

    def run(images: NDArray[np.uint8], seed: int) -> NDArray[Any]:
        seed_pipeline(compose, seed)
        with cpu_seed(seed):  # a user's own transform may draw from the global generators
            return np.stack([compose(image=image)["image"] for image in images])

    return run


def seed_pipeline(pipeline: A.Compose, seed: int) -> None:
    """Seed the pipeline, so that all its transforms share one stream of random numbers.

    Albumentations' ``set_random_seed`` gives each transform a stream of its own from the same seed: two flips
    with p = 0.5 then always happen together, and crops depend on flips.
    """
    pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))


def names() -> Collection[str]:
    """Return the names that a study may use."""
    return _classes()


def normalize(mean: tuple[float, ...], std: tuple[float, ...]) -> Table:
    """Return the table that normalises by a mean and std in fractions of 255."""
    return {"transform": "Normalize", "mean": list(mean), "std": list(std), "max_pixel_value": 255.0}


def normalisation(table: Table) -> tuple[Any, Any] | None:
    """Return a Normalize's mean and std in fractions of 255; None where each image has its own."""
    transform = build(table, "augment")
    return (transform.mean, transform.std) if transform.normalization == "standard" else None


def _albumentations() -> Any:
    """Import Albumentations, without its online check for updates."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations

    return albumentations


@cache
def _classes() -> dict[str, type]:
    """Return the classes that a study may name."""
    library = _albumentations()
    bases = (library.BasicTransform, library.DualTransform, library.ImageOnlyTransform)
    transforms = {
        name: value
        for name, value in vars(library).items()
        if isinstance(value, type)
        and issubclass(value, library.BasicTransform)
        and not issubclass(value, library.Transform3D)
        and value not in bases
        and name not in REFUSED
    }
    return {name: getattr(library, name) for name in COMPOSITIONS} | transforms


def build(table: Table, place: str) -> Any:
    """Make the Albumentations object of one table, after checking its arguments."""
    name = name_of(table, place, "an Albumentations transform", _classes(), REFUSED)
    arguments = {key: value for key, value in table.items() if key != "transform"}
    if ":" in name:
        return _wrapped(imported(name, arguments, place))
    if name in COMPOSITIONS:
        return _compose(name, arguments, place)
    cls = _classes()[name]
    known = [parameter for parameter in inspect.signature(cls).parameters if parameter != "self"]
    check_names(name, arguments, known, place)
    arguments = {key: constants(key, value, f"{place}.{key}") for key, value in arguments.items()}
    check_types(cls, arguments, place)
    # it reads [8, 8] as fractions, and (8, 8) as integers
    return _construct(cls, {key: tuples(value) for key, value in arguments.items()}, place)


def _wrapped(function: Callable[[Any], Any]) -> Any:
    """Return a user's callable on a uint8 array ``(H, W, 3)`` as Albumentations' transform."""
    library = _albumentations()
    if isinstance(function, library.BasicTransform):
        return function
    return library.Lambda(image=_OfImage(function), name=type(function).__name__, p=1.0)


class _OfImage:
    """A function of an image as Albumentations calls it: with parameters that it does not take."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, image: NDArray[Any], **parameters: Any) -> NDArray[Any]:
        return np.asarray(self.function(image))


def _compose(name: str, arguments: dict[str, Any], place: str) -> Any:
    schema = _Selection if name in ("SomeOf", "RandomOrder") else _Composition
    checked = validate(schema, arguments, place)
    children = [
        build(child if isinstance(child, dict) else {}, f"{place}.transforms[{index}]")
        for index, child in enumerate(checked.transforms)
    ]
    if name == "OneOf" and not any(child.p > 0 for child in children):
        raise StudyError(f"{place}: OneOf needs a transform with p > 0 to choose")
    if isinstance(checked, _Selection) and not checked.replace and checked.n > len(children):
        raise StudyError(f"{place}.n: {checked.n} of {len(children)} transforms cannot be chosen")
    return _construct(_classes()[name], {**arguments, "transforms": children}, place)


def _construct(cls: Any, arguments: dict[str, Any], place: str) -> Any:
    owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
    if "InitSchema" in vars(owner):  # the others have no such argument
        arguments = {**arguments, "strict": True}
    try:
        with warnings.catch_warnings():
            # advice ("a special case of Affine"); what would be a mistake is an error by now
            warnings.simplefilter("ignore")
            transform = cls(**arguments)
    except Exception as error:  # the library may raise anything: the request is invalid
        raise StudyError(one_line(f"{place}: {error}")) from None
    if set(getattr(transform, "targets_as_params", ())) - {"image"}:
        raise StudyError(f"{place}: {cls.__name__} {_NEEDS_MORE}")
    return transform


def check_normalize(transform: Any, place: str) -> None:
    if transform.p != 1:
        raise StudyError(f"{place}.p: Normalize must apply to every image: remove p")
    for key in ("mean", "std", "max_pixel_value"):
        values = np.atleast_1d(getattr(transform, key))
        if len(values) not in ((1,) if key == "max_pixel_value" else (1, 3)) or not np.isfinite(values).all():
            raise StudyError(f"{place}.{key}: expected a number or one for each of 3 channels")
        if key != "mean" and not (values > 0).all():
            raise StudyError(f"{place}.{key}: must be above 0, got {getattr(transform, key)}")


def is_random(transform: Any) -> bool:
    """Tell whether a transform draws a number: apply it with generators that refuse to."""
    if isinstance(transform, _albumentations().BaseCompose):
        if type(transform).__name__ != "Sequential" or 0 < transform.p < 1:
            return True
        return any(is_random(child) for child in transform.transforms)
    if 0 < transform.p < 1:
        return True
    transform.set_random_state(_NoRandom(), _NoRandom())
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    for image in (noise, noise.astype(np.float32) / 255):
        try:
            if draws(partial(transform, image=image)):
                return True
        except _RandomDrawn:
            return True
        except Exception:  # not for this kind of image: output_shape runs the whole pipeline and tells
            continue
    return False


def nodes(tables: list[Table]) -> list[Node]:
    """Return the built transforms as nodes."""
    return [_node(transform) for transform in reference_pipeline(tables).transforms]


def _node(transform: Any, *, chosen: bool = False) -> Node:
    """Return a transform's node; a child of a OneOf that is ``chosen`` ignores its p."""
    name = type(transform).__name__
    selects = name in ("SomeOf", "RandomOrder")  # these still apply their own p
    p = 1.0 if chosen and not selects else float(transform.p)
    if name not in COMPOSITIONS:
        return Node(name, p, partial(_apply_surely, transform))
    if name == "OneOf":
        children = tuple(_node(child, chosen=True) for child in transform.transforms if child.p > 0)
        return Node(name, p, kind="one", children=children)
    children = tuple(map(_node, transform.transforms))
    if selects:
        kind: Literal["some", "order"] = "some" if name == "SomeOf" else "order"
        return Node(name, p, kind=kind, children=children, n=transform.n, replace=transform.replace)
    return Node(name, p, children=children)


def _apply_surely(transform: Any, image: NDArray[Any], seed: int) -> NDArray[Any]:
    normalises = type(transform).__name__ == "Normalize"
    # Albumentations divides floats by a channel's std, even if that is 0
    if normalises and not np.isfinite(transform(image=np.zeros_like(image))["image"]).all():
        raise StudyError("Normalize returns NaN for an image of one colour; normalise bytes, not floats")
    transform.set_random_state(np.random.default_rng(seed), _Ends(seed))
    with cpu_seed(seed):
        result: NDArray[Any] = transform(image=image, force_apply=True)["image"]
    return result


class _Ends(random.Random):
    """A generator that draws the ends of a range often: there an image's size differs most."""

    def random(self) -> float:
        return min(max(3 * super().random() - 1, 2**-40), 1 - 2**-40)
