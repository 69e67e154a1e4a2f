"""Pictures at the size of a web page."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

# Pixels; each of a gallery's images is 32 pixels wide.
WIDTH = 800
WIDTHS = {"gradcam": 640, "misclassified": 480, "augmented": 480}
PALETTE = 64  # colours of a PNG
QUALITY = 30  # of WebP


def web_figure(file: Path) -> tuple[str, bytes]:
    """A report's figure at the width of a page: ``.webp`` where it is made of images, else ``.png``."""
    name = file.stem.rpartition("-")[2]
    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    width = WIDTHS.get(name, WIDTH)
    if picture.width > width:
        size = width, round(picture.height * width / picture.width)
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    if name in (*WIDTHS, "attributions"):
        content = io.BytesIO()
        picture.save(content, "webp", quality=QUALITY, method=6)
        return ".webp", content.getvalue()
    return ".png", small_png(picture)


def small_png(picture: Image.Image) -> bytes:
    """A PNG of few colours."""
    content = io.BytesIO()
    few = picture.convert("RGB").quantize(
        PALETTE, kmeans=8, dither=Image.Dither.NONE
    )  # thin lines keep their colours
    few.save(content, "png", optimize=True)
    return content.getvalue()
