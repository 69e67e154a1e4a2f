"""CIFAR-10 from Parquet shards, torchvision's folder or the archive; downloaded if none exists."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.bar import Bar, Row, Screen, open_screen
from harness.data.arrays import SourceRequest, Split, Which, refuse_options, split_of
from harness.data.cache import cached
from harness.data.parquet import class_names, find_shards, read_shards
from harness.errors import AbsentDataError, DataError

ARCHIVE = "cifar-10-python.tar.gz"
BATCHES_FOLDER = "cifar-10-batches-py"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Published:
    """The original files: their address, their MD5s, and how many images a split has."""

    url: str
    archive_md5: str
    batch_md5: Mapping[str, str]
    images: Mapping[Which, int]


# The archive's home publishes its MD5; those of the batch files are the ones torchvision checks.
CIFAR10 = Published(
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    archive_md5="c58f30108f718f92721af3b95e74349a",
    batch_md5={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
    images={"train": 50_000, "test": 10_000},
)


def load(request: SourceRequest, published: Published = CIFAR10) -> Split:
    """Read 50,000 train or 10,000 test images of 32x32 pixels, in the data set's own order.

    Searched in ``<root>/cifar10`` and ``<root>``: first Parquet shards (Hugging Face's layout), then the
    folder ``cifar-10-batches-py``, then ``cifar-10-python.tar.gz``. Without any of them the
    archive is downloaded to ``<root>/cifar10``, from ``$HARNESS_CIFAR10_URL`` where that is set. The original
    files are pickles: opened only when their MD5 is the known one, and then only as NumPy arrays.

    Raises:
        DataError: not there and cannot be downloaded, another MD5, or not CIFAR-10.
    """
    refuse_options(request, "cifar10")
    files, build = _find(request, published) or _downloaded(request, published)
    split = cached("cifar10", request.which, [files[0].parent.resolve(), files[0].suffix], files, build)
    expected = (published.images[request.which], 32, 32, 3)
    if split.images.shape != expected or len(split.classes) != len(CLASSES):
        raise DataError(
            f"{files[0].parent}: not CIFAR-10, its {request.which} split is {split.images.shape} in "
            f"{len(split.classes)} classes, expected {expected} in 10; data.source = 'parquet' reads others"
        )
    return split


# the files of a split, and a function that reads them
Files = tuple[list[Path], Callable[[], Split]]


def _find(request: SourceRequest, published: Published) -> Files | None:
    """Return the files of the first form that exists."""
    which = request.which
    folders = (request.root / "cifar10", request.root)
    for folder in folders:
        if shards := find_shards(folder, which):
            return shards, partial(_read_parquet, shards, request.progress)
    names = [name for name in published.batch_md5 if (name == "test_batch") == (which == "test")]
    for folder in folders:
        if (batches := folder / BATCHES_FOLDER).is_dir():
            files = [batches / name for name in names]
            return files, partial(_read_batches, files, names, published)
    for folder in folders:
        if (archive := folder / ARCHIVE).is_file():
            return [archive], partial(_read_batches, [archive], names, published)
    return None


def _downloaded(request: SourceRequest, published: Published) -> Files:
    if not request.download:
        raise AbsentDataError(f"CIFAR-10 is not in {request.root}, and a dry run downloads nothing")
    _download(request.root / "cifar10", published, request.progress)
    files = _find(request, published)
    assert files is not None, "the archive was just put there"
    return files


def _read_parquet(shards: list[Path], progress: bool) -> Split:
    return read_shards(shards, class_names(shards) or CLASSES, None, progress, indices=True)


def _read_batches(files: list[Path], names: list[str], published: Published) -> Split:
    """Check, unpickle and join batches, from files or from the archive."""
    images, labels = [], []
    in_archive = files[0].name == ARCHIVE
    contents = (
        _archive_members(files[0], names, published)
        if in_archive
        else ((file, file.read_bytes()) for file in files)
    )
    for file, content in contents:
        actual = hashlib.md5(content, usedforsecurity=False).hexdigest()
        _check_md5(file, actual, published.batch_md5[file.name])
        batch = _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
        images.append(batch["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels += batch["labels"]
    return split_of(np.concatenate(images), np.array(labels, np.int64), CLASSES, where=str(files[0]))


def _archive_members(archive: Path, names: list[str], published: Published) -> Iterator[tuple[Path, bytes]]:
    """Read the named batches from the archive without unpacking it, as it could name any path."""
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    _check_md5(archive, digest.hexdigest(), published.archive_md5)
    with tarfile.open(archive, "r:gz") as tar:
        for name in names:
            member = tar.extractfile(f"{BATCHES_FOLDER}/{name}")
            assert member is not None, "the MD5 says that it is a file"
            yield archive / name, member.read()


def _check_md5(file: Path, actual: str, expected: str) -> None:
    if actual != expected:
        raise DataError(f"{file}: MD5 is {actual}, expected {expected}: delete it and download it again")


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that accepts only NumPy arrays in dicts and lists, which is all that batches hold."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return np.empty(0).__reduce__()[0]  # its module differs between NumPy's versions
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise DataError(f"CIFAR-10 batch: the pickle asks for {module}.{name}, expected NumPy arrays only")


def _download(folder: Path, published: Published, progress: bool) -> None:
    """Download the archive into the folder: complete and with the right MD5, or not at all."""
    import pooch
    from filelock import FileLock

    url = os.environ.get("HARNESS_CIFAR10_URL") or published.url
    target, unfinished, lock = folder / ARCHIVE, folder / ".download", folder / ".download.lock"
    pooch.get_logger().setLevel("WARNING")
    bar = _Download()
    if progress:
        print(f"downloading CIFAR-10 (170 MB) from {url} to {target}", file=sys.stderr, flush=True)
    # identity: requests would unpack an encoded answer, which has another MD5
    headers = {"Accept-Encoding": "identity"}
    fetch = pooch.HTTPDownloader(
        progressbar=progress and bar, chunk_size=1 << 20, headers=headers, timeout=30
    )
    known = f"md5:{published.archive_md5}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            if target.is_file():  # another process was faster
                return
            shutil.rmtree(unfinished, ignore_errors=True)  # left by a killed process
            try:
                with open_screen(bar.rows) if progress else contextlib.nullcontext() as bar.screen:
                    pooch.retrieve(url, known, fname=ARCHIVE, path=unfinished, downloader=fetch)
                os.replace(unfinished / ARCHIVE, target)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    # requests' errors are OSErrors, pooch's about the checksum is a ValueError
    except (OSError, ValueError) as error:
        cause = " ".join(str(error).split())[:200]
        raise DataError(
            f"CIFAR-10 cannot be downloaded from {url} ({cause}): put {ARCHIVE} "
            f"(MD5 {published.archive_md5}) into {folder} by hand, "
            "or set HARNESS_CIFAR10_URL to another address"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            lock.unlink(missing_ok=True)
            folder.rmdir()  # removes it only if it is empty: after a failed download


class _Download:
    """pooch's progress: a bar on a terminal, else a line at every tenth."""

    total = 0  # set by pooch
    screen: Screen | None = None
    _done = 0

    @property
    def _megabytes(self) -> str:
        return f"{min(self._done, self.total) / 1e6:.0f} of {self.total / 1e6:.0f} MB"

    def rows(self, most: int) -> list[Row]:
        return [Bar("downloading CIFAR-10", self._done / max(1, self.total), self._megabytes)]

    def update(self, size: int) -> None:
        before, self._done = self._done, self._done + size
        if self.screen is not None:
            self.screen.refresh()
        elif self.total and 10 * self._done // self.total > 10 * before // self.total:
            print(f"downloading CIFAR-10: {self._megabytes}", file=sys.stderr, flush=True)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass
