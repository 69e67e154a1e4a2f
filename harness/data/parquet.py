"""Image classification data sets in the Hugging Face Hub's Parquet layout."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.arrays import SourceRequest, Split, check_labels, composed, split_of, with_clusters
from harness.data.cache import cached
from harness.data.decode import Item, decode_all
from harness.errors import AbsentDataError, DataError
from harness.messages import one_line

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)
EVALUATION_NAMES = ("test", "validation", "valid", "val")
IMAGE_NAMES = ("image", "img", "picture", "photo", "pixels")
LABEL_NAMES = ("label", "labels", "class", "target", "fine_label", "category")
_BATCH_ROWS = 512  # rows held encoded at a time


@dataclass(frozen=True)
class Columns:
    """A shard's image and label column, and the names its metadata gives to integer labels."""

    image: str
    label: str
    names: tuple[str, ...] | None


def load(request: SourceRequest) -> Split:
    """Read ``train*.parquet`` and ``test*.parquet`` below ``<root>/<data.path>`` (see :func:`find_shards`).

    Where there is no test shard, ``validation``, ``valid`` or ``val`` takes its place, and a warning says so.
    Images of one size stay as they are, otherwise ``data.image_size`` makes them so. Labels are integers
    named in the metadata (``ClassLabel``), plain integers or strings; the last two are classes in the order
    of the train split's sorted values. Each shard is read by its own columns and names: the same names in
    another order are the same classes. ``data.cluster`` is the name of a column.

    Raises:
        DataError: no or not all shards, no image or label column, a damaged shard or image, a label that is
            missing, out of range or unknown to the train split; no or an unfit column ``data.cluster``.
    """
    folder = request.folder
    train_files = find_shards(folder, "train")
    if not train_files:
        raise AbsentDataError(
            f"{folder}: no train*.parquet in it or in its data/ folder; --data DIR and data.path say where"
        )
    files = train_files if request.which == "train" else _evaluation_shards(folder)

    def build() -> Split:
        names = class_names(train_files)
        classes = names or _label_values(train_files)
        return read_shards(
            files, classes, request.image_size, request.progress, bits=request.bits, indices=names is not None
        )

    place = [folder.resolve(), request.image_size, request.bits]
    split = cached("parquet", request.which, place, [*files, *train_files], build)
    if request.cluster is None:
        return split
    return with_clusters(split, [name for file in files for name in _clusters(file, request.cluster)])


def find_shards(folder: Path, split: str) -> list[Path]:
    """Return the split's shards, in order.

    ``<split>*.parquet`` in the folder, its ``data/`` or its ``plain_text/``, or all of its ``<split>/``.

    Raises:
        DataError: the shards' names (``-00000-of-00003``) show that some are missing.
    """
    named = re.compile(rf"{split}(?![a-z]).*\.parquet", re.IGNORECASE)
    for place in (folder, folder / "data", folder / "plain_text"):
        if files := [file for file in sorted(place.glob("*.parquet")) if named.fullmatch(file.name)]:
            break
    else:
        files = sorted((folder / split).glob("[!.]*.parquet"))
    for file in files:
        if (of := re.search(r"-\d{5}-of-(\d{5})", file.name)) and int(of[1]) != len(files):
            raise DataError(
                f"{file.parent}: {len(files)} {split} shards, their names tell of {int(of[1])}: add the rest"
            )
    return files


def _evaluation_shards(folder: Path) -> list[Path]:
    for name in EVALUATION_NAMES:
        if files := find_shards(folder, name):
            if name != EVALUATION_NAMES[0]:
                _log.warning("%s: no test shard, evaluating on %s", folder, files[0].name)
            return files
    raise DataError(
        f"{folder}: no test*.parquet (or validation); data.holdout evaluates on train images instead"
    )


def class_names(files: Sequence[Path]) -> tuple[str, ...] | None:
    """Return the class names in the metadata of the first shard that has any."""
    return next((names for file in files if (names := columns_of(file).names)), None)


def columns_of(file: Path) -> Columns:
    """Find the image and the label column, by the metadata's features, else by usual names and types.

    The case of a name does not matter.

    Raises:
        DataError: the shard is damaged, has no such column, or two whose names differ in case alone.
    """
    import pyarrow.parquet as pq

    with _damage_named(file):
        schema = pq.read_schema(file)
    features = _features(schema)
    typed = {
        kind: [name for name, feature in features.items() if feature.get("_type") == kind]
        for kind in ("Image", "ClassLabel")
    }
    images = typed["Image"] or [field.name for field in schema if _holds_images(field.type)]
    labels = typed["ClassLabel"]
    image = _usual(images, IMAGE_NAMES, file) or next(iter(images), None)
    label = _usual(labels, LABEL_NAMES, file) or next(iter(labels), None)
    label = label or _usual(schema.names, LABEL_NAMES, file)
    columns = ", ".join(schema.names)
    if image is None:
        raise DataError(f"{file}: no image column (bytes; {', '.join(IMAGE_NAMES)}) among {columns}")
    if label is None:
        raise DataError(f"{file}: no label column ({', '.join(LABEL_NAMES)}) among {columns}")
    names = features.get(label, {}).get("names")
    named = names if isinstance(names, list) else []
    return Columns(image, label, tuple(composed(str(name)) for name in named) or None)


def read_shards(
    files: Sequence[Path],
    classes: Sequence[str],
    image_size: int | None,
    progress: bool,
    *,
    bits: int | None = None,
    indices: bool,
) -> Split:
    """Decode shards, a few hundred rows at a time.

    Args:
        files: the split's shards, in order.
        image_size, bits: see :func:`harness.data.decode.decode_all`.
        progress: whether to draw a bar.
        indices: whether integer labels of a shard that names none are indices into ``classes``; else they are
            looked up among them, as text.

    Raises:
        DataError: see :func:`load`.
    """
    import pyarrow.parquet as pq

    count = 0
    for file in files:
        with _damage_named(file):
            count += pq.read_metadata(file).num_rows
    where = str(files[0].parent) if len(files) > 1 else str(files[0])
    images = decode_all(_encoded(files), count, image_size, bits=bits, where=where, progress=progress)
    labels = [_labels(file, classes, indices) for file in files]
    return split_of(images, np.concatenate(labels), classes, where=where)


def _encoded(files: Sequence[Path]) -> Iterator[Item]:
    import pyarrow.parquet as pq

    for file in files:
        row, column = 0, columns_of(file).image
        with _damage_named(file), pq.ParquetFile(file, page_checksum_verification=True) as shard:
            for batch in shard.iter_batches(_BATCH_ROWS, columns=[column], use_threads=False):
                values = batch.column(0)
                if hasattr(values, "field"):  # Hugging Face's struct of bytes and path
                    values = values.field("bytes")
                for encoded in values.to_pylist():
                    if not isinstance(encoded, bytes):
                        raise DataError(
                            f"{file}, row {row}: no image bytes in column {column!r}; drop the row"
                        )
                    yield f"{file}, row {row}", encoded
                    row += 1


def _clusters(file: Path, name: str) -> list[Any]:
    """Return the values of the column ``data.cluster``: whole numbers or text."""
    import pyarrow.parquet as pq

    with _damage_named(file), pq.ParquetFile(file, page_checksum_verification=True) as shard:
        names = shard.schema_arrow.names
        if names.count(name) != 1:
            raise DataError(f"{file}: no column data.cluster = {name!r} among {', '.join(names)}")
        column = shard.read(columns=[name], use_threads=False).column(0)
        values: list[Any] = column.to_pylist()
    if None in values:
        raise DataError(f"{file}, row {values.index(None)}: no cluster in column {name!r}")
    if not all(isinstance(value, int | str) for value in values):
        raise DataError(f"{file}: clusters in column {name!r} are {column.type}, expected integers or text")
    return values


def _label_list(file: Path) -> list[Any]:
    """Return a shard's labels: numbers (or truth values) or text."""
    import pyarrow.parquet as pq

    name = columns_of(file).label
    with _damage_named(file), pq.ParquetFile(file, page_checksum_verification=True) as shard:
        column = shard.read(columns=[name], use_threads=False).column(0)
        labels = column.to_pylist()
    labels = [
        label.decode(errors="surrogateescape") if isinstance(label, bytes) else label for label in labels
    ]
    if not all(isinstance(label, int | str | None) for label in labels):
        raise DataError(f"{file}: labels in column {name!r} are {column.type}, expected integers or strings")
    if missing := labels.count(None):
        raise DataError(f"{file}: {missing} rows have no label in column {name!r}; drop them")
    return [composed(label) if isinstance(label, str) else label for label in labels]


def _label_values(files: Sequence[Path]) -> tuple[str, ...]:
    """Return the sorted values of the train split's labels, which are its classes."""
    values = {label for file in files for label in _label_list(file)}
    if any(not isinstance(value, str) and value < 0 for value in values):
        raise DataError(f"{files[0].parent}: negative labels in the train split; are they missing?")
    if len({type(value) for value in values}) > 1:
        raise DataError(
            f"{files[0].parent}: labels are numbers in some train shards and text in others; write all alike"
        )
    return tuple(map(str, sorted(values)))


def _labels(file: Path, classes: Sequence[str], indices: bool) -> NDArray[np.int64]:
    """Return a shard's labels as indices into ``classes``, by the shard's own names where it has any."""
    names, labels = columns_of(file).names, _label_list(file)
    class_list = one_line(", ".join(classes), 120)
    if (names or indices) and all(type(label) is int for label in labels):
        names = names or tuple(classes)
        check_labels(np.array(labels, np.int64), len(names), str(file))
        labels = [names[label] for label in labels]
        if unknown := next((name for name in labels if name not in classes), None):
            raise DataError(f"{file}: the class {unknown!r} is not among the train split's: {class_list}")
    index = {name: label for label, name in enumerate(classes)}
    try:
        return np.array([index[str(label)] for label in labels], dtype=np.int64)
    except KeyError as error:
        label = error.args[0]
        raise DataError(f"{file}: label {label!r} does not occur in the train split: {class_list}") from error


def _features(schema: pa.Schema) -> dict[str, dict[str, object]]:
    """Return the features in the ``datasets`` library's metadata; empty where there are none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _usual(columns: Sequence[str], names: Sequence[str], file: Path) -> str | None:
    """Find the column with the first of the usual names, whatever the case."""
    for name in names:
        same = [column for column in columns if column.lower() == name]
        if len(same) > 1:
            raise DataError(f"{file}: columns {' and '.join(map(repr, same))} differ in case alone: drop one")
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


@contextmanager
def _damage_named(file: Path) -> Iterator[None]:
    """Turn pyarrow's errors about a damaged or changed shard into an error that names the shard."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, LookupError, UnicodeDecodeError) as error:
        cause = " ".join(str(error).split())
        raise DataError(f"{file}: damaged or no Parquet shard ({cause}): fetch it anew") from error
