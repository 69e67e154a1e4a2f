"""What a variant's seeds say beside their mean: which runs count, and what mixed images leave out."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.analysis.findings import analyse
from harness.analysis.results import read_results
from harness.analysis.summary import Evidence, Missed, summarise
from harness.report.tables import build_tables
from harness.study_file.load import resolve

Lab = Callable[..., Any]


def evidence(lab: Any) -> Evidence | None:
    return summarise(read_results(lab.study, lab.folder, lab.study.seeds, ["base"]))[0].evidence


def logits(lab: Any, wrong: list[int], as_class: int = 1) -> np.ndarray:
    """Every image right but these, which are taken for the class that is ``as_class`` further on."""
    predicted = lab.data.evaluation.labels.copy()
    predicted[wrong] = (predicted[wrong] + as_class) % 10
    return np.eye(10)[predicted] * 3


def test_a_failed_run_has_not_reached_the_target_and_never_will(lab: Lab) -> None:
    place = lab()
    place.finish("base", 0, logits=logits(place, []))
    place.fail("base", 1)
    place.fail("base", 2)
    found = evidence(place)
    assert found is not None
    assert (found.epochs.reached, found.epochs.n, found.epochs.median) == (1, 3, None)


def test_times_to_the_target_are_those_of_the_first_epoch_that_reached_it(lab: Lab) -> None:
    place = lab()
    for seed, before in enumerate(([0.1, 0.2, 0.3], [0.1, 0.8, 0.2], [0.1, 0.2, 0.8])):
        place.finish("base", seed, logits=logits(place, []), before=before)
    found = evidence(place)
    assert found is not None
    assert (found.epochs.median, found.steps.median, found.seconds.median) == (3, 27, 4.5)


def test_a_target_that_was_changed_afterwards_decides_for_the_runs_that_are_there(lab: Lab) -> None:
    place = lab()
    place.finish("base", 0, logits=logits(place, []), before=[0.1, 0.8, 0.95])
    changed = resolve({**place.study.model_dump(exclude_none=True), "target": {"test_accuracy": 0.9}})
    results = read_results(changed, place.folder, [0], ["base"])
    found = summarise(results)[0].evidence
    assert found is not None
    assert (found.epochs.median, found.steps.median, found.seconds.median) == (3, 27, 4.5)
    (row,) = csv.DictReader(build_tables(analyse(results))["runs"].splitlines())
    assert (row["epochs_to_target"], row["seconds_to_target"]) == ("3", "4.5")


def test_a_run_that_missed_the_target_took_longer(lab: Lab) -> None:
    place = lab()
    place.finish("base", 0, logits=logits(place, []))
    for seed in (1, 2):
        place.finish("base", seed, logits=logits(place, list(range(200))))
    found = evidence(place)
    assert found is not None
    assert [(time.reached, time.n, time.median) for time in (found.epochs, found.steps, found.seconds)] == [
        (1, 3, None)
    ] * 3


def test_images_that_every_seed_misses_come_with_the_answer_most_agree_on(lab: Lab) -> None:
    place = lab()
    place.finish("base", 0, logits=logits(place, [3, 5, 7]))
    place.finish("base", 1, logits=logits(place, [5, 7, 9]))
    split = logits(place, [7, 11])
    split[5] = logits(place, [5], as_class=2)[5]
    place.finish("base", 2, logits=split)
    found = evidence(place)
    assert found is not None and found.missed is not None
    labels = place.data.evaluation.labels
    assert found.missed == (
        Missed(7, int(labels[7]), int(labels[7] + 1) % 10, 3),
        Missed(5, int(labels[5]), int(labels[5] + 1) % 10, 2),
    )
    # each single image is right for two of three, so the ensemble has these two wrong and no other
    assert found.ensemble_accuracy == pytest.approx(358 / 360)


def test_one_run_has_no_spread_no_ensemble_and_no_consistency(lab: Lab) -> None:
    place = lab(seeds=[0])
    place.finish("base", 0)
    found = evidence(place)
    assert found is not None
    assert (found.spread, found.ensemble_accuracy, found.error_consistency, found.missed) == (None,) * 4
    assert (found.p_above, found.ece.n, found.images) == (None, 1, 360)


def test_runs_on_different_images_have_nothing_in_common(lab: Lab) -> None:
    place = lab(seeds=[0, 1])
    place.finish("base", 0)
    place.finish("base", 1, logits=logits(place, [])[:100])
    found = evidence(place)
    assert found is not None
    assert (found.spread, found.ensemble_accuracy, found.error_consistency, found.missed) == (None,) * 4
    assert found.brier.n == 2


def test_without_a_finished_run_there_is_no_evidence(lab: Lab) -> None:
    place = lab()
    place.fail("base", 0)
    assert evidence(place) is None


def test_the_bootstrap_is_left_out_where_it_would_cover_too_rarely(lab: Lab) -> None:
    place = lab(seeds=list(range(50)))
    for seed in range(49):
        place.finish("base", seed, logits=logits(place, list(range(seed))))
    few = evidence(place)
    assert few is not None and few.bootstrap is None
    place.finish("base", 49, logits=logits(place, list(range(49))))
    enough = evidence(place)
    assert enough is not None and enough.bootstrap is not None
    assert enough.bootstrap[0] < 1 - 24.5 / 360 < enough.bootstrap[1]
