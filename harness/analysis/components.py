"""Where the variance over runs comes from: components of crossed designs, stds of single sources, pairing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.analysis.designs import Design, crossed_design
from harness.analysis.numbers import p_equals, several
from harness.analysis.results import Results
from harness.analysis.summary import VariantSummary
from harness.analysis.units import Units
from harness.metrics import ACCURACY
from harness.statistics.anova import EQUAL
from harness.statistics.comparison import ALPHA, holm
from harness.statistics.components import (
    Component,
    SharedLevel,
    crossed_components,
    shared_levels,
    single_component,
    total_variance,
    variance_ratio,
)
from harness.study_file.config import Recipe
from harness.study_file.vary import DEFAULT

REST = "the rest"
SEED = "the whole seed"
CROSSED, SINGLE = "crossed", "one at a time"


@dataclass(frozen=True)
class SourceVariance:
    """The variance that a source of randomness gives the target's metric in a variant.

    Attributes:
        design: ``crossed``, where every combination of levels was run; ``one at a time``, where these sources
            took the runs' seeds and the others were held.
        source: its name; several joined by `` + ``; or ``the rest`` of a crossed design.
        levels: of a crossed design's source.
        runs: finished ones that it is computed from.
        component: None where a crossed design's levels give the same results: the recipe does not use it.
        share: of the whole: of the sum of the components, those below 0 taken as 0; or of the variance of
            the variant that varies all of the sources.
        share_low, share_high: 95 % interval of the latter (F).
        p_holm: p of a crossed design's source after Holm's correction over the sources of its variant.
        images_std: std that independent errors on these images would give by themselves; of the rest, and of
            sources one at a time.
    """

    variant: str
    design: str
    source: str
    levels: int | None
    runs: int
    component: Component | None
    share: float | None = None
    share_low: float | None = None
    share_high: float | None = None
    images_std: float | None = None
    p_holm: float | None = None


@dataclass(frozen=True)
class Pairing:
    """What two variants gain in their comparison where runs share a source's level."""

    variant: str
    baseline: str
    source: str
    levels: int | None
    runs: int
    shared: SharedLevel


@dataclass(frozen=True)
class VarianceSources:
    """Everything that a study's runs say of where their variance comes from.

    Attributes:
        obstacles: a line for each crossed design that could not be computed.
    """

    components: list[SourceVariance] = field(default_factory=list)
    pairings: list[Pairing] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)


def variance_sources(results: Results, summaries: Sequence[VariantSummary]) -> VarianceSources:
    """Analyse every variant whose ``vary`` says more than the default."""
    found = VarianceSources()
    designs: dict[str, Design] = {}
    of_accuracy = results.metric.name == ACCURACY  # independent errors say nothing of other metrics
    images = {summary.variant: _images_std(summary) if of_accuracy else None for summary in summaries}
    for variant in results.variants:
        recipe = results.study.recipes.get(variant)
        if recipe is None or not isinstance(recipe.vary, dict):
            continue
        runs = results.of(variant, "finished")
        design = crossed_design(runs, results.by_seed(runs))
        if design is None:
            continue
        if lacking := design.lacking:
            found.obstacles.append(
                f"{variant}: {lacking} of {several(design.values.size, 'combination')} of levels "
                f"{'has' if lacking == 1 else 'have'} no finished run: its components are not computed"
            )
            continue
        designs[variant] = design
        found.components.extend(_crossed(variant, designs[variant], images.get(variant)))
    found.components.extend(_one_at_a_time(results, images))
    baseline = results.study.baseline
    for variant in designs:
        if variant != baseline and baseline in designs:
            found.pairings.extend(_pairings(variant, baseline, designs))
    return found


def _images_std(summary: VariantSummary) -> float | None:
    variance = summary.evidence and summary.evidence.variance
    return variance.independent_std if variance else None


def _crossed(variant: str, design: Design, images_std: float | None) -> list[SourceVariance]:
    runs, idle = design.values.size, design.idle
    used = design.without(idle)
    names = list(used.levels)
    if len(names) > 1:
        components = dict(zip([*names, REST], crossed_components(used.values), strict=True))
    elif names:  # all variance is its own
        values = used.values
        components = {names[0]: single_component(float(values.var(ddof=1)), len(values) - 1)}
    else:
        components = {}
    whole = math.fsum(component.std**2 for component in components.values())
    tested = {name: each.p for name, each in components.items() if each.p is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    rows = []
    for source in [*design.levels, *([REST] if REST in components else [])]:
        component = components.get(source)
        rows.append(
            SourceVariance(
                variant,
                CROSSED,
                source,
                design.levels.get(source),
                runs,
                component,
                share=None if component is None or not whole else component.std**2 / whole,
                images_std=images_std if source == REST else None,
                p_holm=corrected.get(source),
            )
        )
    return rows


def _one_at_a_time(results: Results, images: dict[str, float | None]) -> list[SourceVariance]:
    """Return the std of every variant with a list of sources, and its share of the one that has them all."""
    groups: dict[str, list[str]] = {}
    for variant in results.variants:
        recipe = results.study.recipes.get(variant)
        if recipe is not None and isinstance(recipe.vary, list):
            groups.setdefault(_all_but_vary(recipe), []).append(variant)
    rows = []
    for group in groups.values():
        sources = {variant: list(results.study.recipes[variant].varied) for variant in group}
        if all(names == list(DEFAULT) for names in sources.values()):
            continue
        every = set().union(*sources.values())
        whole = next((variant for variant in group if set(sources[variant]) == every), None)
        components = {variant: _component(results, variant) for variant in group}
        for variant, component in components.items():
            if component is None:
                continue
            base = None if whole in (None, variant) else components[whole or ""]
            ratio = None if base is None else variance_ratio(component, base)
            runs, of_images = len(results.by_seed(results.of(variant, "finished"))), images.get(variant)
            share, low, high = ratio or (None, None, None)
            source = " + ".join(sources[variant])
            rows.append(
                SourceVariance(variant, SINGLE, source, None, runs, component, share, low, high, of_images)
            )
    return rows


def _all_but_vary(recipe: Recipe) -> str:
    settings = recipe.range_test_settings
    rest = recipe.model_dump_json(exclude={"vary", "range_test"})
    return rest + ("" if settings is None else settings.model_dump_json(exclude={"per"}))


def _component(results: Results, variant: str) -> Component | None:
    values = list(results.by_seed(results.of(variant, "finished")).values())
    if len(values) < 2:
        return None
    width = max(values) - min(values)
    return single_component(float(np.var(values, ddof=1)) if width > EQUAL else 0.0, len(values) - 1)


def _pairings(variant: str, baseline: str, designs: dict[str, Design]) -> list[Pairing]:
    """Return what sharing each source gives; nothing where the levels differ or results do not vary."""
    ours, theirs = designs[variant], designs[baseline]
    if list(ours.levels.items()) != list(theirs.levels.items()):
        return []
    idle = set(ours.idle) & set(theirs.idle)
    one, two = ours.without(idle), theirs.without(idle)
    if len(one.levels) < 2 or any(total_variance(design.values) <= EQUAL**2 for design in (one, two)):
        return []
    shared, runs = shared_levels(one.values, two.values), ours.values.size
    return [
        Pairing(variant, baseline, source, one.levels.get(source), runs, each)
        for source, each in zip([*one.levels, SEED], shared, strict=True)
    ]


# ---- in words -------------------------------------------------------------------------------------------


def component_sentences(found: VarianceSources, units: Units) -> list[str]:
    """Say of each crossed design which source gives most, and what the rest is."""
    variants = dict.fromkeys(row.variant for row in found.components if row.design == CROSSED)
    return [_sentence([row for row in found.components if row.variant == name], units) for name in variants]


def _sentence(rows: Sequence[SourceVariance], units: Units) -> str:
    def amount(std: float) -> str:
        return f"{units.std(std, 2)}{units.of_difference}"

    variant = rows[0].variant
    known = [(row, row.component) for row in rows if row.component is not None]
    whole = math.sqrt(math.fsum(component.std**2 for _, component in known))
    if not whole:
        return f"{variant}: all runs have the same {units.metric.title}: no source gives any spread."
    ordered = sorted(known, key=lambda pair: -pair[1].variance)
    most, component = ordered[0]
    percent = f"{100 * (most.share or 0):.0f} % of the variance"
    size = f"{units.std(component.std, 2)} of {amount(whole)} ({percent})"
    degree = "most" if (most.share or 0) > 0.5 else "the largest part"
    if most.source != REST:
        text = f"{variant}: {degree} of the spread comes from the {most.source}: {size}, {_shown(most)}."
    else:
        text = f"{variant}: {degree} of the spread is not explained by any single source: {size}."
        if len(ordered) > 1 and (next_most := ordered[1])[1].variance > 0:
            row, own = next_most
            text += (
                f" The largest single source is the {row.source}: {amount(own.std)} "
                f"({100 * (row.share or 0):.0f} %), {_shown(row)}."
            )
    for idle in [row.source for row in rows if row.component is None]:
        text += f" The {idle} changes nothing in this recipe."
    rest = next((row for row in rows if row.source == REST), None)
    if rest is not None and rest.images_std is not None:
        text += (
            f" Errors that are independent from image to image would give {amount(rest.images_std)} "
            "of the rest by themselves."
        )
    return text


def _shown(row: SourceVariance) -> str:
    """Say whether a source is shown to give any variance."""
    if row.p_holm is None:
        return "not tested"
    told = "significantly above 0" if row.p_holm <= ALPHA else "not significantly above 0"
    return f"{told} ({p_equals(row.p_holm)} after Holm)"


def pairing_sentences(found: VarianceSources) -> list[str]:
    """Say of each pair of variants what sharing a seed gives, and by which source."""
    lines = []
    for pair in dict.fromkeys((row.variant, row.baseline) for row in found.pairings):
        rows = [row for row in found.pairings if (row.variant, row.baseline) == pair]
        gains = [(row, row.shared.gain) for row in rows if row.source != SEED]
        whole = next(row.shared.gain for row in rows if row.source == SEED)
        clear = [row.source for row, _ in gains if row.shared.low is not None and row.shared.low > 0]
        text = f"{pair[0]} against {pair[1]}: pairing runs by their seed {_effect(whole)}"
        text += (
            f"; sharing the {', the '.join(clear)} helps significantly"
            if clear
            else "; no single source helps significantly"
        )
        lines.append(f"{text}.")
    return lines


def _effect(gain: float) -> str:
    percent = round(100 * abs(gain))
    if not percent:
        return "changes the variance of a difference by less than 1 %"
    return (
        f"reduces the variance of a difference by {percent} %"
        if gain > 0
        else f"adds {percent} % to the variance of a difference"
    )
