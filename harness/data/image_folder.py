"""A folder of the user's own images: ``train/<class>/...`` and ``test/<class>/...``."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np

from harness.data.arrays import SourceRequest, Split, composed, split_of, with_clusters
from harness.data.cache import cached
from harness.data.decode import FORMATS, decode_all
from harness.errors import AbsentDataError, DataError

_log = logging.getLogger(__name__)


@dataclass
class Listing:
    """The files below a split's folder.

    Attributes:
        others: files that are no images.
        stray: files beside the classes' folders.
        hidden: files and folders whose names begin with a dot.
    """

    images: list[Path] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    stray: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)


def load(request: SourceRequest) -> Split:
    """Read images below ``<root>/<data.path>/<split>/<class>/``, classes and files sorted by name.

    Links are followed. Names that begin with a dot are ignored; files that are no images are ignored with a
    warning; the split's ``notes`` count both. Images of one size stay as they are; otherwise
    ``data.image_size`` is what their shorter side is resized to before the centre square is cropped.
    :func:`harness.data.decode.decode` says how colours are treated. ``data.cluster`` is a regular expression.

    Raises:
        DataError: a folder is missing, a class is empty or in one split only, a link is broken or
            in a circle, an image cannot be read, sizes differ and ``data.image_size`` is not set;
            ``data.cluster`` finds nothing in a file's path.
    """
    folder, split_folder = request.folder, request.folder / request.which
    classes = _class_folders(split_folder)
    if request.which == "test" and (other := sorted(set(classes) ^ set(_class_folders(folder / "train")))):
        names = ", ".join(map(repr, other[:5]))
        raise DataError(f"{folder}: classes not in both train and test: {names}; rename or add folders")
    listing = _list_files(split_folder, classes)
    for files, why in ((listing.others, "are no images"), (listing.stray, "are in no class folder")):
        if files:
            _log.warning("%s: %d files %s and are skipped, such as %s", folder, len(files), why, min(files))

    def build() -> Split:
        images = decode_all(
            ((str(file), file) for file in listing.images),
            len(listing.images),
            request.image_size,
            bits=request.bits,
            where=str(split_folder),
            progress=request.progress,
        )
        return split_of(images, np.array(listing.labels, np.int64), list(classes), where=str(split_folder))

    place = [split_folder.resolve(), request.image_size, request.bits]
    split = cached("image_folder", request.which, place, listing.images, build)
    skipped = {"no images": listing.others, "in no class folder": listing.stray, "hidden": listing.hidden}
    notes = (
        f"{request.which}: {len(files)} skipped, {why}, such as {min(files).relative_to(split_folder)}"
        for why, files in skipped.items()
        if files
    )
    split = replace(split, notes=tuple(notes))
    if request.cluster is None:
        return split
    return with_clusters(split, _clusters(request.cluster, listing.images, split_folder))


def _clusters(rule: str, files: Sequence[Path], split_folder: Path) -> list[str]:
    """Return what the first group of a regular expression finds in each file's path below the split."""
    found = []
    for file in files:
        path = file.relative_to(split_folder).as_posix()
        match = re.search(rule, path)
        if match is None or match[1] is None:
            raise DataError(f"{split_folder}: data.cluster = {rule!r} finds nothing in {path!r}")
        found.append(match[1])
    return found


def _class_folders(split_folder: Path) -> dict[str, Path]:
    """Return the folder of each class, sorted by the classes' names."""
    if not split_folder.is_dir():
        error = DataError if os.path.lexists(split_folder) else AbsentDataError
        raise error(
            f"{split_folder} is not a folder; expected train/<class>/ and test/<class>/ in the data folder "
            "(--data DIR) or data.path (without test images, data.holdout takes some train images)"
        )
    classes: dict[str, Path] = {}
    for entry in split_folder.iterdir():
        if entry.name.startswith("."):
            continue
        _check_link(entry)
        if entry.is_dir() and (twin := classes.setdefault(composed(entry.name), entry)) != entry:
            raise DataError(
                f"{split_folder}: folders {ascii(twin.name)} and {ascii(entry.name)} have one name in two "
                "Unicode forms; put all images into one"
            )
    if not classes:
        raise DataError(
            f"{split_folder}: no class folder in it; move each class's images into its own folder"
        )
    return dict(sorted(classes.items()))


def _list_files(split_folder: Path, classes: dict[str, Path]) -> Listing:
    listing = Listing()
    for entry in split_folder.iterdir():
        if entry.name.startswith("."):
            listing.hidden.append(entry)
        elif not entry.is_dir():
            listing.stray.append(entry)
    for label, folder in enumerate(classes.values()):
        files: list[Path] = []
        _walk(folder, frozenset(), files, listing.hidden)
        images = [file for file in sorted(files) if _is_image(file)]
        if not images:
            raise DataError(f"{folder}: no image; every class needs at least one: add some, or remove it")
        listing.images += images
        listing.labels += [label] * len(images)
        listing.others += set(files) - set(images)
    return listing


def _walk(folder: Path, above: frozenset[str], files: list[Path], hidden: list[Path]) -> None:
    """Add the files below a folder, following links; ``above``: its real parent folders, to find circles."""
    place = os.path.realpath(folder)
    if place in above:
        raise DataError(f"{folder}: this link is circular; remove it")
    with os.scandir(folder) as entries:  # Path.rglob would silently ignore a folder that may not be entered
        inside = list(entries)
    for entry in inside:
        path = folder / entry.name
        if entry.name.startswith("."):
            hidden.append(path)
            continue
        if entry.is_symlink():
            _check_link(path)
        if entry.is_dir():
            _walk(path, above | {place}, files, hidden)
        else:
            files.append(path)


def _check_link(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path}: this link is broken ({os.readlink(path)}); repair or remove it")


def _is_image(path: Path) -> bool:
    """Tell whether a file is an image, by its name, else by its first bytes: names may be arbitrary."""
    if path.suffix.lower() in _suffixes():
        return True
    if not path.is_file():  # reading a named pipe would never end
        return False
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS):
            return True
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


@cache
def _suffixes() -> frozenset[str]:
    """Return the suffixes of the formats that are read, as Pillow lists them: ``.jpg``, ``.pnm``, ..."""
    from PIL import Image

    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS)
