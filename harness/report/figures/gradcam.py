"""Grad-CAM of a variant's most confident errors, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from torch import nn

from harness.analysis.attributions import attribution_settings
from harness.analysis.examples import Examples, choose_examples
from harness.analysis.findings import Findings
from harness.analysis.runs import Run
from harness.attribution.maps import coarse_maps, layer_maps, stages
from harness.compute import format_on_cpu
from harness.data.arrays import Data, Split, split_of
from harness.data.batches import Batches
from harness.data.samples import denormalise
from harness.models.weights import load_weights
from harness.report.figures import style
from harness.report.figures.galleries import PREDICTED_COLOUR, percent
from harness.report.figures.sheet import Images, Sheet
from harness.report.figures.style import Picture

NAMES, HEAD, BAR = 0.85, 0.9, 0.6  # inches: the class names, the layers' names, the colour bar
RIGHT = 0.25  # inches that the last layer's name needs
BETWEEN = 0.08  # inches between two images
LARGEST_CELL, GOOD_CELL, LEAST_CELL = 0.8, 0.42, 0.28  # inches
MOST_LAYERS = 12


@dataclass(frozen=True, eq=False)
class Explanation:
    """Grad-CAM of N images.

    Attributes:
        sizes: the resolution of each layer's maps, (height, width), before they are enlarged.
        shown: the images after the test pipeline, in their own colours.
        predicted: maps (layers, N, H, W) of the evidence for the predicted classes.
        actual: the same for the actual classes; None where no prediction was wrong.
    """

    layers: list[str]
    sizes: list[tuple[int, int]]
    shown: Images
    predicted: NDArray[np.float32]
    actual: NDArray[np.float32] | None


@style.house_style()
def draw(findings: Findings, variant: str, data: Data) -> Picture | None:
    """Draw the chosen images with the maps of every layer, for the predicted class.

    Few images, which leave room for it, also have the maps for the actual class, in a second row.

    Returns:
        None where no finished run has its weights.

    Raises:
        RunError: the weights cannot be loaded, or a layer does not fit.
    """
    runs = findings.results.with_weights(variant)
    if not runs:
        return None
    settings = attribution_settings(findings.results, runs[0])
    run, evaluation = runs[0], data.evaluation
    examples = choose_examples(run, settings["images"])
    layers = settings["layers"] or stages(*_network(run))
    drawn = layers[:MOST_LAYERS]
    layout = _layout(len(examples.indices), len(drawn), examples.wrong)
    examples = choose_examples(run, min(settings["images"], layout.most))
    sheet = _sheet(examples, explain(examples, evaluation, drawn), evaluation.classes, layout)
    caption = (
        f"{examples.words()}. Grad-CAM at each layer, with the last epoch's weights, for the predicted class"
    )
    if layout.classes == 2:
        caption += " (upper row) and for the actual class (lower row)"
    caption += (
        ". Left of each image: the predicted class (coloured) and the actual class. The image below a map is "
        "grey. A map shows positive evidence only, scaled to its own maximum; a grey image without colour "
        "has none. Each column names the layer and the resolution of its maps, which are enlarged bilinearly."
    )
    if examples.wrong and layout.classes == 1:
        caption += " The actual class's maps are drawn for fewer images (attribution.images)."
    if len(drawn) < len(layers):
        caption += f" The first {len(drawn)} of {len(layers)} layers."
    return sheet.picture("gradcam", variant, caption)


@dataclass(frozen=True)
class _Layout:
    """Blocks side by side, rows an image (one for each class), a cell's inches, images that fit a page."""

    blocks: int
    classes: int
    cell: float
    most: int


def _layout(images: int, layers: int, wrong: bool) -> _Layout:
    """Choose the largest cells with which the images fit a page; of too many images, those that fit."""
    height = style.HEIGHT - HEAD - BAR

    def fit(classes: int, blocks: int) -> _Layout:
        across = (style.width() - RIGHT - blocks * NAMES - (blocks - 1) * 0.15) / (blocks * (1 + layers))
        down = (height / -(-images // blocks) - BETWEEN) / classes
        cell = min(across, max(down, min(across, LEAST_CELL)), LARGEST_CELL)
        return _Layout(blocks, classes, cell, blocks * int(height / (classes * cell + BETWEEN) + 1e-6))

    def best(classes: int) -> _Layout:
        layouts = fit(classes, 1), fit(classes, 2)
        return max(layouts, key=lambda layout: (min(layout.most, images), layout.cell))

    if wrong and (both := best(2)).cell >= GOOD_CELL and both.most >= images:
        return both
    return best(1)


def _network(run: Run) -> tuple[nn.Module, Sequence[int]]:
    model, network = load_weights(run.folder.weights_file)
    return model, network.image_shape


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
    coarse = coarse_maps(model, layers, inputs[:1], predictions.predicted[indices[:1]].tolist())
    return Explanation(
        layers,
        [(maps.shape[1], maps.shape[2]) for maps in coarse],
        denormalise(inputs, pipeline),
        layer_maps(model, layers, inputs, predictions.predicted[indices].tolist()),
        layer_maps(model, layers, inputs, predictions.labels[indices].tolist()) if examples.wrong else None,
    )


def _sheet(examples: Examples, explanation: Explanation, classes: Sequence[str], layout: _Layout) -> Sheet:
    """Lay out the images; in a row: class names, image, a map a layer. Below: the colour bar."""
    predictions, shown, cell = examples.predictions, explanation.shown, layout.cell
    rows = [maps for maps in (explanation.predicted, explanation.actual) if maps is not None][
        : layout.classes
    ]
    names = NAMES / cell  # in cells, as all that follows
    step, block_width = len(rows) + BETWEEN / cell, names + 1 + len(explanation.layers) + 0.15 / cell
    per_block = -(-len(shown) // layout.blocks)
    height = per_block * step
    sheet = Sheet(height + BAR / cell, block_width, top=HEAD / cell, gap=0.04, cell=cell)
    heads = ["image", *_heads(explanation)]
    for number, index in enumerate(examples.indices):
        block, place = divmod(number, per_block)
        left, top = block * block_width + names, place * step
        if place == 0:
            for at, name in enumerate(heads):
                sheet.text(
                    left + at + 0.3,
                    -0.06 / cell,
                    name,
                    rotation=60,
                    va="bottom",
                    ha="left",
                    rotation_mode="anchor",
                )
        predicted = style.short(classes[predictions.predicted[index]], 12)
        actual = style.short(classes[predictions.labels[index]], 12)
        beside: dict[str, Any] = {"x": left - 0.06 / cell, "ha": "right"}
        if len(rows) == 1:
            sheet.text(y=top + 0.5, text=predicted, va="bottom", color=PREDICTED_COLOUR, **beside)
            sheet.text(y=top + 0.5, text=actual, va="top", color=style.INK, **beside)
        else:
            text = f"{predicted}\n{percent(predictions.confidence[index])}"
            sheet.text(y=top + 0.5, text=text, va="center", color=PREDICTED_COLOUR, **beside)
            sheet.text(y=top + 1.5, text=f"actual:\n{actual}", va="center", color=style.INK, **beside)
        sheet.image(left, top, shown[number])
        grey = np.repeat(cv2.cvtColor(shown[number], cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
        for line, maps in enumerate(rows):
            for at in range(len(explanation.layers)):
                sheet.image(left + 1 + at, top + line, overlay(grey, maps[at, number]))
    _bar(sheet, names, height, cell)
    return sheet


def _heads(explanation: Explanation) -> list[str]:
    """Return each layer's name and resolution: ``layer2, 16x16``."""
    pairs = zip(explanation.layers, explanation.sizes, strict=True)
    return [f"{style.short(name, 12)}, {height}x{width}" for name, (height, width) in pairs]


def _bar(sheet: Sheet, left: float, top: float, cell: float) -> None:
    """Draw the colours of the maps, as they are over middle grey, and what they mean."""
    heat = np.linspace(0, 1, 256, dtype=np.float32)[None]
    colours = overlay(np.full((1, 256, 3), 128, dtype=np.uint8), heat)
    sheet.fill(left, top + 0.1 / cell, 2.0 / cell, 0.13 / cell, colours)
    below: dict[str, Any] = {"y": top + 0.27 / cell, "va": "top"}
    sheet.text(x=left, text="0", ha="left", **below)
    sheet.text(x=left + 2.0 / cell, text="maximum of the map", ha="right", **below)
    sheet.text(x=left, y=top + 0.42 / cell, text="positive evidence for the class", ha="left", va="top")


def overlay(image: Images, heat: NDArray[np.float32]) -> Images:
    """Blend a map over an image, more opaque where the evidence is stronger.

    Args:
        image: (H, W, 3).
        heat: (H, W), in [0, 1].
    """
    colours = matplotlib.colormaps["inferno"](heat)[..., :3] * 255
    weight = 0.75 * np.asarray(heat, dtype=np.float64)[..., None]
    return np.rint(image * (1 - weight) + colours * weight).astype(np.uint8)
