"""What all figures share: their own marks, and text from outside that fits."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
from PIL import Image

from harness.report.figures.style import canvas, house_style, is_ours, pixels_to_png, short, to_png


def draw(title: str = "Loss") -> bytes:
    with house_style():
        figure, (axes,) = canvas(2.0)
        axes.plot([1, 2, 3], [3, 1, 2])
        axes.set_title(title)
        return to_png(figure)


def test_a_figure_is_the_same_bytes_whatever_the_users_settings_are() -> None:
    expected = draw()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "savefig.bbox": "tight"}):
        same = draw() == expected
    assert same


def test_a_figure_has_twice_the_pixels_of_its_place_and_no_date() -> None:
    image = Image.open(io.BytesIO(draw()))
    assert image.size == (1625, 500)
    assert image.info["Software"] == "ignite-harness report"
    assert not any("time" in str(key).lower() or "date" in str(key).lower() for key in image.info)


def test_only_a_reports_own_figures_are_ours() -> None:
    other = io.BytesIO()
    Image.new("RGB", (4, 4)).save(other, format="png")
    assert is_ours(draw()) and is_ours(pixels_to_png(np.zeros((4, 4, 3), dtype=np.uint8)))
    assert not is_ours(other.getvalue()) and not is_ours(b"ignite-harness report")


def test_names_from_outside_are_not_read_as_formulas() -> None:
    assert draw(r"$\frac{") and draw("a$b$c") != draw("abc")


def test_text_from_outside_becomes_one_line_that_fits() -> None:
    assert short("a\nb\x1b[31m\tc") == "a b[31m c"
    assert short("x" * 30, 10) == "x" * 9 + "…"
