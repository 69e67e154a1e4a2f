"""Which figures a study gets, and what to say where one cannot be drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.analysis.results import Results
from harness.analysis.runs import Run
from harness.analysis.summary import VariantSummary
from harness.data.arrays import Data
from harness.errors import HarnessError
from harness.report import figures, galleries, rates, uncertainty
from harness.report.attribution import figure as attribution_figure
from harness.report.attribution.measures import MOST_VARIANTS, Attributions, attribution_wish
from harness.report.images import RunImages
from harness.report.style import Picture


def draw(
    results: Results,
    summaries: list[VariantSummary],
    images: RunImages,
    measured: Sequence[Attributions],
    formats: Sequence[str] = (),
) -> tuple[list[Picture], list[str]]:
    """Every figure of the study, and a note for each kind that is left out and why.

    Args:
        measured: what is known of the variants' Grad-CAM maps.
        formats: in which the figures will be wanted beside PNG; without any they are not kept.
    """
    notes: list[str] = []
    drawn = _pictures(results, summaries, images, measured, notes)
    # what a PNG was drawn from takes a hundred times its memory
    return [picture if formats else replace(picture, figure=None) for picture in drawn], notes


def _pictures(
    results: Results,
    summaries: list[VariantSummary],
    images: RunImages,
    measured: Sequence[Attributions],
    notes: list[str],
) -> Iterator[Picture]:
    """One after another; notes are added on the way."""
    shared = [
        figures.accuracy(results, summaries),
        figures.curves(results, summaries),
        uncertainty.comparisons(results),
    ]
    yield from (picture for picture in shared if picture is not None)
    by_variant = {one.variant: one for one in measured}
    variants = list(dict.fromkeys([*results.variants, *results.sweeps]))
    for variant in variants[:MOST_VARIANTS]:
        first = next(iter(results.of(variant, "finished")), None)
        sweep = results.sweeps.get(variant)
        if sweep is not None and sweep.rows:
            yield rates.range_test(sweep, first)
        if first is None:
            continue
        if (rate := rates.learning_rate(first)) is not None:
            yield rate
        yield figures.per_class(results, variant)
        yield figures.confusion(results, variant)
        yield uncertainty.calibration(results, variant)
        try:
            yield from _galleries(results, first, images(first))
        except HarnessError as error:
            notes.append(f"{variant}: no image galleries or Grad-CAM: {error}")
        if variant in by_variant:
            yield attribution_figure.attributions(by_variant[variant])
    if len(variants) > MOST_VARIANTS:
        notes.append(
            f"Own figures are drawn and attributions measured for the first {MOST_VARIANTS} of "
            f"{len(variants)} variants."
        )


def _galleries(results: Results, run: Run, data: Data) -> Iterator[Picture]:
    wish = attribution_wish(results, run)
    choice = galleries.choose(run, wish["images"])
    yield galleries.augmented(run, data.train)
    yield galleries.misclassified(choice, data.evaluation)
    if with_weights := results.with_weights(run.variant):
        choice = galleries.choose(with_weights[0], wish["images"])
        yield galleries.gradcam(choice, data.evaluation, wish["layers"])
