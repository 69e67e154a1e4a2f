"""The study's augmentation pipelines, by the library that the study names: checked, and made ready to run.

A pipeline is a list of tables such as ``{"transform": "RandomCrop", "height": 32, "width": 32}``. A resolved
one (:func:`resolve`) names its library in each table, unless that is the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.data.augment import albumentations, torchvision
from harness.data.augment.library import Library, Table, nested
from harness.errors import StudyError

if TYPE_CHECKING:
    from harness.data.augment.library import Run

LIBRARIES: Mapping[str, Library] = {library.NAME: library for library in (albumentations, torchvision)}
DEFAULT = albumentations.NAME
# Ours in any library, because it needs to know the image and the epoch: see harness.data.batches.
ALTERNATING = "AlternatingFlip"


@dataclass(frozen=True)
class Parsed:
    """The parts of a pipeline, resolved or not.

    Attributes:
        alternating: whether it begins with the alternating flip.
        tables: the library's own transforms.
    """

    library: Library
    alternating: bool
    tables: list[Table]

    def run(self) -> Run:
        """Return a function that runs the tables; it is the library's ``pipeline``.

        Raises:
            StudyError: as :func:`check_transforms`.
        """
        return self.library.pipeline(self.tables)


def parse(transforms: list[Table]) -> Parsed:
    """Split a pipeline into its parts."""
    name = transforms[0].get("library", DEFAULT) if transforms else DEFAULT
    tables = [
        {key: value for key, value in table.items() if key != "library" or name == DEFAULT}
        for table in transforms
    ]
    alternating = bool(tables) and tables[0].get("transform") == ALTERNATING
    return Parsed(LIBRARIES.get(name, LIBRARIES[DEFAULT]), alternating, tables[alternating:])


def check_transforms(
    transforms: list[Table], where: str, *, library: str = DEFAULT, deterministic: bool = False
) -> None:
    """Check names, arguments and their values.

    Args:
        transforms: a pipeline of a study file.
        where: the pipeline's key, such as ``"augment.train"``, for the error.
        library: which library's transforms they are.
        deterministic: refuse transforms that draw random numbers (``augment.test``).

    Raises:
        StudyError: the first mistake, in one line.
    """
    chosen = LIBRARIES[library]
    first = _check_alternating(transforms, where, deterministic)
    built = [
        _build(chosen, table, f"{where}[{index}]") for index, table in enumerate(transforms) if index >= first
    ]
    places = [index for index, table in enumerate(transforms) if table["transform"] == "Normalize"]
    if len(places) > 1:
        raise StudyError(f"{where}[{places[1]}]: a second Normalize; an image is normalised once")
    for index, (table, transform) in enumerate(zip(transforms[first:], built, strict=True), first):
        place = f"{where}[{index}]"
        if table["transform"] == "Normalize":
            chosen.check_normalize(transform, place)
        elif any(inner["transform"] == "Normalize" for inner in nested(table)):
            raise StudyError(f"{place}: Normalize inside {table['transform']}; it must apply to every image")
        if deterministic and chosen.is_random(transform):
            raise StudyError(
                f"{place}: {table['transform']} is random, and {where} must be deterministic: "
                "remove it, or give it p = 1 and fixed values"
            )


def _check_alternating(transforms: list[Table], where: str, deterministic: bool) -> int:
    """Check the place of the alternating flip; return how many transforms it takes at the beginning."""
    for index, table in enumerate(transforms):
        place = f"{where}[{index}]"
        if any(inner.get("transform") == ALTERNATING for inner in nested(table)):
            raise StudyError(
                f"{place}: {ALTERNATING} inside {table['transform']}; make it the first transform"
            )
        if table.get("transform") != ALTERNATING:
            continue
        if deterministic:
            raise StudyError(f"{place}: {ALTERNATING} is for augment.train: remove it")
        if index:
            raise StudyError(f"{place}: {ALTERNATING} must be the first transform: move it to the front")
        if more := [key for key in table if key != "transform"]:
            raise StudyError(f"{place}.{more[0]}: not an argument of {ALTERNATING}, which has none")
    return int(bool(transforms) and transforms[0].get("transform") == ALTERNATING)


def _build(library: Library, table: Table, place: str) -> Any:
    """Build a transform; where a name is unknown and another library has it, the error says so."""
    try:
        return library.build(table, place)
    except StudyError as error:
        for name in (inner.get("transform") for inner in (table, *nested(table))):
            if not isinstance(name, str) or ":" in name or name in library.names():
                continue
            for other in LIBRARIES.values():
                if name in other.names():
                    there = f'{error}; {other.NAME} has it: augment.library = "{other.NAME}"'
                    raise StudyError(there) from None
        raise


def resolve(
    train: list[Table],
    test: list[Table],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    library: str = DEFAULT,
) -> tuple[list[Table], list[Table]]:
    """Return the pipelines as they are run, each with its Normalize.

    Without one, ``mean`` and ``std`` (of the train split, fractions of 255) are applied last; where only
    ``train`` has one, ``test`` takes the same, last.

    Returns:
        ``(train, test)`` as plain data; each table names its library, unless that is the default.

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
    default = LIBRARIES[library].normalize(mean, std)
    resolved_train = train if in_train else [*train, default]
    resolved_test = test if in_test else [*test, *(in_train or [default])]
    of = {} if library == DEFAULT else {"library": library}
    return deepcopy([table | of for table in resolved_train]), deepcopy(
        [table | of for table in resolved_test]
    )
