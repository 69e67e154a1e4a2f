"""The claim: ranked rows with the verdict of one rule, and a sentence that is true of the data."""

from __future__ import annotations

from typing import Any

import pytest

from harness.analysis.claim import claim_sentence, decision_rule, ranked_rows, shown_columns
from harness.analysis.headline import headline
from harness.analysis.units import Units
from harness.metrics import METRICS
from tests.lab import Lab, MakeLab

VARIANTS = {"wide": {"model.width": 6, "optimizer.momentum": 0.5}, "weak": {"model.width": 3}}


def finish(place: Lab, **right: list[int]) -> Lab:
    for variant, counts in right.items():
        for seed, count in enumerate(counts):
            place.finish(variant, seed, logits=place.logits(count))
    return place


def test_one_variant_is_one_sentence(lab: MakeLab) -> None:
    findings = finish(lab(), base=[330, 331, 332]).findings()
    assert claim_sentence(findings) == (
        "digits reached 91.9 ± 0.3 % accuracy (mean ± std, 3 seeds; target 70 % reached by 3 of 3) on the "
        "test split of scikit-learn's digits (360 images), after 4 epochs."
    )
    assert (
        shown_columns(ranked_rows(findings)) == ["variant", "score", "n", "reached"]
        and decision_rule(findings) == ""
    )


def test_the_leader_comes_first_with_the_test_against_the_baseline(lab: MakeLab) -> None:
    place = finish(lab(variants=VARIANTS), base=[300, 310, 305], wide=[330, 341, 334], weak=[298, 310, 306])
    findings = place.findings()
    rows = ranked_rows(findings)
    assert [(row.rank, row.variant, row.changes) for row in rows] == [
        ("1", "wide", "width = 6, momentum = 0.5"),
        ("2", "base", "–"),
        ("3", "weak", "width = 3"),
    ]
    assert rows[0].decision == "top: highest mean"
    assert {row.decision for row in rows[1:]} == {"significantly below the top"}
    said = claim_sentence(findings)
    assert said.startswith(
        "Of 3 variants of digits, wide has the highest mean: 93.06 ± 1.55 % accuracy (mean"
    )
    (wide, _) = findings.comparisons
    assert wide.result is not None and wide.verdict == "better"
    assert (
        "It is significantly better than base (84.72 ± 1.39 %, 3 seeds) by 8.33 points (95 % interval" in said
    )
    assert "paired t, n = 3 shared seeds, p = " in said and "after Holm" in said
    assert "p ≤ 0.05" in decision_rule(findings)


def test_a_baseline_that_leads_is_compared_with_the_next(lab: MakeLab) -> None:
    findings = finish(lab(variants={"weak": {}}), base=[330, 331, 335], weak=[331, 330, 333]).findings()
    assert ranked_rows(findings)[1].decision == "not significantly below the top (n = 3)"
    said = claim_sentence(findings)
    # the interval is of the sentence's subject: base minus weak
    low, high = findings.comparisons[0].interval
    assert low is not None and high is not None
    assert (
        f"is not significant: +0.19 points (95 % interval {-100 * high:+.2f} to {-100 * low:+.2f} points"
        in said
    )


def test_no_verdict_contradicts_the_comparisons(lab: MakeLab) -> None:
    place = finish(lab(variants=VARIANTS), base=[300, 325, 350], wide=[300, 322, 353], weak=[291, 317, 343])
    findings = place.findings()
    decisions = {row.variant: row.decision for row in ranked_rows(findings)}
    for comparison in findings.comparisons:
        decision = decisions[comparison.variant]
        if comparison.verdict == "worse":
            assert decision.startswith("significantly below")
        elif comparison.verdict == "cannot tell":
            assert decision != "significantly below base"


def test_failed_missing_and_single_runs_are_said(lab: MakeLab) -> None:
    place = finish(lab(variants=VARIANTS), base=[330], wide=[300, 310])
    place.fail("wide", 2)
    place.fail("weak", 0)
    rows = {row.variant: row for row in ranked_rows(place.findings())}
    assert (rows["base"].n, rows["base"].score) == ("1 (2 not finished)", "91.67")
    assert (rows["wide"].n, rows["wide"].reached) == ("2 (1 failed)", "2 of 3")
    assert rows["weak"].decision == "no finished run: 1 of 1 failed"
    assert "one run, so no ±; 2 planned runs not finished; target 70 % reached)" in claim_sentence(
        place.findings()
    )


def test_the_same_difference_with_every_seed_is_not_tested(lab: MakeLab) -> None:
    place = finish(lab(variants={"weak": {}}), base=[330, 331, 335], weak=[329, 330, 334])
    findings = place.findings()
    assert ranked_rows(findings)[1].decision == "not tested: the same difference with every seed"
    assert "is not tested over seeds: +0.28 points" in claim_sentence(findings)
    assert "This is not tested: the difference is the same with every seed." in headline(findings)


def test_one_run_each_is_said_to_be_untested_once(lab: MakeLab) -> None:
    findings = finish(lab(variants=VARIANTS), base=[330], wide=[338], weak=[320]).findings()
    said = claim_sentence(findings)
    assert said.count("not tested") == 1 and "McNemar" in said


def test_a_failed_baseline_leaves_a_claim_without_a_comparison(lab: MakeLab) -> None:
    place = finish(lab(variants=VARIANTS), wide=[330, 334, 331], weak=[331, 330, 333])
    for seed in range(3):
        place.fail("base", seed)
    said = claim_sentence(place.findings())
    assert "has the highest mean" in said and "difference" not in said and "significant" not in said


def test_a_tiny_difference_is_not_written_as_zero() -> None:
    units = Units(METRICS["accuracy"])
    assert units.signed(-0.00003) == "-0.003" and units.amount(0.00003) == "0.003 points"
    assert units.signed_interval(-0.00003, 0.0052) == "-0.00 to +0.52"


@pytest.mark.parametrize("variants", [{}, VARIANTS])
def test_without_a_finished_run_there_is_no_number(lab: MakeLab, variants: dict[str, Any]) -> None:
    place = lab(seeds=[0], variants=variants)
    place.fail("base", 0)
    said = claim_sentence(place.findings())
    assert said.startswith("digits has no result: 1 run failed") and "%" not in said
    assert all(row.rank == "–" for row in ranked_rows(place.findings()))


def test_other_metrics_keep_their_units_and_direction(lab: MakeLab) -> None:
    place = finish(lab(variants={"weak": {}}, target={"nll": 0.7}), base=[330, 331], weak=[300, 304])
    base, weak = ranked_rows(place.findings())
    assert (base.decision, weak.behind[0]) == ("top: lowest mean", "+")
    said = claim_sentence(place.findings())
    assert "has the lowest mean: 0.6" in said and " NLL (mean ± std" in said and "target 0.7 or less" in said
    assert "%" not in said.replace("95 % interval", "")


def test_the_hold_out_is_named(lab: MakeLab) -> None:
    place = lab(seeds=[0], data={"source": "digits", "batch_size": 160, "holdout": 360})
    data = {**place.record("base", 0)["provenance"]["data"], "evaluated_on": "holdout"}
    place.finish("base", 0, provenance={"data": data})
    assert "on 360 images held out of the train split of scikit-learn's digits" in claim_sentence(
        place.findings()
    )


def test_a_single_finished_variant_leads_nobody(lab: MakeLab) -> None:
    findings = finish(lab(variants=VARIANTS), wide=[330, 331, 332]).findings()
    assert claim_sentence(findings).startswith("Of 3 variants of digits, only wide has finished runs")
    assert ranked_rows(findings)[0].decision == "nothing to compare with"


def test_a_trial_is_not_called_by_the_studys_name(lab: MakeLab) -> None:
    trial = {"of": "digits", "changes": [{"key": "schedule.epochs", "value": 4, "before": 24}]}
    said = claim_sentence(finish(lab(trial=trial), base=[330]).findings())
    assert said.startswith("digits (trial: schedule.epochs = 4) reached 91.7 % accuracy (one run, so no ±")
