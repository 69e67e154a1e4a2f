"""Results of several folders as one comparison: the tests that a report makes of variants, and a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.analysis import ranking as ranks
from harness.analysis.comparisons import VariantComparison
from harness.analysis.findings import Findings, analyse
from harness.analysis.numbers import several
from harness.analysis.parameters import (
    Difference,
    data_differences,
    digest_of,
    environment_differences,
    parameter_differences,
)
from harness.analysis.results import Results
from harness.analysis.sentences import sentence
from harness.analysis.sides import Side, common_target, find_sides, read_sides
from harness.analysis.summary import VariantSummary
from harness.metrics import title_of
from harness.study_file.config import Study
from harness.study_file.targets import Target


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Results that were compared with each other; the first is the baseline.

    Attributes:
        findings: those of a report whose variants are the sides.
        parameters, environment, data: the keys whose values differ.
    """

    sides: tuple[Side, ...]
    findings: Findings
    parameters: tuple[Difference, ...]
    environment: tuple[Difference, ...]
    data: tuple[Difference, ...]

    @property
    def labels(self) -> list[str]:
        """The names of the sides, the baseline first."""
        return [side.label for side in self.sides]

    @property
    def comparisons(self) -> list[VariantComparison]:
        """Each side against the first."""
        return self.findings.comparisons

    @property
    def sentence(self) -> str:
        """The results and what the tests show, in sentences to copy."""
        return " ".join(self.sentences)

    @cached_property
    def sentences(self) -> list[str]:
        """The same: first the results, then a sentence for each comparison, and the ranking of several."""
        summaries = {summary.variant: summary for summary in self.findings.summaries}
        reached = _reached([summaries[label] for label in self.labels])
        same = [label for side, label in zip(self.sides, self.labels, strict=True) if self._equal(side)]
        lines = [
            f"{_and([self.labels[0], *same])} are identical: the same configuration and the same "
            f"predictions, {several(len(self.sides[0].finished), 'run')} each"
        ] if same else []  # fmt: skip
        tested = [one for one in self.comparisons if one.variant not in same]
        lines += [sentence(one, len(self.findings.compared) > 1) for one in tested]
        if len(self.labels) > 2 and self.findings.ranking:
            lines.append(ranks.sentence(self.findings.ranking, self.findings.results.metric))
        return [f"{line}." for line in [reached, *lines] if line]

    @cached_property
    def notes(self) -> list[str]:
        """What a reader of the tests has to know: what is not the same, what failed, what was left out."""
        return [
            *_metric_notes(self.sides, self.findings.results.study.target),
            *self._data_notes(),
            *self._configuration_notes(),
            *_runs_notes(self.sides),
        ]

    def _equal(self, side: Side) -> bool:
        """Tell whether a further side has the runs of the first: equal configurations and predictions."""
        first = self.sides[0]
        if side is first or not first.finished:
            return False
        ours, theirs = (
            {
                run.seed: (run.record.digest, run.record.files.get("predictions.npz"))
                for run in each.finished
                if run.record is not None
            }
            for each in (first, side)
        )
        return ours == theirs and all(predictions for _, predictions in ours.values())

    def _data_notes(self) -> list[str]:
        summaries = self.findings.summaries
        if len({summary.evaluated_on for summary in summaries if summary.finished}) > 1:
            on = ", ".join(
                f"{summary.variant} on {'a' if summary.split == 'hold-out' else 'the'} {summary.split}"
                for summary in summaries
                if summary.finished
            )
            return [
                f"Numbers of a hold-out and of the test split cannot be compared: {on}. Evaluate both on "
                "the same images."
            ]
        if any(each.key == "data" for each in self.data):
            return [
                "The data differ (SHA-256): neither the runs of one seed nor the images are taken as pairs."
            ]
        return []

    def _configuration_notes(self) -> list[str]:
        digests = [digest_of(side) for side in self.sides]
        if None not in digests and len(set(digests)) == 1:
            return [f"The configuration is the same (digest {str(digests[0])[:12]})."]
        return [
            f"The runs of {side.label} have {len(found)} configurations: its ± mixes them with the seeds."
            for side in self.sides
            if len(found := {run.record.digest for run in side.finished if run.record is not None}) > 1
        ]


def _reached(summaries: Sequence[VariantSummary]) -> str:
    """Write ``a reached 93.85 ± 0.17 % and b 94.07 ± 0.18 % test accuracy (...)``; empty without numbers."""
    known = [summary for summary in summaries if summary.score is not None]
    if not known:
        return ""
    splits = list(dict.fromkeys(summary.split for summary in known))
    parts: list[str] = []
    counts: list[int] = []
    for summary in known:
        assert summary.score is not None
        verb = " reached" if not parts else ""
        lost = f" ({summary.failed} of {summary.runs} failed)" if summary.failed else ""
        value = summary.units.mean_std(summary.score, decimals=2)
        where = f" on the {summary.split} images" if len(splits) > 1 else ""
        parts.append(f"{summary.variant}{verb} {value}{where}{lost}")
        counts.append(summary.score.n)
    title = known[0].metric.title
    what = f" {splits[0]} {title} (" if len(splits) == 1 else f" ({title}, "
    if max(counts) == 1:
        n = "one run" if len(known) == 1 else "one run each"
    else:
        each = " each" if len(known) > 1 else ""
        numbers = f"{counts[0]} seeds{each}" if len(set(counts)) == 1 else f"{_and(counts)} seeds"
        n = f"mean ± std, {numbers}"
    return f"{_and(parts)}{what}last epoch, {n})"


def _and(parts: Sequence[object]) -> str:
    """Write ``a``, ``a and b``, ``a, b and c``."""
    *first, last = map(str, parts)
    return f"{', '.join(first)} and {last}" if first else last


def _metric_notes(sides: Sequence[Side], target: Target) -> list[str]:
    targets = {side.label: side.study.target for side in sides}
    if len({(each.of, each.level) for each in targets.values()}) == 1:
        return []
    given = ", ".join(f"{label} {title_of(each.of)} {each.level:g}" for label, each in targets.items())
    return [
        f"The targets differ ({given}): compared is {title_of(target.of)}, and reached counts the runs at "
        f"{target.level:g}."
    ]


def _runs_notes(sides: Sequence[Side]) -> list[str]:
    notes = [
        f"{run.name} failed: {run.error}." for side in sides for run in side.runs if run.status == "failed"
    ]
    for side in sides:
        doubts = dict.fromkeys(text for run in side.finished if run.record for text in run.record.doubts)
        notes += [f"{side.label}: {text}." for text in doubts]
        if any(run.record and run.record.planned.get("looks") for run in side.runs):
            notes.append(
                f"{side.label} planned looks: they hold for the comparisons of its own study, not here."
            )
    return notes


def compare_results(names: Sequence[str | Path], out: Path = Path("results")) -> SideBySide:
    """Compare results of several folders; none of them is changed.

    Args:
        names: paths of result folders, names of folders below ``out``, or study files; each may end with
            ``:<variant>``.

    Raises:
        StudyError: one of them is no result, or cannot be read.
    """
    sides = find_sides(names, out)
    target = common_target(sides)
    sides = read_sides(sides, target)
    study = _joined(sides, target)
    results = Results(study, tuple(run for side in sides for run in side.runs), {}, {})
    return SideBySide(
        tuple(sides),
        analyse(results),
        tuple(parameter_differences(sides)),
        tuple(environment_differences(sides)),
        tuple(data_differences(sides)),
    )


def _joined(sides: Sequence[Side], target: Target) -> Study:
    """Return a study whose variants are the sides, for the tests that compare variants."""
    first, margins = sides[0], {side.study.margin for side in sides}
    study = first.study.model_copy(
        update={
            "name": " and ".join(side.label for side in sides),
            "question": "",
            "seeds": sorted({run.seed for side in sides for run in side.runs}),
            "looks": None,
            "target": target,
            "metrics": [],
            "baseline": first.label,
            "comparisons": "baseline",
            "margin": margins.pop() if len(margins) == 1 else None,
            "variants": {},
            "search": None,
            "references": {},
        }
    )
    study._recipes = {side.label: side.recipe or side.study.recipes["base"] for side in sides}
    return study
