"""The data sources by name, and ``load_data``, by which everything else loads data."""

from __future__ import annotations

import importlib
import logging
import os
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

import numpy as np
import platformdirs

from harness.data.arrays import Data, SourceRequest, Split, constant_channels, hold_out, limit
from harness.errors import AbsentDataError, DataError
from harness.messages import nearest, one_line

_log = logging.getLogger(__name__)
Source = Callable[[SourceRequest], Split]

# Imported when first used. An installed package adds its own under the entry point group "harness.sources".
SOURCES: dict[str, str] = {
    "digits": "harness.data.digits:load",
    "cifar10": "harness.data.cifar10:load",
    "image_folder": "harness.data.image_folder:load",
    "parquet": "harness.data.parquet:load",
    "datasets": "harness.data.saved_datasets:load",
    "torchvision": "harness.data.torchvision_sets:load",
}


@dataclass(frozen=True)
class DataShape:
    """The size of a data set that is not downloaded yet, for a dry run: enough for its cost, not its digest.

    Attributes:
        image_size: (height, width).
    """

    train_images: int
    image_size: tuple[int, int]
    classes: int


KNOWN_SHAPES = {
    "cifar10": DataShape(50_000, (32, 32), 10),
    "torchvision:CIFAR10": DataShape(50_000, (32, 32), 10),
    "torchvision:CIFAR100": DataShape(50_000, (32, 32), 100),
    "torchvision:SVHN": DataShape(73_257, (32, 32), 10),
    "torchvision:STL10": DataShape(5_000, (96, 96), 10),
    "torchvision:MNIST": DataShape(60_000, (28, 28), 10),
    "torchvision:FashionMNIST": DataShape(60_000, (28, 28), 10),
    "torchvision:KMNIST": DataShape(60_000, (28, 28), 10),
}


def sources() -> dict[str, str]:
    """List the harness's own data sources and those of installed packages: name to ``module:function``."""
    return {point.name: point.value for point in entry_points(group="harness.sources")} | SOURCES


def default_root() -> Path:
    """Return ``$HARNESS_DATA`` where set, else ``data`` in the user's cache folder; create nothing."""
    named = os.environ.get("HARNESS_DATA")
    return Path(named) if named else _cache_root()


def load_data(
    source: str,
    root: Path,
    *,
    path: str | None = None,
    image_size: int | None = None,
    bits: int | None = None,
    cluster: str | None = None,
    options: Mapping[str, Any] | None = None,
    holdout: int | None = None,
    draw: int = 0,
    train_limit: int | None = None,
    test_limit: int | None = None,
    download: bool = True,
    progress: bool = True,
) -> Data:
    """Load the splits of a study.

    Args:
        source: a name in :func:`sources`; ``torchvision`` with a data set's name, as in ``torchvision:SVHN``.
        root: the data folder; it must exist, unless it is the user's cache folder.
        path: ``data.path``, for the sources that read a user's folder.
        image_size: ``data.image_size``, pixels, for the same.
        bits: ``data.bits``, for the same.
        cluster: ``data.cluster``: of the images evaluated on; a hold-out does not split clusters.
        options: ``data.options``, of the source itself.
        holdout: images of the train split to evaluate on; the test split is then not opened at all.
        draw: which of the possible hold-outs.
        train_limit: images to train on, as equal as possible over the classes (after the hold-out is taken).
        test_limit: images to evaluate on, from the test split or the hold-out.
        download: False forbids the network (a dry run).
        progress: whether long work may show its progress on stderr.

    Raises:
        AbsentDataError: the data is not there; it may not be downloaded, or no folder was named.
        DataError: the data cannot be loaded or cannot be trusted.
        StudyError: the data is smaller than the study asks for.
    """
    # os.path: Path raises an error where the parent may not be entered
    if not os.path.isdir(root) and root != _cache_root():
        raise DataError(f"the data folder {root} does not exist: create it, or name another with --data")
    if path is not None:  # a file name may have another Unicode form than the study file
        forms = [path, *(unicodedata.normalize(form, path) for form in ("NFC", "NFD"))]
        path = next((form for form in forms if os.path.exists(root / form)), path)
    load = _find(source)
    request = SourceRequest(root, "train", path, image_size, download, progress, bits)
    request = _with_options(request, source, options or {})
    clustered = replace(request, cluster=cluster)
    train = _read(source, load, request if holdout is None else clustered)
    if holdout is not None:
        train, evaluation = hold_out(train, holdout, draw=draw)
    else:
        evaluation = _read(source, load, replace(clustered, which="test"))
        _check_agreement(train, evaluation, source)
    if train_limit is not None:
        train = limit(train, train_limit, "data.train_limit")
    if test_limit is not None:
        evaluation = limit(evaluation, test_limit, "data.test_limit")
    return Data(train, evaluation, "test" if holdout is None else "holdout")


def _with_options(request: SourceRequest, source: str, options: Mapping[str, Any]) -> SourceRequest:
    base, _, name = source.partition(":")
    if options and base in SOURCES and base not in ("torchvision", "datasets"):
        raise DataError(f"data.options does not apply to data.source = {source!r}: remove it")
    return replace(request, name=name, options=dict(options))


def _read(source: str, load: Source, request: SourceRequest) -> Split:
    """Read and check a split; note in it the channels that never vary."""
    root, where = request.root, f"{source}, {request.which} split"
    try:
        split = load(request)
    except AbsentDataError as error:
        nowhere = root == _cache_root() and not (request.path and os.path.exists(request.folder))
        if downloadable(source) or (request.which == "train" and nowhere):
            raise
        raise DataError(str(error)) from error  # a folder was named, and the data is not in it
    except OSError as error:  # a folder that may not be entered
        place = one_line(error.filename or root, 200)
        raise DataError(f"{source}: {place} cannot be read: {error.strerror or error}") from error
    _check_classes(split, where)
    _check_clusters(split, request, where)
    constant = constant_channels(split)
    said = f"{', '.join(constant)} in all images"
    if len(constant) == 3:
        raise DataError(f"{where}: {said}: the images cannot be distinguished; check the files")
    if constant:
        _log.warning("%s: %s; check that they are read correctly", where, said)
        split = replace(split, notes=(*split.notes, f"{request.which}: {said}"))
    return split


def downloadable(source: str) -> bool:
    """Tell whether a source is downloaded where it is missing."""
    return source == "cifar10" or source.startswith("torchvision:")


def _cache_root() -> Path:
    return platformdirs.user_cache_path("harness", appauthor=False) / "data"


def _find(source: str) -> Source:
    names = sources()
    base, _, part = source.partition(":")
    if source not in names and part and (base == "torchvision" or base in names.keys() - SOURCES):
        source = base
    if source not in names:
        from harness.data.torchvision_sets import DATA_SETS

        near = nearest(source, [*names, *(f"torchvision:{name}" for name in DATA_SETS)])
        hint = f", did you mean {near!r}?" if near else f" (known: {', '.join(sorted(names))})"
        raise DataError(f"data.source = {source!r} is not a data source{hint}")
    module, _, function = names[source].partition(":")
    try:
        return cast(Source, getattr(importlib.import_module(module), function))
    except (ImportError, AttributeError) as error:
        raise DataError(f"data.source = {source!r}: {names[source]} cannot be imported: {error}") from error


def _check_classes(split: Split, where: str) -> None:
    if len(split.classes) < 2:
        raise DataError(f"{where}: only the class {split.classes[0]!r}; add a second class")
    if empty := set(range(len(split.classes))) - set(np.unique(split.labels).tolist()):
        name = split.classes[min(empty)]
        raise DataError(f"{where}: no image of class {name!r}; add one, or remove the class")


def _check_clusters(split: Split, request: SourceRequest, where: str) -> None:
    if request.cluster is None:
        return
    if split.clusters is None:
        raise DataError(f"{where}: data.cluster does not apply to this source, which has no clusters")
    if (count := len(np.unique(split.clusters))) < 2:
        raise DataError(f"{where}: data.cluster puts all images into one cluster; at least two are needed")
    if count == len(split):
        _log.warning("%s: data.cluster puts each image into its own cluster; check it", where)


def _check_agreement(train: Split, test: Split, source: str) -> None:
    if train.classes != test.classes:
        differing = sorted(set(train.classes) ^ set(test.classes))
        what = f"not in both: {', '.join(map(repr, differing[:5]))}" if differing else ""
        what = what or "the same names in another order"
        raise DataError(f"{source}: train and test split have different classes ({what})")
    if train.images.shape[1:] != test.images.shape[1:]:
        sizes = [f"{width}x{height}" for height, width in (train.images.shape[1:3], test.images.shape[1:3])]
        raise DataError(
            f"{source}: train images are {sizes[0]} pixels, test images {sizes[1]}: set data.image_size"
        )
