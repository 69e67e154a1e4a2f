"""Runs that share levels or images: what is never mixed, and the interval that fits them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.analysis.designs import corrected_mean
from harness.analysis.runs import by_seed, same_images
from harness.metrics import METRICS
from harness.report.topics import variance
from harness.statistics.corrected import corrected_t, crossed_t
from tests.lab import Lab, MakeLab, sections, text

RATES = {"epochs": 4, "peak_epoch": 1, "lr_max": 0.1, "lr_min": 0.01}
SPLIT = {"evaluated_on": "holdout", "train_images": 1077, "evaluation_images": 360}


def held_out(lab: MakeLab, counts: list[int], draws: int | None = None, **changes: Any) -> Lab:
    """Runs with hold-outs of their own: ``draws`` of them, or one each; all with the same labels."""
    data: dict[str, Any] = {"source": "digits", "batch_size": 160, "holdout": 360}
    varied = {"vary": ["holdout", "order"]} if draws is None else {}
    data |= {} if draws is None else {"holdout_draws": draws}
    place = lab(seeds=list(range(len(counts))), schedule=RATES, data=data, **varied, **changes)
    for variant in place.study.recipes:
        for seed, right in enumerate(counts):
            recorded = {"data": {"sha256": f"{seed}", "source": "digits", **SPLIT}}
            place.finish(variant, seed, logits=place.logits(right), provenance=recorded)
    return place


def test_the_interval_of_several_hold_outs_is_nadeau_and_bengios(lab: MakeLab) -> None:
    counts = [300, 310, 290, 320]
    found = held_out(lab, counts).findings().summaries[0].accuracy
    expected = corrected_t([count / 360 for count in counts], 360 / 1077)
    assert found is not None and expected.interval is not None
    assert found.sem == expected.sem and found.sem > (found.std or 0) / 2
    assert (found.ci_low, found.ci_high) == (expected.interval[0], min(expected.interval[1], 1.0))


def test_runs_that_share_a_hold_out_are_averaged_first(lab: MakeLab) -> None:
    counts = [300, 310, 290, 320, 330, 280]  # hold-outs 0, 1, 2, 0, 1, 2
    place = held_out(lab, counts, draws=3)
    runs = place.results().of("base")
    assert [run.seeds.holdout for run in runs] == [0, 1, 2, 0, 1, 2]
    expected = corrected_t([310 / 360, 320 / 360, 285 / 360], 360 / 1077)
    found = corrected_mean(runs, by_seed(runs, METRICS["accuracy"]))
    assert found is not None and found.degrees == 2
    assert (found.mean, found.sem) == (pytest.approx(expected.mean), pytest.approx(expected.sem))


def test_independent_seeds_are_left_alone(lab: MakeLab) -> None:
    place = lab()
    for seed in (0, 1, 2):
        place.finish("base", seed)
    runs = place.results().of("base")
    assert corrected_mean(runs, by_seed(runs, METRICS["accuracy"])) is None
    found = place.findings().summaries[0]
    assert found.corrected is None and found.accuracy is not None
    assert found.accuracy.sem == pytest.approx(np.std(found.scores, ddof=1) / math.sqrt(3))


def test_different_hold_outs_are_never_put_together_even_with_equal_labels(lab: MakeLab) -> None:
    place = held_out(lab, [300, 310, 290])
    assert place.results().ensembles == {}
    evidence = place.findings().summaries[0].evidence
    assert evidence is not None
    assert (evidence.variance, evidence.ensemble_accuracy, evidence.missed) == (None, None, None)
    said = text(sections(place.findings(), variance))
    assert "base: the runs were evaluated on different images" in said
    assert not [line for line in place.findings().warnings if "mix different data" in line]


def test_runs_of_one_seed_share_their_hold_out_and_are_compared(lab: MakeLab) -> None:
    variants = {"other": {"loss.l1": 1e-5}, "fixed": {"vary": ["order"]}}
    place = held_out(lab, [300, 310, 290], variants=variants)
    results = place.results()
    base, other, fixed = (results.of(name) for name in ("base", "other", "fixed"))
    assert same_images([*base, *other])
    assert not same_images([*base, *fixed])
    obstacles = {each.variant: each.obstacle for each in place.findings().comparisons}
    assert obstacles == {"other": "", "fixed": "they were not evaluated on the same images"}


def test_the_comparison_of_crossed_designs_counts_levels_and_not_runs(lab: MakeLab) -> None:
    levels, seeds = {"initialisation": 4, "order": 3}, list(range(12))
    place = lab(seeds=seeds, vary=levels, variants={"other": {"loss.l1": 1e-5}})
    by_level = np.array([0, 8, -4, 12])  # the gain of the other recipe, by the initialisation
    gains = [int(by_level[seed % 4]) + seed // 4 % 2 for seed in seeds]
    for seed, gain in zip(seeds, gains, strict=True):
        place.finish("base", seed, logits=place.logits(300))
        place.finish("other", seed, logits=place.logits(300 + gain))
    (found,) = place.findings().comparisons
    expected = crossed_t(np.divide(gains, 360).reshape(3, 4).T, [0.0, 0.0])
    assert found.result is not None and found.verdict == "cannot tell"
    estimate = found.result.primary
    assert (estimate.low, estimate.high) == pytest.approx(expected.interval)
    assert estimate.p == pytest.approx(expected.p())
    plain = stats.ttest_1samp(gains, 0.0).pvalue
    assert estimate.p is not None and plain < 0.05 < estimate.p


def test_the_comparison_over_hold_outs_is_nadeau_and_bengios(lab: MakeLab) -> None:
    place = held_out(lab, [300, 310, 290], variants={"other": {"loss.l1": 1e-5}})
    split = {"data": {"source": "digits", **SPLIT}}
    for seed, right in enumerate((304, 312, 300)):
        recorded = {"data": {**split["data"], "sha256": f"{seed}"}}
        place.finish("other", seed, logits=place.logits(right), provenance=recorded)
    (found,) = place.findings().comparisons
    expected = corrected_t(np.divide([4, 2, 10], 360).tolist(), 360 / 1077)
    assert found.result is not None
    assert found.result.primary.p == pytest.approx(expected.p())
    assert (found.result.primary.low, found.result.primary.high) == pytest.approx(expected.interval)
