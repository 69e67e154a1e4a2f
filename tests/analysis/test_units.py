"""How a metric's numbers are written: shares in percent and points, others plainly."""

from __future__ import annotations

import pytest

from harness.analysis.units import Units, target_text
from harness.metrics import METRICS
from harness.statistics.distribution import describe
from harness.study_file.targets import Target

F1, NLL = Units(METRICS["macro_f1"]), Units(METRICS["nll"])


def test_shares_are_in_percent_and_the_loss_is_plain() -> None:
    assert (F1.value(0.9318), NLL.value(0.31234)) == ("93.18", "0.3123")
    assert (F1.heading("mean"), NLL.heading("mean")) == ("mean, %", "mean")
    assert (F1.heading("std", difference=True), NLL.heading("std", difference=True)) == ("std, points", "std")
    assert (F1.amount(-0.0052), NLL.amount(-0.0052)) == ("0.52 points", "0.0052")
    assert (F1.exact_amount(0.01), F1.exact_amount(0.002), NLL.exact_amount(0.01)) == (
        "1 point",
        "0.2 points",
        "0.01",
    )
    assert (F1.interval(0.9, 0.92), NLL.interval(0.3, None)) == ("90.00 to 92.00", "–")


def test_a_difference_is_written_as_it_was_measured() -> None:
    """Inside, above 0 is better: of the loss a negative difference."""
    assert (F1.signed(0.0052), NLL.signed(0.0052)) == ("+0.52", "-0.0052")
    assert F1.signed_interval(-0.01, 0.02) == "-1.00 to +2.00"
    assert NLL.signed_interval(-0.01, 0.02) == "-0.0200 to +0.0100"


def test_what_is_to_be_reached_says_the_direction() -> None:
    assert (F1.goal(0.9), NLL.goal(0.3)) == ("90 %", "0.3 or less")
    assert target_text(Target(accuracy=0.97)) == "97.0%"
    assert target_text(Target(nll=0.3)) == "NLL 0.3 or less"
    assert target_text(Target(metric="m:n", value=2.5)) == "m:n 2.5"  # without importing it


@pytest.mark.parametrize(
    ("values", "level", "text"),
    [
        ([0.2995, 0.3015], 0.3, "0.3005 ± 0.0014"),  # 0.300 would look as if it were reached
        ([0.2986, 0.3006], 0.3, "0.300 ± 0.001"),
        ([0.3004], 0.3, "0.3004"),
        ([0.25, 0.25], 0.3, "0.250 ± 0"),
        ([0.312, 0.31200001], 0.3, "0.31200001 ± 0.00000001"),
    ],
)
def test_a_mean_that_misses_the_target_is_not_rounded_to_it(
    values: list[float], level: float, text: str
) -> None:
    described = describe(values)
    assert described is not None and NLL.mean_std(described, level) == text
