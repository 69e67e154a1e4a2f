"""Draws one figure of a lab's runs."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from harness.analysis.findings import analyse
from harness.analysis.results import read_results
from harness.report.figures import FIGURES
from harness.report.figures.style import Picture


def drawn(lab: Any, name: str, variant: str = "base") -> Picture | None:
    """Return a figure by its name, or None where there is nothing to draw."""
    results = read_results(lab.study, lab.folder, lab.study.seeds, list(lab.study.recipes))
    (figure,) = (one for one in FIGURES if one.name == name)
    taken: dict[str, tuple[Any, ...]] = {"study": (), "variant": (variant,), "images": (variant, lab.data)}
    return figure.draw(analyse(results), *taken[figure.of])


def caption(lab: Any, name: str, variant: str = "base") -> str:
    """Return the caption of a figure that is drawn."""
    picture = drawn(lab, name, variant)
    assert picture is not None and (picture.name, picture.variant) in ((name, variant), (name, None))
    return picture.caption


def size(picture: Picture | None) -> tuple[int, int]:
    """Return width and height in pixels."""
    assert picture is not None
    return Image.open(io.BytesIO(picture.png)).size
