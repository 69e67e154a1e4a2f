"""Figures of the learning rate: the range test that chose it, the cycle as planned, and every step as run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from harness.analysis.runs import Row, Run, Sweep
from harness.report.style import (
    COLOURS,
    TARGET_COLOUR,
    Picture,
    as_percent,
    as_plain,
    canvas,
    house_style,
    to_png,
)

Corners = list[tuple[float, float]]  # (epochs since the start, learning rate)
ZIGZAGS = 3


def range_test(sweep: Sweep, run: Run | None) -> Picture:
    """Loss and accuracy against the learning rate, raw and smoothed, with the rates that were chosen.

    Args:
        run: a finished run of the variant, for the rates that the study gives where it sets them itself.
    """
    record = sweep.record
    lr = column(sweep.rows, "lr")
    with house_style():
        figure, panels = canvas(3.4, 1, 2)
        for axes, name in zip(panels, ("loss", "accuracy"), strict=True):
            axes.plot(lr, column(sweep.rows, name), color=COLOURS[5], lw=0.8, alpha=0.7, label="each batch")
            axes.plot(lr, column(sweep.rows, f"smoothed_{name}"), color=COLOURS[0], label="smoothed")
            if record.get("mode") == "exponential":
                axes.set_xscale("log")
            as_plain("x", axes)
            axes.set_xlabel("learning rate" + (" (log)" if record.get("mode") == "exponential" else ""))
            axes.axvline(record["lr_min"], color=COLOURS[2], ls="--", label=f"LRMIN {record['lr_min']:.3g}")
            axes.axvline(record["lr_max"], color=COLOURS[1], ls="--", label=f"LRMAX {record['lr_max']:.3g}")
            used = None if run is None or record.get("used") else run.number("lr_max")
            if used is not None:
                axes.axvline(used, color=COLOURS[6], ls=":", label=f"given {used:.3g}")
        panels[0].set_title("Loss")
        panels[0].set_ylabel("nats per image")
        panels[1].set_title("Accuracy")
        panels[1].set_ylabel("percent of the batch")
        as_percent("y", panels[1])
        cut = _cut_explosion(panels[0], column(sweep.rows, "smoothed_loss"))
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        png = to_png(figure)
    role = "used by the runs" if record.get("used") else "not used: the study sets its rates itself"
    caption = (
        "Look for where the loss turns up and the accuracy down: LRMAX should lie just before it. "
        f"{len(sweep.rows)} training batches at {record.get('mode', '')} rates; LRMAX by the criterion "
        f"“{record.get('criterion', '')}”, LRMIN = LRMAX / {record.get('lr_min_divisor', 1):g}; {role}."
    )
    if cut:
        caption += " Losses above the frame are cut off."
    return Picture("range_test", sweep.variant, caption, png, figure)


def _cut_explosion(axes: Axes, smoothed: np.ndarray) -> bool:
    """Keep the interesting part readable where the sweep ends in divergence."""
    finite = smoothed[np.isfinite(smoothed)]
    if not len(finite) or np.nanmax(finite) <= 3 * finite[0]:
        return False
    low = float(finite.min())
    axes.set_ylim(low - 0.1 * (finite[0] - low) - 0.02, 2 * float(finite[0]))
    return True


def learning_rate(run: Run) -> Picture | None:
    """The zig-zag cycle, the planned one and every step's rate of a finished run; None without its rates."""
    rates, planned = run.rates, planned_corners(run)
    lr_min, lr_max = run.number("lr_min"), run.number("lr_max")
    if not planned or lr_min is None or lr_max is None:
        return None
    epochs = float(run.recipe["schedule"]["epochs"])
    steps = len(rates) / epochs
    with house_style():
        figure, panels = canvas(3.0, 1, 3, sharey=True)
        corners = np.linspace(0, epochs, 2 * ZIGZAGS + 1)
        panels[0].plot(corners, [lr_min, lr_max] * ZIGZAGS + [lr_min], color=COLOURS[3])
        panels[0].set_title("Zig-zag cycle (not used)")
        at, values = zip(*planned, strict=True)
        panels[1].plot(at, values, color=COLOURS[0], marker="o", ms=3.5)
        panels[1].set_title("As planned")
        panels[2].plot(
            (column(rates, "iteration") - 1) / steps, column(rates, "lr"), color=COLOURS[1], lw=1.2
        )
        panels[2].set_title(f"As run, {len(rates):,} steps")
        for axes in panels:
            for rate in {lr_min, lr_max}:
                axes.axhline(rate, color=TARGET_COLOUR, lw=0.8, ls="--", zorder=1)
            axes.set_xlabel("epochs since the start")
            axes.set_ylim(bottom=0)
        as_plain("y", panels[0])
        panels[0].set_ylabel("learning rate")
        png = to_png(figure)
    peak = max(planned, key=lambda corner: corner[1])
    caption = (
        f"Left, for comparison: {ZIGZAGS} cycles between LRMIN {lr_min:.4g} and LRMAX {lr_max:.4g} (dashed). "
        f"Middle: the schedule that the study asks for, {values[0]:.4g} to {peak[1]:.4g} at epoch "
        f"{peak[0]:.4g}, then {values[-1]:.4g}. "
        f"Right: the rate that the optimizer had at every step (seed {run.seed}), which should be the same."
    )
    highest = run.highest_rate
    if highest is not None and not math.isclose(highest[0], peak[1], rel_tol=1e-3):
        caption += (
            f" Its highest is {highest[0]:.4g}, at step {highest[1]:,}: the peak of the plan falls between "
            "two steps."
        )
    return Picture("learning_rate", run.variant, caption, png, figure)


def planned_corners(run: Run) -> Corners:
    """The schedule's corners as the recipe defines them, with the run's own rates; empty if unknown."""
    schedule: Mapping[str, Any] = run.recipe.get("schedule") or {}
    lr_min, lr_max = run.number("lr_min"), run.number("lr_max")
    if lr_min is None or lr_max is None or "epochs" not in schedule or not run.rates:
        return []
    epochs = float(schedule["epochs"])
    if schedule["kind"] == "constant":
        return [(0.0, lr_max), (epochs, lr_max)]
    if schedule["kind"] == "triangle":
        final = lr_min if schedule["final"] == "lr_min" else float(schedule["final"])
        return [(0.0, lr_min), (float(schedule["peak_epoch"]), lr_max), (epochs, final)]
    # torch's OneCycleLR: up = pct_start · T - 1 and the end at T - 1, counted in its own steps
    steps = len(run.rates) / epochs
    in_epoch = {"batch": steps, "epoch": 1.0, "batch_and_epoch": steps + 1}[schedule["step"]]
    total = schedule["total_steps"] or epochs * in_epoch
    end = lr_min / schedule["final_div_factor"]
    corners = [(0.0, lr_min), (schedule["pct_start"] * total - 1, lr_max), (total - 1, end)]
    return [(step / in_epoch, rate) for step, rate in corners]


def column(rows: Sequence[Row], name: str) -> np.ndarray:
    """One column, (N,) float64, NaN where it is empty."""
    return np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)
