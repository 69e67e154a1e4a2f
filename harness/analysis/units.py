"""How the numbers of a metric are written: fractions in percent and points, others plainly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.analysis.numbers import decimals_of, plus_minus, std_text
from harness.metrics import ACCURACY, METRICS, Metric
from harness.study_file.targets import Target

if TYPE_CHECKING:
    from harness.statistics.distribution import Distribution


@dataclass(frozen=True)
class Units:
    """The unit of a metric. Decimals are those of percent; a plain number has two more.

    Differences and their intervals are given turned so that above 0 is better, as all tests take them, and
    are written as they were measured.
    """

    metric: Metric

    @property
    def scale(self) -> float:
        """The factor from a number to what is written."""
        return 100.0 if self.metric.share else 1.0

    @property
    def of_value(self) -> str:
        """What follows a value: `` %``, or nothing."""
        return " %" if self.metric.share else ""

    @property
    def of_difference(self) -> str:
        """What follows a difference: `` points``, or nothing."""
        return " points" if self.metric.share else ""

    def heading(self, text: str, *, difference: bool = False) -> str:
        """Write a column's heading: ``mean, %``, ``std, points``, and without a unit ``mean``."""
        unit = self.of_difference if difference else self.of_value
        return f"{text},{unit}" if unit else text

    def decimals(self, percent: int) -> int:
        """Return the decimals of a number that has so many in percent."""
        return percent if self.metric.share else percent + 2

    def value(self, value: float, decimals: int = 2) -> str:
        """Write ``93.40``, without a unit."""
        return f"{self.scale * value:.{self.decimals(decimals)}f}"

    def std(self, std: float | None, decimals: int = 3) -> str:
        """Write a std or a standard error, which is never written as 0 where it is not."""
        return std_text(None if std is None else self.scale * std, self.decimals(decimals))

    def interval(self, low: float | None, high: float | None) -> str:
        """Write ``92.92 to 93.60``."""
        return "–" if low is None or high is None else f"{self.value(low)} to {self.value(high)}"

    def signed(self, difference: float) -> str:
        """Write a difference as it was measured, with its sign: ``+0.52``; never as 0 where it is not."""
        number = self.scale * self.metric.oriented(difference) + 0.0  # no minus before a zero
        return f"{number:+.{decimals_of(number, self.decimals(2))}f}"

    def signed_interval(self, low: float, high: float) -> str:
        """Write ``-0.12 to +0.52``: the interval of a difference as it was measured."""
        ends = (low, high) if self.metric.higher_is_better else (high, low)
        numbers = (self.scale * self.metric.oriented(end) + 0.0 for end in ends)
        return " to ".join(f"{number:+.{self.decimals(2)}f}" for number in numbers)

    def amount(self, difference: float, decimals: int = 2) -> str:
        """Write the size of a difference: ``0.52 points``; never as 0 where it is not."""
        number = self.scale * abs(difference)
        return f"{number:.{decimals_of(number, self.decimals(decimals))}f}{self.of_difference}"

    def exact(self, value: float) -> str:
        """Write a study's own number as exactly as it was given: ``90 %``, ``0.3``."""
        return f"{round(self.scale * value, 10):g}{self.of_value}"

    def exact_amount(self, difference: float) -> str:
        """Write a study's own difference: ``0.2 points``, ``1 point``, ``0.002``."""
        text = f"{round(self.scale * difference, 10):g}"
        unit = self.of_difference.removesuffix("s" if text == "1" else "")
        return f"{text}{unit}"

    def goal(self, level: float) -> str:
        """Write what is to be reached: ``90 %``, ``0.3 or less``."""
        return self.exact(level) + ("" if self.metric.higher_is_better else " or less")

    def mean_std(self, values: Distribution, level: float | None = None, decimals: int = 1) -> str:
        """Write ``93.4 ± 0.2 %``, the ± being the std over seeds; ``93.4 %`` from one run.

        More decimals where the std or the distance to the level needs them: a std is written as 0 only where
        it is 0, and a mean that misses the level is never rounded to it.
        """
        mean, std = self.scale * values.mean, None if values.std is None else self.scale * values.std
        decimals = decimals_of(std or 0.0, self.decimals(decimals))
        most = self.decimals(4)
        while (
            level is not None
            and decimals < most
            and self._seems(mean, level, decimals) != (self.metric.reaches(values.mean, level))
        ):
            decimals += 1
        return f"{plus_minus(mean, std, decimals)}{self.of_value}"

    def _seems(self, mean: float, level: float, decimals: int) -> bool:
        """Tell whether a written mean looks as if it reached the level."""
        return self.metric.reaches(round(mean, decimals), self.scale * level)


def target_text(target: Target) -> str:
    """Write a study's target before any work, without a user's code: ``90.0%``, ``macro F1 90 %``."""
    if target.of not in METRICS:
        return f"{target.of} {target.level:g}"
    units = Units(METRICS[target.of])
    return (
        f"{target.level:.1%}" if target.of == ACCURACY else f"{units.metric.title} {units.goal(target.level)}"
    )


def accuracy_text(accuracy: Distribution, target: float, decimals: int = 1) -> str:
    """Write ``93.4 ± 0.2 %``: :meth:`Units.mean_std` of an accuracy."""
    return Units(METRICS[ACCURACY]).mean_std(accuracy, target, decimals)
