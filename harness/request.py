"""What a caller can ask for, from the shell or from Python, and the checks of it that need no library."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.console import torchrun_place
from harness.errors import DataError, StudyError
from harness.study_file.config import Study
from harness.study_file.load import load_study


@dataclass(frozen=True)
class Request:
    """All that can be asked for; each field is the command's option of that name.

    Attributes:
        studies: loaded ones, names of built-in ones, or paths.
        settings: instead of the studies' values: ``KEY=VALUE`` texts, or keys and values.
        seeds, variants: None for the study's.
        workers: runs at once; None leaves it to the launcher.
        figures, export: formats beside PNG, and of networks.
    """

    studies: tuple[Study | str | Path, ...]
    settings: Mapping[str, Any] | Sequence[str] = ()
    seeds: tuple[int, ...] | None = None
    variants: tuple[str, ...] | None = None
    out: Path = Path("results")
    data: Path | None = None
    launcher: str = "auto"
    workers: int | None = None
    ray_address: str | None = None
    device: str = "auto"
    devices: int = 1
    precision: str | None = None
    allow: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    export: tuple[str, ...] = ()
    tracker: str | None = None
    report_only: bool = False
    force: bool = False
    require_target: bool = False
    profile: bool = False
    quiet: bool = False

    @property
    def world_size(self) -> int:
        """Return how many devices share each run: as many as torchrun has started, else ``devices``."""
        place = torchrun_place()
        return self.devices if place is None else place[1]

    @property
    def follows(self) -> bool:
        """Return whether torchrun has started this process beside the first one, which does all the rest."""
        place = torchrun_place()
        return place is not None and place[0] > 0

    def load(self) -> list[Study]:
        """Check the request and load its studies, before anything slow is imported.

        Raises:
            StudyError, DataError: in one line, what is wrong with the request or a study file.
        """
        from harness.models.imported import allow

        allow(self.allow, [Path(one).parent for one in self.studies if not isinstance(one, Study)])
        if not self.follows:
            self.check()
        loaded: list[Study] = []
        for one in self.studies:
            study = load_study(one, settings=self.settings, seeds=self.seeds, precision=self.precision)
            if study.name in [earlier.name for earlier in loaded]:
                raise StudyError(f"two of the studies are named {study.name!r} and would share a folder")
            loaded.append(study)
        return loaded

    def check(self) -> None:
        """Raise an error for options that do not go together or name what is not there.

        Raises:
            StudyError, DataError: in one line.
        """
        from harness.launch import check_launcher
        from harness.trackers import check_tracker

        if self.launcher == "serial" and (self.workers or 1) > 1:
            raise StudyError(
                f"--workers {self.workers}: the serial launcher runs one at a time; --launcher process"
            )
        if self.ray_address is not None and self.launcher != "ray":
            raise StudyError("--ray-address: goes with --launcher ray")
        self._check_devices()
        if self.tracker is not None:
            check_tracker(self.tracker)
            server = os.environ.get("MLFLOW_TRACKING_URI")
            if self.launcher == "ray" and self.tracker == "mlflow" and not server:
                raise StudyError(
                    "--tracker mlflow with --launcher ray: nodes need a server; set MLFLOW_TRACKING_URI"
                )
        if self.data is not None and not os.path.isdir(self.data):
            raise DataError(f"--data {self.data}: no such folder")
        check_launcher(self.launcher)

    def _check_devices(self) -> None:
        devices = self.world_size
        if self.devices not in (1, devices):
            raise StudyError(f"--devices {self.devices}: torchrun has started {devices}")
        if devices < 1:
            raise StudyError(f"--devices {devices}: expected at least 1")
        if devices > 1:
            from harness.device import resolve_device
            from harness.launch.followers import check

            if self.launcher not in ("auto", "serial") or self.workers not in (None, 1):
                raise StudyError(
                    f"--devices {devices}: one run at a time; leave out --workers, "
                    "use --launcher auto or serial"
                )
            check(resolve_device(self.device), devices)
