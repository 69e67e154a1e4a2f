"""Image classification data sets in the Hugging Face Hub's Parquet layout."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.data.arrays import Request, Split, composed, split_of
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
    """Where a shard keeps images and labels, and the names its metadata gives to integer labels (or None)."""

    image: str
    label: str
    names: tuple[str, ...] | None


def load(request: Request) -> Split:
    """Shards ``train*.parquet`` and ``test*.parquet`` below ``<root>/<data.path>`` (see :func:`find_shards`).

    Where there is no test shard, ``validation``, ``valid`` or ``val`` takes its place, and a warning says so.
    Images of one size stay as they are, otherwise ``data.image_size`` makes them so. Labels are integers
    named in the metadata (``ClassLabel``), plain integers or strings; the last two are classes in the order
    of the train split's sorted values. Each shard is read by its own columns and names: the same names in
    another order are the same classes.

    Raises:
        DataError: no or not all shards, no image or label column, a damaged shard or image, a label that is
            missing, out of range or unknown to the train split.
    """
    folder = request.root / (request.path or "")
    train_files = find_shards(folder, "train")
    if not train_files:
        raise AbsentDataError(
            f"{folder}: no train*.parquet in it or in its data/ folder; --data DIR and data.path say where"
        )
    files = train_files if request.which == "train" else _evaluation_shards(folder)

    def build() -> Split:
        names = next((found for file in train_files if (found := columns_of(file).names)), None)
        classes = names or _label_values(train_files)
        return read_shards(
            files, classes, request.image_size, request.progress, bits=request.bits, indices=names is not None
        )

    place = [folder.resolve(), request.image_size, request.bits]
    return cached("parquet", request.which, place, [*files, *train_files], build)


def find_shards(folder: Path, split: str) -> list[Path]:
    """The split's shards, in order.

    ``<split>*.parquet`` in the folder, its ``data/`` or its ``plain_text/``, or all of its ``<split>/``.

    Raises:
        DataError: the shards' names (``-00000-of-00003``) tell of more than there are.
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
    binary = [field.name for field in schema if _holds_images(field.type)]
    images, labels = _typed(features, "Image") or binary, _typed(features, "ClassLabel")
    image = _usual(images, IMAGE_NAMES, file) or next(iter(images), None)
    label = _usual(labels, LABEL_NAMES, file) or next(iter(labels), None)
    label = label or _usual(schema.names, LABEL_NAMES, file)
    if image is None or label is None:
        kind = f"image column (bytes; {', '.join(IMAGE_NAMES)})" if image is None else "label column"
        hint = "" if image is None else f" ({', '.join(LABEL_NAMES)})"
        raise DataError(f"{file}: no {kind}{hint} among {', '.join(schema.names)}")
    names = features.get(label, {}).get("names")
    return Columns(
        image,
        label,
        tuple(composed(str(name)) for name in names) if isinstance(names, list) and names else None,
    )


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
        classes: the class names.
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


def _column(file: Path, name: str) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _damage_named(file), pq.ParquetFile(file, page_checksum_verification=True) as shard:
        values = shard.read(columns=[name], use_threads=False).column(0)
        kind = _plain(values.type)
        if kind != values.type or pa.types.is_binary(kind):  # text, where the writer did not say so
            values = values.cast(pa.large_string() if pa.types.is_binary(kind) else kind)
    kinds = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_string, pa.types.is_large_string)
    if not any(kind(values.type) for kind in kinds):
        raise DataError(f"{file}: labels in column {name!r} are {values.type}, expected integers or strings")
    if values.null_count:
        raise DataError(f"{file}: {values.null_count} rows have no label in column {name!r}; drop them")
    return values


def _label_values(files: Sequence[Path]) -> tuple[str, ...]:
    found = (_column(file, columns_of(file).label).unique().to_pylist() for file in files)
    values = {composed(value) if isinstance(value, str) else value for part in found for value in part}
    if any(not isinstance(value, str) and value < 0 for value in values):
        raise DataError(f"{files[0].parent}: negative labels in the train split; are they missing?")
    if len({type(value) for value in values}) > 1:
        raise DataError(
            f"{files[0].parent}: labels are numbers in some train shards and text in others; write all alike"
        )
    return tuple(str(value) for value in sorted(values))


def _labels(file: Path, classes: Sequence[str], indices: bool) -> NDArray[np.int64]:
    """A shard's labels as indices into ``classes``, by the shard's own names where it has any."""
    import pyarrow as pa

    columns = columns_of(file)
    values = _column(file, columns.label)
    index = {name: label for label, name in enumerate(classes)}
    if pa.types.is_integer(values.type) and (columns.names is not None or indices):
        found = np.asarray(values.to_numpy(), dtype=np.int64)
        names = columns.names or tuple(classes)
        if (wrong := (found < 0) | (found >= len(names))).any():
            row = int(np.flatnonzero(wrong)[0])
            raise DataError(
                f"{file}: image {row} has label {found[row]}, expected 0 to {len(names) - 1} "
                "(is this split unlabelled? data.holdout evaluates on train images instead)"
            )
        known = np.array([index.get(name, -1) for name in names])
        if (unknown := known[found] < 0).any():
            name = names[found[np.flatnonzero(unknown)[0]]]
            raise DataError(f"{file}: the class {name!r} is not among the train split's: {_list(classes)}")
        return known[found]
    try:
        return np.array([index[composed(str(value))] for value in values.to_pylist()], dtype=np.int64)
    except KeyError as error:
        raise DataError(
            f"{file}: label {error.args[0]!r} does not occur in the train split: {_list(classes)}"
        ) from error


def _list(classes: Sequence[str]) -> str:
    return one_line(", ".join(classes), 120)


def _features(schema: pa.Schema) -> dict[str, dict[str, object]]:
    """The ``datasets`` library's features; none where the metadata is not its own."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _typed(features: dict[str, dict[str, object]], kind: str) -> list[str]:
    return [name for name, feature in features.items() if feature.get("_type") == kind]


def _usual(columns: Sequence[str], names: Sequence[str], file: Path) -> str | None:
    """Find the column that has the first of the usual names, in whatever case."""
    for name in names:
        found = [column for column in columns if column.lower() == name]
        if len(found) > 1:
            raise DataError(
                f"{file}: columns {' and '.join(map(repr, found))} differ in case alone: drop one"
            )
        if found:
            return found[0]
    return None


def _holds_images(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(_plain(kind)))


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values: of a dictionary those it holds, of text and bytes the usual form."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    return pa.large_string() if pa.types.is_string_view(kind) else kind


@contextmanager
def _damage_named(file: Path) -> Iterator[None]:
    """Turn what pyarrow raises for a damaged or changed shard into an error that names it."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, LookupError) as error:
        cause = " ".join(str(error).split())
        raise DataError(f"{file}: damaged or no Parquet shard ({cause}): fetch it anew") from error
