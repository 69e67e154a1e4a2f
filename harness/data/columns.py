"""The columns of a table of images (Parquet shards, saved data sets): which hold images and labels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.arrays import check_labels, composed
from harness.errors import DataError
from harness.messages import one_line

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

IMAGE_NAMES = ("image", "img", "picture", "photo", "pixels")
LABEL_NAMES = ("label", "labels", "class", "target", "fine_label", "category")


@dataclass(frozen=True)
class Columns:
    """A table's image and label column, and the names its metadata gives to integer labels."""

    image: str
    label: str
    names: tuple[str, ...] | None


def find_columns(schema: pa.Schema, where: str, asked: Mapping[str, str] | None = None) -> Columns:
    """Find the image and the label column, by the metadata's features, else by usual names and types.

    The case of a name does not matter.

    Args:
        where: the file or folder of the table, for errors.
        asked: the names of the columns that the study asks for, under ``image`` and ``label``.

    Raises:
        DataError: there is no such column, or two whose names differ only in case.
    """
    asked, features = asked or {}, _features(schema)
    if unknown := [name for name in asked.values() if name not in schema.names]:
        raise DataError(f"{where}: data.options: no column {unknown[0]!r} among {', '.join(schema.names)}")
    typed = {
        kind: [name for name, feature in features.items() if feature.get("_type") == kind]
        for kind in ("Image", "ClassLabel")
    }
    images = typed["Image"] or [field.name for field in schema if _holds_images(field.type)]
    labels = typed["ClassLabel"]
    image = _usual(images, IMAGE_NAMES, where) or next(iter(images), None)
    label = _usual(labels, LABEL_NAMES, where) or next(iter(labels), None)
    image, label = asked.get("image", image), asked.get("label", label)
    label = label or _usual(schema.names, LABEL_NAMES, where)
    columns = ", ".join(schema.names)
    if image is None:
        raise DataError(f"{where}: no image column (bytes; {', '.join(IMAGE_NAMES)}) among {columns}")
    if label is None:
        raise DataError(f"{where}: no label column ({', '.join(LABEL_NAMES)}) among {columns}")
    names = features.get(label, {}).get("names")
    named = names if isinstance(names, list) else []
    return Columns(image, label, tuple(composed(str(name)) for name in named) or None)


def check_clusters(values: list[Any], kind: object, name: str, where: str) -> list[Any]:
    """Return the values of the column ``data.cluster``, checked to be whole numbers or text."""
    if None in values:
        raise DataError(f"{where}, row {values.index(None)}: no cluster in column {name!r}")
    if not all(isinstance(value, int | str) for value in values):
        raise DataError(f"{where}: clusters in column {name!r} are {kind}, expected integers or text")
    return values


def check_label_list(labels: list[Any], kind: object, name: str, where: str) -> list[Any]:
    """Return a table's labels: numbers (or truth values) or text.

    Args:
        kind: the column's type, for errors.
        name: the column's name.
    """
    labels = [
        label.decode(errors="surrogateescape") if isinstance(label, bytes) else label for label in labels
    ]
    if not all(isinstance(label, int | str | None) for label in labels):
        raise DataError(f"{where}: labels in column {name!r} are {kind}, expected integers or strings")
    if missing := labels.count(None):
        raise DataError(f"{where}: {missing} rows have no label in column {name!r}; drop them")
    return [composed(label) if isinstance(label, str) else label for label in labels]


def label_values(lists: Iterable[list[Any]], where: str) -> tuple[str, ...]:
    """Return the sorted values of the train split's labels, which are its classes."""
    values = {label for labels in lists for label in labels}
    if any(not isinstance(value, str) and value < 0 for value in values):
        raise DataError(f"{where}: negative labels in the train split; are they missing?")
    if len({type(value) for value in values}) > 1:
        raise DataError(f"{where}: labels are numbers in some train shards and text in others; use one kind")
    return tuple(map(str, sorted(values)))


def label_indices(
    labels: list[Any], names: Sequence[str] | None, classes: Sequence[str], indices: bool, where: str
) -> NDArray[np.int64]:
    """Return labels as indices into ``classes``, by the table's own names where it has any.

    Args:
        names: of integer labels, in this table.
        indices: whether integer labels without names are indices into ``classes``.
    """
    class_list = one_line(", ".join(classes), 120)
    if (names or indices) and all(type(label) is int for label in labels):
        names = names or tuple(classes)
        check_labels(np.array(labels, np.int64), len(names), where)
        labels = [names[label] for label in labels]
        if unknown := next((name for name in labels if name not in classes), None):
            raise DataError(f"{where}: the class {unknown!r} is not among the train split's: {class_list}")
    index = {name: label for label, name in enumerate(classes)}
    try:
        return np.array([index[str(label)] for label in labels], dtype=np.int64)
    except KeyError as error:
        label = error.args[0]
        raise DataError(
            f"{where}: label {label!r} does not occur in the train split: {class_list}"
        ) from error


def _features(schema: pa.Schema) -> dict[str, dict[str, object]]:
    """Return the features in the ``datasets`` library's metadata; empty without any."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _usual(columns: Sequence[str], names: Sequence[str], where: str) -> str | None:
    """Find the column with the first of the usual names, in upper or lower case."""
    for name in names:
        same = [column for column in columns if column.lower() == name]
        if len(same) > 1:
            raise DataError(f"{where}: columns {' and '.join(map(repr, same))} differ only in case: drop one")
        if same:
            return same[0]
    return None


def _holds_images(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(is_kind(kind) for is_kind in binary)
