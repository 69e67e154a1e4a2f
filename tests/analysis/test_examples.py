"""Which images of a run are shown, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from harness.analysis.examples import choose_examples
from harness.analysis.results import read_results
from harness.analysis.runs import Run

Lab = Callable[..., Any]


def run_of(lab: Lab, wrong: dict[int, float], unsure: int = 0) -> Run:
    """A run that is right but for these images, whose wrong class has this lead, and unsure of one."""
    place = lab(seeds=[0])
    labels = place.data.evaluation.labels
    logits = np.eye(10)[labels] * 5
    logits[unsure] /= 4
    for index, lead in wrong.items():
        logits[index] = np.eye(10)[(labels[index] + 1) % 10] * lead
    place.finish(logits=logits)
    return read_results(place.study, place.folder, [0], ["base"]).runs[0]


def test_the_most_confident_errors_come_first_and_equal_ones_by_index(lab: Lab) -> None:
    run = run_of(lab, {50: 2.0, 7: 4.0, 9: 2.0, 200: 6.0})
    some = choose_examples(run, 3)
    assert some.wrong and some.indices.tolist() == [200, 7, 9]
    assert some.words() == "The 3 most confident of 4 errors of the run with seed 0"
    assert choose_examples(run, 25).words().startswith("All 4 errors")


def test_a_single_error_is_called_that(lab: Lab) -> None:
    assert choose_examples(run_of(lab, {50: 2.0}), 25).words() == "The one error of the run with seed 0"


def test_without_errors_the_least_confident_images_are_shown(lab: Lab) -> None:
    some = choose_examples(run_of(lab, {}, unsure=33), 25)
    assert not some.wrong and some.indices[0] == 33 and len(some.indices) == 25
    assert some.words().startswith("No image of the run with seed 0 is misclassified")
