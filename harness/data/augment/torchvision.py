"""``torchvision.transforms.v2`` by its own names and arguments: a library of transforms.

Images are uint8 tensors ``(3, H, W)``, each transformed by itself: called with a batch, a transform of
torchvision draws one set of parameters for all its images. Normalize first makes fractions of bytes.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from copy import copy
from functools import cache, partial
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np
import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor

from harness.data.augment.library import Node, Table, check_names, draws, imported, name_of, tuples
from harness.device import use_threads
from harness.errors import StudyError
from harness.messages import one_line, suggest
from harness.schema import Strict, validate
from harness.seeding import cpu_seed
from harness.vision import import_torchvision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.data.augment.library import Run

NAME, TITLE = "torchvision", "torchvision.transforms.v2"
PACKAGES: tuple[str, ...] = ("torchvision",)
COMPOSITIONS = ("Compose", "RandomApply", "RandomChoice", "RandomOrder")
_REFUSALS = {
    "needs more than the image: boxes, key points or a video": "ClampBoundingBoxes ClampKeyPoints "
    "ConvertBoundingBoxFormat RandomIoUCrop SanitizeBoundingBoxes SanitizeKeyPoints SetClampingMode "
    "UniformTemporalSubsample",
    "runs code; name your own transform by package.module:Name": "Lambda",
    "needs a matrix, which a study file cannot hold": "LinearTransformation",
    "gives several images": "FiveCrop TenCrop",
    "works on batches: write it into augment.batch": "CutMix MixUp",
    "is not needed: transforms get tensors in any case": "PILToTensor ToImage ToPILImage ToPureTensor "
    "ToTensor",
}
REFUSED = {name: reason for reason, names in _REFUSALS.items() for name in names.split()}
DTYPES = {"uint8": torch.uint8, "float32": torch.float32, "float64": torch.float64}
# Types that torchvision accepts and does not declare.
_HINTS = {("RandomErasing", "value"): float | str | list[float], ("GaussianNoise", "clip"): bool}


class _Composition(Strict):
    transforms: list[Any] = Field(min_length=1, max_length=50)


class _Apply(_Composition):
    p: float = Field(default=0.5, ge=0, le=1)


class _Choice(_Composition):
    p: list[float] | None = Field(default=None, min_length=1)


@cache
def _library() -> Any:
    """Import ``torchvision.transforms.v2``."""
    import_torchvision()
    from torchvision.transforms import v2

    return v2


@cache
def _classes() -> dict[str, type]:
    """Return the classes that a study may name."""
    library = _library()
    return {
        name: value
        for name, value in vars(library).items()
        if isinstance(value, type)
        and issubclass(value, library.Transform)
        and value is not library.Transform
        and name not in REFUSED
    }


def names() -> Collection[str]:
    """Return the names that a study may use."""
    return _classes()


def normalize(mean: tuple[float, ...], std: tuple[float, ...]) -> Table:
    """Return the table that normalises by a mean and std in fractions of 255."""
    return {"transform": "Normalize", "mean": list(mean), "std": list(std)}


def normalisation(table: Table) -> tuple[Any, Any] | None:
    """Return a Normalize's mean and std in fractions of 255."""
    return np.array(table["mean"]), np.array(table["std"])


def build(table: Table, place: str) -> Any:
    """Make the v2 object of one table, after checking its arguments."""
    name = name_of(table, place, "a torchvision transform", _classes(), REFUSED)
    arguments = {key: value for key, value in table.items() if key != "transform"}
    if ":" in name:
        return imported(name, arguments, place)
    if name in COMPOSITIONS:
        return _compose(name, arguments, place)
    cls = _classes()[name]
    parameters = inspect.signature(cls).parameters
    check_names(name, arguments, parameters, place)
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in arguments:
            raise StudyError(f"{place}.{key}: missing")
    values = {key: _value(name, key, value, f"{place}.{key}") for key, value in arguments.items()}
    return _construct(name, values, place)


def _compose(name: str, arguments: Table, place: str) -> Any:
    schemas: dict[str, type[_Composition]] = {"RandomApply": _Apply, "RandomChoice": _Choice}
    schema = schemas.get(name, _Composition)
    checked = validate(schema, arguments, place)
    children = [
        build(child if isinstance(child, dict) else {}, f"{place}.transforms[{index}]")
        for index, child in enumerate(checked.transforms)
    ]
    weights = arguments.get("p", [1.0] * len(children)) if name == "RandomChoice" else [1.0] * len(children)
    if len(weights) != len(children) or min(weights) < 0 or sum(weights) <= 0:
        raise StudyError(f"{place}.p: expected a weight for each of {len(children)} transforms, one above 0")
    return _construct(name, {**arguments, "transforms": children}, place)


def _value(name: str, key: str, value: Any, place: str) -> Any:
    """Check a value by the type that torchvision declares; return it as torchvision takes it."""
    library = _library()
    shown = one_line(repr(value), 80)
    if key == "dtype":
        return DTYPES[_one_of(value, DTYPES, place)]
    if key == "policy":
        policies = {policy.value: policy for policy in library.AutoAugmentPolicy}
        return policies[_one_of(value, policies, place)]
    if key == "interpolation":
        return _one_of(value, [mode.value for mode in library.InterpolationMode], place)
    hint = _HINTS.get((name, key), get_type_hints(_classes()[name].__init__).get(key, Any))  # type: ignore[misc]
    forms = [value, tuples(value)]
    for form in forms:
        try:
            _adapter(name, key, hint).validate_python(form)
            return form
        except ValidationError as error:
            mistakes = error.errors()
    wanted = [item["msg"].removeprefix("Input should be ") for item in mistakes]
    expected = " or ".join(dict.fromkeys(wanted[:3]))
    raise StudyError(one_line(f"{place}: expected {expected}, got {shown}"))


_adapters: dict[tuple[str, str], TypeAdapter[Any]] = {}


def _adapter(name: str, key: str, hint: Any) -> TypeAdapter[Any]:
    if (name, key) not in _adapters:
        config = ConfigDict(strict=True, arbitrary_types_allowed=True)
        _adapters[name, key] = TypeAdapter(hint, config=config)
    return _adapters[name, key]


def _one_of(value: Any, known: Collection[str], place: str) -> str:
    if isinstance(value, str) and value in known:
        return value
    near = suggest(value, known) if isinstance(value, str) else f" (known: {', '.join(known)})"
    raise StudyError(f"{place}: {one_line(repr(value), 80)} is not known{near}")


def _construct(name: str, arguments: Table, place: str) -> Any:
    try:
        return _classes()[name](**arguments)
    except Exception as error:  # the library may raise anything: the request is invalid
        raise StudyError(one_line(f"{place}: {error}")) from None


def check_normalize(transform: Any, place: str) -> None:
    """Check the values of a built Normalize."""
    for key in ("mean", "std"):
        values = np.atleast_1d(getattr(transform, key))
        if len(values) not in (1, 3) or not np.isfinite(values).all():
            raise StudyError(f"{place}.{key}: expected a number or one for each of 3 channels, in a list")
        if key == "std" and not (values > 0).all():
            raise StudyError(f"{place}.{key}: must be above 0, got {getattr(transform, key)}")


def is_random(transform: Any) -> bool:
    """Tell whether a transform draws a number from a global generator."""
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 1024, 1024), dtype=np.uint8))
    for image in (noise, noise.float() / 255):
        try:
            if draws(partial(_apply, transform, image)):
                return True
        except Exception:  # not for this kind of image: output_shape runs the whole pipeline and tells
            continue
    return False


def nodes(tables: list[Table]) -> list[Node]:
    """Return the built transforms as nodes."""
    return [_node(build(table, f"augment[{index}]")) for index, table in enumerate(tables)]


def _node(transform: Any) -> Node:
    cls: type = type(transform)
    name = cls.__name__
    if name not in COMPOSITIONS or cls is not _classes()[name]:
        p = getattr(transform, "p", 1.0) if isinstance(transform, _random_apply()) else 1.0
        return Node(name, float(p), partial(_apply_surely, transform))
    children = tuple(map(_node, transform.transforms))
    if name == "RandomChoice":
        chosen = tuple(child for child, p in zip(children, transform.p, strict=True) if p > 0)
        return Node(name, 1.0, kind="one", children=chosen)
    if name == "RandomOrder":
        return Node(name, 1.0, kind="order", children=children, n=len(children))
    return Node(name, float(getattr(transform, "p", 1.0)), children=children)


def _random_apply() -> type:
    """Return the base of the transforms that are applied with a probability p, else not at all."""
    return _library().RandomHorizontalFlip.__mro__[1]  # type: ignore[no-any-return]


def _apply_surely(transform: Any, image: NDArray[Any], seed: int) -> NDArray[Any]:
    if isinstance(transform, _random_apply()):
        transform = copy(transform)
        transform.p = 1.0
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    with cpu_seed(seed):
        result: NDArray[Any] = _apply(transform, tensor).permute(1, 2, 0).numpy()
    return result


def _apply(transform: Any, image: Tensor) -> Tensor:
    """Apply a transform to an image ``(3, H, W)``, or Normalize to images ``(N, 3, H, W)``."""
    if type(transform) is _library().Normalize:  # it refuses bytes
        image = _library().functional.to_dtype(image, torch.float32, scale=True)
    result = transform(image)
    if not isinstance(result, Tensor):
        raise TypeError(f"{type(transform).__name__} gives {type(result).__name__}, not a tensor (3, H, W)")
    return result


def pipeline(tables: list[Table]) -> Run:
    """Return a function that runs the transforms, image after image.

    A Normalize at the end is applied to all images at once: the same numbers, sooner.
    """
    steps = [build(table, f"augment[{index}]") for index, table in enumerate(tables)]
    last = steps.pop() if steps and type(steps[-1]) is _library().Normalize else None

    def run(images: NDArray[np.uint8], seed: int) -> NDArray[Any]:
        batch = torch.from_numpy(images).permute(0, 3, 1, 2)
        with cpu_seed(seed), use_threads(1):  # small operators: several threads cost more than they save
            if steps:
                batch = torch.stack([_through(steps, image.contiguous()) for image in batch])
            if last is not None:
                batch = _apply(last, batch)
        return batch.permute(0, 2, 3, 1).contiguous().numpy()

    return run


def _through(steps: list[Any], image: Tensor) -> Tensor:
    for step in steps:
        image = _apply(step, image)
    return image
