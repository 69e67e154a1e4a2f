"""Figures made of images: augmented samples, the most confident errors, and what Grad-CAM saw in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harness.analysis.runs import Run
from harness.data.arrays import Split, split_of
from harness.report.style import COLOURS, DPI, FAINT, INK, WIDTH, Picture, house_style, pixels_to_png, short

Images = NDArray[np.uint8]  # (..., H, W, 3), RGB

PREDICTED_COLOUR = COLOURS[1]
MOST_ROWS = 20  # classes in the gallery of augmented samples
AUGMENTED = 7  # images beside each original
GALLERY_COLUMNS = 5
ROW_EXTRA = 0.34  # of a cell, for two lines below an image


@dataclass(frozen=True, eq=False)
class Choice:
    """The images that a variant's galleries show, of its first finished run.

    Attributes:
        indices: places in the evaluation split.
        wrong: False where the run made no error and these are its least confident images.
    """

    run: Run
    indices: NDArray[np.intp]
    wrong: bool

    def words(self) -> str:
        """For captions: which images, by which order, of which run."""
        seed = f"of the run with seed {self.run.seed}"
        if not self.wrong:
            return f"No image {seed} is misclassified: these are its {len(self.indices)} least confident ones"
        assert self.run.predictions is not None
        errors = len(self.run.predictions.wrong)
        if errors == 1:
            return f"The one error {seed}"
        if errors == len(self.indices):
            return f"All {errors} errors {seed}, the most confident first"
        return f"The {len(self.indices)} most confident of {errors:,} errors {seed}"


def choose(run: Run, images: int) -> Choice:
    """The most confident errors of a finished run; without any, its least confident images. Ties by index."""
    found = run.predictions
    assert found is not None
    wrong = found.wrong
    if len(wrong):
        return Choice(run, wrong[np.argsort(-found.confidence[wrong], kind="stable")][:images], True)
    return Choice(run, np.argsort(found.confidence, kind="stable")[:images], False)


def augmented(run: Run, train: Split) -> Picture:
    """For each class its first train image, as it is and as the run's train pipeline changes it."""
    from harness.data.batches import augment_images

    present, first = np.unique(train.labels, return_index=True)  # a few images may lack some classes
    chosen, first = present[:MOST_ROWS].tolist(), first[:MOST_ROWS]
    originals = train.images[first]
    pipeline = run.recipe["augment"]["train"]
    changed = augment_images(np.repeat(originals, AUGMENTED, axis=0), pipeline, run.seed)
    height, width = changed.shape[1:3]
    cells = np.concatenate(
        [_resized(originals, height, width)[:, None], changed.reshape(-1, AUGMENTED, height, width, 3)],
        axis=1,
    )
    columns = AUGMENTED + 1
    with house_style():
        sheet = _Sheet(len(first), columns, left=1.4, top=0.4, gap=0.06)
        for row, label in enumerate(chosen):
            sheet.text(-0.1, row + 0.5, short(train.classes[label], 16), ha="right", va="center")
            for column in range(columns):
                sheet.image(column, row, cells[row, column])
        sheet.text(0.5, -0.08, "original", ha="center", va="bottom", color=FAINT)
        sheet.text(1 + AUGMENTED / 2, -0.08, "as trained on", ha="center", va="bottom", color=FAINT)
        png, figure = sheet.drawn()
    steps = ", ".join(str(step.get("transform")) for step in pipeline)
    limit = (
        f" The first {len(chosen)} of {len(train.classes)} classes with train images."
        if len(chosen) < len(train.classes)
        else ""
    )
    caption = (
        f"The first train image of each class (left) and {AUGMENTED} draws of the train pipeline: {steps}; "
        f"shown in the images' own colours, the normalisation undone. Every epoch draws anew.{limit}"
    )
    return Picture("augmented", run.variant, caption, png, figure)


def misclassified(choice: Choice, evaluation: Split) -> Picture:
    """The chosen images, each with its predicted and actual class and the confidence."""
    found = choice.run.predictions
    assert found is not None
    rows = -(-len(choice.indices) // GALLERY_COLUMNS)
    with house_style():
        sheet = _Sheet(rows, GALLERY_COLUMNS, row_extra=ROW_EXTRA, gap=0.12, width=7.0)
        for place, index in enumerate(choice.indices):
            row, column = divmod(place, GALLERY_COLUMNS)
            top = row * (1 + ROW_EXTRA)
            sheet.image(column, top, evaluation.images[index])
            predicted = short(evaluation.classes[found.predicted[index]], 14)
            text = f"{predicted}  {_percent(found.confidence[index])}"
            sheet.text(
                column + 0.5, top + 0.98, text, ha="center", va="top", color=PREDICTED_COLOUR, weight="bold"
            )
            actual = f"actual: {short(evaluation.classes[found.labels[index]], 14)}"
            sheet.text(column + 0.5, top + 1.13, actual, ha="center", va="top", color=INK)
        png, figure = sheet.drawn()
    caption = (
        f"{choice.words()}. Coloured: the predicted class and its softmax probability; below: the actual one."
    )
    return Picture("misclassified", choice.run.variant, caption, png, figure)


@dataclass(frozen=True, eq=False)
class Explanation:
    """What Grad-CAM saw in N images.

    Attributes:
        shown: the images as the network met them, in their own colours.
        predicted: maps (layers, N, H, W) of the evidence for the predicted classes.
        actual: the same for the actual classes; None where no prediction was wrong.
    """

    layers: list[str]
    shown: Images
    predicted: NDArray[np.float32]
    actual: NDArray[np.float32] | None


def explain(choice: Choice, evaluation: Split, layers: Sequence[str]) -> Explanation:
    """Grad-CAM of the chosen images, by the weights of the last epoch.

    Args:
        layers: names of the network's layers; empty takes its stages.

    Raises:
        RunError: the weights cannot be loaded, or a layer does not fit.
    """
    from harness.attribution.maps import layer_maps, stages
    from harness.compute import format_on_cpu
    from harness.data.batches import Batches, denormalise
    from harness.models.weights import load_weights

    run, found = choice.run, choice.run.predictions
    assert found is not None
    model, network = load_weights(run.folder.weights_file)
    layers = list(layers) or stages(model, network.image_shape)
    pipeline, indices = run.recipe["augment"]["test"], choice.indices
    subset = split_of(evaluation.images[indices], evaluation.labels[indices], evaluation.classes)
    inputs, _ = next(iter(Batches(subset, pipeline, len(subset), seed=run.seed, shuffle=False, device="cpu")))
    inputs = inputs.contiguous(memory_format=format_on_cpu(run.identity))
    return Explanation(
        layers,
        denormalise(inputs, pipeline),
        layer_maps(model, layers, inputs, found.predicted[indices].tolist()),
        layer_maps(model, layers, inputs, found.labels[indices].tolist()) if choice.wrong else None,
    )


def gradcam(choice: Choice, evaluation: Split, layers: Sequence[str]) -> Picture:
    """The chosen images at every layer, explained for the predicted and for the actual class.

    Args and Raises: see :func:`explain`.
    """
    explanation = explain(choice, evaluation, layers)
    with house_style():
        png, figure = _gradcam_sheet(choice, explanation, evaluation.classes)
    rows = (
        "upper row: evidence for the predicted class; lower row: for the actual one. " if choice.wrong else ""
    )
    caption = (
        f"{choice.words()}; {rows}Grad-CAM of the last epoch's weights at each layer, positive "
        "evidence only, each map scaled to its own maximum: bright is where the evidence lies; an unchanged "
        "image has none."
    )
    return Picture("gradcam", choice.run.variant, caption, png, figure)


def _gradcam_sheet(choice: Choice, explanation: Explanation, classes: Sequence[str]) -> tuple[bytes, Figure]:
    """Two blocks side by side where the layers are few; a block: names, image, one map a layer."""
    found = choice.run.predictions
    assert found is not None
    layers, shown = explanation.layers, explanation.shown
    rows = [maps for maps in (explanation.predicted, explanation.actual) if maps is not None]
    blocks = 2 if len(layers) <= 7 else 1
    names_width, step = 1.7, len(rows) + 0.25
    block_width = names_width + 1 + len(layers) + 0.5
    per_block = -(-len(shown) // blocks)
    width = max(WIDTH, 0.5 * block_width)
    sheet = _Sheet(per_block * step, blocks * block_width - 0.5, top=1.0, gap=0.06, width=width)
    for number, index in enumerate(choice.indices):
        block, place = divmod(number, per_block)
        left, top = block * block_width + names_width, place * step
        if place == 0:
            for at, name in enumerate(["image", *layers]):
                sheet.text(left + at + 0.2, -0.12, short(name, 14), rotation=40, va="bottom", size=7)
        predicted = short(classes[found.predicted[index]], 12)
        actual = short(classes[found.labels[index]], 12)
        texts = [
            (f"{predicted}\n{_percent(found.confidence[index])}", PREDICTED_COLOUR),
            (f"actual:\n{actual}", INK),
        ]
        sheet.image(left, top, shown[number])
        for line, maps in enumerate(rows):
            text, colour = texts[line]
            sheet.text(left - 0.12, top + line + 0.5, text, ha="right", va="center", color=colour, size=7)
            for at in range(len(layers)):
                sheet.image(left + 1 + at, top + line, overlay(shown[number], maps[at, number]))
    return sheet.drawn()


def overlay(image: Images, heat: NDArray[np.float32]) -> Images:
    """The image with the map over it: opaque where the evidence is strong, untouched where there is none.

    Args:
        image: (H, W, 3).
        heat: (H, W), in [0, 1].
    """
    colours = matplotlib.colormaps["inferno"](heat)[..., :3] * 255
    weight = 0.75 * np.asarray(heat, dtype=np.float64)[..., None]
    return np.rint(image * (1 - weight) + colours * weight).astype(np.uint8)


def _percent(fraction: float) -> str:
    """Never 100 % for less than certainty."""
    return f"{min(100 * fraction, 99.9):.1f} %" if fraction < 1 else "100 %"


def _resized(images: Images, height: int, width: int) -> Images:
    if images.shape[1:3] == (height, width):
        return images
    import cv2

    return np.stack([cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in images])


class _Sheet:
    """A figure in units of a cell, y downwards; its hundreds of images are laid into one array of pixels."""

    def __init__(
        self,
        rows: float,
        columns: float,
        *,
        left: float = 0.0,
        top: float = 0.0,
        gap: float = 0.1,
        row_extra: float = 0.0,
        width: float = WIDTH,
    ) -> None:
        height = top + rows * (1 + row_extra)
        self.cell = width * DPI / (left + columns)  # pixels
        self.left, self.top, self.gap = left, top, gap
        self.height, self.width = round(height * self.cell), round(width * DPI)
        self.pixels = np.full((self.height, self.width, 3), 255, dtype=np.uint8)
        self.figure = Figure(figsize=(self.width / DPI, self.height / DPI), dpi=DPI)

    def image(self, x: float, y: float, image: Images) -> None:
        """One cell's image, with half the gap around it; (x, y) is the cell's upper left corner."""
        import cv2

        scale = (1 - self.gap) * self.cell / max(image.shape[:2])
        height, width = (max(1, int(side * scale)) for side in image.shape[:2])
        method = cv2.INTER_NEAREST if scale >= 1 else cv2.INTER_AREA
        shown = cv2.resize(image, (width, height), interpolation=method)
        row = int((self.top + y + 0.5) * self.cell - height / 2)
        column = int((self.left + x + 0.5) * self.cell - width / 2)
        self.pixels[row : row + height, column : column + width] = shown

    def text(self, x: float, y: float, text: str, **options: Any) -> None:
        """Text at a place in cells."""
        place = (self.left + x) * self.cell / self.width, 1 - (self.top + y) * self.cell / self.height
        self.figure.text(*place, text, **{"size": 8.5, **options})

    def drawn(self) -> tuple[bytes, Figure]:
        """The finished PNG, and a figure of the same for other formats."""
        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()  # type: ignore[no-untyped-call]
        text = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
        # the text is drawn on white paper, of which the images take the white parts
        png = pixels_to_png(np.minimum(self.pixels, text))
        behind = self.figure.add_axes((0, 0, 1, 1), frameon=False, xticks=[], yticks=[])
        behind.imshow(self.pixels, interpolation="none", aspect="auto")
        return png, self.figure
