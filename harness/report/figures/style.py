"""The style of all figures: colours, fonts, sizes, and PNG bytes that depend only on what is drawn."""

from __future__ import annotations

import io
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from harness.analysis.shown import shown_variants
from harness.report.theme import DEFAULT, Theme

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.analysis.results import Results

WIDTH = 6.5  # inches: the text of a letter page; of an A4 page it is 6.3
HEIGHT = 8.6  # inches: a figure of images is not higher, so that it fits such a page with its caption
DPI = 250  # so the width has twice the pixels of the report's column, for screens of double density
SIGNATURE = "ignite-harness report"  # marks our figures, which a later report may remove
LARGEST_FIGURE = 32 << 20  # bytes that a report reads to find the mark; our figures are far smaller

# Okabe and Ito's palette (jfly.uni-koeln.de/color, 2008), safe for every common colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
MOST_COLOURS = len(COLOURS)  # variants that can be told apart by colour
TARGET_COLOUR = "#555555"
FILL = COLOURS[5]  # single runs and counts, beside what is drawn in the variant's colour
INK, FAINT = "#222222", "#666666"

_SETTINGS = {
    "font.family": "DejaVu Sans",  # part of matplotlib, so the same on every machine
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": "#999999",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "text.parse_math": False,  # a class name such as "a$b" is no formula
}


class Mark(NamedTuple):
    """A value in a picture, and where it is drawn.

    Attributes:
        x, y: fractions of the picture's width and height, from its top left corner.
        text: the value in words: ``base, seed 0: 93.61 %``.
    """

    x: float
    y: float
    text: str


class Value(NamedTuple):
    """A value that is drawn at (x, y) of these axes, in the axes' own units."""

    axes: Axes
    x: float
    y: float
    text: str


_theme: ContextVar[Theme] = ContextVar("_theme", default=DEFAULT)


@contextmanager
def themed(theme: Theme) -> Iterator[None]:
    """Draw in this theme inside."""
    token = _theme.set(theme)
    try:
        yield
    finally:
        _theme.reset(token)


def width() -> float:
    """Return the width of a figure in inches: less in a larger context, with text and lines as they are."""
    return WIDTH / _theme.get().growth


def dpi() -> int:
    """Return the pixels an inch, with which the picture has the same width in every context."""
    return round(DPI * _theme.get().growth)


def colours() -> Sequence[str]:
    """Return the theme's colours of variants, ``MOST_COLOURS`` of them."""
    palette = _theme.get().palette
    if palette is None:
        return COLOURS
    import seaborn as sns

    return [str(colour) for colour in sns.color_palette(palette, MOST_COLOURS).as_hex()]


@dataclass(frozen=True)
class Picture:
    """A figure with its caption.

    Attributes:
        name: ``curves``, ``confusion``, ...
        variant: the variant that it shows; None for a figure of all variants.
        caption: what is drawn, with the n of every ±, and how to read it.
        figure: the matplotlib figure, for other formats; None where none is wanted.
        marks: the values that a page shows where a reader points at them.
    """

    name: str
    variant: str | None
    caption: str
    png: bytes
    figure: Figure | None = field(compare=False, repr=False)
    marks: tuple[Mark, ...] = field(default=(), repr=False)


@contextmanager
def house_style() -> Iterator[None]:
    """Use matplotlib's defaults and our settings, whatever the user's are, to draw and save inside."""
    with matplotlib.style.context(["default", _SETTINGS]), warnings.catch_warnings():
        # characters that the font lacks are drawn as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def to_png(figure: Figure) -> bytes:
    """Return the figure as PNG, without date and library version."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi(), metadata={"Software": SIGNATURE})
    return content.getvalue()


def to_picture(
    figure: Figure, name: str, variant: str | None, caption: str, values: Sequence[Value] = ()
) -> Picture:
    """Return a figure as a picture; call it inside :func:`house_style`.

    Args:
        values: those that the page shows where a reader points at them; values outside the axes are left out.
    """
    png = to_png(figure)  # this lays the axes out
    return Picture(name, variant, caption, png, figure, tuple(_marks(figure, values)))


def _marks(figure: Figure, values: Sequence[Value]) -> Iterator[Mark]:
    for axes, x, y, text in values:
        place = axes.transData.transform((x, y))
        inside = axes.transAxes.inverted().transform(place)
        if all(-0.01 <= part <= 1.01 for part in inside):
            across, up = figure.transFigure.inverted().transform(place)
            yield Mark(round(float(across), 4), round(1 - float(up), 4), text)


def pixels_to_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels (H, W, 3) as PNG, without date and library version."""
    from PIL import Image, PngImagePlugin

    content, notes = io.BytesIO(), PngImagePlugin.PngInfo()
    notes.add_text("Software", SIGNATURE)
    Image.fromarray(pixels).save(content, format="png", dpi=(dpi(), dpi()), pnginfo=notes)
    return content.getvalue()


def to_vector(picture: Picture, kind: str) -> bytes:
    """Return the picture as ``svg`` or ``pdf``, the same bytes each time."""
    assert picture.figure is not None
    content, notes = io.BytesIO(), {"Creator": SIGNATURE, "Date": None}
    if kind == "pdf":
        notes = {"Creator": SIGNATURE, "CreationDate": None}
    with house_style(), matplotlib.rc_context({"svg.hashsalt": SIGNATURE}):
        picture.figure.savefig(content, format=kind, dpi=dpi(), metadata=notes)
    return content.getvalue()


def is_ours(content: bytes) -> bool:
    """Tell whether this PNG, SVG or PDF was drawn by a report."""
    signature = SIGNATURE.encode()
    if content.startswith(b"\x89PNG"):
        return signature in content[:512]
    if content.startswith(b"<?xml"):
        return signature in content[:4096]
    return content.startswith(b"%PDF") and b"/Creator (%b)" % signature in content


def canvas(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure of the common width and its axes, row by row.

    Args:
        height: inches.
        options: for ``Figure.subplots``.
    """
    figure = Figure(figsize=(width(), height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(axes.ravel())


def short(text: str, limit: int = 18) -> str:
    """Shorten text of unknown content: one line, no control characters, an ellipsis where it is cut."""
    clean = "".join(" " if char.isspace() else char for char in str(text))
    clean = "".join(char for char in clean if unicodedata.category(char)[0] != "C").strip()
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def as_percent(axis: Axis) -> None:
    """Label an axis of fractions in percent."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(100 * value, 6):g}"))


def as_plain(axis: Axis) -> None:
    """Label an axis with numbers such as 0.001 instead of powers of ten, and no minor ticks."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: ""))


def as_rows(axes: Axes, names: Sequence[str], texts: Sequence[str] = ()) -> None:
    """Name the rows of a figure, the first on top, and write a text to the right of each."""
    for place, text in enumerate(texts):
        axes.annotate(
            text, (1.03, place), xycoords=("axes fraction", "data"), va="center", fontsize=8,
            annotation_clip=False,
        )  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def colour_of(results: Results, variant: str) -> str:
    """Return a variant's colour, the same in all figures; grey where a study has too many to tell apart."""
    chosen = shown_variants(results, MOST_COLOURS)
    return colours()[chosen.index(variant)] if variant in chosen else FAINT


def legend(figure: Figure, axes: Axes, columns: int, title: str | None = None) -> None:
    """Write the legend of these axes below the figure, in fewer columns in a larger context."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        columns = max(1, int(min(columns, len(labels)) / _theme.get().growth + 0.3))
        options = {"title": title, "title_fontsize": 8}
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, **options)
