"""Which figures a study gets, and what to say where one cannot be drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from harness.analysis.attributions import MOST_VARIANTS, Attributions
from harness.analysis.images import RunImages
from harness.analysis.results import Results
from harness.analysis.summary import VariantSummary
from harness.errors import HarnessError
from harness.report.figures import FIGURES
from harness.report.figures.style import Picture


def draw(
    results: Results,
    summaries: list[VariantSummary],
    images: RunImages,
    measured: Sequence[Attributions],
    formats: Sequence[str] = (),
) -> tuple[list[Picture], list[str]]:
    """Draw every figure of the study, and write a note for each kind that is left out and why.

    Args:
        measured: what is known of the variants' Grad-CAM maps.
        formats: in which the figures will be wanted beside PNG; without any they are not kept.
    """
    notes: list[str] = []
    by_variant = {one.variant: one for one in measured}
    variants = list(dict.fromkeys([*results.variants, *results.sweeps]))

    def pictures() -> Iterator[Picture | None]:
        for figure in FIGURES:
            if figure.needs == "study":
                yield figure.draw(results, summaries)
        for variant in variants[:MOST_VARIANTS]:
            yield from _of_variant(results, variant, images, by_variant, notes)

    # what a PNG was drawn from takes a hundred times its memory
    drawn = [one if formats else replace(one, figure=None) for one in pictures() if one is not None]
    if len(variants) > MOST_VARIANTS:
        notes.append(
            f"Own figures are drawn and attributions measured for the first {MOST_VARIANTS} of "
            f"{len(variants)} variants."
        )
    return drawn, notes


def _of_variant(
    results: Results,
    variant: str,
    images: RunImages,
    measured: Mapping[str, Attributions],
    notes: list[str],
) -> Iterator[Picture | None]:
    """Draw a variant's own figures; the first that cannot be drawn from its images leaves out the others."""
    finished = results.of(variant, "finished")
    with_images = bool(finished)
    for figure in FIGURES:
        if figure.needs == "variant":
            yield figure.draw(results, variant)
        elif figure.needs == "images" and with_images:
            try:
                yield figure.draw(results, variant, images(finished[0]))
            except HarnessError as error:
                notes.append(f"{variant}: no image galleries or Grad-CAM: {error}")
                with_images = False
        elif figure.needs == "attributions" and variant in measured:
            yield figure.draw(results, variant, measured[variant])
