"""A variant's learning rate: the schedule as planned, every step's rate, and a zig-zag cycle beside it."""

from __future__ import annotations

import math

import numpy as np
from pydantic import TypeAdapter

from harness.analysis.findings import Findings
from harness.analysis.runs import Run
from harness.report.figures import style
from harness.report.figures.range_test import column
from harness.report.figures.style import Picture, Value
from harness.schedule import Rates, Schedule, corners
from harness.study_file.schedules import AnySchedule, OwnSchedule

ZIGZAGS = 3
MOST_MARKED = 50  # corners; more are the rates of single steps


@style.house_style()
def draw(findings: Findings, variant: str) -> Picture | None:
    """Draw the rates of the variant's first finished run; None without such a run or without its rates."""
    run = next(iter(findings.results.of(variant, "finished")), None)
    if run is None:
        return None
    rates, lr_min, lr_max = run.rates, run.number("lr_min"), run.number("lr_max")
    if not rates or lr_min is None or lr_max is None:
        return None
    schedule: Schedule = TypeAdapter(AnySchedule).validate_python(run.recipe["schedule"])
    steps_per_epoch = len(rates) / schedule.epochs
    own = isinstance(schedule, OwnSchedule)  # its code may not be at hand, so the plan is not drawn
    planned = [] if own else corners(schedule, Rates(lr_min, lr_max), steps_per_epoch)
    figure, (left, right) = style.canvas(3.2, 1, 2, sharey=True)
    zigzag = np.linspace(0, schedule.epochs, 2 * ZIGZAGS + 1)
    left.plot(zigzag, [lr_min, lr_max] * ZIGZAGS + [lr_min], color=style.COLOURS[3])
    left.set_title("Triangular (not used)")
    others = findings.results.of(variant, "finished")[1:] if run.range_test is not None else []
    for other in others:
        at_step = (column(other.rates, "iteration") - 1) / steps_per_epoch
        right.plot(at_step, column(other.rates, "lr"), color=style.COLOURS[7], lw=0.6, alpha=0.6)
    if planned:
        marker = "o" if len(planned) <= MOST_MARKED else None
        corners_of_plan = zip(*planned, strict=True)
        right.plot(*corners_of_plan, color=style.FILL, marker=marker, ms=5, lw=4, alpha=0.6, label="planned")
    passed, as_run = (column(rates, "iteration") - 1) / steps_per_epoch, column(rates, "lr")
    right.plot(passed, as_run, color=style.COLOURS[1], lw=1.2, label=f"as run, {len(rates):,} steps")
    right.set_title("Schedule")
    style.legend(figure, right, 2)
    for axes in (left, right):
        for rate in {lr_min, lr_max}:
            axes.axhline(rate, color=style.TARGET_COLOUR, lw=0.8, ls="--", zorder=1)
        axes.set_xlabel("epochs since the start")
        axes.set_ylim(bottom=0)
    for rate, name in {lr_min: "LRMIN", lr_max: "LRMAX"}.items():
        right.annotate(
            f"{name}\n{rate:.3g}", (1.01, rate), xycoords=("axes fraction", "data"), va="center", fontsize=8,
            annotation_clip=False,
        )  # fmt: skip
    style.as_plain(left.yaxis)
    left.set_ylabel("learning rate")
    caption = (
        f"Left: for illustration, {ZIGZAGS} triangular cycles between LRMIN {lr_min:.4g} and LRMAX "
        f"{lr_max:.4g} (dashed). "
    )
    if planned:
        caption += _planned_and_run(planned, run)
    else:
        caption += f"Right: the rate of every step, of {schedule.kind} (seed {run.seed})."
    if others:
        caption += " Each run has its own LRMAX: thin lines are the other runs."
    some = slice(None, None, -(-len(rates) // MOST_MARKED))
    values = [
        Value(right, x, y, f"epoch {x:.3g}: learning rate {y:.4g}")
        for x, y in zip(passed[some].tolist(), as_run[some].tolist(), strict=True)
    ]
    return style.to_picture(figure, "learning_rate", variant, caption, values)


def _planned_and_run(planned: list[tuple[float, float]], run: Run) -> str:
    """Describe the schedule as planned, and its rates of every step."""
    peak = max(planned, key=lambda corner: corner[1])
    rise = (
        f"{planned[0][1]:.4g} to {peak[1]:.4g} at epoch {peak[0]:.4g}" if peak[0] else f"from {peak[1]:.4g}"
    )
    text = (
        f"Right, thick: the schedule of the study, {rise}, then {planned[-1][1]:.4g}; thin: the rate that "
        f"the optimizer had at every step (seed {run.seed}), which should be the same."
    )
    highest = run.highest_rate
    if highest is not None and not math.isclose(highest[0], peak[1], rel_tol=1e-3):
        text += (
            f" Its highest rate is {highest[0]:.4g}, at step {highest[1]:,}: the planned peak falls between "
            "two steps."
        )
    return text
