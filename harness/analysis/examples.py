"""Which images of a run are shown: its most confident errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.runs import Predictions, Run

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Examples:
    """Some images of a finished run.

    Attributes:
        indices: places in the evaluation split.
        wrong: False where the run made no error and these are its least confident images.
    """

    run: Run
    predictions: Predictions
    indices: NDArray[np.intp]
    wrong: bool

    def words(self) -> str:
        """Describe for a caption which images these are, their order, and their run."""
        seed = f"of the run with seed {self.run.seed}"
        if not self.wrong:
            return f"No image {seed} is misclassified: these are its {len(self.indices)} least confident ones"
        errors = len(self.predictions.wrong)
        if errors == 1:
            return f"The one error {seed}"
        if errors == len(self.indices):
            return f"All {errors} errors {seed}, the most confident first"
        return f"The {len(self.indices)} most confident of {errors:,} errors {seed}"


def choose_examples(run: Run, images: int) -> Examples:
    """Choose the most confident errors of a finished run; without any, its least confident images."""
    predictions = run.predictions
    assert predictions is not None
    wrong, confidence = predictions.wrong, predictions.confidence
    if len(wrong):
        indices = wrong[np.argsort(-confidence[wrong], kind="stable")]
    else:
        indices = np.argsort(confidence, kind="stable")
    return Examples(run, predictions, indices[:images], bool(len(wrong)))
