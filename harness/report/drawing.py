"""Which figures a study gets, and what to say where one cannot be drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.data.arrays import Data
from harness.errors import HarnessError
from harness.report import attribution_figure, figures, galleries, rates, uncertainty
from harness.report.attribution_measures import MOST_VARIANTS, Attributions, attribution_wish
from harness.report.images import RunImages
from harness.report.results import Results, Run
from harness.report.style import Picture
from harness.report.summary import VariantSummary


def draw(
    results: Results,
    summaries: list[VariantSummary],
    images: RunImages,
    measured: Sequence[Attributions],
) -> tuple[list[Picture], list[str]]:
    """Every figure of the study, and a note for each kind that is left out and why.

    Args:
        measured: what is known of the variants' Grad-CAM maps.
    """
    shared = [
        figures.accuracy(results, summaries),
        figures.curves(results, summaries),
        uncertainty.comparisons(results),
    ]
    pictures = [picture for picture in shared if picture is not None]
    notes: list[str] = []
    by_variant = {one.variant: one for one in measured}
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
        if variant in by_variant:
            pictures.append(attribution_figure.attributions(by_variant[variant]))
    if len(variants) > MOST_VARIANTS:
        notes.append(
            f"Own figures are drawn and attributions measured for the first {MOST_VARIANTS} of "
            f"{len(variants)} variants."
        )
    return pictures, notes


def _galleries(results: Results, run: Run, data: Data) -> Iterator[Picture]:
    wish = attribution_wish(results, run)
    choice = galleries.choose(run, wish["images"])
    yield galleries.augmented(run, data.train)
    yield galleries.misclassified(choice, data.evaluation)
    yield galleries.gradcam(choice, data.evaluation, wish["layers"])
