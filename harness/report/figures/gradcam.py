"""Grad-CAM of a variant's most confident errors, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from numpy.typing import NDArray

from harness.analysis.attributions import attribution_settings
from harness.analysis.examples import Examples, choose_examples
from harness.analysis.findings import Findings
from harness.attribution.maps import layer_maps, stages
from harness.compute import format_on_cpu
from harness.data.arrays import Data, Split, split_of
from harness.data.batches import Batches
from harness.data.samples import denormalise
from harness.models.weights import load_weights
from harness.report.figures import style
from harness.report.figures.galleries import PREDICTED_COLOUR, percent
from harness.report.figures.sheet import Images, Sheet
from harness.report.figures.style import Picture

NAMES_WIDTH = 1.7  # in cells: the column of class names left of each image


@dataclass(frozen=True, eq=False)
class Explanation:
    """Grad-CAM of N images.

    Attributes:
        shown: the images after the test pipeline, in their own colours.
        predicted: maps (layers, N, H, W) of the evidence for the predicted classes.
        actual: the same for the actual classes; None where no prediction was wrong.
    """

    layers: list[str]
    shown: Images
    predicted: NDArray[np.float32]
    actual: NDArray[np.float32] | None


@style.house_style()
def draw(findings: Findings, variant: str, data: Data) -> Picture | None:
    """Draw the chosen images with the maps of every layer, for the predicted and the actual class.

    Returns:
        None where no finished run has its weights.

    Raises:
        RunError: the weights cannot be loaded, or a layer does not fit.
    """
    runs = findings.results.with_weights(variant)
    if not runs:
        return None
    settings = attribution_settings(findings.results, runs[0])
    examples = choose_examples(runs[0], settings["images"])
    sheet = _sheet(examples, explain(examples, data.evaluation, settings["layers"]), data.evaluation.classes)
    rows = (
        "upper row: evidence for the predicted class; lower row: for the actual one. "
        if examples.wrong
        else ""
    )
    caption = (
        f"{examples.words()}; {rows}Grad-CAM of the last epoch's weights at each layer, positive "
        "evidence only, each map scaled to its own maximum: bright is where the evidence lies; an unchanged "
        "image has none."
    )
    return sheet.picture("gradcam", variant, caption)


def explain(examples: Examples, evaluation: Split, layers: Sequence[str]) -> Explanation:
    """Return Grad-CAM of the chosen images, by the weights of the last epoch.

    Args:
        layers: names of the network's layers; empty takes its stages.

    Raises:
        RunError: the weights cannot be loaded, or a layer does not fit.
    """
    run, indices, predictions = examples.run, examples.indices, examples.predictions
    model, network = load_weights(run.folder.weights_file)
    layers = list(layers) or stages(model, network.image_shape)
    pipeline = run.recipe["augment"]["test"]
    subset = split_of(evaluation.images[indices], evaluation.labels[indices], evaluation.classes)
    inputs, _ = next(iter(Batches(subset, pipeline, len(subset), seed=run.seed, shuffle=False, device="cpu")))
    inputs = inputs.contiguous(memory_format=format_on_cpu(run.identity))
    return Explanation(
        layers,
        denormalise(inputs, pipeline),
        layer_maps(model, layers, inputs, predictions.predicted[indices].tolist()),
        layer_maps(model, layers, inputs, predictions.labels[indices].tolist()) if examples.wrong else None,
    )


def _sheet(examples: Examples, explanation: Explanation, classes: Sequence[str]) -> Sheet:
    """Lay out the images, in two blocks where layers are few; in a row: names, image, a map a layer."""
    predictions, layers, shown = examples.predictions, explanation.layers, explanation.shown
    rows = [maps for maps in (explanation.predicted, explanation.actual) if maps is not None]
    blocks = 2 if len(layers) <= 7 else 1
    step, block_width = len(rows) + 0.25, NAMES_WIDTH + 1 + len(layers) + 0.5
    per_block = -(-len(shown) // blocks)
    width = max(style.WIDTH, 0.5 * block_width)
    sheet = Sheet(per_block * step, blocks * block_width - 0.5, top=1.0, gap=0.06, width=width)
    for number, index in enumerate(examples.indices):
        block, place = divmod(number, per_block)
        left, top = block * block_width + NAMES_WIDTH, place * step
        if place == 0:
            for at, name in enumerate(["image", *layers]):
                sheet.text(left + at + 0.2, -0.12, style.short(name, 14), rotation=40, va="bottom", size=7)
        predicted = style.short(classes[predictions.predicted[index]], 12)
        actual = style.short(classes[predictions.labels[index]], 12)
        texts = [
            (f"{predicted}\n{percent(predictions.confidence[index])}", PREDICTED_COLOUR),
            (f"actual:\n{actual}", style.INK),
        ]
        sheet.image(left, top, shown[number])
        for line, (maps, (text, colour)) in enumerate(zip(rows, texts, strict=False)):
            sheet.text(left - 0.12, top + line + 0.5, text, ha="right", va="center", color=colour, size=7)
            for at in range(len(layers)):
                sheet.image(left + 1 + at, top + line, overlay(shown[number], maps[at, number]))
    return sheet


def overlay(image: Images, heat: NDArray[np.float32]) -> Images:
    """Blend a map over an image, more opaque where the evidence is stronger.

    Args:
        image: (H, W, 3).
        heat: (H, W), in [0, 1].
    """
    colours = matplotlib.colormaps["inferno"](heat)[..., :3] * 255
    weight = 0.75 * np.asarray(heat, dtype=np.float64)[..., None]
    return np.rint(image * (1 - weight) + colours * weight).astype(np.uint8)
