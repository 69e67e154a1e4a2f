"""The pictures inside the page: all of the study's, and of its variants as many as fit."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest

from PIL import Image

from harness.report.blocks import Block, Report

MOST_BYTES = 3_300_000  # of all pictures; as text in the page they take a third more


@dataclass(frozen=True)
class Images:
    """What the page holds.

    Attributes:
        inside: file name -> the picture as a data URI.
        rule: which variants' figures are inside, in a sentence; empty where all are.
    """

    inside: dict[str, str]
    rule: str


def embed(report: Report) -> Images:
    """Choose the pictures inside the page.

    All figures of the study are inside, and those of the first variant. The figures of each further variant
    are inside where all of them fit, in the order that the report has the variants in.
    """
    blocks = [block for section in report.sections for block in section.blocks]
    inside = _encoded([block for block in blocks if block.kind == "figure"])
    by_variant: dict[str, list[Block]] = {}
    for block in _in_turn([block for block in blocks if block.kind == "variants"]):
        by_variant.setdefault(block.title, []).append(block)
    left = MOST_BYTES - sum(map(len, inside.values()))
    held: list[str] = []
    for variant, figures in by_variant.items():
        pictures = _encoded(figures)
        left -= sum(map(len, pictures.values()))
        if left < 0 and held:
            break
        inside |= pictures
        held.append(variant)
    rule = (
        f"The page holds the figures of {', '.join(held)}: the leader, the baseline and the next by rank, as "
        f"many as fit {MOST_BYTES / 1e6:g} MB."
    )
    encoded = {
        file: f"data:image/webp;base64,{base64.b64encode(data).decode()}" for file, data in inside.items()
    }
    return Images(encoded, rule if len(held) < len(by_variant) else "")


def _in_turn(groups: list[Block]) -> Iterator[Block]:
    """Yield the first figure of every group, then the second of every group, and so on."""
    for figures in zip_longest(*(group.figures for group in groups)):
        yield from filter(None, figures)


def _encoded(figures: list[Block]) -> dict[str, bytes]:
    """Encode the pictures side by side: Pillow lets other threads work meanwhile."""
    with ThreadPoolExecutor() as pool:
        return dict(zip([figure.file for figure in figures], pool.map(_webp, figures), strict=True))


def _webp(block: Block) -> bytes:
    """Return the figure's pixels as lossless WebP, which takes less than half of the PNG."""
    assert block.picture is not None
    content = io.BytesIO()
    with Image.open(io.BytesIO(block.picture.png)) as picture:
        picture.convert("RGB").save(content, "webp", lossless=True, quality=50, method=1)
    return content.getvalue()
