"""The checks of a variant's Grad-CAM: randomised weights, and deletion and insertion of pixels."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from harness.analysis.attributions import Attributions, LayerNumbers
from harness.analysis.findings import Findings
from harness.attribution.faithfulness import STEPS
from harness.attribution.sanity import MOST
from harness.report.figures import style
from harness.report.figures.style import Picture

MOST_LAYERS = 12
COLUMNS = 3
MARKERS = "osD^vPX*<>hd"
CURVES = (
    (style.COLOURS[0], "deletion", "-"),
    (style.COLOURS[1], "insertion", "-"),
    (style.COLOURS[0], "deletion, random maps", "--"),
    (style.COLOURS[1], "insertion, random maps", "--"),
)


@style.house_style()
def draw(findings: Findings, variant: str) -> Picture | None:
    """Draw all layers' randomisation curves above, and each layer's deletion and insertion curves below.

    Returns:
        None where the variant's maps were not measured.
    """
    measured = next((maps for maps in findings.attributions if maps.variant == variant), None)
    if measured is None:
        return None
    drawn = min(len(measured.layers), MOST_LAYERS)
    columns = min(COLUMNS, drawn)
    rows = -(-drawn // columns)
    heights = [2.9, 0.5 + 1.75 * rows]
    figure = Figure(figsize=(style.width(), sum(heights)), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights, hspace=0.03).ravel()
    _randomisation(above.subplots(), measured, drawn)
    panels = below.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    means = measured.network.curves.mean(axis=2)
    for at, (axes, row) in enumerate(zip(panels, measured.numbers[:drawn], strict=False)):
        _faithfulness(axes, row, means[:, at])
        axes.tick_params(labelbottom=at + columns >= drawn)
    for axes in panels[drawn:]:
        axes.set_visible(False)
    below.supxlabel("pixels deleted or inserted, percent", fontsize=9)
    below.supylabel("probability of the\ntrue class, percent", fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    below.legend(
        handles, labels, loc="outside upper center", ncols=len(labels) if style.width() == style.WIDTH else 2
    )
    limit = f" The first {drawn} of {len(measured.layers)} layers." if drawn < len(measured.layers) else ""
    images = f"first {measured.images} evaluation images" if measured.images > 1 else "first evaluation image"
    caption = (
        f"Run with seed {measured.seed}, the {images}, Grad-CAM of the true class.{limit} Above: mean rank "
        "correlation with the trained network's maps while the blocks, the head first, get random weights "
        f"(mean of {measured.draws} draws). After the last block it should be near 0; above the dashed line "
        "the randomisation check fails. Below: the class's probability as the pixels that a layer's"
        " map ranks highest are replaced by the mean colour (deletion), or shown alone (insertion); dashed:"
        " in the order of random maps of the layer's own resolution. A good map falls faster (deletion) and"
        " rises faster (insertion) than these. A layer's title names the checks that it fails."
    )
    return style.to_picture(figure, "attributions", variant, caption)


def _randomisation(axes: Axes, measured: Attributions, drawn: int) -> None:
    stages = ["none", *(style.short(name, 12) for name in measured.network.stages)]
    for at in range(drawn):
        values = [1.0, *measured.randomisation[:, at].tolist()]
        axes.plot(
            range(len(stages)),
            values,
            color=style.colours()[at % style.MOST_COLOURS],
            marker=MARKERS[at],
            ms=4.5,
            ls="-" if at < style.MOST_COLOURS else "--",
            label=style.short(measured.layers[at], 16),
        )
    axes.axhline(MOST, color=style.TARGET_COLOUR, ls="--", lw=1)
    axes.annotate(
        "a layer that ends above fails",
        (0.995, MOST),
        (0, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=style.TARGET_COLOUR,
    )
    axes.axhline(0, color=style.INK, lw=0.8)
    lowest = np.nanmin(measured.randomisation, initial=0.0)
    axes.set_ylim(min(-0.25, lowest - 0.1), 1.06)
    axes.set_xticks(
        range(len(stages)), [stages[0], *(f"+ {name}" for name in stages[1:])], rotation=30, ha="right"
    )
    axes.set_xlabel("blocks with newly drawn weights")
    axes.set_ylabel("rank correlation with\nthe trained network's maps")
    axes.set_title("Randomised weights")
    axes.legend(title="Grad-CAM at", loc="upper left", bbox_to_anchor=(1.0, 1.02), alignment="left")


def _faithfulness(axes: Axes, row: LayerNumbers, curves: np.ndarray) -> None:
    share = np.linspace(0, 1, STEPS + 1)
    for values, (colour, name, dashes) in zip(curves, CURVES, strict=True):
        axes.plot(share, values, color=colour, ls=dashes, lw=1.8 if dashes == "-" else 1.1, label=name)
    failed = " and ".join(check for check in row.failed if check != "randomisation")
    axes.set_title(style.short(row.layer, 24) + (f"\n{failed} failed" if failed else ""))
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_locator(MultipleLocator(0.25))
    style.as_percent(axes.xaxis)
    style.as_percent(axes.yaxis)
