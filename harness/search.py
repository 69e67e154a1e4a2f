"""``[search]``: Optuna proposes values, a trial's runs give their results, and poor trials are cut short.

All proposals are kept in the study folder's ``search.json``. So a search continues with its trials after it
was stopped, after a failure, and when it is given more trials or seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.analysis.measures import number_of
from harness.errors import RunError, StudyError
from harness.identity import without_later_defaults
from harness.messages import check_installed, one_line
from harness.metrics import ACCURACY, metric_of
from harness.outline import check_recipe
from harness.seeding import derive_seed
from harness.statistics.distribution import mean_of
from harness.store.folders import StudyFolder
from harness.store.sealed import first_difference, read_sealed, write_sealed
from harness.study_file.config import MAX_VARIANTS, Study
from harness.study_file.grids import ends, numbered, rounded
from harness.study_file.load import MAX_RUNS, resolve
from harness.study_file.search_space import Range, Search
from harness.study_file.vary import DEFAULT

if TYPE_CHECKING:
    from optuna.trial import Trial as Proposal

    from harness.plan import Plan
    from harness.runner import Runner

RECORD = "search.json"
_NOT_DECIDING = (
    "name", "question", "seeds", "target", "baseline", "comparisons", "margin", "metrics", "resources",
    "references", "trial",
)  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """A trial of ``search.json``.

    Attributes:
        chosen: the parameters, in Optuna's form.
        values: the variant's values, by dotted key.
        cut: the number of finished seeds after which it was cut short; 0 where it was not.
        error: why these values are not valid together; empty where they are.
    """

    chosen: dict[str, Any]
    values: dict[str, Any]
    cut: int = 0
    error: str = ""


def check_search(study: Study, devices: int) -> None:
    """Check a study's search before any work.

    Raises:
        StudyError: the study has no hold-out, Optuna is not installed, or some value is never valid.
    """
    settings = study.search
    if settings is None:
        return
    place = f"{study.name}: search"
    if study.data.holdout is None:
        raise StudyError(f"{place}: it would choose by the test images; set data.holdout, such as 5000")
    if any(name.lower().startswith("trial-") for name in study.variants):
        raise StudyError(f"{place}: its trials are variants named trial-...; rename yours")
    variants = len(study.recipes) + settings.trials
    if variants > MAX_VARIANTS or variants * len(study.seeds) > MAX_RUNS:
        raise StudyError(f"{place}: {MAX_VARIANTS} variants and {MAX_RUNS} runs are the most; fewer trials")
    if devices > 1:
        raise StudyError(f"{place}: its runs take one device each, not --devices {devices}")
    check_installed("optuna", place)
    first = {key: ends(space)[0] for key, space in settings.values.items()}
    for key, space in settings.values.items():
        for value in ends(space):
            try:
                _check_trial(study, {key: value})
            except StudyError:  # it may only be valid with another value of the other keys
                _check_trial(study, {**first, key: value})


def _check_trial(study: Study, values: dict[str, Any]) -> None:
    name = numbered("trial", 0)
    check_recipe(_with(study, {name: values}), name)


def with_trials(study: Study, folder: StudyFolder) -> tuple[Study, list[str]]:
    """Return a study with its trials so far as variants, and the names of all variants not cut short.

    Raises:
        StudyError: the trials are of another search.
        RunError: the search's record is damaged.
    """
    trials = _recorded(study, folder)
    cut = [name for name, trial in trials.items() if trial.cut]
    extended = _with(study, {name: trial.values for name, trial in trials.items() if not trial.error})
    return extended, [name for name in extended.recipes if name not in cut]


def search(plan: Plan, runner: Runner) -> list[str]:
    """Run the plan's own variants, then the trials of its study; return a line for each unfinished run.

    Raises:
        StudyError: the folder has trials of another search.
    """
    import optuna
    from optuna.trial import TrialState

    study, folder, say = plan.study, plan.folder, runner.voice.say
    settings = study.search
    assert settings is not None
    trials = _recorded(study, folder, force=runner.request.force)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    early = settings.random_trials
    proposals = optuna.create_study(
        direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=early)
    )
    unfinished = runner.launch(plan)
    say(f"{study.name}: {opening(settings)}")
    for at in range(settings.trials):
        name = numbered("trial", at)
        # a sampler for each trial: its proposal depends on earlier trials alone, and not on interruptions
        seed = derive_seed(settings.seed, "search", at) % 2**32
        proposals.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=early)
        if name in trials:
            proposals.enqueue_trial(trials[name].chosen)
        proposal = proposals.ask()
        values = _propose(proposal, settings)
        trials[name] = Trial(proposal.params, values)
        scores: list[float] = []
        try:
            with_trial = _with(study, {name: values})
            _record(study, folder, trials)
            scores, cut = _run(runner, with_trial, folder, name, proposal, unfinished)
            if cut:
                trials[name] = replace(trials[name], cut=len(scores))
                say(f"{study.name}/{name}  cut short after {len(scores)} of {len(with_trial.seeds)} seeds")
        except StudyError as error:  # the values are not valid together
            trials[name] = replace(trials[name], error=one_line(error))
            say(f"{study.name}/{name}  cannot be: {one_line(error)}")
        except RunError as error:
            unfinished.append(str(error))
            say(f"{study.name}/{name}  {error}")
        _record(study, folder, trials)
        if trials[name].cut:
            proposals.tell(proposal, state=TrialState.PRUNED)
        elif len(scores) == len(study.seeds):
            proposals.tell(proposal, mean_of(scores))
        else:
            proposals.tell(proposal, state=TrialState.FAIL)
    return unfinished


def _run(
    runner: Runner, study: Study, folder: StudyFolder, name: str, proposal: Proposal, unfinished: list[str]
) -> tuple[list[float], bool]:
    """Run a trial's seeds one after another.

    Returns:
        Their values of the target's metric, turned so that higher is better; whether it was cut short.
    """
    scores: list[float] = []
    metric = metric_of(study.target.of)
    for seed in study.seeds:
        plan = runner.plan(study.model_copy(update={"seeds": [seed]}), folder, [name])
        plan = replace(plan, study=study)  # all of its seeds are planned
        runner.check_folders(plan)
        unfinished += runner.launch(plan)
        run = folder.run(name, seed)
        if run.status() != "finished":
            continue  # a failed run has no value
        value = number_of(run, run.verify(), metric)
        if value is None:
            continue  # not defined for these images, or a metric of the study's own failed
        scores.append(metric.oriented(value))
        proposal.report(mean_of(scores), len(scores))
        if len(scores) < len(study.seeds) and proposal.should_prune():
            return scores, True
    return scores, False


def opening(settings: Search) -> str:
    """Write how many trials there are, and how many of them are drawn at random."""
    trials, early = settings.trials, settings.random_trials
    drawn = "drawn at random" if early >= trials else f"the first {early} of them drawn at random"
    return f"a search of {trials} trial{'s' * (trials > 1)}, {drawn}"


def _recorded(study: Study, folder: StudyFolder, *, force: bool = False) -> dict[str, Trial]:
    """Return the trials of ``search.json`` by name; with ``force`` move another search's file aside."""
    path = folder.path / RECORD
    record = read_sealed(path)
    if record is None:
        return {}
    difference = first_difference(_identity(study), without_later_defaults(record["identity"]))
    if difference and force:
        path.replace(path.with_name(f"{RECORD}.aside"))
        return {}
    if difference:
        raise StudyError(f"{path}: holds another search ({difference}); choose another --out, or --force")
    return {name: Trial(**trial) for name, trial in record["trials"].items()}


def _record(study: Study, folder: StudyFolder, trials: Mapping[str, Trial]) -> None:
    written = {name: asdict(trial) for name, trial in trials.items()}
    write_sealed(folder.path / RECORD, {"identity": _identity(study), "trials": written})


def _identity(study: Study) -> dict[str, Any]:
    """Return everything that decides a search's proposals, and its trials' runs."""
    settings = without_later_defaults(study.model_dump(mode="json", exclude_none=True))
    settings["search"].pop("trials")
    if settings["compile"] == "auto":
        settings["compile"] = False  # as in searches of earlier versions
    if settings["vary"] == list(DEFAULT):  # likewise
        del settings["vary"]
    if study.target.of != ACCURACY:  # likewise
        settings["objective"] = study.target.of
    return {key: value for key, value in settings.items() if key not in (*_NOT_DECIDING, "variants")}


def _with(study: Study, variants: dict[str, dict[str, Any]]) -> Study:
    """Return the study with more variants, and without its search.

    Raises:
        StudyError: a recipe is not valid.
    """
    raw = study.model_dump(exclude_none=True, exclude={"search"})
    raw["variants"] = {**raw["variants"], **variants}
    return resolve(raw, where=f"{study.name}: search")


def _propose(proposal: Proposal, settings: Search) -> dict[str, Any]:
    """Return the values that Optuna proposes; it chooses from a list by index, as a value may be a table."""
    values: dict[str, Any] = {}
    for key, space in settings.values.items():
        if not isinstance(space, Range):
            values[key] = space[proposal.suggest_categorical(key, list(range(len(space))))]
        elif space.whole:
            values[key] = proposal.suggest_int(key, space.low, space.high)
        else:
            values[key] = rounded(proposal.suggest_float(key, space.low, space.high, log=space.log), space)
    return values
