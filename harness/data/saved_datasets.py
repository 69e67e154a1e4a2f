"""Data sets of Hugging Face's ``datasets`` library, saved in a folder by its ``save_to_disk``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.arrays import SourceRequest, Split, split_of, with_clusters
from harness.data.cache import cached
from harness.data.columns import (
    Columns,
    check_clusters,
    check_label_list,
    find_columns,
    label_indices,
    label_values,
)
from harness.data.decode import Item, decode_all
from harness.data.parquet import EVALUATION_NAMES
from harness.errors import AbsentDataError, DataError, StudyError
from harness.messages import check_installed, one_line, suggest

if TYPE_CHECKING:
    from datasets import Dataset

_log = logging.getLogger(__name__)
_STATE = "state.json"  # in the folder of each split
_BATCH_ROWS = 512  # rows held encoded at a time


def load(request: SourceRequest) -> Split:
    """Read the split of a ``DatasetDict`` saved in ``<root>/<data.path>``: its ``train`` or its ``test``.

    Without ``test``, ``validation``, ``valid`` or ``val`` is used, and a warning says so. A
    folder with a single ``Dataset`` is a train split. Columns, labels, images and ``data.cluster`` are as
    those of Parquet shards (:func:`harness.data.parquet.load`); ``data.options`` may name the columns
    ``image`` and ``label``.

    Raises:
        AbsentDataError: there is no such folder.
        DataError: ``datasets`` is not installed; no such split or column; damaged files; a label that is
            missing, out of range or unknown to the train split.
    """
    folder, options = request.folder, request.options
    try:
        check_installed("datasets", "data.source = 'datasets'")
    except StudyError as error:
        raise DataError(str(error)) from None
    for option, value in options.items():
        if option not in ("image", "label") or not isinstance(value, str):
            raise DataError(
                "data.options: expected the names of the columns image and label, not "
                f"{option} = {one_line(repr(value), 80)}{suggest(option, ('image', 'label'))}"
            )
    train_folder = _split_folder(folder, "train")
    split_folder = train_folder if request.which == "train" else _split_folder(folder, "test")

    def build() -> Split:
        train = _open(train_folder)
        named = _columns(train, train_folder, options).names
        classes = named or label_values([_labels(train, train_folder, options)], str(train_folder))
        return _read(request, _open(split_folder), split_folder, classes, indices=named is not None)

    files = [
        file for place in dict.fromkeys([split_folder, train_folder]) for file in sorted(place.iterdir())
    ]
    place = [split_folder.resolve(), request.image_size, request.bits, sorted(options.items())]
    split = cached("datasets", request.which, place, [file for file in files if file.is_file()], build)
    if request.cluster is None:
        return split
    return with_clusters(split, _clusters(_open(split_folder), request.cluster, split_folder))


def _split_folder(folder: Path, split: str) -> Path:
    names = ("train",) if split == "train" else EVALUATION_NAMES
    for name in names:
        if (folder / name / _STATE).is_file():
            if name != names[0]:
                _log.warning("%s: no test split, evaluating on %s", folder, name)
            return folder / name
    if split == "train" and (folder / _STATE).is_file():
        return folder
    if split == "train":
        raise AbsentDataError(
            f"{folder}: no data set saved by save_to_disk, with a split 'train'; set --data DIR or data.path"
        )
    raise DataError(
        f"{folder}: no split 'test' (or 'validation'); data.holdout evaluates on train images instead"
    )


def _open(folder: Path) -> Dataset:
    import datasets

    try:
        opened = datasets.load_from_disk(str(folder))
        return opened.with_format(None)
    except Exception as error:  # damaged files raise anything
        raise DataError(f"{folder}: damaged or no saved data set: {one_line(error, 200)}") from error


def _columns(data_set: Dataset, folder: Path, options: Any) -> Columns:
    return find_columns(data_set.features.arrow_schema, str(folder), options)


def _values(data_set: Dataset, folder: Path, column: str) -> tuple[list[Any], str]:
    """Return all values of a column, and its type in words."""
    try:
        return list(data_set[column]), str(data_set.features.arrow_schema.field(column).type)
    except Exception as error:
        raise DataError(f"{folder}: column {column!r} is damaged: {one_line(error, 200)}") from error


def _labels(data_set: Dataset, folder: Path, options: Any) -> list[Any]:
    name = _columns(data_set, folder, options).label
    return check_label_list(*_values(data_set, folder, name), name, str(folder))


def _clusters(data_set: Dataset, name: str, folder: Path) -> list[Any]:
    if name not in data_set.column_names:
        known = ", ".join(data_set.column_names)
        raise DataError(f"{folder}: no column data.cluster = {name!r} among {known}")
    return check_clusters(*_values(data_set, folder, name), name, str(folder))


def _read(
    request: SourceRequest, data_set: Dataset, folder: Path, classes: tuple[str, ...], *, indices: bool
) -> Split:
    columns, where = _columns(data_set, folder, request.options), str(folder)
    images = decode_all(
        _encoded(data_set, columns.image, where),
        len(data_set),
        request.image_size,
        bits=request.bits,
        where=where,
        progress=request.progress,
    )
    labels = _labels(data_set, folder, request.options)
    numbers = label_indices(labels, columns.names, classes, indices, where)
    return split_of(images, numbers, classes, where=where)


def _encoded(data_set: Dataset, column: str, where: str) -> Iterator[Item]:
    import datasets

    if isinstance(data_set.features[column], datasets.Image):  # decoded here as all other images are
        data_set = data_set.cast_column(column, datasets.Image(decode=False))
    for start in range(0, len(data_set), _BATCH_ROWS):
        try:
            values = data_set[start : start + _BATCH_ROWS][column]
        except Exception as error:
            raise DataError(f"{where}: damaged near row {start}: {one_line(error, 200)}") from error
        for row, value in enumerate(values, start):
            encoded = value.get("bytes") if isinstance(value, dict) else value
            if encoded is None and isinstance(value, dict) and value.get("path"):
                encoded = Path(value["path"])
            if not isinstance(encoded, bytes | Path):
                raise DataError(f"{where}, row {row}: no image bytes in column {column!r}; drop the row")
            yield f"{where}, row {row}", encoded
