"""What a caller gets of a report: whether the runs that were asked for met the target, and which failed."""

from __future__ import annotations

import pytest

from harness.analysis.findings import MOST_COMPARED
from tests.lab import MakeLab

TARGET = {"test_accuracy": 0.9}


@pytest.mark.parametrize(("right", "met"), [((342, 342), True), ((342, 300), False), ((342,), False)])
def test_the_target_is_met_where_every_run_that_was_asked_for_reached_it(
    lab: MakeLab, right: tuple[int, ...], met: bool
) -> None:
    place = lab(target=TARGET, seeds=[0, 1])
    for seed, count in enumerate(right):
        place.finish("base", seed, logits=place.logits(count))
    assert place.findings().met is met


def test_runs_on_disk_that_were_not_asked_for_do_not_decide(lab: MakeLab) -> None:
    place = lab(target=TARGET)
    place.finish("base", 0, logits=place.logits(342))
    place.fail("base", 1)
    findings = place.findings(seeds=[0])
    assert findings.met and findings.failures == []
    assert "1 of 2 failed" in findings.verdicts[0]
    assert place.findings().failures == ["digits/base/seed-1: diverged: loss not finite (iteration 12)"]


def test_many_comparisons_are_counted_and_few_are_told(lab: MakeLab) -> None:
    variants = {f"v{at}": {"optimizer.momentum": at / 100} for at in range(MOST_COMPARED + 1)}
    place = lab(seeds=[0], variants=variants)
    for variant in list(place.study.recipes)[:-1]:
        place.finish(variant, 0, logits=place.logits(300))
    lines = place.findings().verdicts
    assert sum(line.startswith("digits: v") for line in lines) == MOST_COMPARED
    place.finish(list(variants)[-1], 0, logits=place.logits(300))
    lines = place.findings().verdicts
    assert f"digits: {MOST_COMPARED + 1} comparisons are in tables/comparisons.csv" in lines
    assert f"share the highest mean of {MOST_COMPARED + 2} variants; not tested with one seed" in lines[-1]
