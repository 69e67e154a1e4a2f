"""A figure made of many images."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harness.report.figures.style import Picture, dpi, pixels_to_png, width

Images = NDArray[np.uint8]  # (..., H, W, 3), RGB


class Sheet:
    """A figure of many images on a grid of cells (y downwards); all images share one array of pixels."""

    def __init__(
        self,
        rows: float,
        columns: float,
        *,
        left: float = 0.0,
        top: float = 0.0,
        gap: float = 0.1,
        cell: float | None = None,
    ) -> None:
        """Begin an empty sheet of the common width.

        Args:
            left, top: cells beside and above the grid, for names.
            gap: part of a cell that an image leaves free.
            cell: inches; None takes the largest that the width has room for.
        """
        self.cell = (cell or width() / (left + columns)) * dpi()  # pixels
        self.left, self.top, self.gap = left, top, gap
        self.height, self.width = round((top + rows) * self.cell), round(width() * dpi())
        self.pixels = np.full((self.height, self.width, 3), 255, dtype=np.uint8)
        self.figure = Figure(figsize=(self.width / dpi(), self.height / dpi()), dpi=dpi())

    def fill(self, x: float, y: float, columns: float, rows: float, image: Images) -> None:
        """Stretch an image over a rectangle of cells whose upper left corner is (x, y)."""
        top, left = round((self.top + y) * self.cell), round((self.left + x) * self.cell)
        size = round(columns * self.cell), round(rows * self.cell)
        self.pixels[top : top + size[1], left : left + size[0]] = cv2.resize(image, size)

    def image(self, x: float, y: float, image: Images) -> None:
        """Draw an image in the cell whose upper left corner is (x, y)."""
        scale = (1 - self.gap) * self.cell / max(image.shape[:2])
        height, width = (max(1, int(side * scale)) for side in image.shape[:2])
        method = cv2.INTER_NEAREST if scale >= 1 else cv2.INTER_AREA
        shown = cv2.resize(image, (width, height), interpolation=method)
        row = int((self.top + y + 0.5) * self.cell - height / 2)
        column = int((self.left + x + 0.5) * self.cell - width / 2)
        self.pixels[row : row + height, column : column + width] = shown

    def text(self, x: float, y: float, text: str, **options: Any) -> None:
        """Write text at (x, y), in cells."""
        place = (self.left + x) * self.cell / self.width, 1 - (self.top + y) * self.cell / self.height
        self.figure.text(*place, text, **{"size": 8, **options})

    def picture(self, name: str, variant: str, caption: str) -> Picture:
        """Return the finished sheet as a picture, with a matplotlib figure for other formats."""
        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()  # type: ignore[no-untyped-call]
        text = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
        # the darker of both: text and images are each drawn on white
        png = pixels_to_png(np.minimum(self.pixels, text))
        behind = self.figure.add_axes((0, 0, 1, 1), frameon=False, xticks=[], yticks=[])
        behind.imshow(self.pixels, interpolation="none", aspect="auto")
        return Picture(name, variant, caption, png, self.figure)
