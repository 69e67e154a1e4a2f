"""Which figures a study gets, and what to say where one cannot be drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harness.data.arrays import Data
from harness.errors import DataError, HarnessError
from harness.report import figures, galleries, rates, uncertainty
from harness.report.results import Results, Run
from harness.report.style import Picture
from harness.report.summary import VariantSummary
from harness.store import canonical

# Every variant has eight figures of its own: a page of hundreds would be neither read nor opened.
MOST_VARIANTS = 8

LoadData = Callable[[str], Data]


def draw(
    results: Results, summaries: list[VariantSummary], load_data: LoadData | None
) -> tuple[list[Picture], list[str]]:
    """Every figure of the study, and a note for each kind that is left out and why.

    Args:
        load_data: the images of a variant of the study; None where there are none to show.
    """
    shared = [
        figures.accuracy(results, summaries),
        figures.curves(results, summaries),
        uncertainty.comparisons(results),
    ]
    pictures = [picture for picture in shared if picture is not None]
    notes: list[str] = []
    images = _Images(results, load_data)
    variants = list(dict.fromkeys([*results.variants, *results.sweeps]))
    for variant in variants[:MOST_VARIANTS]:
        first = next(iter(results.of(variant, "finished")), None)
        sweep = results.sweeps.get(variant)
        if sweep is not None and sweep.rows:
            pictures.append(rates.range_test(sweep, first))
        if first is None:
            continue
        pictures += [picture for picture in [rates.learning_rate(first)] if picture is not None]
        pictures += [figures.per_class(results, variant), figures.confusion(results, variant)]
        pictures.append(uncertainty.calibration(results, variant))
        try:
            pictures += _galleries(results, first, images(first))
        except HarnessError as error:
            notes.append(f"{variant}: no image galleries or Grad-CAM: {error}")
    if len(variants) > MOST_VARIANTS:
        notes.append(f"Own figures are drawn for the first {MOST_VARIANTS} of {len(variants)} variants.")
    return pictures, notes


def _galleries(results: Results, run: Run, data: Data) -> Iterator[Picture]:
    # What to look at is not part of a run: the study's present wish counts, else the run's own.
    recipe = results.study.recipes.get(run.variant)
    wish = recipe.attribution.model_dump() if recipe is not None else run.recipe["attribution"]
    choice = galleries.choose(run, wish["images"])
    yield galleries.augmented(run, data.train)
    yield galleries.misclassified(choice, data.evaluation)
    yield galleries.gradcam(choice, data.evaluation, wish["layers"])


class _Images:
    """The images that a run was made from; variants with the same data share one reading of it."""

    def __init__(self, results: Results, load_data: LoadData | None) -> None:
        self.results, self.load_data = results, load_data
        self.last: tuple[str, Data] | None = None

    def __call__(self, run: Run) -> Data:
        """The images of a finished run.

        Raises:
            DataError: they are not to be had, or are not the run's.
        """
        recipe = self.results.study.recipes.get(run.variant)
        if self.load_data is None:
            raise DataError("the report was made without the data")
        if recipe is None:
            raise DataError("the study has no such variant any more")
        key = canonical(recipe.data.model_dump(mode="json"))
        if self.last is None or self.last[0] != key:
            self.last = key, self.load_data(run.variant)
        data = self.last[1]
        if data.sha256 != run.record["provenance"]["data"]["sha256"]:
            raise DataError("the data is not what the run was made from (its checksum differs)")
        return data
