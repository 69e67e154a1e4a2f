"""All figures: the same bytes twice, nothing of a study without a finished run, a table behind each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.report.figures import FIGURES
from harness.report.figures.style import DPI, WIDTH
from harness.report.topics import TABLES
from tests.report.figures.conftest import drawn, size

Lab = Callable[..., Any]
SPECIAL = {"attributions", "variance_components"}  # of maps, of a crossed design
OF_RUNS = [figure.name for figure in FIGURES if figure.of != "images" and figure.name not in SPECIAL]


@pytest.fixture(scope="module")
def two(shared_lab: Lab) -> Any:
    """Two variants, of three runs and of one."""
    made = shared_lab(variants={"no_cutout": {"augment.train": []}})
    for seed in range(3):
        made.finish("base", seed)
    made.finish("no_cutout", 1)
    made.sweep("base")
    return made


@pytest.mark.parametrize("name", OF_RUNS)
def test_a_figure_is_the_same_bytes_twice(two: Any, name: str) -> None:
    first = drawn(two, name)
    same = first == drawn(two, name)
    assert first is not None and same and size(first)[0] == round(WIDTH * DPI)


@pytest.mark.parametrize("name", OF_RUNS)
def test_nothing_is_drawn_of_a_study_without_a_finished_run(lab: Lab, name: str) -> None:
    place = lab()
    place.fail("base", 0)
    assert drawn(place, name) is None


def test_every_source_of_a_figure_is_a_table() -> None:
    assert {figure.source for figure in FIGURES} - {""} <= {table.name for table in TABLES}
    assert len({figure.name for figure in FIGURES}) == len(FIGURES)
