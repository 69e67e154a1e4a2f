"""The images of runs: read once, and only shown where they are what the run was made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.analysis.images import RunImages
from harness.analysis.results import Results, read_results
from harness.data.arrays import limit
from harness.errors import DataError

Lab = Callable[..., Any]


def results_of(lab: Any) -> Results:
    return read_results(lab.study, lab.folder, lab.study.seeds, list(lab.study.recipes))


def test_variants_with_the_same_data_share_one_reading_of_it(lab: Lab) -> None:
    place = lab(seeds=[0], variants={"other": {"loss.l1": 1e-5}})
    place.finish("base", 0)
    place.finish("other", 0)
    results, asked = results_of(place), []
    images = RunImages(results, lambda recipe: asked.append(recipe) or place.data)  # type: ignore[func-returns-value]
    assert [images(run) is place.data for run in results.finished] == [True, True]
    assert len(asked) == 1


def test_images_that_are_not_to_be_had_or_not_the_runs_are_refused(lab: Lab) -> None:
    place = lab(seeds=[0])
    place.finish()
    results = results_of(place)
    run = results.finished[0]
    with pytest.raises(DataError, match="without the data"):
        RunImages(results, None)(run)
    other = replace(place.data, train=limit(place.data.train, 100))
    with pytest.raises(DataError, match="checksum differs"):
        RunImages(results, lambda variant: other)(run)
