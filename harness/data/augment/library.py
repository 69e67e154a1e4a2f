"""What a library of transforms has to do for the harness; a file beside this one for each library."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from harness.errors import StudyError
from harness.imports import import_allowed
from harness.messages import one_line, suggest
from harness.seeding import cpu_seed, generator_states

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    # uint8 images (N, H, W, 3) and a seed -> images (N, H', W', 3), uint8 or float
    Run = Callable[[NDArray[np.uint8], int], NDArray[Any]]

Table = dict[str, Any]


@dataclass(frozen=True)
class Node:
    """A built transform as :mod:`harness.data.shapes` follows it.

    Attributes:
        name: of its class.
        p: how often it is applied; of a child of ``"one"``, 0 where it is never chosen.
        apply: a single transform, for certain: from an image ``(H, W, 3)`` and a seed to an image; with such
            draws that sizes differ where they can. None for a composition.
        kind: of a composition: all ``children`` in order, one of them, ``n`` of them in their order, or ``n``
            of them in any order.
        replace: the same child may be chosen again.
    """

    name: str
    p: float
    apply: Callable[[NDArray[Any], int], NDArray[Any]] | None = None
    kind: Literal["all", "one", "some", "order"] = "all"
    children: tuple[Node, ...] = ()
    n: int = 0
    replace: bool = False


class Library(Protocol):
    """A library of transforms; its tables have been checked, except where a function says that it checks.

    Attributes:
        NAME: as a study names it.
        TITLE: as people know it.
        PACKAGES: those whose versions decide the pixels.
    """

    NAME: str
    TITLE: str
    PACKAGES: tuple[str, ...]

    def names(self) -> Collection[str]:
        """Return the names that a study may use."""

    def build(self, table: Table, place: str) -> Any:
        """Check a table and make the library's object of it.

        Args:
            place: the table's place in the study, for the error.

        Raises:
            StudyError: the first mistake, in one line.
        """

    def is_random(self, transform: Any) -> bool:
        """Tell whether a built transform draws a random number."""

    def check_normalize(self, transform: Any, place: str) -> None:
        """Check the values of a built Normalize.

        Raises:
            StudyError: as ``build``.
        """

    def normalize(self, mean: tuple[float, ...], std: tuple[float, ...]) -> Table:
        """Return the table that normalises by a mean and std in fractions of 255."""

    def normalisation(self, table: Table) -> tuple[Any, Any] | None:
        """Return a Normalize's mean and std in fractions of 255; None where each image has its own."""

    def nodes(self, tables: list[Table]) -> list[Node]:
        """Return the built transforms as nodes."""

    def pipeline(self, tables: list[Table]) -> Run:
        """Return a function that runs the transforms; its draws depend on the seed alone.

        It reads and changes no global generator.

        Raises:
            StudyError: as ``build``.
        """


def name_of(table: Table, place: str, title: str, known: Collection[str], refused: Mapping[str, str]) -> str:
    """Return a table's name: one that the library knows, or an import path.

    Args:
        title: of the library's transforms, such as ``"a torchvision transform"``.
        known: the names that a study may use.
        refused: name -> why a study may not use it.

    Raises:
        StudyError: any other name, or none.
    """
    name = table.get("transform")
    if not isinstance(name, str):
        raise StudyError(f'{place}: expected transform = "NAME", {title}')
    if name in refused:
        raise StudyError(f"{place}.transform: {name} {refused[name]}")
    if ":" not in name and name not in known:
        raise StudyError(
            f"{place}.transform: {one_line(repr(name), 80)} is not {title}{suggest(name, known)}"
        )
    return name


def check_names(name: str, arguments: Table, known: Collection[str], place: str) -> None:
    """Raise a StudyError where a transform has no such argument."""
    for key in arguments:
        if key not in known:
            raise StudyError(
                one_line(f"{place}.{key}: not an argument of {name}{suggest(key, known)}", limit=600)
            )


def imported(path: str, arguments: Table, place: str) -> Callable[[Any], Any]:
    """Return a user's own transform: what ``package.module:Name`` gives when called with the arguments.

    Raises:
        StudyError: its package is not allowed, calling it raises, or it gives nothing that can be called.
    """
    make = import_allowed(path, f"{place}.transform")
    try:
        transform = make(**arguments)
    except Exception as error:  # a user's code may raise anything
        said = f"{type(error).__name__}: {one_line(error, 200)}"
        raise StudyError(f"{place}: {path}, called with {arguments}: {said}") from None
    if not callable(transform):
        raise StudyError(
            f"{place}: {path} gives {type(transform).__name__}; expected a class of callables, or a function "
            "that returns a function from an image to an image"
        )
    return transform  # type: ignore[no-any-return]


def draws(call: Callable[[], object]) -> bool:
    """Tell whether a call draws from a global generator of torch, numpy or Python."""
    with cpu_seed(0):
        before = generator_states()
        call()
        return generator_states() != before


def nested(table: Table) -> Iterator[Table]:
    """Yield the tables inside a composition's table."""
    for child in table.get("transforms", []):
        if isinstance(child, dict):
            yield child
            yield from nested(child)


def tuples(value: Any) -> Any:
    """Return lists as tuples, also inside lists: TOML has no tuples."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value
