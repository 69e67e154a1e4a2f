"""From a study to its finished runs: plan, check, launch."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.bar import no_bar_left
from harness.console import complain
from harness.data import default_root, load_data
from harness.data.arrays import Data
from harness.device import resolve_device, threads_for
from harness.errors import RunError
from harness.launch import LAUNCHERS, followers, get_launcher
from harness.launch.job import Job, check_folders, check_plan, find_rates
from harness.launch.team import choose_team
from harness.plan import Plan, make_plan
from harness.request import Request
from harness.store.folders import StudyFolder
from harness.study_file.config import Recipe, Study
from harness.trackers import Guarded
from harness.training.progress import Say, say, silent


@dataclass(frozen=True)
class Voice:
    """Where lines go.

    Attributes:
        say: progress and warnings.
        tell: verdicts.
        note: where results lie.
        complain: failures.
    """

    say: Say
    tell: Say
    note: Say
    complain: Say = complain

    @classmethod
    def of(cls, tell: Say, *, quiet: bool) -> Voice:
        """Return a voice whose verdicts go to ``tell``, and that says little else if it is quiet."""
        return cls(silent, tell, silent) if quiet else cls(say, tell, tell)


class Images:
    """The data of recipes, each loaded once and kept while it is in use."""

    def __init__(self, root: Path | None, *, download: bool = False, progress: bool = False) -> None:
        self.root = root
        self.options = {"download": download, "progress": progress}
        self.loaded: dict[str, Data] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the images out on the way to another process, which loads its own."""
        return {**self.__dict__, "loaded": {}}

    def __call__(self, recipe: Recipe) -> Data:
        """Return the train and evaluation images of a recipe."""
        config = recipe.data
        key = config.model_dump_json(exclude={"batch_size", "drop_last"})
        if key not in self.loaded:
            self.loaded[key] = load_data(
                config.source,
                self.root or default_root(),
                path=config.path,
                image_size=config.image_size,
                bits=config.bits,
                holdout=config.holdout,
                train_limit=config.train_limit,
                test_limit=config.test_limit,
                **self.options,
            )
        return self.loaded[key]


@dataclass(frozen=True)
class Runner:
    """Plans and launches runs as a request asks.

    Attributes:
        tracker: where the runs are shown as well.
    """

    request: Request
    images: Images
    voice: Voice
    tracker: Guarded | None = None

    def plan(self, study: Study, folder: StudyFolder, variants: list[str] | None) -> Plan:
        """Resolve a study's variants (None for all) and rehearse their networks.

        Raises:
            StudyError, DataError: what would fail in a run.
        """
        plan = make_plan(
            study,
            folder,
            self.images,
            variants=variants,
            device=self.request.device,
            devices=self.request.world_size,
        )
        return check_plan(plan, self.images, self.voice.say)

    def check_folders(self, plan: Plan) -> None:
        """Refuse runs of another configuration in the plan's folder, or move them aside with ``--force``.

        Raises:
            StudyError: naming the first difference.
        """
        check_folders(plan, force=self.request.force, say=self.voice.say)

    def launch(self, plan: Plan) -> list[str]:
        """Do the runs of a plan that are missing; say and return a line for each that could not be done."""
        request, devices = self.request, self.request.world_size
        if request.ray_address is not None:
            os.environ["RAY_ADDRESS"] = request.ray_address  # where Ray itself looks for it
        launcher, workers, threads = self._team(plan)
        job = Job(plan, self.images, threads, self.voice.say, request.profile, self.tracker)
        if devices > 1:  # a range test is one device's work
            rates = {variant.name: find_rates(job, variant, wait=True) for variant in plan.variants}
            job = replace(job, rates=rates)
        with no_bar_left(), followers.lead(devices, resolve_device(request.device), self.images):
            lost = _lost(plan, get_launcher(launcher)(job, workers))
        for line in lost:
            self.voice.complain(line)
        return lost

    def _team(self, plan: Plan) -> tuple[str, int | None, int]:
        """Choose the launcher, runs at once and threads of each: as asked for, or as is fastest."""
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


def _lost(plan: Plan, causes: dict[str, str]) -> list[str]:
    """Return a line for every planned run that could not be done, or left no trace of how it ended."""
    lines = []
    for _, folder in plan.runs():
        cause = causes.get(folder.name)
        with suppress(RunError):  # damaged: the report says so
            if cause is None and folder.status() not in ("finished", "failed"):
                cause = "its folder was removed; the same command does it again"
        if cause is not None:
            lines.append(f"{folder.name}: not finished: {cause}")
    return lines
