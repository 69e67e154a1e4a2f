"""Which figures a study gets, and the note where one is left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.analysis.attributions import MOST_VARIANTS, measure
from harness.analysis.findings import analyse
from harness.analysis.images import LoadData, RunImages
from harness.analysis.results import read_results
from harness.data.arrays import Data, limit
from harness.errors import DataError
from harness.report.drawing import draw
from harness.store.folders import WEIGHTS
from harness.study_file.config import Recipe
from tests.lab import digits

Lab = Callable[..., Any]
OWN = ["range_test", "learning_rate", "per_class", "confusion", "calibration"]
GALLERIES = ["augmented", "misclassified", "gradcam"]


def names(lab: Any, load_data: LoadData | None) -> tuple[list[str], list[str]]:
    results = read_results(lab.study, lab.folder, lab.study.seeds, list(lab.study.recipes))
    images = RunImages(results, load_data)
    pictures, notes = draw(analyse(results, attributions=measure(results, images)[0]), images)
    return [picture.name for picture in pictures], notes


@pytest.fixture
def place(lab: Lab) -> Any:
    """One finished run and a range test."""
    made = lab(seeds=[0], attribution={"layers": ["res2"], "images": 2})
    made.finish()
    made.sweep()
    return made


def test_a_finished_run_with_its_data_gets_every_figure(place: Any) -> None:
    assert names(place, place.load_data) == (["accuracy", "curves", *OWN, *GALLERIES, "attributions"], [])


@pytest.mark.parametrize("formats", [(), ("svg",)])
def test_what_a_png_was_drawn_from_is_kept_only_for_other_formats(place: Any, formats: tuple[str]) -> None:
    results = read_results(place.study, place.folder, [0], ["base"])
    pictures, _ = draw(analyse(results), RunImages(results, None), formats)
    assert [picture.figure is not None for picture in pictures] == [bool(formats)] * len(pictures)
    assert pictures


def gone(recipe: Recipe) -> Data:
    raise DataError("cifar10: not in the data folder")


@pytest.mark.parametrize(
    ("load_data", "reason"),
    [
        (None, "the report was made without the data"),
        (gone, "cifar10: not in the data folder"),
        (lambda _: replace(digits(), train=limit(digits().train, 100)), "(its checksum differs)"),
    ],
)
def test_without_the_runs_own_data_galleries_are_left_out_with_a_note(
    place: Any, load_data: Any, reason: str
) -> None:
    found, (note,) = names(place, load_data)
    assert found == ["accuracy", "curves", *OWN]
    assert note.startswith("base: no image galleries or Grad-CAM: ") and note.endswith(reason)


def test_a_layer_that_is_not_there_leaves_out_gradcam_alone(lab: Lab) -> None:
    place = lab(seeds=[0], attribution={"layers": ["no_such"], "images": 2})
    place.finish()
    found, (note,) = names(place, place.load_data)
    assert found[-2:] == ["augmented", "misclassified"]
    assert "no layer 'no_such'" in note


def test_without_weights_only_gradcam_is_left_out(lab: Lab) -> None:
    place = lab(seeds=[0], attribution={"layers": ["res2"], "images": 2}, variants={"other": {"loss.l1": 1}})
    for variant in ("base", "other"):
        (place.finish(variant) / WEIGHTS).unlink()
    found, notes = names(place, place.load_data)
    assert "gradcam" not in found and "attributions" not in found and notes == []
    assert found.count("augmented") == found.count("misclassified") == 2


def test_the_network_that_is_looked_into_is_the_first_with_weights(lab: Lab) -> None:
    place = lab(seeds=[0, 1], attribution={"layers": ["res2"], "images": 2})
    (place.finish("base", 0) / WEIGHTS).unlink()
    place.finish("base", 1)
    results = read_results(place.study, place.folder, [0, 1], ["base"])
    images = RunImages(results, place.load_data)
    (measured,), errors = measure(results, images)
    pictures, notes = draw(analyse(results, attributions=[measured]), images)
    captions = {picture.name: picture.caption for picture in pictures}
    assert (measured.seed, measured.seeds, errors, notes) == (1, (1,), {}, [])
    assert "run with seed 1" in captions["gradcam"] and "run with seed 0" in captions["misclassified"]


def test_a_failed_run_alone_gets_only_its_range_test(lab: Lab) -> None:
    place = lab(seeds=[0])
    place.fail("base", 0)
    place.sweep()
    assert names(place, place.load_data) == (["range_test"], [])


def test_many_variants_do_not_all_get_their_own_figures(lab: Lab) -> None:
    variants = {f"v{number}": {"loss.l1": 1e-6 * (number + 1)} for number in range(MOST_VARIANTS)}
    place = lab(seeds=[0], variants=variants)
    for variant in place.study.recipes:
        place.sweep(variant)
    found, notes = names(place, None)
    assert found == ["range_test"] * MOST_VARIANTS
    assert notes == [
        f"Figures of single variants, and Grad-CAM checks: the {MOST_VARIANTS - 1} with the best mean and "
        f"the baseline, of {MOST_VARIANTS + 1} variants."
    ]
