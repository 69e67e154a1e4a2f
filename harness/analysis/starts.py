"""Which seeds were planned together, by the runs' records: the kind of answer that a comparison gives.

A verdict at a number of seeds that was fixed in advance, or at looks planned in advance, keeps its level. One
at a number that somebody chose after seeing results needs an e-value instead.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from harness.analysis.results import Results
from harness.analysis.runs import Run
from harness.errors import StudyError
from harness.messages import one_line
from harness.metrics import ACCURACY
from harness.study_file.config import Study
from harness.study_file.seeds import parse_seeds, seeds_text

Kind = Literal["fixed", "looks", "added", "interim"]
Pair = tuple[str, str]

FEWEST = 2  # finished runs of each recipe that a comparison takes
LONGEST = 500  # characters of seeds that a record keeps; of more it has the checksum


@dataclass(frozen=True)
class Answer:
    """The kind of answer that a comparison gives.

    Attributes:
        kind: ``fixed``: all its seeds were planned together, or in several starts of which each began before
            the others' runs could be compared. ``looks``: at looks that were planned so. ``added``: seeds or
            looks were planned when a comparison could already be made. ``interim``: fixed, and runs of
            planned seeds have not ended yet, so that a verdict now is a look that was not planned.
        ended: planned seeds of which both runs have ended.
        planned: seeds that were planned for both; 0 where no record says.
        late: what was planned too late, ``seeds`` or ``looks``; empty unless the kind is ``added``.
    """

    kind: Kind
    ended: int = 0
    planned: int = 0
    late: Literal["", "seeds", "looks"] = ""

    @property
    def text(self) -> str:
        """The kind in words."""
        if self.kind == "added":
            return f"{self.late} were {'added' if self.late == 'seeds' else 'planned'} after looking"
        if self.kind == "interim":
            return f"{self.ended} of {self.planned} planned seeds"
        return "fixed n" if self.kind == "fixed" else "looks as planned"


@dataclass(frozen=True)
class _Plan:
    """What a start planned; starts with equal plans count as one, and so do the tasks of a Slurm job array.

    Attributes:
        seeds: as in the record; empty where it is not known, and of a job array, whose tasks share the seeds.
    """

    seeds: str
    looks: tuple[int, ...] = ()
    array: str = ""

    @classmethod
    def of(cls, planned: Mapping[str, Any]) -> _Plan:
        """Read the ``planned`` of a record; what is not well-formed counts as unknown."""
        seeds, looks, array = (planned.get(name) for name in ("seeds", "looks", "array"))
        text = seeds if isinstance(seeds, str) else ""
        if isinstance(looks, list) and looks and all(type(look) is int for look in looks):
            return cls(text, tuple(looks))
        return cls("", array=array) if isinstance(array, str) and array else cls(text)

    @property
    def known(self) -> frozenset[int]:
        """The planned seeds; empty where they are not known."""
        with suppress(StudyError):
            return frozenset(parse_seeds(self.seeds))
        return frozenset()


def plan_of(study: Study) -> dict[str, Any]:
    """Return what a start of a study plans, for the ``planned`` of run.json; it begins now."""
    text = seeds_text(study.seeds)
    if len(text) > LONGEST:
        text = f"{len(study.seeds)} seeds, SHA-256 {hashlib.sha256(text.encode()).hexdigest()}"
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return {
        "seeds": text,
        **({"looks": list(study.looks)} if study.looks else {}),
        **({"metric": study.target.of} if study.target.of != ACCURACY else {}),
        **({"array": one_line(array, 80)} if array else {}),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def answers(results: Results, pairs: Iterable[Pair], *, starting: bool = False) -> dict[Pair, Answer]:
    """Return the kind of answer that each comparison gives, by the records of its runs.

    Args:
        starting: as if the study's runs were started now.
    """
    runs: dict[str, list[Run]] = {}
    for run in results.runs:
        runs.setdefault(run.variant, []).append(run)
    planned = plan_of(results.study)
    ours, seeds = _Plan.of(planned), frozenset(results.study.seeds)
    found = {}
    for pair in pairs:
        both = [runs.get(name, []) for name in pair]
        claims = [_claims(group) for group in both]
        for of_one in claims if starting else ():
            at, before = of_one.get(ours, (planned["at"], frozenset()))
            of_one[ours] = at, before | seeds
        found[pair] = _answer(both, claims, ours)
    return found


def planned_later(runs: Iterable[Run]) -> tuple[int, ...]:
    """Return the seeds of one variant that a start planned when runs of earlier starts had finished."""
    runs = list(runs)
    claims = sorted(_claims(runs).items(), key=lambda claim: claim[1][0])
    known: frozenset[int] = frozenset()
    later: set[int] = set()
    for plan, (at, seeds) in claims:
        ends = [str(run.provenance.get("finished") or "~") for run in runs if run.seed in known]
        if any(end <= at for end in ends):
            later |= seeds - known
        known |= plan.known | seeds
    return tuple(sorted(later))


_Claims = dict[_Plan, tuple[str, frozenset[int]]]  # plan -> when its first start began; seeds it has claimed


def _claims(runs: Iterable[Run]) -> _Claims:
    """Return the plans of one variant's runs: what was planned for another variant says nothing of it."""
    claims: _Claims = {}
    for run in runs:
        if run.record is not None:
            plan, at = _Plan.of(run.record.planned), _began(run)
            first, seeds = claims.get(plan, (at, frozenset()))
            claims[plan] = min(first, at), seeds | {run.seed}
    return claims


def _began(run: Run) -> str:
    """Return when the start began that claimed a run, or the run itself where that is not recorded."""
    assert run.record is not None
    return str(run.record.planned.get("at") or run.provenance.get("started") or "")


def _answer(both: list[list[Run]], claims: Iterable[_Claims], ours: _Plan) -> Answer:
    """Return the answer of two variants' runs.

    Args:
        claims: of each.
        ours: the plan that the study has now.
    """
    planned, ended = (
        frozenset.intersection(*(part(runs) for runs in both)) for part in (_planned_seeds, _ended_seeds)
    )
    counts = len(planned & ended), len(planned)
    order = sorted(
        ((at, side, plan, seeds) for side, of in enumerate(claims) for plan, (at, seeds) in of.items()),
        key=lambda claim: claim[0],
    )
    known: list[frozenset[int]] = [frozenset(), frozenset()]
    for at, side, plan, seeds in order:
        earlier = [[run for run in runs if run.seed in seen] for runs, seen in zip(both, known, strict=True)]
        if seeds - known[side] and _comparable(earlier, at):
            return Answer("added", *counts, late="seeds")
        known[side] |= plan.known | seeds
    last = order[-1][2] if order else ours
    if last.looks != ours.looks or (ours.looks and last != ours):
        return Answer("added", *counts, late="looks")
    if ours.looks:
        return Answer("looks", *counts)
    return Answer("fixed" if counts[0] == counts[1] else "interim", *counts)


def _planned_seeds(runs: Iterable[Run]) -> frozenset[int]:
    """Return all seeds that were planned for a variant, as far as its records say."""
    plans = {_Plan.of(run.record.planned) for run in runs if run.record is not None}
    return frozenset().union(*(plan.known for plan in plans))


def _ended_seeds(runs: Iterable[Run]) -> frozenset[int]:
    """Return the seeds whose runs have ended for good; one that the machine made fail is tried again."""
    return frozenset(run.seed for run in runs if run.status == "finished" or run.failed_by_recipe)


def _comparable(both: Iterable[list[Run]], at: str) -> bool:
    """Return whether enough runs of both had finished at a moment for a comparison."""
    ends = [[str(run.provenance.get("finished") or "~") for run in runs if run.record] for runs in both]
    return all(sum(end <= at for end in ends_of_one) >= FEWEST for ends_of_one in ends)
