"""A split of a data set: checked uint8 images and integer labels; limits and hold-outs of it."""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.errors import DataError, StudyError
from harness.seeding import derive_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

Which = Literal["train", "test"]
LEAST_STD = 1 / 255  # a grey level


@dataclass(frozen=True)
class SourceRequest:
    """The request to a data source, which is a function from a request to a :class:`Split`.

    Args:
        root: the data folder (``--data``); read-only for a source, except for a download into it.
        which: the split to read; a source must not open the other one's images.
        path: ``data.path``, a folder below ``root`` or absolute; None where the study has none.
        image_size: ``data.image_size``, pixels of the square images to make; None leaves images as they are.
        download: whether the network may be used where the data is missing.
        progress: whether long work may show its progress on stderr.
        bits: ``data.bits``, how many bits a channel images stored in 16 use; None where the study has none.
        cluster: ``data.cluster``, by which the source names each image's cluster; None where nobody asks.
        name: the text after the colon of a ``data.source`` such as ``torchvision:CIFAR100``; else empty.
        options: ``data.options``, the source's own.
    """

    root: Path
    which: Which
    path: str | None = None
    image_size: int | None = None
    download: bool = True
    progress: bool = True
    bits: int | None = None
    cluster: str | None = None
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Return the folder that ``data.path`` names."""
        return self.root / (self.path or "")


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels in file order; made by :func:`split_of`, which checks them.

    Args:
        images: uint8, ``(N, H, W, 3)``, RGB.
        labels: int64, ``(N,)``, in ``[0, len(classes))``.
        classes: the class names, by label.
        sha256: hexadecimal, over shape, images, labels and class names.
        notes: what its source ignored, and why.
        clusters: int64, ``(N,)``, equal for images that are not independent, such as frames of a film; None
            where each image is by itself.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    sha256: str
    notes: tuple[str, ...] = ()
    clusters: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width of an image."""
        _, height, width, _ = self.images.shape
        return height, width


@dataclass(frozen=True, eq=False)
class Data:
    """The two splits of a study: one to train on, and one on which every ``test_*`` number is measured."""

    train: Split
    evaluation: Split
    evaluated_on: Literal["test", "holdout"]

    @property
    def notes(self) -> list[str]:
        """Return the notes of both splits, each once: a hold-out repeats those of its train split."""
        return list(dict.fromkeys([*self.train.notes, *self.evaluation.notes]))

    @property
    def sha256(self) -> str:
        """Return a checksum over both splits and their roles, so a limit or a hold-out changes it.

        Clusters count where the images that are evaluated on have some: a run's files hold them.
        """
        key = f"train {self.train.sha256} {self.evaluated_on} {self.evaluation.sha256}"
        if (clusters := self.evaluation.clusters) is not None:
            key += f" clusters {hashlib.sha256(clusters.astype('<i8').tobytes()).hexdigest()}"
        return hashlib.sha256(key.encode()).hexdigest()


def split_of(
    images: NDArray[np.uint8], labels: NDArray[np.int64], classes: Sequence[str], *, where: str = "the data"
) -> Split:
    """Check images and labels and compute their checksum.

    Args:
        images: uint8, ``(N, H, W, 3)``.
        labels: int64, ``(N,)``.
        classes: distinct names; a label is an index into them. See :func:`composed`.
        where: the file or folder that an error names.

    Raises:
        DataError: wrong type or shape, no image, a label without a class, a class name that is used twice
            or is no text.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise DataError(f"{where}: images are {images.dtype} {images.shape}, expected uint8 (N, H, W, 3)")
    if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
        raise DataError(f"{where}: labels are {labels.dtype} {labels.shape}, expected int64 ({len(images)},)")
    if images.size == 0:
        raise DataError(f"{where}: no images (shape {images.shape})")
    names = tuple(map(composed, classes))
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{where}: the class name {twice!r} appears twice")
    if unreadable := [name for name in names if any("\ud800" <= char <= "\udfff" for char in name)]:
        raise DataError(f"{where}: the class name {ascii(unreadable[0])} is not valid UTF-8")
    check_labels(labels, len(names), where)
    images, labels = np.ascontiguousarray(images), np.ascontiguousarray(labels)
    digest = hashlib.sha256(json.dumps([images.shape, names]).encode())
    digest.update(images.data)
    digest.update(labels.astype("<i8", copy=False).data)
    return Split(images, labels, names, digest.hexdigest())


def with_clusters(split: Split, names: Sequence[str | int]) -> Split:
    """Return a split whose images have these clusters.

    Args:
        names: the cluster of each image, in the split's order.

    Raises:
        DataError: there is not one for each image.
    """
    if len(names) != len(split):
        raise DataError(f"data.cluster: {len(names)} names of clusters for {len(split)} images")
    numbers = {name: number for number, name in enumerate(sorted(set(map(str, names))))}
    return replace(split, clusters=np.array([numbers[str(name)] for name in names], np.int64))


def check_labels(labels: NDArray[np.int64], classes: int, where: str) -> None:
    """Raise a DataError where a label is not the index of a class."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise DataError(
            f"{where}: image {wrong[0]} has label {labels[wrong[0]]}, expected 0 to {classes - 1} "
            "(is this split unlabelled? data.holdout evaluates on train images instead)"
        )


def composed(name: str) -> str:
    """Return a class name in Unicode's composed form (NFC); macOS writes ``é`` as ``e`` and an accent."""
    return unicodedata.normalize("NFC", name)


def limit(split: Split, n: int, key: str = "data.train_limit") -> Split:
    """Return the first ``n`` images, in file order, as many of each class as possible.

    A class with too few images gives all of them, and the others give more; a remainder goes to the classes
    of the lowest labels.

    Args:
        key: the study file's key, for the error.

    Raises:
        StudyError: ``n`` is not between 1 and the number of images.
    """
    if not 1 <= n <= len(split):
        raise StudyError(f"{key} = {n}: expected 1 to {len(split)}, the number of images in the split")
    wanted = _equal_quotas(np.bincount(split.labels, minlength=len(split.classes)), n)
    return _take(split, _first_of_each(split, np.arange(len(split)), wanted))


def hold_out(train: Split, n: int, purpose: str = "holdout", *, draw: int = 0) -> tuple[Split, Split]:
    """Split off ``n`` images as a hold-out, with the same shares of the classes.

    The draw depends on ``purpose``, ``draw``, the number of images and the labels alone. It sorts by raw
    PCG64 words, whose stream NumPy guarantees (NEP 19), so it is the same in every version.
    Where images have clusters, whole ones are held out, so that no network is judged by images that are like
    those it was trained on; the hold-out may then be smaller.

    Args:
        draw: which of the possible hold-outs: 0 unless the study varies it.

    Returns:
        ``(rest, held)``, each in file order.

    Raises:
        StudyError: ``n`` is not between 1 and the number of images less one, or no cluster fits in it.
    """
    if not 1 <= n < len(train):
        raise StudyError(f"data.holdout = {n}: expected 1 to {len(train) - 1}, of {len(train)} train images")
    order = np.argsort(np.random.PCG64(derive_seed(draw, purpose)).random_raw(len(train)), kind="stable")
    quotas = _proportional_quotas(np.bincount(train.labels, minlength=len(train.classes)), n)
    take = _first_of_each if train.clusters is None else _first_clusters
    held = take(train, order, quotas)
    if not len(held):
        raise StudyError(f"data.holdout = {n}: no cluster of images fits in it; hold out more")
    return _take(train, np.delete(np.arange(len(train)), held)), _take(train, held)


def mean_std(split: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and (population) standard deviation of each channel over all pixels, as fractions of 255.

    Sums are exact integers from a histogram of each channel; only the last division and root round. A
    standard deviation is at least ``LEAST_STD``, so that Normalize neither divides by zero nor enlarges the
    noise of a channel that hardly varies.
    """
    means, stds = [], []
    values = np.arange(256)
    for channel in range(3):
        counts = np.zeros(256, dtype=np.int64)
        for start in range(0, len(split), 1024):  # in pieces: bincount needs 8 bytes a pixel
            counts += np.bincount(split.images[start : start + 1024, ..., channel].ravel(), minlength=256)
        pixels, total, squares = (int(counts @ values**power) for power in range(3))
        means.append(total / (255 * pixels))
        stds.append(math.sqrt((pixels * squares - total * total) / (255 * pixels) ** 2))
    return tuple(means), tuple(max(std, LEAST_STD) for std in stds)


def constant_channels(split: Split) -> list[str]:
    """List the channels that have one value in all pixels of all images, such as ``"blue is always 0"``."""
    values = split.images[0, 0, 0]
    some = split.images[:: max(1, len(split) // 64)]  # the first images nearly always show it
    return [
        f"{name} is always {values[channel]}"
        for channel, name in enumerate(("red", "green", "blue"))
        if all((images[..., channel] == values[channel]).all() for images in (some, split.images))
    ]


def refuse_options(
    request: SourceRequest, source: str, keys: Sequence[str] = ("path", "image_size", "bits", "cluster")
) -> None:
    """Raise a DataError where the study sets ``data`` keys that this source does not use."""
    for key in keys:
        if getattr(request, key) is not None:
            raise DataError(f"data.{key} does not apply to data.source = {source!r}: remove it")


def count_steps(images: int, batch_size: int, drop_last: bool) -> int:
    """Count the batches of an epoch; a smaller last one is left out or not."""
    return images // batch_size if drop_last else -(-images // batch_size)


def _take(split: Split, indices: NDArray[np.intp]) -> Split:
    taken = split_of(split.images[indices], split.labels[indices], split.classes)
    clusters = None if split.clusters is None else split.clusters[indices]
    return replace(taken, notes=split.notes, clusters=clusters)


def _first_of_each(split: Split, order: NDArray[np.intp], quotas: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the indices, in file order, of each class's first ``quotas[class]`` images in ``order``."""
    labels = split.labels[order]
    return np.sort(np.concatenate([order[labels == label][:quota] for label, quota in enumerate(quotas)]))


def _first_clusters(split: Split, order: NDArray[np.intp], quotas: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the indices, in file order, of whole clusters in ``order``, as far as the classes' quotas go."""
    assert split.clusters is not None
    _, place = np.unique(split.clusters, return_inverse=True)
    sizes = np.zeros((place.max() + 1, len(quotas)), np.int64)
    np.add.at(sizes, (place, split.labels), 1)
    left, taken = quotas.copy(), np.zeros(len(sizes), bool)
    for cluster in dict.fromkeys(place[order].tolist()):
        if taken_whole := bool((sizes[cluster] <= left).all()):
            left -= sizes[cluster]
        taken[cluster] = taken_whole
    return np.flatnonzero(taken[place])


def _equal_quotas(sizes: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    quotas = np.zeros_like(sizes)
    while (left := n - int(quotas.sum())) > 0:
        open_classes = np.flatnonzero(quotas < sizes)
        share = left // len(open_classes)
        if share == 0:
            quotas[open_classes[:left]] += 1
        else:
            quotas[open_classes] = np.minimum(quotas[open_classes] + share, sizes[open_classes])
    return quotas


def _proportional_quotas(sizes: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return the number of images of each class, by the method of largest remainders."""
    quotas, remainders = np.divmod(sizes * n, int(sizes.sum()))
    most = np.argsort(-remainders, kind="stable")
    quotas[most[: n - int(quotas.sum())]] += 1
    return quotas
