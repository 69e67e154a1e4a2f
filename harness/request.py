"""A request from the shell or from Python; its checks need no heavy library."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from harness.console import complain, torchrun_rank_and_world_size
from harness.errors import DataError, StudyError
from harness.export import parse_exports
from harness.hints import argument_hint
from harness.launch import LAUNCHERS, check_launcher, parse_workers
from harness.messages import one_line
from harness.report.theme import DEFAULT, Theme, parse_theme
from harness.study_file.config import Study
from harness.study_file.load import load_study, study_folders
from harness.study_file.seeds import parse_seeds

FORMATS = ("svg", "pdf")  # of figures, besides PNG


@dataclass(frozen=True)
class Request:
    """Everything that a caller can request; each field is the command's option of that name.

    Attributes:
        studies: loaded studies, names of built-in ones, or paths.
        settings: values that override the studies': ``KEY=VALUE`` texts, or keys and values.
        seeds, variants: None uses the study's.
        n_seeds: the number of seeds, instead of ``seeds``.
        out: None for ``results``, in which a trial (a study changed by ``settings``) has its own folder.
        workers: number of parallel runs; None lets the launcher choose.
        figures, export: formats of figures besides PNG, and formats of networks.
        theme: of the figures.
    """

    studies: tuple[Study | str | Path, ...]
    settings: Mapping[str, Any] | Sequence[str] = ()
    seeds: tuple[int, ...] | None = None
    n_seeds: int | None = None
    variants: tuple[str, ...] | None = None
    out: Path | None = None
    data: Path | None = None
    launcher: str = "auto"
    workers: int | None = None
    ray_address: str | None = None
    device: str = "auto"
    devices: int = 1
    precision: str | None = None
    allow: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    theme: Theme = DEFAULT
    export: tuple[str, ...] = ()
    tracker: str | None = None
    until_decided: bool = False
    report_only: bool = False
    force: bool = False
    require_target: bool = False
    profile: bool = False
    quiet: bool = False

    @property
    def results(self) -> Path:
        """Return the folder that holds the studies' folders."""
        return Path("results") if self.out is None else self.out

    @property
    def world_size(self) -> int:
        """Return the number of devices per run: torchrun's world size, else ``devices``."""
        place = torchrun_rank_and_world_size()
        return self.devices if place is None else place[1]

    @property
    def follows(self) -> bool:
        """Return whether torchrun started this process with a rank above 0, which only trains."""
        place = torchrun_rank_and_world_size()
        return place is not None and place[0] > 0

    def load(self) -> list[Study]:
        """Check the request and load its studies, before anything slow is imported.

        Raises:
            StudyError, DataError: a mistake in the request or a study file, in one line.
        """
        from harness.imports import allow

        files = [name for name in self.studies if not isinstance(name, Study)]
        allow(self.allow, [folder for name in files for folder in study_folders(name)])
        if not self.follows:
            self.check()
        loaded: list[Study] = []
        for name in self.studies:
            study = load_study(
                name,
                settings=self.settings,
                seeds=self.seeds,
                n_seeds=self.n_seeds,
                precision=self.precision,
            )
            if study.trial is not None and (self.out is None or study.name != study.trial.of):
                study = study.renamed(study.trial.own_name(study.name))
            if study.name in [earlier.name for earlier in loaded]:
                raise StudyError(f"two of the studies are named {study.name!r} and would share a folder")
            if self.until_decided and study.looks is None:
                example = f"`looks = {_example(study)}`"
                raise StudyError(
                    f"--until-decided: {study.name} has no planned looks; add them to the file: {example}"
                )
            loaded.append(study)
        if not self.quiet and not self.follows:
            for study in loaded:
                for note in study.notes:
                    complain(f"{study.trial.of if study.trial else study.name}: {note}")
        return loaded

    def seeds_of(self, study: Study) -> list[int]:
        """Return the seeds to run of a study that :meth:`load` gave."""
        if self.n_seeds is not None:
            return study.seeds[: self.n_seeds]
        asked = set(study.seeds if self.seeds is None else self.seeds)
        return [seed for seed in study.seeds if seed in asked]

    def check(self) -> None:
        """Raise an error for options that contradict each other, or name something that does not exist.

        Raises:
            StudyError, DataError: in one line.
        """
        from harness.trackers import check_tracker

        known = LAUNCHERS.get(self.launcher)
        if known is not None and not known.several and (self.workers or 1) > 1:
            raise StudyError(
                f"--workers {self.workers}: the {self.launcher} launcher runs one at a time; "
                "use --launcher process"
            )
        if self.seeds is not None and self.n_seeds is not None:
            raise StudyError("--seeds and --n-seeds: both choose the seeds; leave one of them out")
        chosen = {"--report-only": self.report_only, "--seeds": self.seeds, "--n-seeds": self.n_seeds}
        for other, value in chosen.items():
            if self.until_decided and value:
                raise StudyError(
                    f"--until-decided and {other}: the looks decide which runs start; leave one of them out"
                )
        if self.ray_address is not None and self.launcher != "ray":
            raise StudyError("--ray-address: add --launcher ray")
        self._check_devices()
        if self.tracker is not None:
            check_tracker(self.tracker)
            server = os.environ.get("MLFLOW_TRACKING_URI")
            if self.launcher == "ray" and self.tracker == "mlflow" and not server:
                raise StudyError(
                    "--tracker mlflow with --launcher ray: nodes need a server; set MLFLOW_TRACKING_URI"
                )
        if self.data is not None and not os.path.isdir(self.data):
            raise DataError(f"--data {self.data}: no such folder; create it, or name another")
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


def _example(study: Study) -> list[int]:
    """Return looks that a study may have."""
    n = max(2, len(study.seeds))
    return [*(look for look in (3, 5, 10) if look < n), n]


def parse_formats(text: str) -> list[str]:
    """Return the formats of figures that a text names, each once: ``"svg,pdf"`` -> ``["svg", "pdf"]``.

    Raises:
        StudyError: another format.
    """
    formats = list(dict.fromkeys(part.strip().lower() for part in text.split(",")))
    if any(name not in FORMATS for name in formats):
        raise StudyError(
            f"--figures {one_line(text, 80)}: expected svg, pdf or svg,pdf; PNGs are always written"
        )
    return formats


# parsers of options that the command has as texts; lists from Python are checked by the same
_PARSERS: dict[str, Callable[[str], Any]] = {
    "seeds": parse_seeds,
    "variants": lambda text: [name.strip() for name in text.split(",")],
    "allow": lambda text: [name.strip() for name in text.split(",")],
    "figures": parse_formats,
    "theme": parse_theme,
    "export": parse_exports,
    "workers": parse_workers,
}


# The kinds of Python values that an option takes, where the command has no parser for it.
_KINDS: dict[str, tuple[Any, str]] = {
    **{field.name: (bool, "True or False") for field in fields(Request) if isinstance(field.default, bool)},
    **dict.fromkeys(("launcher", "device", "precision", "tracker", "ray_address"), (str, "text")),
    **dict.fromkeys(("devices", "n_seeds"), (int, "a whole number")),
    **dict.fromkeys(("out", "data"), (str | os.PathLike, "a path")),
}


def make_request(studies: Sequence[Study | str | Path], options: Mapping[str, Any]) -> Request:
    """Make a request from options by name, with texts as in the shell or with Python's values.

    Raises:
        StudyError: there is no such option, or its value is wrong.
    """
    names = {field.name for field in fields(Request)} - {"studies"}
    values: dict[str, Any] = {}
    for name, value in options.items():
        if name not in names:
            raise StudyError(f"harness.run: there is no option {name!r}{argument_hint(name, value, names)}")
        if value is None:
            continue
        if name != "settings":
            value = _plain(value)
        several = isinstance(value, list)
        if name in ("figures", "export", "allow") and several and not value:
            continue
        if name in _PARSERS and not isinstance(value, Theme):
            value = _PARSERS[name](",".join(map(str, value)) if several else str(value))
        kind, expected = _KINDS.get(name, (object, ""))
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise StudyError(f"harness.run: {name}={one_line(repr(value), 80)}: expected {expected}")
        if name in ("out", "data"):
            value = Path(value)
        values[name] = tuple(value) if isinstance(value, list | tuple) else value
    return Request(tuple(studies), **values)


def _plain(value: Any) -> Any:
    """Return NumPy's and pandas' values as Python's, and what can be gone through as a list."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping | Path):
        return list(value)
    return value
