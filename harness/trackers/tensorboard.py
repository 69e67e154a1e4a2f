"""TensorBoard: event files under ``<out>/<study>/tensorboard``, a folder a variant and in it one a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from ignite.handlers.tensorboard_logger import TensorboardLogger
from PIL import Image

from harness.plan import Variant
from harness.store.folders import RunFolder, StudyFolder
from harness.trackers import REPORTED, Tracker


class TensorBoard(Tracker):
    """Writes what ``tensorboard --logdir <out>/<study>/tensorboard`` shows."""

    def logger(
        self, variant: Variant, folder: RunFolder, done: Sequence[Mapping[str, Any]]
    ) -> TensorboardLogger:
        """Return a logger that writes one run's event files, with its recipe as text."""
        logger = TensorboardLogger(log_dir=_place(folder.study) / folder.variant / f"seed-{folder.seed}")
        recipe = tomli_w.dumps(variant.recipe.model_dump(mode="json", exclude_none=True))
        logger.writer.add_text("recipe", "".join(f"    {line}\n" for line in recipe.splitlines()))
        return logger

    def end(self, logger: TensorboardLogger, folder: RunFolder, record: Mapping[str, Any]) -> None:
        """Add the run's numbers."""
        for name, value in record["metrics"].items():
            logger.writer.add_scalar(f"run/{name}", value)
        logger.close()

    def report(self, folder: StudyFolder, variants: Sequence[Mapping[str, Any]]) -> None:
        """Write each variant's mean and std over seeds, and the study's figures."""
        for row in variants:
            seeds = TensorboardLogger(log_dir=_place(folder) / row["variant"])
            for name in REPORTED:
                if row.get(name) is not None:
                    seeds.writer.add_scalar(f"seeds/{name}", row[name])
            seeds.close()
        study = TensorboardLogger(log_dir=_place(folder))
        for path in sorted(folder.figures.glob("*.png")):
            with Image.open(path) as image:
                study.writer.add_image(path.stem, np.asarray(image.convert("RGB")), dataformats="HWC")
        study.close()


def _place(folder: StudyFolder) -> Path:
    return folder.path / "tensorboard"
