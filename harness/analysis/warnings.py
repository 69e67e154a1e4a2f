"""Warn of runs of mixed origin, doubtful range tests, and Grad-CAM that fails a check."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.analysis.leakage import leakages
from harness.analysis.looks import compared_pairs
from harness.analysis.numbers import distinguishable, several
from harness.analysis.provenance import DECISIVE, THEN, UNKNOWN, counted, origin
from harness.analysis.results import Results
from harness.analysis.runs import Run
from harness.analysis.starts import answers
from harness.attribution.sanity import MOST
from harness.metrics import ACCURACY, title_of
from harness.store.folders import WEIGHTS

if TYPE_CHECKING:
    from harness.analysis.attributions import Attributions

# A sentence shows the beginning of a checksum; the table has all of it.
_CHECKSUM = re.compile(r"\b([0-9a-f]{16})[0-9a-f]{48}\b")


def study_warnings(results: Results, attributions: Sequence[Attributions]) -> list[str]:
    """Return every warning of a report."""
    origins = [(run, origin(run.record)) for run in results.finished]
    return [
        *(_CHECKSUM.sub(r"\1…", line) for line in _mixed_origins(origins) + _changed_under_way(origins)),
        *_doubtful_variants(results),
        *_doubtful_range_tests(results),
        *_unplanned_looks(results),
        *_another_metric(results),
        *_ties(results),
        *_leakage(results),
        *_without_weights(results),
        *sanity_warnings(attributions),
    ]


def sanity_warnings(attributions: Sequence[Attributions]) -> list[str]:
    """Name the checks that a variant's Grad-CAM maps fail, and at which layers: a line for each variant."""
    lines = []
    for maps in attributions:
        failed = [
            f"the model-randomisation check at {layers} (rank correlation above {MOST:g} with the maps of a "
            "network with newly drawn weights)"
            for layers in _failing(maps, "randomisation")
        ]
        for check, better in (("deletion", "lower"), ("insertion", "higher")):
            failed += [
                f"the {check} check at {layers} (its area is not {better} than that of random maps)"
                for layers in _failing(maps, check)
            ]
        if failed:
            lines.append(
                f"{maps.variant}: Grad-CAM fails {'; '.join(failed)}: do not use its maps there as an "
                f"explanation of the network ({maps.draws} draws, {maps.images} images, seed {maps.seed})."
            )
    return lines


def _failing(maps: Attributions, check: str) -> list[str]:
    """Return the layers that fail a check, with their numbers, in one text; none where all pass."""
    layers = []
    for layer in maps.numbers:
        if check in layer.failed:
            if check == "randomisation":
                value = distinguishable(layer.sanity or 0.0, MOST, 2)[0]
            else:
                value = " against ".join(distinguishable(*layer.areas(check), 3))
            layers.append(f"{layer.layer} ({value})")
    return [", ".join(layers)] if layers else []


def _mixed_origins(origins: Sequence[tuple[Run, dict[str, str]]]) -> list[str]:
    """Name what differs between the runs of a variant (part of its ±), else between variants."""
    lines = []
    for key in DECISIVE:
        values: dict[str, Counter[str]] = {}
        for run, properties in origins:
            if key == "data" and run.own_holdout:  # each has images of its own; the digest has their source
                continue
            values.setdefault(run.variant, Counter())[properties.get(key, UNKNOWN)] += 1
        mixed = [variant for variant, counts in values.items() if len(counts) > 1]
        if mixed:
            more = f", and of {len(mixed) - 1} more variants" if len(mixed) > 1 else ""
            which = f"The runs of {mixed[0]}{more} mix different {_plural(key)}"
            lines.append(f"{which}: {counted(values[mixed[0]])}.")
        elif key not in ("data", "batches") and len({next(iter(counts)) for counts in values.values()}) > 1:
            by_variant = "; ".join(f"{variant}: {next(iter(counts))}" for variant, counts in values.items())
            lines.append(f"The variants were run with different {_plural(key)}: {by_variant}.")
    return lines


def _changed_under_way(origins: Sequence[tuple[Run, dict[str, str]]]) -> list[str]:
    """Name every finished run that began and ended under different decisive conditions."""
    changed = [
        (run, [f"{key} {value}" for key, value in properties.items() if key in DECISIVE and THEN in value])
        for run, properties in origins
    ]
    return [
        f"{run.variant}/seed-{run.seed} was resumed under other conditions: {'; '.join(conditions)}."
        for run, conditions in changed
        if conditions
    ]


def _doubtful_variants(results: Results) -> list[str]:
    lines = []
    for variant in results.variants:
        if variant not in results.study.recipes:
            lines.append(f"{variant} has runs on disk, but is no longer a variant of this study.")
        records = [run.record for run in results.of(variant, "finished") if run.record]
        unmeasured = (text for run in results.of(variant, "finished") for text in run.unmeasured)
        doubts = dict.fromkeys([*(text for record in records for text in record.doubts), *unmeasured])
        lines += [f"{variant}: {text}." for text in doubts]
        if len(digests := {record.digest for record in records}) > 1:
            lines.append(
                f"{variant}: its runs come from {len(digests)} different configurations; "
                "its ± includes their differences."
            )
    return lines


def _doubtful_range_tests(results: Results) -> list[str]:
    return [
        f"{result.name}: range test: {text}"
        for result in results.all_range_tests
        for text in (
            *([result.error] if result.error else []),
            *(result.record.get("warnings") or []),
        )
    ]


def _unplanned_looks(results: Results) -> list[str]:
    """Name the comparisons whose looks were planned, changed or removed after they could be made."""
    study = results.study
    if not study.looks and not any(run.record and run.record.planned.get("looks") for run in results.runs):
        return []
    late = [
        f"{variant} against {baseline}"
        for (variant, baseline), answer in answers(results, compared_pairs(study)).items()
        if answer.late == "looks" or (answer.late and study.looks)
    ]
    if not late:
        return []
    more = f" and {len(late) - 1} more comparisons" if len(late) > 1 else ""
    return [
        f"The looks of {late[0]}{more} were planned, changed or removed after runs could be compared, so "
        "they count as unplanned."
    ]


def _another_metric(results: Results) -> list[str]:
    """Say how many runs were made while the target was of another metric."""
    planned = [run.record.planned for run in results.finished if run.record and run.record.planned]
    before = [one.get("metric", ACCURACY) for one in planned]
    others = [name for name in before if name != results.metric.name]
    if not others:
        return []
    titles = " and ".join(dict.fromkeys(map(title_of, others)))
    count = f"{len(others)} of {several(len(before), 'run')}"
    return [
        f"The target's metric is {results.metric.title}; {count} were planned when it was {titles}. A metric "
        "that is chosen after results are known finds differences too easily."
    ]


def _ties(results: Results) -> list[str]:
    """Warn of images whose largest logit is that of several classes; in bfloat16 there are many."""
    counts = [run.predictions.ties for run in results.finished if run.predictions is not None]
    if not any(counts):
        return []
    return [
        f"Ties: in {several(sum(map(bool, counts)), 'run')} of {len(counts)} up to {max(counts)} "
        "images have several classes with the largest logit; the first of them counts."
    ]


def _leakage(results: Results) -> list[str]:
    """Warn of images that are evaluated on and trained on; hold-outs that vary have numbers of their own."""
    said = [f"{text}." for found in leakages(results) for text in found.warnings]
    more = [f"{len(said) - 1} more data sets or hold-outs share images: tables/leakage.csv."]
    return [*said[:1], *(more if len(said) > 1 else [])]


def _without_weights(results: Results) -> list[str]:
    """Name the variants of which no finished run has its weights."""
    lacking = [
        variant
        for variant in results.variants
        if results.of(variant, "finished") and not results.with_weights(variant)
    ]
    return [f"No Grad-CAM of {', '.join(lacking)}: no run has its weights ({WEIGHTS})."] if lacking else []


def _plural(key: str) -> str:
    names = {
        "code": "code states", "threads": "thread counts", "data": "data", "batches": "batch pipelines",
        "python": "Python versions", "torch": "torch versions", "evaluated in": "precisions of evaluation",
    }  # fmt: skip
    return names.get(key, f"{key}s")
