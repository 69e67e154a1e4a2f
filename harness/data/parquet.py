"""Image classification data sets in the Hugging Face Hub's Parquet layout."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

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
from harness.errors import AbsentDataError, DataError

_log = logging.getLogger(__name__)
EVALUATION_NAMES = ("test", "validation", "valid", "val")
_BATCH_ROWS = 512  # rows held encoded at a time


def load(request: SourceRequest) -> Split:
    """Read ``train*.parquet`` and ``test*.parquet`` below ``<root>/<data.path>`` (see :func:`find_shards`).

    Without a test shard, ``validation``, ``valid`` or ``val`` is used, and a warning says so.
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
            f"{folder}: no train*.parquet in it or in its data/ folder; set --data DIR or data.path"
        )
    files = train_files if request.which == "train" else _evaluation_shards(folder)

    def build() -> Split:
        names = class_names(train_files)
        classes = names or label_values(map(_label_list, train_files), str(train_files[0].parent))
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
                f"{file.parent}: {len(files)} {split} shards, but their names say {int(of[1])}: add the rest"
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
    """Find a shard's image and label column: :func:`harness.data.columns.find_columns`.

    Raises:
        DataError: the shard is damaged, has no such column, or two whose names differ only in case.
    """
    import pyarrow.parquet as pq

    with _damage_named(file):
        schema = pq.read_schema(file)
    return find_columns(schema, str(file))


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
    labels = [
        label_indices(_label_list(file), columns_of(file).names, classes, indices, str(file))
        for file in files
    ]
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
        return check_clusters(column.to_pylist(), column.type, name, str(file))


def _label_list(file: Path) -> list[Any]:
    """Return a shard's labels: numbers (or truth values) or text."""
    import pyarrow.parquet as pq

    name = columns_of(file).label
    with _damage_named(file), pq.ParquetFile(file, page_checksum_verification=True) as shard:
        column = shard.read(columns=[name], use_threads=False).column(0)
    return check_label_list(column.to_pylist(), column.type, name, str(file))


@contextmanager
def _damage_named(file: Path) -> Iterator[None]:
    """Turn pyarrow's errors about a damaged or changed shard into an error that names the shard."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, LookupError, UnicodeDecodeError) as error:
        cause = " ".join(str(error).split())
        raise DataError(f"{file}: damaged or no Parquet shard ({cause}): download it again") from error
