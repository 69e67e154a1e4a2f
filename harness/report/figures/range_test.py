"""A variant's learning-rate range test: its losses and accuracies, and the chosen rates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from harness.analysis.findings import Findings
from harness.analysis.runs import Row
from harness.report.figures import style
from harness.report.figures.style import Picture


@style.house_style()
def draw(findings: Findings, variant: str) -> Picture | None:
    """Draw loss and accuracy against the learning rate, raw and smoothed; None without a range test."""
    result = findings.results.range_tests.get(variant)
    if result is None or not result.rows:
        return None
    record, first = result.record, next(iter(findings.results.of(variant, "finished")), None)
    exponential = record.get("mode") == "exponential"
    lr = column(result.rows, "lr")
    figure, panels = style.canvas(3.4, 1, 2)
    for axes, name in zip(panels, ("loss", "accuracy"), strict=True):
        axes.plot(
            lr, column(result.rows, name), color=style.COLOURS[5], lw=0.8, alpha=0.7, label="each batch"
        )
        axes.plot(lr, column(result.rows, f"smoothed_{name}"), color=style.COLOURS[0], label="smoothed")
        if exponential:
            axes.set_xscale("log")
        style.as_plain(axes.xaxis)
        axes.set_xlabel("learning rate" + (" (log)" if exponential else ""))
        axes.axvline(record["lr_min"], color=style.COLOURS[2], ls="--", label=f"LRMIN {record['lr_min']:.3g}")
        axes.axvline(record["lr_max"], color=style.COLOURS[1], ls="--", label=f"LRMAX {record['lr_max']:.3g}")
        given = None if first is None or record.get("used") else first.number("lr_max")
        if given is not None:
            axes.axvline(given, color=style.COLOURS[6], ls=":", label=f"given {given:.3g}")
    panels[0].set_title("Loss")
    panels[0].set_ylabel("nats per image")
    panels[1].set_title("Accuracy")
    panels[1].set_ylabel("percent of the batch")
    style.as_percent(panels[1].yaxis)
    cut = _cut_explosion(panels[0], column(result.rows, "smoothed_loss"))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    role = "used by the runs" if record.get("used") else "not used: the study sets its rates itself"
    caption = (
        "Look for where the loss turns up and the accuracy down: LRMAX should lie just before it. "
        f"{len(result.rows)} training batches at {record.get('mode', '')} rates; LRMAX by the criterion "
        f"“{record.get('criterion', '')}”, LRMIN = LRMAX / {record.get('lr_min_divisor', 1):g}; {role}."
    )
    if cut:
        caption += " Losses above the frame are cut off."
    return style.to_picture(figure, "range_test", variant, caption)


def _cut_explosion(axes: Axes, smoothed: np.ndarray) -> bool:
    """Cut the loss axis where the sweep diverges, so that the part before it is readable."""
    finite = smoothed[np.isfinite(smoothed)]
    if not len(finite) or np.nanmax(finite) <= 3 * finite[0]:
        return False
    low = float(finite.min())
    axes.set_ylim(low - 0.1 * (finite[0] - low) - 0.02, 2 * float(finite[0]))
    return True


def column(rows: Sequence[Row], name: str) -> np.ndarray:
    """Return one column, (N,) float64, NaN where it is empty."""
    return np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)
