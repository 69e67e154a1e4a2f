"""A variant's numbers over its seeds: which runs count, and what mixed images leave out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.analysis.summary import Missed, VariantEvidence, VariantSummary
from tests.lab import Lab, MakeLab


def summary(lab: Lab) -> VariantSummary:
    return lab.findings().summaries[0]


def evidence(lab: Lab) -> VariantEvidence:
    known = summary(lab).evidence
    assert known is not None
    return known


def logits(lab: Lab, wrong: list[int], as_class: int = 1) -> NDArray[np.float64]:
    """Every image right but these, which are taken for the class that is ``as_class`` further on."""
    predicted = lab.data.evaluation.labels.copy()
    predicted[wrong] = (predicted[wrong] + as_class) % 10
    return np.eye(10)[predicted] * 3


def test_a_failed_run_has_not_reached_the_target_and_never_will(lab: MakeLab) -> None:
    place = lab()
    place.finish("base", 0, logits=logits(place, []))
    place.fail("base", 1)
    place.fail("base", 2)
    share, epochs = summary(place).reached_share, evidence(place).epochs
    assert share is not None and (share.count, share.n) == (1, 3)
    assert (epochs.reached, epochs.n, epochs.median) == (1, 3, None)


def test_times_to_the_target_are_those_of_the_first_epoch_that_reached_it(lab: MakeLab) -> None:
    place = lab()
    for seed, before in enumerate(([0.1, 0.2, 0.3], [0.1, 0.8, 0.2], [0.1, 0.2, 0.8])):
        place.finish("base", seed, logits=logits(place, []), before=before)
    known = evidence(place)
    assert (known.epochs.median, known.steps.median, known.seconds.median) == (3, 27, 4.5)


def test_a_target_that_was_changed_afterwards_decides_for_the_runs_that_are_there(lab: MakeLab) -> None:
    place = lab(seeds=[0])
    place.finish("base", 0, logits=logits(place, []), before=[0.1, 0.8, 0.95])
    known = evidence(place.under(target={"test_accuracy": 0.9}))
    assert (known.epochs.median, known.steps.median, known.seconds.median) == (3, 27, 4.5)


def test_a_run_that_missed_the_target_took_longer(lab: MakeLab) -> None:
    place = lab()
    place.finish("base", 0, logits=logits(place, []))
    for seed in (1, 2):
        place.finish("base", seed, logits=logits(place, list(range(200))))
    known = evidence(place)
    for time in (known.epochs, known.steps, known.seconds):
        assert (time.reached, time.n, time.median) == (1, 3, None)


def test_images_that_every_seed_misses_come_with_the_answer_most_agree_on(lab: MakeLab) -> None:
    place = lab()
    place.finish("base", 0, logits=logits(place, [3, 5, 7]))
    place.finish("base", 1, logits=logits(place, [5, 7, 9]))
    split = logits(place, [7, 11])
    split[5] = logits(place, [5], as_class=2)[5]
    place.finish("base", 2, logits=split)
    labels = place.data.evaluation.labels
    assert evidence(place).missed == (
        Missed(7, int(labels[7]), int(labels[7] + 1) % 10, 3),
        Missed(5, int(labels[5]), int(labels[5] + 1) % 10, 2),
    )
    # each single image is right for two of three, so the ensemble has these two wrong and no other
    assert evidence(place).ensemble_accuracy == 358 / 360


def test_one_run_has_no_spread_no_ensemble_and_no_consistency(lab: MakeLab) -> None:
    place = lab(seeds=[0])
    place.finish("base", 0)
    known = evidence(place)
    assert (known.variance, known.ensemble_accuracy, known.error_consistency, known.missed) == (None,) * 4
    assert (known.p_above, known.ece.n, known.images) == (None, 1, 360)


def test_runs_on_different_images_have_nothing_in_common(lab: MakeLab) -> None:
    place = lab(seeds=[0, 1])
    place.finish("base", 0)
    place.finish("base", 1, logits=logits(place, [])[:100])
    known = evidence(place)
    assert (known.variance, known.ensemble_accuracy, known.error_consistency, known.missed) == (None,) * 4
    assert known.brier.n == 2


def test_without_a_finished_run_there_is_no_evidence(lab: MakeLab) -> None:
    place = lab()
    place.fail("base", 0)
    assert summary(place).evidence is None


def test_the_bootstrap_is_left_out_where_it_would_cover_too_rarely(lab: MakeLab) -> None:
    place = lab(seeds=list(range(50)))
    for seed in range(49):
        place.finish("base", seed, logits=logits(place, list(range(seed))))
    assert evidence(place).bootstrap is None
    place.finish("base", 49, logits=logits(place, list(range(49))))
    low, high = evidence(place).bootstrap or (1, 0)
    assert low < 1 - 24.5 / 360 < high
