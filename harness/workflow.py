"""Carry out a request: plan and check all its studies, then launch, report and export each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.closing import print_table
from harness.console import EXIT_RUN_FAILED, EXIT_TARGET_MISSED, linked
from harness.device import resolve_device
from harness.errors import HarnessError, RunError, StudyError
from harness.export import export, renew_cards
from harness.imports import kept_source, pass_on_sources, source_file
from harness.launch import followers
from harness.launch.tally import Tally
from harness.launch.view import View
from harness.messages import one_line
from harness.plan import Plan, choose_variants
from harness.request import Request
from harness.runner import LoadedData, Runner, Voice
from harness.search import check_search, search, with_trials
from harness.store.folders import StudyFolder
from harness.store.sealed import read_sealed
from harness.study_file.config import Study
from harness.trackers import get_tracker
from harness.training.progress import Say
from harness.until_decided import check_looks, stages

if TYPE_CHECKING:
    from harness.analysis.findings import Findings


@dataclass(frozen=True)
class StudyOutcome:
    """The outcome of a study.

    Attributes:
        folder: ``<out>/<study>``.
        findings: the report's verdicts, warnings and failures, and whether the target is met.
        errors: a line for every run that has not finished, and every network that could not be exported.
        target_required: whether a missed target is a failure.
    """

    folder: Path
    findings: Findings
    errors: tuple[str, ...]
    target_required: bool = False

    @property
    def status(self) -> int:
        """Return the exit status: 0; 1 where a run failed; 3 where a required target was missed."""
        failed = bool(self.findings.failures)
        if self.target_required and not self.findings.met and not failed:
            return EXIT_TARGET_MISSED
        return EXIT_RUN_FAILED if failed or self.errors else 0


@dataclass(frozen=True)
class Outcome:
    """The outcomes of a request's studies, in their order."""

    studies: tuple[StudyOutcome, ...]

    @property
    def status(self) -> int:
        """Return the highest exit status of the studies."""
        return max((study.status for study in self.studies), default=0)


@dataclass(frozen=True)
class Selection:
    """A study, its folder, and its variants and seeds that were asked for."""

    study: Study
    folder: StudyFolder
    variants: list[str]
    seeds: list[int]


def carry_out(request: Request, studies: Sequence[Study], tell: Say) -> Outcome:
    """Execute the missing runs of every study, and report.

    All studies are planned before the first begins, so that a mistake in the last one costs nothing.

    Args:
        studies: from ``request.load()``.
        tell: prints verdicts; progress and failures go to stderr.

    Returns:
        The outcome of each study; of none in a follower, which only trains with rank 0.

    Raises:
        HarnessError: a mistake in a study, its data or its folder; failed runs are in the outcome.
    """
    if request.follows:
        _follow(request, studies)
        return Outcome(())
    pass_on_sources(recipe.model.name for study in studies for recipe in study.recipes.values())
    voice = Voice.of(tell, quiet=request.quiet)
    load_data = LoadedData(request.data, download=not request.report_only, progress=not request.quiet)
    runner = Runner(request, load_data, voice)
    selections = [_select(request, study) for study in studies]
    if request.report_only:
        for selection in selections:
            _check_reportable(selection.folder)
        return Outcome(tuple(_conclude(selection, runner) for selection in selections))
    plans = [
        replace(
            runner.plan(selection.study, selection.folder, selection.variants), seeds=tuple(selection.seeds)
        )
        for selection in selections
    ]
    for plan in plans:
        runner.check_folders(plan)
        if request.until_decided:
            check_looks(plan)
    runner = replace(runner, view=View(voice.say, Tally.of(plans, at_most=request.until_decided)))
    with runner.view.shown(hidden=request.quiet):
        outcome = Outcome(tuple(_run(plan, runner) for plan in plans))
    if len(plans) > 1:
        voice.note(f"all studies: {linked(request.results / 'index.html')}")
    return outcome


def _follow(request: Request, studies: Sequence[Study]) -> None:
    """Take part in the runs of every study, which rank 0 launches."""
    if not request.report_only:
        for _ in studies:
            followers.follow(resolve_device(request.device), LoadedData(request.data))


def _run(plan: Plan, runner: Runner) -> StudyOutcome:
    """Launch a plan's runs or its study's search, then report and export."""
    study, folder, say = plan.study, plan.folder, runner.voice.say
    tracker = get_tracker(runner.request.tracker) if runner.request.tracker else None
    runner = replace(runner, tracker=tracker)
    if study.search is None:  # a search has no trials yet
        _write_study(_with_seeds_on_disk(study, folder), folder)
    say(_opening(plan))
    if study.trial is not None:
        say(f"{study.name}: {study.trial.note}")
    if tracker is not None:
        tracker.begin(plan, say)
    if study.search is None:
        unfinished = runner.launch(plan, stages(plan, say) if runner.request.until_decided else None)
        variants = [variant.name for variant in plan.variants]
    else:
        unfinished = search(plan, runner)
        study, variants = with_trials(study, folder)
    with runner.view.doing(f"writing the report of {study.name}"):
        outcome = _conclude(Selection(study, folder, variants, list(plan.seeds)), runner, unfinished)
    if tracker is not None:
        tracker.report(folder, (read_sealed(folder.path / "report.json") or {})["variants"], say)
    return outcome


def _conclude(selection: Selection, runner: Runner, unfinished: Sequence[str] = ()) -> StudyOutcome:
    """Rebuild tables, figures and pages, print the verdict, and export finished networks."""
    # imported after the runs, because the drawing libraries take half a second
    from harness.report.index import write_index
    from harness.report.write import write_report

    study, folder = selection.study, selection.folder
    request, voice = runner.request, runner.voice
    reported = _with_seeds_on_disk(study, folder)
    _write_study(reported, folder)
    findings = write_report(
        reported,
        folder,
        selection.seeds,
        selection.variants,
        runner.load_data,
        request.figures,
        request.theme,
    )
    for warning in findings.warnings:
        voice.say(f"{study.name}: warning: {warning}")
    try:
        write_index(folder)
    except (RunError, OSError) as error:  # the study's own report is complete
        voice.complain(f"cannot write index.html: {one_line(error)}")
    if not request.quiet:
        print_table(findings)
    for line in findings.verdicts:
        voice.tell(line)
    for failure in findings.failures:
        voice.complain(failure)
    voice.note(f"report: {linked(folder.path / 'report.html')}")
    errors = (*unfinished, *_export(selection, request.export, voice))
    return StudyOutcome(folder.path, findings, errors, request.require_target)


def _write_study(study: Study, folder: StudyFolder) -> None:
    names = {recipe.model.name for recipe in study.recipes.values()}
    texts = {source_file(name): kept_source(name) for name in names}
    folder.write_study(study.to_toml(), {file: text for file, text in texts.items() if file and text})


def _export(selection: Selection, formats: Sequence[str], voice: Voice) -> list[str]:
    """Export every finished run that was asked for, and renew the cards of earlier exports; return errors."""
    errors, exported = [], []
    runs = [selection.folder.run(variant, seed) for variant in selection.variants for seed in selection.seeds]
    for run in runs if formats else ():
        try:
            if run.status() == "finished":
                voice.note(f"exported: {export(run, formats)}")
                exported.append(run)
        except RunError as error:  # the others are exported even so
            voice.complain(f"error: {error}")
            errors.append(str(error))
    try:
        renew_cards(selection.folder, exported)
    except HarnessError as error:
        voice.complain(f"error: cannot update a model card in exports/: {error}")
        errors.append(str(error))
    return errors


def _select(request: Request, study: Study) -> Selection:
    """Select a study's variants; a search that has begun has one for each of its trials."""
    folder = StudyFolder(request.results, study.name)
    folder.check_writable()
    asked = None if request.variants is None else list(request.variants)
    if study.search is not None:
        check_search(study, request.world_size)
        # a report, and names of variants, refer to the trials on disk
        if request.report_only or asked is not None:
            study, trials = with_trials(study, folder)
            asked = asked or trials
        elif not request.force:
            with_trials(study, folder)  # refuses trials of another search before any work
    return Selection(study, folder, choose_variants(study, asked), request.seeds_of(study))


def _check_reportable(folder: StudyFolder) -> None:
    if not folder.path.is_dir():
        raise StudyError(f"--report-only: no folder {folder.path}; set --out to its parent folder")
    if (folder.path / "report.json").is_file() and not folder.runs():
        raise StudyError(f"--report-only: {folder.path} has a report but no runs; nothing was changed")


def _with_seeds_on_disk(study: Study, folder: StudyFolder) -> Study:
    """Return the study with all seeds of its report: those asked for, and those of its runs on disk.

    Where the study plans looks, its seeds are those of the looks.
    """
    if study.looks is not None:
        return study
    # os.path: Path raises an error where a folder may not be entered
    runs = [run for run in folder.runs() if os.path.exists(run.record_file)]
    on_disk = {run.seed for run in runs if run.variant in study.recipes}
    if on_disk <= set(study.seeds):
        return study
    return study.model_copy(update={"seeds": sorted(on_disk.union(study.seeds))})


def _opening(plan: Plan) -> str:
    """Write how many runs there are, on which device, and how many are finished."""
    first = plan.variants[0]
    reason = first.compute.reason
    variants, seeds = len(plan.variants), len(plan.seeds)
    statuses = []
    for _, folder in plan.runs():
        with suppress(RunError):  # a damaged run is reported when it is executed
            statuses.append(folder.status())
    return (
        f"{plan.study.name}: {variants} variant{'s' * (variants > 1)} x {seeds} seed{'s' * (seeds > 1)} on "
        f"{first.device} in {first.precision}{f' ({reason})' if reason else ''}; "
        f"{statuses.count('finished')} of {len(plan.runs())} runs finished"
    )
