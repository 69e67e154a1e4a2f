"""The tally of a command: how many of its runs are over, and how long the others will take.

The time comes from what was measured in this command: the epochs of a variant, else those of the others, else
the steps of range tests; in proportion to each network's operations where another variant was measured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from harness.errors import RunError
from harness.messages import about
from harness.plan import Plan, Variant
from harness.training.progress import Progress
from harness.training.range_test import stored_rates


@dataclass
class _Work:
    """A range test or a run.

    Attributes:
        steps: of the optimizer, all its epochs or sweeps together.
        cost: floating-point operations of a step.
        share: done of it.
        measured: seconds of its epochs or sweeps so far.
        under_way: whether it has begun.
        first, heard: when its share was first and last heard of; None before.
    """

    variant: str
    steps: int
    cost: float
    is_run: bool
    over: bool = False
    share: float = 0.0
    measured: float = 0.0
    under_way: bool = False
    first: float | None = None
    heard: float | None = None


@dataclass
class Tally:
    """All range tests and runs of a command, by name.

    Attributes:
        runs: how many runs there are, or may be.
        at_most: whether there may be fewer.
        at_once: how many are under way at once.
    """

    runs: int = 0
    at_most: bool = False
    at_once: int = 1
    _works: dict[str, _Work] = field(default_factory=dict)
    _epochs: dict[str, list[float]] = field(default_factory=dict)  # variant -> seconds per operation
    _sweeps: list[float] = field(default_factory=list)
    _extra: list[float] = field(default_factory=list)  # seconds of a run beside its epochs

    @classmethod
    def of(cls, plans: Iterable[Plan], *, at_most: bool = False) -> Tally:
        """Return the tally of these plans, with the trials of their searches."""
        tally = cls(at_most=at_most)
        for plan in plans:
            search = plan.study.search
            trials = 0 if search is None else search.trials * len(plan.seeds)
            tally.runs += len(plan.runs()) + trials
            tally.at_most |= trials > 0
            tally.add(plan)
        return tally

    def add(self, plan: Plan) -> None:
        """Add the range tests and runs of a plan that are not known yet."""
        for variant in plan.variants:
            settings = variant.recipe.range_test_settings
            if settings is not None and settings.per == "variant":
                done = stored_rates(variant, plan.folder) is not None
                self._add(sweep_name(variant), variant, settings.iterations * settings.sweeps, False, done)
        for variant, folder in plan.runs():
            over = False
            with suppress(RunError):  # a damaged run is done again
                record = folder.record()
                over = record is not None and (record.status == "finished" or record.diverged)
            steps = variant.recipe.schedule.epochs * variant.steps_per_epoch + variant.recipe.own_sweep_steps
            self._add(folder.name, variant, steps, True, over)

    def _add(self, name: str, variant: Variant, steps: int, is_run: bool, over: bool) -> None:
        cost = float(variant.outline.flops_per_image * variant.recipe.data.batch_size)
        key = f"{variant.study}/{variant.name}"
        self._works.setdefault(name, _Work(key, steps, max(cost, 1.0), is_run, over))

    def begin(self, name: str) -> None:
        """Note that a range test or run begins."""
        if (work := self._works.get(name)) is not None:
            work.under_way = True

    def hear(self, name: str, progress: Progress) -> None:
        """Take in how far a range test or run is, and what an epoch took."""
        if (work := self._works.get(name)) is None:
            return
        work.heard = time.monotonic()
        work.first = work.first or work.heard - progress.seconds
        if progress.sweep != work.is_run:  # else it is the range test of one run
            work.share = progress.share
        if progress.steps:
            speed = progress.seconds / (progress.steps * work.cost)
            work.measured += progress.seconds
            (self._sweeps if progress.sweep else self._epochs.setdefault(work.variant, [])).append(speed)

    def end(self, name: str) -> None:
        """Note that a range test or run is over."""
        if (work := self._works.get(name)) is not None:
            if work.is_run and work.first is not None and work.measured:
                self._extra.append(max(0.0, time.monotonic() - work.first - work.measured))
            work.over, work.share = True, 1.0

    def put_off(self, name: str) -> None:
        """Note that a range test or run is done later, or by another process."""
        if (work := self._works.get(name)) is not None:
            work.under_way, work.heard = False, None

    @property
    def common(self) -> str:
        """Return what all names begin with: the study, and the variant; empty where there are several."""
        variants = {work.variant for work in self._works.values()}
        studies = {variant.partition("/")[0] for variant in variants}
        if len(studies) != 1:
            return ""
        return min(variants if len(variants) == 1 and not self.at_most else studies)

    @property
    def done(self) -> int:
        """Return how many runs are over."""
        return sum(work.over for work in self._works.values() if work.is_run)

    @property
    def share(self) -> float:
        """Return how much of the work is done, in [0, 1]."""
        total = done = 0.0
        known = [work for work in self._works.values() if work.is_run]
        for work in self._works.values():
            total += work.steps * work.cost
            done += work.steps * work.cost * work.share if not work.over else work.steps * work.cost
        if known and self.runs > len(known):  # runs that are not known yet are like those that are
            total += (self.runs - len(known)) * statistics.fmean(work.steps * work.cost for work in known)
        return done / total if total else 0.0

    def seconds_left(self) -> float | None:
        """Return the seconds that are left; None before anything was measured."""
        all_epochs = [speed for speeds in self._epochs.values() for speed in speeds] or self._sweeps
        if not all_epochs:
            return None
        usual, extra = statistics.median(all_epochs), statistics.median(self._extra) if self._extra else 0.0

        def seconds(work: _Work) -> float:
            speed = statistics.median(self._epochs.get(work.variant) or [usual])
            left = (1 - work.share) * work.steps * work.cost * speed + extra * work.is_run
            return max(0.0, left - (time.monotonic() - work.heard)) if work.heard else left

        left = [work for work in self._works.values() if not work.over]
        known = [work for work in self._works.values() if work.is_run]
        unknown = max(0, self.runs - len(known))
        begun = [seconds(work) for work in left if work.under_way]
        later = [seconds(work) for work in left if not work.under_way]
        if known:
            later += unknown * [statistics.fmean(work.steps * work.cost * usual for work in known) + extra]
        ends = sorted(begun) + max(0, self.at_once - len(begun)) * [0.0]
        for work_seconds in later:  # each is begun where one is over first
            ends.sort()
            ends[0] += work_seconds
        return max(ends, default=0.0)

    def count(self) -> str:
        """Write ``5 of 12 runs``."""
        most = "at most " if self.at_most else ""
        return f"{self.done} of {most}{self.runs} run{'s' * (self.runs != 1)}"

    def time_left(self) -> str:
        """Write ``14 min left``; nothing before anything was measured, and at the end."""
        seconds = self.seconds_left()
        if not seconds or self.done >= self.runs:
            return ""
        return f"{'at most ' * self.at_most}{about(seconds)} left"


def sweep_name(variant: Variant) -> str:
    """Return the name of a variant's range test."""
    return f"{variant.study}/{variant.name} range test"
