"""Images that a study evaluates on although it trains on them too, or on nearly the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.arrays import Data, Split
from harness.data.cache import cached_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Raise it when other pairs are found than before: cached ones are then searched again.
VERSION = 1
MOST_BITS = 8  # of the 64 of two perceptual hashes that may differ
LEAST_CORRELATION = 0.9  # of the pixels of two images that count as nearly the same
MOST_EACH = 32  # train images that each evaluation image is compared with, the nearest hashes first
MOST_HASHED = 200_000  # images; a hash takes 0.2 ms
MOST_RECORDED = 1_000  # pairs in a run's record
_AT_ONCE = 4_000_000  # pairs of hashes
_SIDE = 64  # pixels of a side, about, that a correlation is computed from


@dataclass(frozen=True, eq=False)
class Leakage:
    """Pairs of an evaluation and a train image: identical ones first, then those with the nearest hashes.

    Attributes:
        data: the splits that were compared.
        evaluation, train: int64 ``(P,)``, the indices of each pair's images in the two splits.
        bits: int64 ``(P,)``, how many of 64 bits of their perceptual hashes differ.
        correlation: float64 ``(P,)``, of their pixels.
        identical: bool ``(P,)``, whether all pixels are equal.
        hashed: whether nearly equal images were searched; not among more than ``MOST_HASHED``.
    """

    data: Data
    evaluation: NDArray[np.int64]
    train: NDArray[np.int64]
    bits: NDArray[np.int64]
    correlation: NDArray[np.float64]
    identical: NDArray[np.bool_]
    hashed: bool

    @property
    def other_class(self) -> NDArray[np.bool_]:
        """Whether the two images of each pair have different labels, bool ``(P,)``."""
        differ: NDArray[np.bool_] = (
            self.data.evaluation.labels[self.evaluation] != self.data.train.labels[self.train]
        )
        return differ

    def to_record(self) -> dict[str, Any]:
        """Return what a run records: counts of evaluation images, and the first pairs as lines of CSV.

        An image with both an identical and a nearly equal train image counts as identical.
        """
        same, other = set(self.evaluation[self.identical].tolist()), self.other_class

        def images(chosen: NDArray[np.bool_], without: set[int]) -> int:
            return len(set(self.evaluation[chosen].tolist()) - without)

        near: dict[str, int] = {}
        if self.hashed:
            near = {
                "near": images(~self.identical, same),
                "near_other_class": images(~self.identical & other, same),
            }
        return {
            "identical": len(same),
            "identical_other_class": images(self.identical & other, set()),
            **near,
            "pairs": len(self.evaluation),
            "first_pairs": [",".join(map(str, row)) for row in self._rows(MOST_RECORDED)],
        }

    def _rows(self, most: int) -> Iterator[tuple[Any, ...]]:
        """Yield of each pair place and label of both images, kind, bits and correlation."""
        evaluation, train = self.data.evaluation, self.data.train
        for at in range(min(most, len(self.evaluation))):
            i, j = int(self.evaluation[at]), int(self.train[at])
            kind = "identical" if self.identical[at] else "near"
            yield (
                i, int(evaluation.labels[i]), j, int(train.labels[j]),
                kind, int(self.bits[at]), round(float(self.correlation[at]), 4),
            )  # fmt: skip


def find_leakage(data: Data, *, progress: bool = False) -> Leakage:
    """Compare the images that are evaluated on with those that are trained on; once for the same data.

    Identical images have equal pixels. Nearly equal ones have perceptual hashes (``imagehash.phash``, 64
    bits) that differ in at most ``MOST_BITS`` bits, and pixels that correlate by at least
    ``LEAST_CORRELATION``, which removes most false positives. An image that is mirrored, rotated or cropped
    differently is not found.

    Args:
        progress: whether to draw a bar while hashing, where stderr is a terminal.
    """
    key = {"version": VERSION, "data": data.sha256, **_versions()}
    found = cached_arrays("leakage", key, lambda: _find(data, progress))
    return Leakage(
        data,
        found["evaluation"],
        found["train"],
        found["bits"],
        found["correlation"],
        found["identical"].astype(bool),
        bool(found["hashed"][0]),
    )


def leakage_warnings(record: Mapping[str, Any], evaluated_on: str, images: int) -> list[str]:
    """Return a sentence about identical images, from :meth:`Leakage.to_record`; empty without any.

    Args:
        evaluated_on: ``test`` or ``holdout``.
        images: how many are evaluated on.
    """
    if not (count := record.get("identical")):
        return []
    return [
        f"{count:,} of {images:,} {_named(evaluated_on)} images are also among the train images, pixel for "
        f"pixel{_with_other_class(record.get('identical_other_class'))}: a network can memorise "
        "their labels; remove them from one of the splits"
    ]


def leakage_notes(record: Mapping[str, Any], evaluated_on: str, images: int) -> list[str]:
    """Return a sentence about nearly equal images, from the same; empty without any."""
    if (count := record.get("near")) is None:
        return [f"nearly equal images were not searched: more than {MOST_HASHED:,} images"]
    if not count:
        return []
    many = (
        "; images with few details look alike without being copies: check some pairs"
        if count > images / 10
        else ""
    )
    return [
        f"{count:,} of {images:,} {_named(evaluated_on)} images ({100 * count / images:.2f} %) nearly equal "
        f"a train image{_with_other_class(record.get('near_other_class'))}{many}"
    ]


def _named(evaluated_on: str) -> str:
    return "hold-out" if evaluated_on == "holdout" else evaluated_on


def _with_other_class(count: int | None) -> str:
    return f", {count:,} of them with another class there" if count else ""


def _versions() -> dict[str, str]:
    return {package: version(package) for package in ("imagehash", "pillow")}


def _find(data: Data, progress: bool) -> dict[str, NDArray[Any]]:
    train, evaluation = data.train, data.evaluation
    contents = np.concatenate([_contents(train), _contents(evaluation)])
    different, first, content = np.unique(contents, return_index=True, return_inverse=True)
    hashed = len(different) <= MOST_HASHED
    pairs = list(_identical(data, content))
    if hashed:
        hashes = _hashes(data, different, first, progress)[content]
        pairs += sorted(_near(data, content, hashes), key=lambda pair: (pair[2], -pair[3], pair[0]))
    columns = list(zip(*pairs, strict=True)) or [()] * 5
    names = {"evaluation": int, "train": int, "bits": int, "correlation": float, "identical": np.uint8}
    arrays: dict[str, NDArray[Any]] = {
        name: np.array(column, kind) for (name, kind), column in zip(names.items(), columns, strict=True)
    }
    return {**arrays, "hashed": np.array([hashed], np.uint8)}


Pair = tuple[int, int, int, float, bool]


def _contents(split: Split) -> NDArray[np.uint64]:
    """Return a number for each image that is equal for equal images, and practically never otherwise."""
    digests = [hashlib.blake2b(image.data, digest_size=8).digest() for image in split.images]
    return np.frombuffer(b"".join(digests), np.uint64)


def _identical(data: Data, content: NDArray[np.intp]) -> Iterator[Pair]:
    of_train, of_evaluation = np.split(content, [len(data.train)])
    order = np.argsort(of_train, kind="stable")
    places = [np.searchsorted(of_train[order], of_evaluation, side) for side in ("left", "right")]  # type: ignore[call-overload]
    for i in np.flatnonzero(places[1] > places[0]).tolist():
        for j in order[places[0][i] : places[1][i]][:MOST_EACH].tolist():
            if np.array_equal(data.evaluation.images[i], data.train.images[j]):
                yield i, j, 0, 1.0, True


def _near(data: Data, content: NDArray[np.intp], hashes: NDArray[np.uint64]) -> Iterator[Pair]:
    of_train, of_evaluation = np.split(hashes, [len(data.train)])
    rows = max(1, _AT_ONCE // len(of_train))
    for start in range(0, len(of_evaluation), rows):
        bits = np.bitwise_count(of_evaluation[start : start + rows, None] ^ of_train[None])
        for row in np.flatnonzero((bits <= MOST_BITS).any(1)).tolist():
            i = start + row
            train = np.flatnonzero(
                (bits[row] <= MOST_BITS) & (content[: len(of_train)] != content[len(of_train) + i])
            )
            train = train[np.argsort(bits[row, train], kind="stable")][:MOST_EACH]
            alike = _correlations(data.evaluation.images[i], data.train.images[train])
            for j, value in zip(train.tolist(), alike.tolist(), strict=True):
                if value >= LEAST_CORRELATION:
                    yield i, j, int(bits[row, j]), value, False


def _hashes(
    data: Data, different: NDArray[np.uint64], first: NDArray[np.intp], progress: bool
) -> NDArray[np.uint64]:
    """Return the perceptual hash of each different image; one computation for all hold-outs of a split."""

    def build() -> dict[str, NDArray[Any]]:
        import imagehash
        from PIL import Image

        from harness.bar import count_up

        train, evaluation, bits = data.train.images, data.evaluation.images, []
        with count_up("comparing images", len(first), hidden=not progress) as advance:
            for at in first.tolist():
                image = train[at] if at < len(train) else evaluation[at - len(train)]
                bits.append(imagehash.phash(Image.fromarray(image)).hash)
                advance(1)
        return {"hashes": np.packbits(np.array(bits).reshape(-1, 64), axis=1).view(np.uint64)[:, 0]}

    shape = [*data.train.images.shape[1:]]
    images = hashlib.sha256(different.tobytes()).hexdigest()
    return cached_arrays("phash", {"shape": shape, "images": images, **_versions()}, build)["hashes"]


def _correlations(image: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return Pearson's correlation of an image's pixels with each other one's; 0 without contrast."""
    step = max(1, min(image.shape[:2]) // _SIDE)
    pixels = np.concatenate([image[None], others])[:, ::step, ::step].reshape(len(others) + 1, -1)
    centred = pixels - pixels.mean(axis=1, keepdims=True)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    correlations: NDArray[np.float64] = centred[1:] @ centred[0]
    return correlations
