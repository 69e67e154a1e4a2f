"""Galleries of a variant's images: augmented train images, and the most confident errors."""

from __future__ import annotations

import cv2
import numpy as np

from harness.analysis.attributions import attribution_settings
from harness.analysis.examples import choose_examples
from harness.analysis.findings import Findings
from harness.data.arrays import Data
from harness.data.samples import augment_images, mix_samples
from harness.report.figures import style
from harness.report.figures.sheet import Images, Sheet
from harness.report.figures.style import Picture

PREDICTED_COLOUR = style.COLOURS[1]
MOST_ROWS = 20  # classes in the gallery of augmented images
AUGMENTED = 7  # images beside each original
LEAST_CELL = 1.25  # inches of a misclassified image: room for the lines below it
LINES = 0.34  # inches: two of them


@style.house_style()
def augmented(findings: Findings, variant: str, data: Data) -> Picture:
    """Draw the first train image of each class, unchanged and after several draws of the train pipeline."""
    run, train = findings.results.of(variant, "finished")[0], data.train
    present, first = np.unique(train.labels, return_index=True)  # a small split may lack some classes
    chosen, first = present[:MOST_ROWS].tolist(), first[:MOST_ROWS]
    originals = train.images[first]
    pipeline = run.recipe["augment"]["train"]
    changed = augment_images(np.repeat(originals, AUGMENTED, axis=0), pipeline, run.seed)
    height, width = changed.shape[1:3]
    changed = changed.reshape(-1, AUGMENTED, height, width, 3)
    if batch := run.recipe["augment"].get("batch"):
        changed = mix_samples(changed, train.labels[first], len(train.classes), batch, run.seed)
    cells = np.concatenate(
        [_resized(originals, height, width)[:, None], changed],
        axis=1,
    )
    columns = AUGMENTED + 1
    sheet = Sheet(len(first), columns, left=1.4, top=0.4, gap=0.06)
    for row, label in enumerate(chosen):
        sheet.text(-0.1, row + 0.5, style.short(train.classes[label], 16), ha="right", va="center")
        for column in range(columns):
            sheet.image(column, row, cells[row, column])
    sheet.text(0.5, -0.08, "original", ha="center", va="bottom", color=style.FAINT)
    sheet.text(1 + AUGMENTED / 2, -0.08, "as trained on", ha="center", va="bottom", color=style.FAINT)
    steps = ", ".join(str(step.get("transform")) for step in pipeline)
    caption = (
        f"The first train image of each class (left) and {AUGMENTED} draws of the train pipeline: {steps}; "
        "shown without the normalisation. Each epoch draws new ones."
    )
    if batch:
        names = " or ".join(str(table["transform"]) for table in batch)
        caption += (
            f" Each column is a mixed batch ({names}): each image is mixed with the one above it, the first "
            "with the last. The other image may have the larger share."
        )
    if len(chosen) < len(train.classes):
        caption += f" The first {len(chosen)} of {len(train.classes)} classes with train images."
    return sheet.picture("augmented", variant, caption)


@style.house_style()
def misclassified(findings: Findings, variant: str, data: Data) -> Picture:
    """Draw the most confident errors, each with its predicted and actual class and the confidence."""
    run, evaluation = findings.results.of(variant, "finished")[0], data.evaluation
    wanted = attribution_settings(findings.results, run)["images"]
    columns = max(1, int(style.width() / LEAST_CELL))
    cell = style.width() / columns
    row_height = 1 + LINES / cell  # in cells
    examples = choose_examples(run, min(wanted, columns * int(style.HEIGHT / cell / row_height)))
    predictions = examples.predictions
    rows = -(-len(examples.indices) // columns)
    sheet = Sheet(rows * row_height, columns, gap=0.1)
    for place, index in enumerate(examples.indices):
        row, column = divmod(place, columns)
        top, centred = row * row_height, {"ha": "center", "va": "top"}
        sheet.image(column, top, evaluation.images[index])
        predicted = style.short(evaluation.classes[predictions.predicted[index]], 11)
        text = f"{predicted}, {percent(predictions.confidence[index])}"
        sheet.text(column + 0.5, top + 0.97, text, color=PREDICTED_COLOUR, weight="bold", **centred)
        actual = f"actual: {style.short(evaluation.classes[predictions.labels[index]], 12)}"
        sheet.text(column + 0.5, top + 0.97 + LINES / cell / 2.3, actual, color=style.INK, **centred)
    caption = (
        f"{examples.words()}. Coloured: predicted class and its softmax probability; below: actual class."
    )
    return sheet.picture("misclassified", variant, caption)


def percent(fraction: float) -> str:
    """Write a probability; 100 % only where it is exactly 1."""
    return f"{min(100 * fraction, 99.9):.1f} %" if fraction < 1 else "100 %"


def _resized(images: Images, height: int, width: int) -> Images:
    if images.shape[1:3] == (height, width):
        return images
    return np.stack([cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in images])
