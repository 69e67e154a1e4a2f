"""Plan, check and launch the runs of a study."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.analysis.starts import plan_of
from harness.console import complain
from harness.data import default_root, load_data
from harness.data.arrays import Data
from harness.data.leakage import find_leakage, leakage_warnings
from harness.device import resolve_device, threads_for
from harness.errors import RunError
from harness.launch import LAUNCHERS, followers, get_launcher
from harness.launch.job import Job, check_folders, check_plan, find_rates
from harness.launch.tally import sweep_name
from harness.launch.team import choose_team
from harness.launch.view import View
from harness.plan import Plan, Variant, make_plan
from harness.request import Request
from harness.schedule import Rates
from harness.store.folders import RunFolder, StudyFolder
from harness.study_file.config import Recipe, Study
from harness.trackers import GuardedTracker
from harness.training.progress import Say, say, silent


@dataclass(frozen=True)
class Voice:
    """Functions that print lines, by what a line is about.

    Attributes:
        say: progress and warnings.
        tell: verdicts.
        note: paths of results.
        complain: failures.
    """

    say: Say
    tell: Say
    note: Say
    complain: Say = complain

    @classmethod
    def of(cls, tell: Say, *, quiet: bool) -> Voice:
        """Return a voice that prints verdicts by ``tell``; if ``quiet``, besides these only failures."""
        return cls(silent, tell, silent) if quiet else cls(say, tell, tell)


class LoadedData:
    """Loads the images of recipes; recipes with the same data share them.

    Of hold-outs that vary from run to run, only the last one is kept.
    """

    def __init__(self, root: Path | None, *, download: bool = False, progress: bool = False) -> None:
        self.root = root
        self.options = {"download": download, "progress": progress}
        self.loaded: dict[tuple[str, int], Data] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the images out of a pickle: another process loads its own."""
        return {**self.__dict__, "loaded": {}}

    def __call__(self, recipe: Recipe) -> Data:
        """Return the train and evaluation images of a recipe."""
        config = recipe.data
        images = config.model_dump_json(exclude={"batch_size", "drop_last", "holdout_draws", "sampler"})
        key = images, recipe.draw
        if key not in self.loaded:
            self.loaded = {other: data for other, data in self.loaded.items() if other[0] != images}
            self.loaded[key] = load_data(
                config.source,
                self.root or default_root(),
                path=config.path,
                image_size=config.image_size,
                bits=config.bits,
                cluster=config.cluster,
                options=config.options,
                holdout=config.holdout,
                draw=recipe.draw,
                train_limit=config.train_limit,
                test_limit=config.test_limit,
                **self.options,
            )
        return self.loaded[key]


@dataclass(frozen=True)
class Runner:
    """Plans and launches runs as a request asks.

    Attributes:
        tracker: a further tool that shows the runs, such as MLflow.
        view: shows the runs of the whole command.
    """

    request: Request
    load_data: LoadedData
    voice: Voice
    tracker: GuardedTracker | None = None
    view: View = field(default_factory=View)

    def plan(self, study: Study, folder: StudyFolder, variants: list[str] | None) -> Plan:
        """Resolve a study's variants (None for all) and rehearse their networks.

        Raises:
            StudyError, DataError: something that would fail in a run.
        """
        plan = make_plan(
            study,
            folder,
            self.load_data,
            variants=variants,
            device=self.request.device,
            devices=self.request.world_size,
        )
        plan = check_plan(plan, self.load_data, self.voice.say)
        self._warn_of_leakage(plan)
        return plan

    def _warn_of_leakage(self, plan: Plan) -> None:
        """Compare the splits, once for variants with the same images; each run records what is found."""
        seen: set[str] = set()
        for variant in plan.variants:
            data = self.load_data(variant.recipe)
            if data.sha256 in seen:
                continue
            seen.add(data.sha256)
            record = find_leakage(data, progress=self.load_data.options["progress"]).to_record()
            for warning in leakage_warnings(record, data.evaluated_on, len(data.evaluation)):
                self.voice.say(f"{plan.study.name}/{variant.name}  warning: {warning}")

    def check_folders(self, plan: Plan) -> None:
        """Refuse runs of another configuration in the plan's folder, or move them aside with ``--force``.

        Raises:
            StudyError: a run differs; the message names the first difference.
        """
        check_folders(plan, force=self.request.force, say=self.voice.say)

    def launch(self, plan: Plan, stages: Iterable[Plan] | None = None) -> list[str]:
        """Execute the missing runs of a plan; print and return a line for each that has not finished.

        Args:
            stages: parts of the plan, executed one after another; the whole plan if None.
        """
        request, devices = self.request, self.request.world_size
        if request.ray_address is not None:
            os.environ["RAY_ADDRESS"] = request.ray_address  # Ray itself reads this variable
        launcher, workers, threads = self._team(plan)
        job = Job(
            plan, self.load_data, threads, self.view,
            profile=request.profile, tracker=self.tracker, planned=plan_of(plan.study),
        )  # fmt: skip
        self.view.tally.add(plan)
        if devices > 1:  # a range test uses one device
            shared = [variant for variant in plan.variants if not variant.recipe.each_run_finds]
            rates = {variant.name: self._find_rates(job, variant) for variant in shared}
            job = replace(job, rates=rates)
        with followers.lead(devices, resolve_device(request.device), self.load_data):
            causes: dict[str, str] = {}
            launched: dict[str, RunFolder] = {}
            for stage in [plan] if stages is None else stages:
                of_stage = {folder.name: folder for _, folder in stage.runs()}
                causes = {
                    name: cause for name, cause in causes.items() if name not in of_stage
                }  # tried again
                causes |= get_launcher(launcher)(replace(job, plan=stage), workers)
                launched |= of_stage
        unfinished = _unfinished(launched.values(), causes)
        for line in unfinished:
            self.voice.complain(line)
        return unfinished

    def _find_rates(self, job: Job, variant: Variant) -> Rates | RunError:
        name = sweep_name(variant)
        self.view.begin(name)
        rates = find_rates(replace(job, speaker=self.view.of(name)), variant, wait=True)
        self.view.end(name)
        return rates

    def _team(self, plan: Plan) -> tuple[str, int | None, int]:
        """Choose the launcher, the runs at once and their threads: as requested, else the fastest."""
        launcher, workers, devices = self.request.launcher, self.request.workers, self.request.world_size
        known = LAUNCHERS.get(launcher)  # None of auto
        if devices > 1 or (known is not None and known.remote):
            threads = threads_for((workers or 1) * devices)
            return "serial" if launcher == "auto" else launcher, workers, threads
        team = choose_team(plan, 1 if known is not None and not known.several else workers)
        if team.reason:
            at_once = f"{team.workers} runs at once" if team.workers > 1 else "one run at a time"
            many = f"{team.threads} thread{'s' * (team.threads > 1)}{' each' * (team.workers > 1)}"
            self.voice.say(f"{plan.study.name}: {at_once} with {many} ({team.reason})")
        return team.launcher if launcher == "auto" else launcher, team.workers, team.threads


def _unfinished(launched: Iterable[RunFolder], causes: dict[str, str]) -> list[str]:
    """Return a line for every launched run that has not finished and whose folder does not tell why."""
    lines = []
    for folder in launched:
        cause = causes.get(folder.name)
        with suppress(RunError):  # a damaged run is named in the report
            if cause is None and folder.status() not in ("finished", "failed"):
                cause = "its folder was removed; run the same command again"
        if cause is not None:
            lines.append(f"{folder.name}: not finished: {cause}")
    return lines
