"""The embedded source: scikit-learn's 1,797 handwritten digits, without download or files."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from harness.data.arrays import SourceRequest, Split, hold_out, refuse_options, split_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEST_IMAGES = 360  # about 20 % of 1,797


def load(request: SourceRequest) -> Split:
    """Return 1,437 train or 360 test images of 32x32 pixels, three equal channels.

    The values 0 to 16 of the 8x8 originals (UCI "Optical Recognition of Handwritten Digits", its test part)
    are scaled to 0 to 255 and enlarged four times, bilinearly. The split is stratified and always the same.
    """
    refuse_options(request, "digits")
    train, test = _splits()
    return train if request.which == "train" else test


@cache
def _splits() -> tuple[Split, Split]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    gray = np.rint(_enlarged(digits.images * (255 / 16))).astype(np.uint8)
    images = np.repeat(gray[..., None], 3, axis=3)
    classes = [str(name) for name in digits.target_names]
    digits_split = split_of(images, digits.target.astype(np.int64), classes, where="digits")
    return hold_out(digits_split, TEST_IMAGES, purpose="digits test split")


def _enlarged(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Enlarge to ``(N, 32, 32)``, bilinearly, with half-pixel centres (as cv2 and torch do), edges repeated.

    The weights are eighths, so float64 is exact and the pixels are the same on every machine.
    """
    position = np.clip((np.arange(32) + 0.5) / 4 - 0.5, 0, 7)
    weights = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(8)))
    return np.asarray(np.einsum("ia,nab,jb->nij", weights, images, weights))
