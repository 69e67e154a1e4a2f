"""``--until-decided``: go from one planned look to the next, with the variants that are not decided yet.

Nothing is kept but the run folders: a start goes through the looks from the first one, and so decides what an
earlier start has decided.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from harness.analysis.looks import PairLooks, compared_pairs, judge_looks, look_sentence, variants_needed
from harness.analysis.results import Results, read_results
from harness.analysis.starts import answers
from harness.errors import StudyError
from harness.plan import Plan
from harness.training.progress import Say


def check_looks(plan: Plan) -> None:
    """Check, before any work, that a plan's looks can decide something.

    Raises:
        StudyError: no two of the variants are compared, or their runs on disk were not planned with these
            looks.
    """
    study, names = plan.study, {variant.name for variant in plan.variants}
    pairs = [pair for pair in compared_pairs(study) if set(pair) <= names]
    if not pairs:
        raise StudyError(
            f"--until-decided: {study.name} compares no two of these variants; name {study.baseline} too"
        )
    kinds = answers(_read(plan), pairs, starting=True)
    late = next((pair for pair, answer in kinds.items() if answer.kind != "looks"), None)
    if late is not None:
        raise StudyError(
            f"--until-decided: {plan.folder.path}: runs of {late[0]} and {late[1]} could be compared before "
            "these looks were planned; choose another --out, or leave --until-decided out"
        )


def stages(plan: Plan, say: Say) -> Iterator[Plan]:
    """Yield the part of a plan that each look needs; read its runs, and say what they decide, after it."""
    study, names = plan.study, {variant.name for variant in plan.variants}
    results = _read(plan)
    judged = _judge(results, names, 0)
    for number, seeds in enumerate(study.looks or [], 1):
        needed = variants_needed(judged, names)
        going = tuple(variant for variant in plan.variants if needed[variant.name] >= seeds)
        if not going:
            return
        stage = replace(plan, variants=going, seeds=tuple(study.seeds[:seeds]))
        if not _done(stage, results):
            yield stage
            results = _read(plan)
        judged = _judge(results, names, number)
        say(f"{study.name}: {look_sentence(judged, number)}")


def _read(plan: Plan) -> Results:
    return read_results(plan.study, plan.folder, plan.seeds, [variant.name for variant in plan.variants])


def _judge(results: Results, names: Collection[str], number: int) -> list[PairLooks]:
    """Return the comparisons among these variants after so many looks; later ones decide nothing yet."""
    return [looks for looks in judge_looks(results, number) if set(looks.pair) <= set(names)]


def _done(stage: Plan, results: Results) -> bool:
    """Return whether no run of a stage needs work."""
    runs = {(run.variant, run.seed): run for run in results.runs}
    ended = [runs[variant.name, seed] for variant in stage.variants for seed in stage.seeds]
    return all(run.status == "finished" or (run.record is not None and run.record.diverged) for run in ended)
