"""The image classification data sets of ``torchvision.datasets``, by their names there."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.arrays import SourceRequest, Split, refuse_options, split_of
from harness.data.cache import cached
from harness.data.decode import Item, decode_all
from harness.errors import AbsentDataError, DataError
from harness.messages import one_line, suggest

if TYPE_CHECKING:
    from torchvision.datasets import VisionDataset

Arguments = Mapping[str, Any]
_BY_FLAG: tuple[Arguments, Arguments] = ({"train": True}, {"train": False})
_BY_NAME: tuple[Arguments, Arguments] = ({"split": "train"}, {"split": "test"})
_WITH_VALIDATION: tuple[Arguments, Arguments] = ({"split": "trainval"}, {"split": "test"})
# The arguments that ask for the train and the test images; None where there is no test split.
DATA_SETS: dict[str, tuple[Arguments, Arguments | None]] = {
    **dict.fromkeys(("CIFAR10", "CIFAR100", "MNIST", "FashionMNIST", "KMNIST", "QMNIST", "USPS"), _BY_FLAG),
    "EMNIST": _BY_FLAG,  # and data.options = { split = "letters" }
    **dict.fromkeys(("SVHN", "STL10", "GTSRB", "Food101", "DTD", "Flowers102", "StanfordCars"), _BY_NAME),
    **dict.fromkeys(("PCAM", "Country211", "RenderedSST2"), _BY_NAME),
    **dict.fromkeys(("FGVCAircraft", "OxfordIIITPet"), _WITH_VALIDATION),
    "Imagenette": ({"split": "train"}, {"split": "val"}),
    **dict.fromkeys(("EuroSAT", "Caltech256"), ({}, None)),
}
# Classes of the data sets that do not name theirs, which are then numbers.
_NUMBERED = {"SVHN": 10, "USPS": 10, "STL10": 10, "GTSRB": 43, "Flowers102": 102, "PCAM": 2}
_NOT_OPTIONS = {"self", "root", "download", "transform", "target_transform", "transforms", "loader", "kwargs"}


def load(request: SourceRequest) -> Split:
    """Read a data set in torchvision's own files, from ``<root>/torchvision/<name>`` or ``data.path``.

    It is downloaded there by torchvision where it is missing. What torchvision gives is decoded as other
    sources are: grey images become three equal channels, and ``notes`` say so; images of different sizes need
    ``data.image_size``. ``data.options`` are further arguments of the data set's class.

    Raises:
        DataError: no such data set, option or test split; it is damaged, or cannot be downloaded.
    """
    name, where = request.name, f"data.source = 'torchvision:{request.name}'"
    if name not in DATA_SETS:
        raise DataError(f"{where}: not a usable data set of torchvision{suggest(name, DATA_SETS)}")
    refuse_options(request, f"torchvision:{name}", ("bits", "cluster"))
    asked = DATA_SETS[name][request.which == "test"]
    if asked is None:
        raise DataError(f"{where}: it has no test split: set data.holdout, which evaluates on train images")
    arguments = {**_checked_options(request, asked, where), **asked}
    folder = request.folder if request.path else request.root / "torchvision" / name
    if not _files(folder):
        _open(request, folder, arguments)  # downloads it, so that the cache sees its files
    place = [folder.resolve(), request.image_size, sorted(map(repr, arguments.items()))]
    source = f"torchvision-{name}"
    split = cached(source, request.which, place, _files(folder), lambda: _read(request, folder, arguments))
    return replace(split, notes=_notes(split, request))


def _checked_options(request: SourceRequest, asked: Arguments, where: str) -> dict[str, Any]:
    """Return ``data.options``, whose names the data set's class has to know."""
    known = _options_of(request.name) - set(asked)
    for option in request.options:
        if option not in known:
            raise DataError(f"{where}: data.options: it has no option {option!r}{suggest(option, known)}")
    return dict(request.options)


def _options_of(name: str) -> set[str]:
    return set(inspect.signature(_class(name).__init__).parameters) - _NOT_OPTIONS


def _class(name: str) -> Any:
    from harness.vision import import_torchvision

    return getattr(import_torchvision().datasets, name)


def _files(folder: Path) -> list[Path]:
    """Return all files below a folder but hidden ones."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(file for file in files if not file.relative_to(folder).as_posix().startswith("."))


def _open(request: SourceRequest, folder: Path, arguments: Arguments) -> VisionDataset:
    """Open a data set; download it where it is missing and that is allowed."""
    data_set, where = _class(request.name), f"torchvision:{request.name}"
    try:
        return data_set(str(folder), **arguments)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: {one_line(error, 200)}; see data.options") from error
    except (RuntimeError, OSError) as error:  # it is missing, or its checksum is wrong
        if not request.download:
            raise AbsentDataError(
                f"{where} is not in {folder} ({one_line(error, 120)}), and a dry run downloads nothing"
            ) from error
        cause: Exception = error
    from filelock import FileLock

    lock = folder / ".download.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if request.progress:
            print(f"downloading {where} to {folder}", file=sys.stderr, flush=True)
        with FileLock(lock), redirect_stdout(sys.stderr):
            return data_set(str(folder), **arguments, download=True)
    except (RuntimeError, OSError, TypeError, ValueError) as error:
        cause = error
    finally:
        with suppress(OSError):
            lock.unlink(missing_ok=True)
            folder.rmdir()  # removes it only if it is empty: after a failed download
    raise DataError(
        f"{where} cannot be downloaded ({one_line(cause, 200)}): put its files into {folder} by hand, as "
        f"torchvision.datasets.{request.name} expects them"
    ) from cause


def _read(request: SourceRequest, folder: Path, arguments: Arguments) -> Split:
    data_set, where = _open(request, folder, arguments), str(folder)
    labels: list[int] = []

    def items() -> Iterator[Item]:
        for at in range(len(data_set)):
            image, label = data_set[at]
            labels.append(int(label))
            yield f"{where}, {request.which} image {at}", image

    images = decode_all(items(), len(data_set), request.image_size, where=where, progress=request.progress)
    classes = getattr(data_set, "classes", None) or getattr(data_set, "categories", None)
    classes = classes or range(_NUMBERED.get(request.name, 0))
    first = 1 if list(classes)[:1] == ["N/A"] else 0  # of EMNIST's letters, whose labels begin at 1
    return split_of(
        images, np.array(labels, np.int64) - first, [str(name) for name in classes][first:], where=where
    )


def _notes(split: Split, request: SourceRequest) -> tuple[str, ...]:
    for images in (split.images[:64], split.images):  # the first ones nearly always show a colour
        if not (images == images[..., :1]).all():
            return ()
    return (f"{request.which}: grey images, as three equal channels",)
