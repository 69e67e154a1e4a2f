"""``[target]`` and ``[references.NAME]``: a metric and its value, as a target or as published."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from harness.schema import Strict
from harness.study_file.values import Fraction, Name

METRIC_KEYS = ("accuracy", "balanced_accuracy", "top5_accuracy", "macro_f1", "auroc", "nll")


def _path(value: str) -> str:
    if value in METRIC_KEYS:
        raise ValueError(
            f"{value} is no metric of your own: every run has it, and a target writes `{value} = ...`"
        )
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", value):
        raise ValueError(f"expected package.module:name, such as my_package:my_metric, got {value[:80]!r}")
    return value


MetricPath = Annotated[str, AfterValidator(_path)]


class OfMetric(Strict):
    """A metric of the last epoch, and its value."""

    accuracy: Fraction | None = None
    """Accuracy as a fraction: 0.9 for 90 %."""
    balanced_accuracy: Fraction | None = None
    """Mean of the per-class accuracies, a fraction."""
    top5_accuracy: Fraction | None = None
    """Share of images whose class is among the five largest logits, a fraction; needs six classes or more."""
    macro_f1: Fraction | None = None
    """Mean of the per-class F1 scores, a fraction."""
    auroc: Fraction | None = None
    """Mean of the per-class areas under the ROC curve (one class against the rest), a fraction."""
    nll: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Negative log-likelihood in nats per image; lower is better."""
    metric: MetricPath | None = None
    """A metric of your own, `package.module:name` (docs/your-own.md), with `value`."""
    value: Annotated[float, Field(ge=-1e12, le=1e12)] | None = None
    """The value of `metric`."""
    test_accuracy: Fraction | None = Field(None, exclude=True, json_schema_extra={"deprecated": True})
    """Deprecated: the name of `accuracy` until version 0.2; version 0.4 will not read it."""

    @model_validator(mode="after")
    def _one_name_for_accuracy(self) -> Self:
        if self.test_accuracy is not None and self.accuracy not in (None, self.test_accuracy):
            raise ValueError("test_accuracy is the old name of accuracy: leave it out")
        for name in ("accuracy", "test_accuracy"):
            object.__setattr__(
                self, name, self.accuracy if self.test_accuracy is None else self.test_accuracy
            )
        return self

    @property
    def given(self) -> list[str]:
        """The metrics that have a number: keys of this table, or the import path."""
        named = [name for name in METRIC_KEYS if getattr(self, name) is not None]
        return named if self.metric is None else [*named, self.metric]

    @property
    def of(self) -> str:
        """The metric's name; of a reference without a number, that of accuracy."""
        return self.given[0] if self.given else "accuracy"

    @property
    def level(self) -> float | None:
        """Its number."""
        return self.value if self.metric is not None else getattr(self, self.of)

    def _check_one(self) -> None:
        if (self.metric is None) != (self.value is None):
            raise ValueError('metric goes with value: `metric = "my_package:my_metric", value = 0.5`')
        if len(self.given) > 1:
            raise ValueError(f"{' and '.join(self.given)} are given: name one metric")


class Target(OfMetric):
    """The target: exactly one metric, which a run should reach on its last epoch."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        self._check_one()
        if not self.given:
            names = ", ".join(METRIC_KEYS)
            raise ValueError(f"expected one metric, such as `accuracy = 0.9`, of {names}, metric and value")
        return self

    @property
    def level(self) -> float:
        """The number to reach."""
        level = super().level
        assert level is not None
        return level


class Reference(OfMetric):
    """A published result of the same recipe: a metric, a share of runs, or both."""

    statistic: Literal["mean", "median"] = "mean"
    """Whether the metric's value is the mean or the median of the runs."""
    at_least: Fraction | None = None
    """A value that `count` of the runs reached, of the metric named here; of accuracy if none is named."""
    count: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Number of runs that reached `at_least`."""
    runs: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Number of published runs."""
    variant: Name | None = None
    """The variant with the same recipe; by default all variants are compared with the reference."""
    source: str = Field("", max_length=2000)
    """Author and place of the publication."""

    def is_of(self, variant: str) -> bool:
        """Tell whether it was published of this variant's recipe."""
        return self.variant in (None, variant)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self._check_one()
        if (self.at_least is None) != (self.count is None):
            given, lacking = ("at_least", "count") if self.count is None else ("count", "at_least")
            raise ValueError(f"{given} goes with {lacking}: `at_least = 0.94, count = 35, runs = 50`")
        if self.level is None and self.at_least is None:
            raise ValueError("expected a metric, such as accuracy, or at_least and count")
        if self.level is None and self.statistic != "mean":
            raise ValueError("statistic says what the metric's number is: give one, such as accuracy, too")
        if "runs" not in self.model_fields_set and (self.count is not None or self.statistic != "mean"):
            raise ValueError("give runs too: how many were published")
        if self.count is not None and self.count > self.runs:
            raise ValueError(f"count is {self.count} of only {self.runs} runs")
        if self.at_least is not None and self.of == "nll":
            raise ValueError("at_least: of nll lower is better; leave at_least and count out")
        if self.statistic == "median" and self.at_least is not None and self.count is not None:
            half, reached = self.runs / 2, (self.level or 0) >= self.at_least
            if (reached and self.count < half) or (not reached and self.count > half):
                side = "at least" if reached else "below"
                raise ValueError(
                    f"a median {side} {self.at_least:g} cannot be with {self.count} of {self.runs} runs at it"
                )
        return self
