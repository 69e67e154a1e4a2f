"""A folder of the user's own images: ``train/<class>/...`` and ``test/<class>/...``."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np

from harness.data.arrays import Request, Split, split_of
from harness.data.cache import cached
from harness.data.decode import decode_all
from harness.errors import DataError

_log = logging.getLogger(__name__)
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})


def load(request: Request) -> Split:
    """Images below ``<root>/<data.path>/<split>/<class>/``, classes and files sorted by name.

    Names that begin with a dot are passed over; files that are no images are, too, with a warning. Images of
    one size stay as they are; otherwise ``data.image_size`` is what their shorter side is resized to before
    the centre square is cropped. :func:`harness.data.decode.decode` says how colours are treated.

    Raises:
        DataError: a folder is missing, a class is empty or in one split only, an image cannot be read, sizes
            differ and ``data.image_size`` is not set.
    """
    folder = request.root / (request.path or "")
    split_folder = folder / request.which
    classes = _class_names(split_folder)
    if request.which == "test" and (differing := sorted(set(classes) ^ set(_class_names(folder / "train")))):
        raise DataError(f"{folder}: classes not in both train and test: {', '.join(differing[:5])}")
    files, labels, others = [], [], []
    for label, name in enumerate(classes):
        images, rest = _files(split_folder / name)
        if not images:
            raise DataError(f"{split_folder / name}: no image; every class needs at least one")
        files += images
        others += rest
        labels += [label] * len(images)
    if others:
        _log.warning("%s: %d files are no images and passed over, such as %s", folder, len(others), others[0])

    def build() -> Split:
        items = ((str(file), file) for file in files)
        images = decode_all(
            items, len(files), request.image_size, where=str(split_folder), progress=request.progress
        )
        return split_of(images, np.array(labels, dtype=np.int64), classes, where=str(split_folder))

    return cached("image_folder", request.which, [split_folder.resolve(), request.image_size], files, build)


def _class_names(split_folder: Path) -> list[str]:
    if not split_folder.is_dir():
        raise DataError(
            f"{split_folder} is not a folder; expected train/<class>/ and test/<class>/ in the data folder "
            "(--data DIR) or data.path (without test images, data.holdout takes some of train's)"
        )
    names = sorted(
        entry.name for entry in split_folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
    if not names:
        raise DataError(f"{split_folder}: no class folder in it; expected one folder of images a class")
    return names


def _files(class_folder: Path) -> tuple[list[Path], list[Path]]:
    """Images and other files below the folder, hidden ones left out, sorted by path."""
    images: list[Path] = []
    others: list[Path] = []
    # Without onerror, a folder that may not be entered would silently be without images.
    for directory, folders, names in os.walk(class_folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                path = Path(directory, name)
                (images if path.suffix.lower() in EXTENSIONS else others).append(path)
    return sorted(images), sorted(others)


def _raise(error: OSError) -> None:
    raise error
