"""Verdicts at planned looks: at which look each comparison is decided, and which runs are then not needed."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from harness.analysis.results import Results
from harness.analysis.runs import Run, by_seed, same_images
from harness.analysis.starts import Pair, answers
from harness.messages import listed
from harness.metrics import Metric
from harness.statistics.comparison import ALPHA, VERDICTS
from harness.statistics.distribution import judgeable_std, mean_of
from harness.statistics.looks import LookDecision, decide_at_looks, look_bounds
from harness.study_file.config import Study

MOST_NAMED = 8  # comparisons or variants that a line names; of more it gives the number


@dataclass(frozen=True)
class Look:
    """A look that a comparison has reached: all of the first runs of both variants have ended.

    Attributes:
        seeds: how many of the study's seeds it is after, as planned.
        pairs: seeds of these with a finished run of both.
        difference: mean over them of the target's metric, above 0 where the first is better; None without
            comparable runs.
        error: its standard error; None where there is no spread to judge by.
    """

    seeds: int
    pairs: int
    difference: float | None = None
    error: float | None = None

    @property
    def t(self) -> float | None:
        """The paired t statistic; Student (Biometrika, 1908)."""
        return self.against(0.0)

    def against(self, null: float) -> float | None:
        """Return the t statistic against another true difference."""
        if self.difference is None or self.error is None:
            return None
        return (self.difference - null) / self.error


@dataclass(frozen=True)
class PairLooks:
    """A comparison at its looks.

    Attributes:
        planned: the study's looks.
        reached: the looks reached so far, from the first one.
        decision: the group-sequential Holm procedure's, over all comparisons of the study.
        null: the true difference that it is decided against.
        widest: the largest difference that there can be.
    """

    variant: str
    baseline: str
    planned: tuple[int, ...]
    reached: tuple[Look, ...]
    decision: LookDecision
    null: float = 0.0
    widest: float = 1.0

    @property
    def pair(self) -> Pair:
        """The variant and its baseline."""
        return self.variant, self.baseline

    @property
    def decided(self) -> int | None:
        """The number of the look that decided it, from 1; None where none has."""
        return None if self.decision.look is None else self.decision.look + 1

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``cannot tell``: at the look that decided, else so far."""
        return VERDICTS[self.decision.sign]

    @property
    def needed(self) -> int:
        """How many of the study's first seeds it takes: up to its decision, else all."""
        at = self.decision.look
        return self.planned[-1 if at is None else at]

    @property
    def latest(self) -> Look | None:
        """The look whose t crossed what was needed, else the last one reached."""
        at = self.decision.crossed
        return self.reached[-1 if at is None else at] if self.reached else None

    @property
    def t(self) -> float | None:
        """The t statistic of :attr:`latest`."""
        return None if self.latest is None else self.latest.against(self.null)

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """The 95 % interval of the difference at the look of ``t``; of fractions cut at -1 and 1.

        It holds at all looks together: mean ± bound · error with the bound of this look. Jennison and
        Turnbull, "Interim analyses: the repeated confidence interval approach" (JRSS B, 1989).
        """
        if (look := self.latest) is None or look.difference is None or look.error is None:
            return None, None
        pairs = [each.pairs for each in self.reached[: self.reached.index(look) + 1]]
        half = look_bounds(self.planned, ALPHA, pairs)[-1] * look.error
        return max(look.difference - half, -self.widest), min(look.difference + half, self.widest)

    @property
    def text(self) -> str:
        """``look 2 of 4 as planned``: the look that decided it, else the last one reached."""
        number, looks = self.decided or len(self.reached), len(self.planned)
        return f"look {number} of {looks} as planned" if number else f"before look 1 of {looks}"


def compared_pairs(study: Study, variants: Iterable[str] | None = None) -> list[Pair]:
    """Return the comparisons that a study plans: each variant with the baseline, else all pairs.

    Args:
        variants: to compare; those of the study if None.
    """
    names = study.recipes if variants is None else variants
    others = [variant for variant in names if variant != study.baseline]
    pairs = [(variant, study.baseline) for variant in others]
    if study.comparisons == "all":
        pairs += [(variant, earlier) for at, variant in enumerate(others) for earlier in others[:at]]
    return pairs


def judge_looks(
    results: Results,
    most: int | None = None,
    *,
    pairs: Sequence[Pair] | None = None,
    level: float = ALPHA,
    null: float = 0.0,
) -> list[PairLooks]:
    """Decide comparisons at the study's looks, with all their errors together at most ``level``.

    Runs beyond a look count nothing at it. A comparison whose runs were not planned with these looks reaches
    none: see :mod:`harness.analysis.starts`.

    Args:
        most: use only so many of the looks.
        pairs: those of the study if None.
        null: the true difference to decide against, a fraction.

    Returns:
        One for each pair; empty without looks.
    """
    study = results.study
    if study.looks is None:
        return []
    pairs, runs = compared_pairs(study) if pairs is None else pairs, _runs_by_seed(results)
    kinds = answers(results, pairs)
    looks = study.looks[:most]
    reached = [
        _reached(runs.get(pair[0], {}), runs.get(pair[1], {}), study.seeds, looks, results.metric)
        if kinds[pair].kind == "looks"
        else ()
        for pair in pairs
    ]
    decisions = decide_at_looks(
        [[look.against(null) for look in row] for row in reached],
        [[look.pairs for look in row] for row in reached],
        study.looks,
        level,
    )
    return [
        PairLooks(*pair, tuple(study.looks), row, decision, null, results.metric.widest)
        for pair, row, decision in zip(pairs, reached, decisions, strict=True)
    ]


def _runs_by_seed(results: Results) -> dict[str, dict[int, Run]]:
    runs: dict[str, dict[int, Run]] = {}
    for run in results.runs:
        runs.setdefault(run.variant, {})[run.seed] = run
    return runs


def _reached(
    runs: dict[int, Run], base: dict[int, Run], seeds: Sequence[int], looks: Sequence[int], metric: Metric
) -> tuple[Look, ...]:
    """Return the looks at which all of the first seeds' runs of both have ended."""
    reached = []
    for n in looks:
        first = seeds[:n]
        if not all(_ended(of.get(seed)) for of in (runs, base) for seed in first):
            break
        both = [
            (runs[seed], base[seed]) for seed in first if runs[seed].status == base[seed].status == "finished"
        ]
        reached.append(Look(n, len(both), *_difference(both, metric)))
    return tuple(reached)


def _ended(run: Run | None) -> bool:
    """Return whether a run has ended for good; one that the machine made fail is tried again."""
    return run is not None and (run.status == "finished" or run.failed_by_recipe)


def _difference(both: Sequence[tuple[Run, Run]], metric: Metric) -> tuple[float | None, float | None]:
    """Return the mean difference of two variants' runs, and its standard error."""
    if not both or not same_images([run for pair in both for run in pair]):
        return None, None
    ours, theirs = (by_seed(runs, metric) for runs in zip(*both, strict=True))
    differences = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    if not differences:
        return None, None
    std = judgeable_std(differences)
    return mean_of(differences), None if std is None else std / math.sqrt(len(differences))


def variants_needed(judged: Iterable[PairLooks], among: Collection[str]) -> dict[str, int]:
    """Return how many of the study's first seeds each variant takes, in comparisons among these variants."""
    needed: dict[str, int] = {}
    for looks in judged:
        if set(looks.pair) <= set(among):
            for name in looks.pair:
                needed[name] = max(needed.get(name, 0), looks.needed)
    return needed


def without_unneeded(results: Results, judged: Iterable[PairLooks], among: Collection[str]) -> Results:
    """Return the results in which runs that the looks have spared are ``not needed`` instead of missing."""
    needed, place = variants_needed(judged, among), {seed: at for at, seed in enumerate(results.study.seeds)}
    return replace(
        results,
        runs=tuple(
            replace(run, status="not needed")
            if run.status == "missing" and place.get(run.seed, -1) >= needed.get(run.variant, len(place))
            else run
            for run in results.runs
        ),
    )


# ---- in words -------------------------------------------------------------------------------------------


def saved_sentence(results: Results, judged: Iterable[PairLooks], among: Collection[str]) -> str:
    """Write how many planned runs the looks have saved; nothing where they have saved none.

    Args:
        results: of :func:`without_unneeded`, of the same ``judged`` and ``among``.
    """
    seeds = set(results.study.seeds)
    planned = [run for run in results.runs if run.seed in seeds and run.variant in among]
    if not (spared := sum(run.status == "not needed" for run in planned)):
        return ""
    looks = results.study.looks or []
    last = max(variants_needed(judged, among).values())
    number = looks.index(last) + 1
    how = "stopped at" if number < len(looks) else "continued to"
    return f"{how} look {number} of {len(looks)}: {spared} of {len(planned)} runs not needed"


def look_sentence(judged: Sequence[PairLooks], number: int, told: Collection[Pair] = ()) -> str:
    """Write what is decided after a look, and what continues.

    Args:
        number: the look's, from 1.
        told: comparisons whose verdict an earlier line has told.
    """
    looks = judged[0].planned
    parts = [f"look {number} of {len(looks)}, after {looks[number - 1]} seeds"]
    if lacking := [looks for looks in judged if looks.decided is None and len(looks.reached) < number]:
        parts.append(f"not reached by {_pairs(lacking)}, because a run has not ended")
    news = [looks for looks in judged if looks.decided is not None and looks.pair not in told]
    parts += [_decided(looks) for looks in news[:MOST_NAMED]]
    if len(news) > MOST_NAMED:
        parts.append(f"and {len(news) - MOST_NAMED} more are decided")
    going = [looks for looks in judged if looks.decided is None]
    if not going:
        return f"{'; '.join(parts)}; every comparison is decided"
    if number == len(looks):
        return f"{'; '.join(parts)}; not decided: {_pairs(going)}"
    return f"{'; '.join(parts)}; continuing to {looks[number]} seeds: {_pairs(going)}"


def _decided(looks: PairLooks) -> str:
    return (
        f"{looks.variant} is {looks.verdict} than {looks.baseline} "
        f"(t = {looks.t:.2f}, {looks.decision.needed:.2f} needed)"
    )


def _pairs(judged: Sequence[PairLooks]) -> str:
    return listed((f"{looks.variant} against {looks.baseline}" for looks in judged), MOST_NAMED)
