"""A plan in words: a fraction's differences are in points, those of the loss plain."""

from __future__ import annotations

from harness.planning.needs import Need, Spread, StudyPlan
from harness.planning.words import as_text


def plan(metric: str) -> StudyPlan:
    need = Need("paired t", 0.0, 5, 10, None, 0.0123)
    return StudyPlan(
        "x", 0.02, 1, 2, 5, None, Spread(0.015, 0.01, 6, 5), None, None, "unknown", (need,), metric=metric
    )


def test_a_fraction_is_in_points() -> None:
    said = as_text([plan("accuracy")])
    assert said.startswith("x: to detect a difference of 2 points with 80 % power\n")
    assert "std over seeds: 1.5 points, the upper 80 % bound of 1 points" in said and "1.23 points" in said
    assert as_text([plan("macro_f1")]).startswith("x: to detect a difference of macro F1 of 2 points with")


def test_the_loss_is_plain() -> None:
    said = as_text([plan("nll")])
    assert said.startswith("x: to detect a difference of NLL of 0.02 with 80 % power\n")
    assert "std over seeds: 0.015, the upper 80 % bound of 0.01" in said and "0.0123" in said
    assert "points" not in said
