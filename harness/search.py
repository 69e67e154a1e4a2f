"""``[search]``: Optuna proposes a variant's values, its runs answer, and what looks poor is cut short.

The search has no state of its own: a seeded sampler that is asked in the same order proposes the same values,
and finished runs answer at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from harness.config import Range, Search, Study
from harness.errors import StudyError
from harness.plan import check_recipe
from harness.report.statistics.distribution import mean_of
from harness.study_file import resolve
from harness.sweep import draw, numbered, rounded

if TYPE_CHECKING:
    from harness.plan import Plan
    from harness.training.progress import Say


@dataclass
class Found:
    """What a search has done.

    Attributes:
        study: with a variant for every trial.
        complete: the variants whose seeds were all run, or failed; the others were cut short.
        status: the highest exit status of their runs.
    """

    study: Study
    complete: list[str]
    status: int


def check_search(study: Study, devices: int) -> None:
    """Before any work.

    Raises:
        StudyError: the study would choose by its test images, or Optuna is not installed.
    """
    if study.search is None:
        return
    if study.data.holdout is None:
        raise StudyError(
            f"{study.name}: search: it would choose by the test images; set data.holdout, such as 5000"
        )
    if any(name.startswith("trial-") for name in study.variants):
        raise StudyError(f"{study.name}: search: its trials are variants named trial-...; rename yours")
    if devices > 1:
        raise StudyError(f"{study.name}: search: its runs take one device each, not --devices {devices}")
    if find_spec("optuna") is None:
        raise StudyError(
            f"{study.name}: search: optuna is not installed; pip install 'ignite-harness[optuna]'"
        )
    some, name = draw(study.search.values, random.Random(0)), numbered("trial", 0)
    check_recipe(_with(study.model_copy(update={"search": None}), {name: some}), name)


def search(plan: Plan, execute: Callable[[Study, list[str]], int], say: Say) -> Found:
    """Run the plan's own variants, then the trials of its study.

    Args:
        execute: runs the seeds of a study's named variants, as far as they are missing; the exit status.

    Raises:
        StudyError: a trial's values are none that the recipe can have.
    """
    import optuna
    from optuna.trial import TrialState

    study, names = plan.study, [variant.name for variant in plan.variants]
    assert study.search is not None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    settings = study.search
    sampler = optuna.samplers.TPESampler(seed=settings.seed % 2**32, n_startup_trials=settings.random_trials)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=settings.random_trials)
    proposals = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    fixed = study.model_copy(update={"search": None})
    found = Found(fixed, names, execute(fixed, names))
    trials: dict[str, dict[str, Any]] = {}
    for at in range(settings.trials):
        name, trial = numbered("trial", at), proposals.ask(_distributions(settings))
        trials[name] = _values(settings, trial.params)
        one = _with(fixed, {name: trials[name]})
        mean, cut = None, False
        accuracies: list[float] = []
        for seed in one.seeds:
            found.status = max(found.status, execute(one.model_copy(update={"seeds": [seed]}), [name]))
            run = plan.folder.run(name, seed)
            if run.status() != "finished":
                mean = None  # a failure has no accuracy to learn from
                break
            accuracies.append(float(run.verify()["metrics"]["test_accuracy"]))
            mean = mean_of(accuracies)
            trial.report(mean, len(accuracies))
            cut = len(accuracies) < len(one.seeds) and trial.should_prune()
            if cut:
                say(f"{study.name}/{name}  cut short after {len(accuracies)} of {len(one.seeds)} seeds")
                break
        found.complete += [] if cut else [name]
        state = TrialState.PRUNED if cut else TrialState.FAIL if mean is None else TrialState.COMPLETE
        proposals.tell(trial, mean if state == TrialState.COMPLETE else None, state=state)
    found.study = _with(fixed, trials)
    return found


def _with(study: Study, variants: dict[str, dict[str, Any]]) -> Study:
    """The study with more variants.

    Raises:
        StudyError: a recipe is not valid.
    """
    raw = study.model_dump(exclude_none=True)
    raw["variants"] = {**raw["variants"], **variants}
    return resolve(raw, where=f"{study.name}: search")


def _distributions(settings: Search) -> dict[str, Any]:
    """Optuna's spaces; of a list it chooses the place, since a value may be a table."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    spaces: dict[str, Any] = {}
    for key, space in settings.values.items():
        if not isinstance(space, Range):
            spaces[key] = CategoricalDistribution(list(range(len(space))))
        elif isinstance(space.low, int) and isinstance(space.high, int):
            spaces[key] = IntDistribution(space.low, space.high)
        else:
            spaces[key] = FloatDistribution(space.low, space.high, log=space.log)
    return spaces


def _values(settings: Search, chosen: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, space in settings.values.items():
        value = chosen[key]
        values[key] = space[value] if isinstance(space, list) else value
        if isinstance(space, Range) and isinstance(value, float):
            values[key] = rounded(value)
    return values
