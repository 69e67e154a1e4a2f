"""What decides where n was not fixed in advance: planned looks, else e-values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from harness.analysis.comparisons import VariantComparison, compare_variants
from harness.analysis.evidence import Evidence
from harness.analysis.findings import analyse
from harness.analysis.sentences import sentence
from harness.analysis.starts import plan_of
from harness.statistics.anytime import confidence_sequence, e_value, failures_e_value
from harness.statistics.looks import look_bounds
from tests.lab import Lab, MakeLab

VARIANTS = {"wide": {"optimizer.momentum": 0.5}, "alike": {"optimizer.momentum": 0.4}}
RIGHT = [300, 302, 304, 301, 303, 305]  # of 360 images, by seed
CLEAR, SLIGHT = [5, 6, 7, 6, 5, 7], [3, 1, 4, 1, 5, 2]


def finish(place: Lab, variant: str, more: list[int], **planned: Any) -> None:
    """Finish a variant's first seeds, so many images better than the baseline's each."""
    for seed, images in enumerate(more):
        plan = {**plan_of(place.study), **planned}
        place.finish(variant, seed, logits=place.logits(RIGHT[seed] + images), planned=plan)


def comparisons(place: Lab) -> dict[str, VariantComparison]:
    return {one.variant: one for one in compare_variants(place.results())}


def evidence(comparison: VariantComparison) -> Evidence:
    assert comparison.evidence is not None
    return comparison.evidence


def differences(more: list[int]) -> list[float]:
    return [images / 360 for images in more]


def study(lab: MakeLab, **changes: Any) -> Lab:
    return lab(variants=VARIANTS, seeds=list(range(6)), range_test=None, augment={}, **changes)


def test_a_test_decides_once_where_all_seeds_were_planned_together(lab: MakeLab) -> None:
    place = study(lab)
    for variant, more in (("base", [0] * 6), ("wide", CLEAR), ("alike", SLIGHT)):
        finish(place, variant, more)
    wide = comparisons(place)["wide"]
    assert (evidence(wide).kind, evidence(wide).sign) == ("fixed n", None)
    assert wide.result is not None and wide.verdict == "better" and "after Holm" in sentence(wide, True)
    assert evidence(wide).e_value == pytest.approx(e_value(differences(CLEAR)), rel=1e-9)


def test_planned_looks_decide_in_place_of_p(lab: MakeLab) -> None:
    place = study(lab, looks=[3, 6])
    for variant, more in (("base", [0] * 6), ("wide", CLEAR), ("alike", SLIGHT)):
        finish(place, variant, more)
    alike = comparisons(place)["alike"]
    t = np.mean(SLIGHT) / (np.std(SLIGHT, ddof=1) / math.sqrt(6))
    needed = look_bounds([3, 6], 0.05 / 2)[1]
    assert evidence(alike).text == f"look 2 of 2 as planned: t = {t:.2f}, {needed:.2f} needed"
    assert alike.result is not None and alike.result.p_holm is not None
    assert (alike.result.p_holm <= 0.05) and alike.verdict == ("better" if t >= needed else "cannot tell")
    assert evidence(alike).text in sentence(alike, True) and "Holm" not in sentence(alike, True)


def test_the_interval_of_planned_looks_is_wider_by_their_bound(lab: MakeLab) -> None:
    place = study(lab, looks=[3, 6])
    for variant, more in (("base", [0] * 6), ("alike", SLIGHT)):
        finish(place, variant, more)
    found, error = evidence(comparisons(place)["alike"]), np.std(differences(SLIGHT), ddof=1) / math.sqrt(6)
    half = look_bounds([3, 6], 0.05)[1] * error
    assert (found.low, found.high) == pytest.approx(
        (np.mean(SLIGHT) / 360 - half, np.mean(SLIGHT) / 360 + half)
    )


def test_a_sentence_gives_the_difference_of_the_look_that_decided(lab: MakeLab) -> None:
    place = study(lab, looks=[3, 6])
    for variant, more in (("base", [0] * 6), ("wide", [6, 6, 7, 0, -5, -6])):
        finish(place, variant, more)
    wide = comparisons(place)["wide"]
    assert sentence(wide, False).startswith(
        "wide is significantly better than base by 1.76 points"
    )  # 19 of 3 x 360 images
    assert "n = 3 shared seeds; look 1 of 2" in sentence(wide, False)
    assert wide.result is not None and wide.result.smallest_difference is None


def test_seeds_added_after_looking_need_an_e_value(lab: MakeLab) -> None:
    place = study(lab)
    for variant, more in (("base", [0] * 6), ("alike", SLIGHT)):
        finish(place, variant, more[:3], seeds="0-2", at="2026-01-01T00:00:00+00:00")
        for seed in (3, 4, 5):
            plan = {**plan_of(place.study), "at": "2099-01-01T00:00:00+00:00"}
            place.finish(variant, seed, logits=place.logits(RIGHT[seed] + more[seed]), planned=plan)
    alike = comparisons(place)["alike"]
    value = e_value(differences(SLIGHT))
    assert value is not None and alike.result is not None and alike.result.p_holm is not None
    assert alike.result.p_holm <= 0.05 and value < 20 and alike.verdict == "cannot tell"
    assert "seeds were added after looking: e = " in sentence(alike, False)
    interval = confidence_sequence(differences(SLIGHT), 0.05)
    assert interval is not None and (evidence(alike).low, evidence(alike).high) == pytest.approx(interval)


def test_a_large_e_value_is_a_verdict(lab: MakeLab) -> None:
    place = study(lab)
    for variant, more in (("base", [0] * 6), ("wide", CLEAR)):
        finish(place, variant, more[:3], seeds="0-2", at="2026-01-01T00:00:00+00:00")
        for seed in (3, 4, 5):
            plan = {**plan_of(place.study), "at": "2099-01-01T00:00:00+00:00"}
            place.finish(variant, seed, logits=place.logits(RIGHT[seed] + more[seed]), planned=plan)
    wide = comparisons(place)["wide"]
    assert (evidence(wide).e_value or 0) > 20 and wide.verdict == "better"


def test_missing_runs_make_a_look_that_nobody_planned(lab: MakeLab) -> None:
    place = study(lab)
    for variant, more in (("base", [0] * 4), ("alike", SLIGHT[:4])):
        finish(place, variant, more)
    alike = comparisons(place)["alike"]
    assert evidence(alike).kind == "4 of 6 planned seeds" and alike.verdict == "cannot tell"


def test_the_margin_is_judged_at_the_looks_too(lab: MakeLab) -> None:
    place = study(lab, looks=[3, 6], margin=0.1)
    for variant, more in (("base", [0] * 6), ("wide", CLEAR), ("alike", SLIGHT)):
        finish(place, variant, more)
    found = comparisons(place)
    assert found["alike"].margin is not None and found["alike"].margin.verdict == "equivalent"
    assert (evidence(found["alike"]).beyond_minus, evidence(found["alike"]).beyond_plus) == (1, -1)


def test_a_ranking_excludes_nothing_that_the_evidence_does_not_show(lab: MakeLab) -> None:
    place = study(lab)
    for variant, more in (("base", [0] * 4), ("wide", [3, 4, 5, 3]), ("alike", [2, 1, 2, 1])):
        finish(place, variant, more)
    findings = analyse(place.results())
    assert [one.verdict for one in findings.comparisons] == ["cannot tell"] * 2
    assert all(ranked.possible for ranked in findings.ranking)
    assert all(ranked.place is not None and ranked.place.p is None for ranked in findings.ranking)


def test_failures_are_judged_by_an_e_value_too(lab: MakeLab) -> None:
    place = study(lab)
    for seed in range(5):
        plan = plan_of(place.study)
        place.finish("base", seed, logits=place.logits(300 + seed), planned=plan)
        if seed < 4:
            place.fail("wide", seed, planned=plan)
    wide = comparisons(place)["wide"]
    assert wide.failures is not None and wide.failures.e_value is not None
    assert wide.failures.e_value == failures_e_value([(True, False)] * 4) > 20
    assert wide.failures.verdict == "fails more often"
    assert "(e-value, valid at any n: e = " in sentence(wide, False)
