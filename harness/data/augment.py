"""The study's augmentation pipelines: Albumentations by its own names and arguments, checked before they run.

A pipeline is a list of tables such as ``{"transform": "RandomCrop", "height": 32, "width": 32}``. Names reach
Albumentations' transforms and compositions and nothing else.
"""

from __future__ import annotations

import inspect
import json
import os
import random
import warnings
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from pydantic import Field, ValidationError

from harness.errors import StudyError
from harness.messages import one_line, suggest
from harness.schema import Strict, validate

if TYPE_CHECKING:
    import albumentations as A

# Word in an argument's name -> prefix of cv2's constants, which a study writes in lower case.
CONSTANTS = {
    "border_mode": ("BORDER_", ("constant", "replicate", "reflect", "wrap", "reflect_101")),
    "interpolation": ("INTER_", ("nearest", "nearest_exact", "linear", "cubic", "area", "lanczos4")),
}
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


def check_transforms(transforms: list[dict[str, Any]], where: str, *, deterministic: bool = False) -> None:
    """Check names, arguments and their values.

    Args:
        transforms: a pipeline.
        where: the pipeline's key, such as ``"augment.train"``, for the error.
        deterministic: refuse whatever draws random numbers (``augment.test``).

    Raises:
        StudyError: the first mistake, in one line.
    """
    built = [_build(table, f"{where}[{index}]") for index, table in enumerate(transforms)]
    places = [index for index, table in enumerate(transforms) if table["transform"] == "Normalize"]
    if len(places) > 1:
        raise StudyError(f"{where}[{places[1]}]: a second Normalize; an image is normalised once")
    for index, (table, transform) in enumerate(zip(transforms, built, strict=True)):
        place = f"{where}[{index}]"
        if table["transform"] == "Normalize":
            _check_normalize(transform, place)
        elif any(inner["transform"] == "Normalize" for inner in _nested(table)):
            raise StudyError(f"{place}: Normalize inside {table['transform']}; it must apply to every image")
        if deterministic and _is_random(transform):
            raise StudyError(
                f"{place}: {table['transform']} is random, and {where} must be deterministic: "
                "remove it, or give it p = 1 and fixed values"
            )


def resolve(
    train: list[dict[str, Any]], test: list[dict[str, Any]], mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the pipelines as they are run, each with its Normalize.

    Without one, ``mean`` and ``std`` (of the train split, fractions of 255) are applied last; where only
    ``train`` has one, ``test`` takes the same, last.

    Returns:
        ``(train, test)`` as plain data.

    Raises:
        StudyError: only ``test`` has a Normalize: evaluation would have other units than training.
    """
    in_train, in_test = (
        [table for table in tables if table["transform"] == "Normalize"] for tables in (train, test)
    )
    if in_test and not in_train:
        raise StudyError(
            "augment.test has a Normalize and augment.train has none: move it there; test then takes the same"
        )
    default = {"transform": "Normalize", "mean": list(mean), "std": list(std), "max_pixel_value": 255.0}
    resolved_train = train if in_train else [*train, default]
    resolved_test = test if in_test else [*test, *(in_train or [default])]
    return deepcopy(resolved_train), deepcopy(resolved_test)


def reference_pipeline(transforms: list[dict[str, Any]]) -> A.Compose:
    """Return the pipeline as Albumentations runs it.

    Seed it by :func:`seed_pipeline`, never by its own ``set_random_seed``.

    Raises:
        StudyError: as :func:`check_transforms`.
    """
    built = [_build(table, f"augment[{index}]") for index, table in enumerate(transforms)]
    return _albumentations().Compose(built, strict=True)


def seed_pipeline(pipeline: A.Compose, seed: int) -> None:
    """Seed the pipeline, so that all its transforms share one stream of random numbers.

    Albumentations' ``set_random_seed`` gives each transform a stream of its own from the same seed: two flips
    with p = 0.5 then always happen together, and crops depend on flips.
    """
    pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))


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


def _build(table: dict[str, Any], place: str) -> Any:
    """Make the Albumentations object of one table, after checking its arguments."""
    name = table.get("transform")
    if not isinstance(name, str):
        raise StudyError(f'{place}: expected transform = "NAME", an Albumentations transform')
    if name in REFUSED:
        raise StudyError(f"{place}.transform: {name} {REFUSED[name]}")
    if name not in _classes():
        shown = one_line(repr(name), 80)
        raise StudyError(
            f"{place}.transform: {shown} is not an Albumentations transform{suggest(name, _classes())}"
        )
    arguments = {key: value for key, value in table.items() if key != "transform"}
    if name in COMPOSITIONS:
        return _compose(name, arguments, place)
    cls = _classes()[name]
    known = [parameter for parameter in inspect.signature(cls).parameters if parameter != "self"]
    for key in arguments:
        if key not in known:
            raise StudyError(
                one_line(f"{place}.{key}: not an argument of {name}{suggest(key, known)}", limit=600)
            )
    arguments = {key: _constants(key, value, f"{place}.{key}") for key, value in arguments.items()}
    _check_types(cls, arguments, place)
    return _construct(cls, {key: _tuples(value) for key, value in arguments.items()}, place)


def _compose(name: str, arguments: dict[str, Any], place: str) -> Any:
    schema = _Selection if name in ("SomeOf", "RandomOrder") else _Composition
    checked = validate(schema, arguments, place)
    children = [
        _build(child if isinstance(child, dict) else {}, f"{place}.transforms[{index}]")
        for index, child in enumerate(checked.transforms)
    ]
    if name == "OneOf" and not any(child.p > 0 for child in children):
        raise StudyError(f"{place}: OneOf needs a transform with p > 0 to choose")
    if isinstance(checked, _Selection) and not checked.replace and checked.n > len(children):
        raise StudyError(f"{place}.n: {checked.n} of {len(children)} transforms cannot be chosen")
    return _construct(_classes()[name], {**arguments, "transforms": children}, place)


def _constants(key: str, value: Any, place: str) -> Any:
    """Return cv2's number for a constant's name; other values as they are."""
    word = next((word for word in CONSTANTS if word in key), None)
    if word is None:
        return value
    if isinstance(value, dict):  # Downscale's interpolation_pair
        return {inner: _constants(word, part, f"{place}.{inner}") for inner, part in value.items()}
    import cv2

    prefix, names = CONSTANTS[word]
    if value not in names:
        shown = one_line(repr(value), 80)
        near = suggest(value, names) if isinstance(value, str) else f" (known: {', '.join(names)})"
        raise StudyError(f"{place}: {shown} is not the name of a cv2 constant for it{near}")
    return getattr(cv2, prefix + value.upper())


def _check_types(cls: Any, arguments: dict[str, Any], place: str) -> None:
    """Check types by Albumentations' own schema, but strictly: it would take ``"0.5"`` for a number."""
    schema = cls.InitSchema
    signature = inspect.signature(cls).parameters
    defaults = {
        name: parameter.default
        for name, parameter in signature.items()
        if parameter.default is not parameter.empty
    }
    values = {key: value for key, value in (defaults | arguments).items() if key in schema.model_fields}
    try:
        # JSON, because there a list may stand for a tuple even strictly
        schema.model_validate_json(json.dumps({**values, "strict": True}, default=str), strict=True)
    except ValidationError as error:
        mistakes = [item for item in error.errors() if not item["loc"] or item["loc"][0] in arguments]
        mistakes += [item for item in error.errors() if item["type"] == "missing"]
        if not mistakes:
            return
        location = mistakes[0]["loc"][:1]
        same = [item for item in mistakes if item["loc"][:1] == location]
        path = f"{place}.{location[0]}" if location else place
        if same[0]["type"] == "missing":
            raise StudyError(f"{path}: missing") from None
        wanted = [item["msg"].removeprefix("Value error, ").removeprefix("Input should be ") for item in same]
        message = f"{path}: expected {' or '.join(dict.fromkeys(wanted))}"
        if not location or same[0]["type"] == "value_error":
            message = f"{path}: {wanted[0]}"
        if location:
            message += f", got {arguments[str(location[0])]!r}"
        raise StudyError(one_line(message)) from None


def _construct(cls: Any, arguments: dict[str, Any], place: str) -> Any:
    owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
    if "InitSchema" in vars(owner):  # the others have no such argument
        arguments = {**arguments, "strict": True}
    try:
        with warnings.catch_warnings():
            # advice ("a special case of Affine"); what would be a mistake is an error by now
            warnings.simplefilter("ignore")
            transform = cls(**arguments)
    except Exception as error:  # whatever the library raises, the request is what is wrong
        raise StudyError(one_line(f"{place}: {error}")) from None
    if set(getattr(transform, "targets_as_params", ())) - {"image"}:
        raise StudyError(f"{place}: {cls.__name__} {_NEEDS_MORE}")
    return transform


def _check_normalize(transform: Any, place: str) -> None:
    if transform.p != 1:
        raise StudyError(f"{place}.p: Normalize must apply to every image: remove p")
    for key in ("mean", "std", "max_pixel_value"):
        values = np.atleast_1d(getattr(transform, key))
        if len(values) not in ((1,) if key == "max_pixel_value" else (1, 3)) or not np.isfinite(values).all():
            raise StudyError(f"{place}.{key}: expected a number or one for each of 3 channels")
        if key != "mean" and not (values > 0).all():
            raise StudyError(f"{place}.{key}: must be above 0, got {getattr(transform, key)}")


def _is_random(transform: Any) -> bool:
    """Tell whether a transform draws a number: apply it with generators that refuse to."""
    if isinstance(transform, _albumentations().BaseCompose):
        if type(transform).__name__ != "Sequential" or 0 < transform.p < 1:
            return True
        return any(_is_random(child) for child in transform.transforms)
    if 0 < transform.p < 1:
        return True
    transform.set_random_state(_NoRandom(), _NoRandom())
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    for image in (noise, noise.astype(np.float32) / 255):
        try:
            transform(image=image)
        except _RandomDrawn:
            return True
        except Exception:  # not for this kind of image: output_shape runs the whole pipeline and tells
            continue
    return False


def _nested(table: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for child in table.get("transforms", []):
        yield child
        yield from _nested(child)


def _tuples(value: Any) -> Any:
    """Return lists as tuples: Albumentations then reads ``[8, 8]`` as integers, not as fractions."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
