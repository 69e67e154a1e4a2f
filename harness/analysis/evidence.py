"""What a verdict rests on where n was not fixed in advance: planned looks, or e-values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.designs import corrected_difference
from harness.analysis.looks import PairLooks, compared_pairs, judge_looks
from harness.analysis.numbers import evidence_text
from harness.analysis.results import Results
from harness.analysis.runs import Run
from harness.analysis.starts import Answer, Pair, answers
from harness.metrics import Metric
from harness.statistics.anytime import confidence_sequence, e_value
from harness.statistics.comparison import ALPHA
from harness.statistics.distribution import mean_of


@dataclass(frozen=True)
class Evidence:
    """The kind of answer that a comparison gives, and what shows its difference.

    Attributes:
        looks: the comparison at its planned looks; None where none are planned.
        e_value: against equal means; None without two shared seeds that differ. It decides where seeds were
            added after looking, and else stands beside the test.
        e_needed: for a verdict, by the number of comparisons.
        low, high: 95 % interval of the difference that holds at all looks, planned or not; infinite where so
            few seeds leave everything possible.
        sign: 1 where the first is shown to be better, -1 where worse, else 0; None where n was fixed in
            advance, and the test decides.
        beyond_minus, beyond_plus: the same of differences from minus the study's margin, and from plus it.
    """

    answer: Answer
    looks: PairLooks | None = None
    e_value: float | None = None
    e_needed: float | None = None
    low: float | None = None
    high: float | None = None
    sign: int | None = None
    beyond_minus: int = 0
    beyond_plus: int = 0

    @property
    def kind(self) -> str:
        """The kind of answer in words, such as ``look 2 of 4 as planned``."""
        return self.answer.text if self.looks is None or self.answer.kind != "looks" else self.looks.text

    @property
    def text(self) -> str:
        """The kind, with the number that decides and what a verdict needs: ``...: e = 7.3, 20 needed``."""
        if self.answer.kind == "fixed":
            return self.kind
        if self.answer.kind == "looks":
            if self.looks is None or self.looks.t is None or self.looks.decision.needed is None:
                return self.kind
            return f"{self.kind}: t = {self.looks.t:.2f}, {self.looks.decision.needed:.2f} needed"
        if self.e_value is None or self.e_needed is None:
            return f"{self.kind}: no e-value, which takes independent runs and two shared seeds that differ"
        return f"{self.kind}: e = {evidence_text(self.e_value)}, {evidence_text(self.e_needed)} needed"


def evidence_for(results: Results, kinds: Mapping[Pair, Answer]) -> dict[Pair, Evidence]:
    """Return the evidence of comparisons that are made together.

    Args:
        kinds: the pairs, and the kind of answer of each. An e-value is held to the number of comparisons that
            the study plans, so that a variant that is run later changes no verdict.
    """
    tests = len(compared_pairs(results.study))
    margin = results.study.margin
    nulls = (0.0,) if margin is None else (0.0, -margin, margin)
    looks = [{judged.pair: judged for judged in judge_looks(results, null=null)} for null in nulls]
    values = _values(results, kinds)
    found = {}
    for pair, answer in kinds.items():
        evidence = _anytime(answer, _differences(values, pair), tests, nulls, results.metric.widest)
        if answer.kind == "looks" and pair in looks[0]:
            evidence = _at_looks(evidence, [judged[pair] for judged in looks])
        found[pair] = evidence
    return found


def signs_among(results: Results, pairs: Sequence[Pair], rivals: int) -> dict[Pair, int]:
    """Return what is shown of pairs that no comparison has, for a ranking.

    Left out are pairs of independent runs at a fixed n, which a test decides.

    Args:
        rivals: of each recipe: the level of each pair is divided by it.
    """
    kinds = answers(results, pairs)
    runs = {name: results.of(name, "finished") for name in results.variants}
    signs = {
        pair: _sign_of_dependent(runs[pair[0]], runs[pair[1]], rivals, results.metric)
        if kinds[pair].kind == "fixed"
        else 0
        for pair in pairs
        if not all(run.independent for name in pair for run in runs[name])
    }
    sequential = [pair for pair in pairs if kinds[pair].kind != "fixed" and pair not in signs]
    values = _values(results, sequential)
    for pair in sequential:
        if kinds[pair].kind == "looks":
            (judged,) = judge_looks(results, pairs=[pair], level=ALPHA / rivals)
            signs[pair] = judged.decision.sign
        else:
            signs[pair] = _sign(_differences(values, pair), 0.0, rivals / ALPHA)
    return signs


def _sign_of_dependent(runs: Sequence[Run], base: Sequence[Run], rivals: int, metric: Metric) -> int:
    """Return what is shown of two variants whose runs share levels or images."""
    mean = corrected_difference(runs, base, metric)
    p = None if mean is None else mean.p()
    if mean is None or p is None or p * rivals > ALPHA:
        return 0
    return 1 if mean.mean > 0 else -1


def _values(results: Results, pairs: Iterable[Pair]) -> dict[str, dict[int, float]]:
    """Return the target's metric of each variant by seed; none where its runs are not independent."""
    runs = {name: results.of(name, "finished") for name in {name for pair in pairs for name in pair}}
    return {name: results.by_seed(run for run in group if run.independent) for name, group in runs.items()}


def _differences(values: Mapping[str, Mapping[int, float]], pair: Pair) -> list[float]:
    """Return the differences of the first from the second over the seeds that they share."""
    ours, theirs = (values[name] for name in pair)
    return [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]


def _anytime(
    answer: Answer, differences: Sequence[float], tests: int, nulls: Sequence[float], widest: float
) -> Evidence:
    needed, interval = tests / ALPHA, confidence_sequence(differences, ALPHA)
    low, high = (None, None) if interval is None else (max(interval[0], -widest), min(interval[1], widest))
    value = e_value(differences)
    if answer.kind not in ("added", "interim"):
        return Evidence(answer, None, value, needed, low, high)
    signs = (_sign(differences, null, needed) for null in nulls)
    return Evidence(answer, None, value, needed, low, high, *signs)


def _sign(differences: Sequence[float], null: float, needed: float) -> int:
    value = e_value(differences, null)
    if value is None or not value >= needed:  # nor for NaN
        return 0
    return 1 if mean_of(differences) > null else -1


def _at_looks(evidence: Evidence, judged: Sequence[PairLooks]) -> Evidence:
    """Return the evidence with what the looks decide against each null, first that of no difference."""
    signs = (looks.decision.sign for looks in judged)
    value, needed = evidence.e_value, evidence.e_needed
    return Evidence(evidence.answer, judged[0], value, needed, *judged[0].interval, *signs)
