"""Weights & Biases: a study is a project, a variant a group, a seed a run; one more run has mean and std."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from harness.errors import StudyError
from harness.plan import Plan, Variant
from harness.store.folders import RunFolder, StudyFolder
from harness.store.run_files import OLD_METRICS
from harness.trackers import EPOCH_METRICS, REPORTED, Tracker
from harness.trackers.steps import StepLogger, epoch_values

SECONDS = 20  # to wait for a server at a run's start and end; what it did not get stays on disk
# W&B's own lines would break the progress bar
os.environ.setdefault("WANDB_SILENT", "true")


class WandB(Tracker):
    """Sends runs to a W&B server; with ``WANDB_MODE=offline`` writes them to ``<out>/<study>/wandb``.

    A run's id follows from the study's folder, the variant's digest and the seed, so that a resumed run has
    the id of the killed one, and a repeated run replaces the earlier one.
    """

    def __init__(self) -> None:
        self.study = self.folder = ""
        self.configs: dict[str, dict[str, Any]] = {}
        self.run: Any = None  # the current one

    def check(self) -> None:
        """Refuse to start without an API key if runs are to be sent to a server."""
        if _online() and not wandb.login(prompt=False):
            raise StudyError(
                "--tracker wandb: not logged in; run `wandb login`, or set WANDB_MODE=offline and use "
                "`wandb sync` later"
            )

    def begin(self, plan: Plan) -> None:
        """Create the first variant's summary, so that a server that does not answer is noticed now."""
        self.study, self.folder = plan.study.name, _id_of(plan.folder)
        self.configs = {variant.name: _config(variant) for variant in plan.variants}
        if plan.variants and _online():
            self._summary(plan.folder, plan.variants[0].name).finish()

    def logger(self, variant: Variant, folder: RunFolder, done: Sequence[Mapping[str, Any]]) -> StepLogger:
        """Open the run of a seed. What earlier processes logged is logged again: offline, each has a file."""
        run = self._open(
            folder.study,
            variant.name,
            f"seed-{folder.seed}",
            variant.digest,
            job_type="train",
            config={**_config(variant), "seed": folder.seed},
            resume="allow" if done else None,
        )
        run.define_metric("epoch")
        run.define_metric("epoch/*", step_metric="epoch")
        for row in done:
            shown = {name: row.get(name) for name in [*EPOCH_METRICS, "raw_loss", "raw_accuracy"]}
            run.log(epoch_values(row["epoch"], shown), step=row["epoch"] * variant.steps_per_epoch)
        self.run = run
        return StepLogger(run.log)

    def end(self, logger: StepLogger, folder: RunFolder, record: Mapping[str, Any]) -> None:
        """Put the run's numbers into its summary."""
        new = {name: value for name, value in record["metrics"].items() if name not in OLD_METRICS.values()}
        self.run.summary.update({**new, "status": record["status"]})
        self.run.finish(exit_code=int(record["status"] != "finished"))

    def report(self, folder: StudyFolder, variants: Sequence[Mapping[str, Any]]) -> None:
        """Put each variant's mean and std over seeds into the summary of a run of its own."""
        for row in variants:
            run = self._summary(folder, row["variant"])
            run.summary.update({name: row[name] for name in REPORTED if row.get(name) is not None})
            run.finish()

    def _summary(self, folder: StudyFolder, variant: str) -> wandb.Run:
        config = self.configs.get(variant, {"study": self.study, "variant": variant})
        return self._open(folder, variant, "summary", job_type="summary", config=config)

    def _open(self, folder: StudyFolder, variant: str, name: str, *of_id: str, **options: Any) -> wandb.Run:
        settings = wandb.setup().settings
        identity = hashlib.sha256("/".join([variant, name, *of_id]).encode()).hexdigest()[:16]
        return wandb.init(
            project=settings.project or self.study,
            group=f"{self.study}/{variant}",
            name=f"{variant}/{name}",
            id=f"{self.folder}-{identity}",
            dir=None if os.environ.get("WANDB_DIR") else folder.path,
            settings=wandb.Settings(
                console="off",
                init_timeout=SECONDS,
                finish_timeout=SECONDS,
                finish_timeout_raises=True,
                reinit="create_new",
            ),
            **options,
        )


def _config(variant: Variant) -> dict[str, Any]:
    recipe = variant.recipe.model_dump(mode="json", exclude_none=True)
    return {**recipe, "variant": variant.name, "digest": variant.digest}


def _online() -> bool:
    return wandb.setup().settings.mode not in ("offline", "disabled", "dryrun")


def _id_of(folder: StudyFolder) -> str:
    """Return the study folder's part of its runs' ids, drawn once: equal studies elsewhere have another."""
    place: Path = folder.path / "wandb" / "id.txt"
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with place.open("x") as file:
            file.write(secrets.token_hex(4))
    except FileExistsError:
        pass
    return place.read_text().strip()
