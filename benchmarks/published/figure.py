"""``docs/results/overview.png``: every study's seeds beside what was published, a small panel each."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from PIL import Image

from benchmarks.published.page import device_name
from benchmarks.published.read import Published, Variant
from harness.report.statistics import describe
from harness.report.style import (
    COLOURS,
    FAINT,
    INK,
    TARGET_COLOUR,
    as_percent,
    canvas,
    house_style,
    short,
    to_png,
)

MOST_ROWS = 6  # variants of a panel
LEAST_SPAN = 0.02  # of an axis, so that equal lengths mean equal differences


def overview(published: Sequence[Published]) -> bytes:
    """PNG."""
    drawn = [
        (one, [variant for variant in one.variants if variant.finished or variant.other]) for one in published
    ]
    span = max([LEAST_SPAN, *(1.15 * _span(one, rows[:MOST_ROWS]) for one, rows in drawn)])
    height = 0.75 + 0.24 * max(min(len(rows), MOST_ROWS) for _, rows in drawn)
    lines = -(-len(drawn) // 2)
    with house_style():
        figure, panels = canvas(0.5 + lines * height, lines, 2)
        for axes, (one, rows) in zip(panels, drawn, strict=False):
            _panel(axes, one, rows, span)
        for axes in panels[len(drawn) :]:
            axes.set_axis_off()
        for axes in panels[max(0, len(drawn) - 2) : len(drawn)]:
            axes.set_xlabel("accuracy of the last epoch, percent", fontsize=8)
        figure.legend(handles=_legend(), loc="outside lower center", ncols=5)
        png = to_png(figure)
    content = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").quantize(32, dither=Image.Dither.NONE).save(content, "png", optimize=True)
    return content.getvalue()


def _values(one: Published, variants: Sequence[Variant]) -> list[float]:
    published = [reference.test_accuracy for reference in one.study.references.values()]
    measured = [value for variant in variants for value in variant.accuracies]
    other = [record["metrics"]["test_accuracy"] for variant in variants for record in variant.other]
    intervals = [
        end
        for variant in variants
        if (accuracy := describe(variant.accuracies))
        for end in (accuracy.ci_low, accuracy.ci_high)
    ]
    return [value for value in (*published, *measured, *other, *intervals) if value is not None]


def _span(one: Published, variants: Sequence[Variant]) -> float:
    values = _values(one, variants)
    return max(values) - min(values)


def _panel(axes: Axes, one: Published, variants: Sequence[Variant], span: float) -> None:
    rows, target = variants[:MOST_ROWS], one.study.target.test_accuracy
    for place, variant in enumerate(rows):
        axes.plot(variant.accuracies, [place] * len(variant.accuracies), "o", ms=5, color=COLOURS[0],
                  alpha=0.55, mec="none")  # fmt: skip
        other = [record["metrics"]["test_accuracy"] for record in variant.other]
        axes.plot(other, [place] * len(other), "o", ms=5, mfc="none", mec=FAINT)
        accuracy = describe(variant.accuracies)
        if accuracy and accuracy.ci_low is not None and accuracy.ci_high is not None:
            axes.plot([accuracy.ci_low, accuracy.ci_high], [place + 0.25] * 2, color=INK, lw=1.4)
            axes.plot(accuracy.mean, place + 0.25, "|", ms=7, mew=1.6, color=INK)
        for reference in one.study.references.values():
            if reference.test_accuracy is not None and reference.variant in (None, variant.name):
                axes.plot(reference.test_accuracy, place - 0.25, "v", ms=6, color=COLOURS[1])
    values = _values(one, rows)
    middle = (max(values) + min(values)) / 2
    axes.set_xlim(middle - span / 2, middle + span / 2)
    axes.set_ylim(len(rows) - 0.5, -0.6)
    axes.axvline(target, color=TARGET_COLOUR, ls="--", lw=1)
    axes.set_yticks(
        range(len(rows)),
        [_label(variant) for variant in rows],
        fontsize=7.5,
    )
    axes.grid(axis="y", visible=False)
    as_percent("x", axes)
    devices = dict.fromkeys(device_name(record) for variant in variants for record in variant.finished)
    held = any(record["provenance"]["data"]["evaluated_on"] == "holdout" for record in variants[0].finished)
    more = f", {len(rows)} of {len(variants)} variants" if len(variants) > len(rows) else ""
    axes.set_title(one.folder.name, pad=4)
    axes.set_title(f"{', '.join(devices)}{' · hold-out' if held else ''}{more}", loc="right", fontsize=7.5,
                   fontweight="normal", color=FAINT, pad=4)  # fmt: skip


def _label(variant: Variant) -> str:
    n = len(variant.finished)
    return f"{short(variant.name)}\nn = {n}" if n else short(variant.name)


def _legend() -> list[Line2D]:
    def mark(label: str, marker: str, **options: object) -> Line2D:
        return Line2D([], [], ls="", marker=marker, label=label, **options)  # type: ignore[arg-type]

    return [
        mark("a seed", "o", color=COLOURS[0], alpha=0.55, mec="none"),
        Line2D([], [], color=INK, lw=1.4, marker="|", ms=7, label="mean, 95 % interval"),
        mark("published", "v", color=COLOURS[1]),
        mark("the same on another device", "o", mfc="none", mec=FAINT),
        Line2D([], [], color=TARGET_COLOUR, ls="--", lw=1, label="target"),
    ]
