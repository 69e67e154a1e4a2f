"""A folder of the user's own images: ``train/<class>/...`` and ``test/<class>/...``."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np

from harness.data.arrays import Request, Split, composed, split_of
from harness.data.cache import cached
from harness.data.decode import FORMATS, decode_all
from harness.errors import AbsentDataError, DataError

_log = logging.getLogger(__name__)


@dataclass
class Found:
    """What lies below a split's folder.

    Attributes:
        stray: files beside the classes' folders.
        others: files that are no images.
        hidden: files and folders whose names begin with a dot.
    """

    images: list[Path] = field(default_factory=list)
    stray: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)


def load(request: Request) -> Split:
    """Images below ``<root>/<data.path>/<split>/<class>/``, classes and files sorted by name.

    Links are followed. Names that begin with a dot are passed over; files that are no images are, too, with a
    warning; the split's ``notes`` count both. Images of one size stay as they are; otherwise
    ``data.image_size`` is what their shorter side is resized to before the centre square is cropped.
    :func:`harness.data.decode.decode` says how colours are treated.

    Raises:
        DataError: a folder is missing, a class is empty or in one split only, a link leads nowhere or round
            in a circle, an image cannot be read, sizes differ and ``data.image_size`` is not set.
    """
    folder = request.root / (request.path or "")
    split_folder = folder / request.which
    classes = _class_folders(split_folder)
    if request.which == "test" and (
        differing := sorted(set(classes) ^ set(_class_folders(folder / "train")))
    ):
        names = ", ".join(map(repr, differing[:5]))
        raise DataError(f"{folder}: classes not in both train and test: {names}; rename or add folders")
    found = Found()
    for entry in split_folder.iterdir():
        if entry.name.startswith("."):
            found.hidden.append(entry)
        elif not entry.is_dir():
            found.stray.append(entry)
    labels: list[int] = []
    for label, class_folder in enumerate(classes.values()):
        before = len(found.images)
        _find(class_folder, found)
        if len(found.images) == before:
            raise DataError(
                f"{class_folder}: no image; every class needs at least one: add some, or remove it"
            )
        labels += [label] * (len(found.images) - before)
    for files, why in ((found.others, "are no images"), (found.stray, "lie in no class's folder")):
        if files:
            _log.warning(
                "%s: %d files %s and are passed over, such as %s", folder, len(files), why, min(files)
            )

    def build() -> Split:
        items = ((str(file), file) for file in found.images)
        images = decode_all(
            items,
            len(found.images),
            request.image_size,
            bits=request.bits,
            where=str(split_folder),
            progress=request.progress,
        )
        return split_of(images, np.array(labels, dtype=np.int64), list(classes), where=str(split_folder))

    place = [split_folder.resolve(), request.image_size, request.bits]
    split = cached("image_folder", request.which, place, found.images, build)
    return replace(split, notes=tuple(_notes(found, request.which, split_folder)))


def _notes(found: Found, which: str, folder: Path) -> Iterator[str]:
    for files, why in ((found.others, "no images"), (found.stray, "in no class"), (found.hidden, "hidden")):
        if files:
            yield f"{which}: {len(files)} passed over, {why}, such as {min(files).relative_to(folder)}"


def _class_folders(split_folder: Path) -> dict[str, Path]:
    """The folder of each class, sorted by the classes' names."""
    if not split_folder.is_dir():
        error = DataError if os.path.lexists(split_folder) else AbsentDataError
        raise error(
            f"{split_folder} is not a folder; expected train/<class>/ and test/<class>/ in the data folder "
            "(--data DIR) or data.path (without test images, data.holdout takes some of train's)"
        )
    entries = [entry for entry in split_folder.iterdir() if not entry.name.startswith(".")]
    for entry in entries:
        _check_link(entry)
    folders = [entry for entry in entries if entry.is_dir()]
    classes = {composed(entry.name): entry for entry in folders}
    if twin := next((entry for entry in folders if classes[composed(entry.name)] != entry), None):
        names = f"{ascii(twin.name)} and {ascii(classes[composed(twin.name)].name)}"
        raise DataError(
            f"{split_folder}: folders {names} have one name in two Unicode forms; put all images into one"
        )
    if not classes:
        raise DataError(
            f"{split_folder}: no class folder in it; move each class's images into a folder of its own"
        )
    return dict(sorted(classes.items()))


def _find(class_folder: Path, found: Found) -> None:
    """Add a class's images, in the order of their paths, and what else lies there; links are followed."""
    images: list[Path] = []
    others: list[Path] = []

    def walk(folder: Path, above: frozenset[str]) -> None:
        place = os.path.realpath(folder)
        if place in above:
            raise DataError(f"{folder}: this link leads round in a circle; remove it")
        with os.scandir(folder) as entries:
            inside = list(entries)
        for entry in inside:
            path = folder / entry.name
            if entry.name.startswith("."):
                found.hidden.append(path)
                continue
            if entry.is_symlink():
                _check_link(path)
            if entry.is_dir():
                walk(path, above | {place})
            else:
                (images if _is_image(path) else others).append(path)

    walk(class_folder, frozenset())
    found.images += sorted(images)
    found.others += sorted(others)


def _check_link(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path}: this link leads nowhere ({os.readlink(path)}); mend or remove it")


def _is_image(path: Path) -> bool:
    """By its name, else by its first bytes: people's images have all kinds of names."""
    if path.suffix.lower() in _suffixes():
        return True
    if not path.is_file():
        return False
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS):
            return True
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


@cache
def _suffixes() -> frozenset[str]:
    """Of the formats that are read, as Pillow knows them: ``.jpg``, ``.jfif``, ``.pnm``, ..."""
    from PIL import Image

    return frozenset(
        suffix for suffix, format_ in Image.registered_extensions().items() if format_ in FORMATS
    )
