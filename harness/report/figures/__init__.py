"""All figures of a report: the function that draws each, its name, and the table of its numbers.

A new figure is a function here, in a file of its own, and a line in ``FIGURES``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from harness.report.figures import (
    accuracy,
    attributions,
    calibration,
    classes,
    comparisons,
    components,
    curves,
    galleries,
    gradcam,
    learning_rate,
    range_test,
)
from harness.report.figures.style import Picture


@dataclass(frozen=True)
class Figure:
    """A kind of figure.

    Attributes:
        name: of its files and of its pictures.
        title: its heading on the page.
        source: the table with its numbers; empty where there is none.
        draw: returns the picture, or None where there is nothing to draw. It takes the findings; of
            ``variant`` also a variant's name; of ``images`` that of one with a finished run, and its data.
        of: the whole study, each variant, or each variant's images.
    """

    name: str
    title: str
    source: str
    draw: Callable[..., Picture | None]
    of: Literal["study", "variant", "images"] = "variant"


FIGURES = (
    Figure("accuracy", "Every run against the target", "runs", accuracy.draw, "study"),
    Figure("curves", "Loss and accuracy over the epochs", "history", curves.draw, "study"),
    Figure("comparisons", "Difference from the baseline", "comparisons", comparisons.draw, "study"),
    Figure(
        "variance_components",
        "Std from each source of randomness",
        "variance_components",
        components.draw,
        "study",
    ),
    Figure("range_test", "Learning-rate range test", "range_test", range_test.draw),
    Figure(
        "learning_rate", "Learning-rate schedule, planned and as run", "learning_rates", learning_rate.draw
    ),
    Figure("per_class", "Accuracy of each class", "per_class", classes.per_class),
    Figure("confusion", "Confusion matrix", "", classes.confusion),
    Figure("calibration", "Confidence against accuracy", "calibration", calibration.draw),
    Figure("augmented", "Training images, before and after augmentation", "", galleries.augmented, "images"),
    Figure("misclassified", "Misclassified images", "misclassified", galleries.misclassified, "images"),
    Figure("gradcam", "Grad-CAM", "", gradcam.draw, "images"),
    Figure("attributions", "Grad-CAM sanity checks", "attributions", attributions.draw),
)
