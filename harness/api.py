"""In Python as in the shell: ``harness.run`` takes a study and the command's options, and gives results."""

from __future__ import annotations

import contextlib
import html
import io
import json
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis.numbers import spread_text
from harness.errors import RunError, StudyError
from harness.messages import suggest
from harness.store.folders import StudyFolder
from harness.store.sealed import read_sealed
from harness.study_file.config import Study
from harness.study_file.load import load_study

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

_NOT_OPTIONS = (
    "studies",
    "list_",
    "dry_run",
    "json_",
    "settings",
    "seeds",
)  # they print, or are said otherwise


_SHOWN = {  # in a notebook, in percent: the summary has more columns than a page is wide
    "accuracy, %": "test_accuracy_mean",
    "std": "test_accuracy_std",
    "95 % from": "test_accuracy_ci_low",
    "to": "test_accuracy_ci_high",
    "target": "target",
}


def _percent(share: float) -> str:
    return "–" if share != share else spread_text(100 * share, 2)  # NaN where one run has no spread


class Results:
    """What lies in a study's folder, ``<out>/<study>``, after its report was written.

    In a notebook it shows the verdict and the summary.

    Raises:
        RunError: there is no report.
    """

    def __init__(self, folder: str | Path) -> None:
        path = Path(folder).resolve()
        self.folder = StudyFolder(path.parent, path.name)
        self._report = read_sealed(path / "report.json")
        if self._report is None:
            raise RunError(f"{folder}: there is no report; harness.run makes one")

    @property
    def verdict(self) -> str:
        """The report's answer, in a sentence."""
        return str((self._report or {})["verdict"])

    @property
    def met(self) -> bool:
        """Whether every run that was asked for reached the target on its last epoch."""
        return bool((self._report or {})["met"])

    @cached_property
    def runs(self) -> pd.DataFrame:
        """A row a run: its numbers, or why it failed."""
        return self.table("runs")

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row an epoch of each run."""
        return self.table("history")

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A row a variant: mean, std and interval over seeds."""
        return self.table("summary")

    def table(self, name: str) -> pd.DataFrame:
        """Any of ``tables/*.csv``, by its name without the ending.

        Raises:
            StudyError: there is none of that name.
        """
        import pandas as pd

        return pd.read_csv(self._path("tables", name, "csv"))

    def figure(self, name: str) -> Image:
        """Any of ``figures/*.png``, by its name without the ending; a notebook shows it.

        Raises:
            StudyError: there is none of that name.
        """
        from PIL import Image

        with Image.open(self._path("figures", name, "png")) as image:
            image.load()
        return image

    def _path(self, kind: str, name: str, ending: str) -> Path:
        known = sorted(path.stem for path in (self.folder.path / kind).glob(f"*.{ending}"))
        if name not in known:
            raise StudyError(f"{self.folder.path / kind}: no {name!r}{suggest(name, known)}")
        return self.folder.path / kind / f"{name}.{ending}"

    def __repr__(self) -> str:
        return f"{self.folder.name}: {self.verdict}"

    def _repr_html_(self) -> str:
        shown = self.summary[["variant", "runs", "failed"]].assign(
            **{title: [_percent(share) for share in self.summary[column]] for title, column in _SHOWN.items()}
        )
        table = shown.assign(reached=self.summary["reached"]).to_html(index=False, border=0)
        return f"<p><b>{html.escape(self.folder.name)}</b>: {html.escape(self.verdict)}</p>{table}"


def run(
    study: Study | str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    seeds: list[int] | None = None,
    **options: Any,
) -> Results:
    """Do what is missing of a study's runs, write its report, and give its results.

    Args:
        study: one that was loaded, the name of a built-in one, or a path.
        settings: instead of the study's values, such as ``{"schedule.epochs": 2}``.
        seeds: instead of the study's.
        options: those of the command, by their names: ``out="results"``, ``data="DIR"``,
            ``variants="base,adam"``, ``device="cpu"``, ``launcher="auto"``, ``workers=2``, ``quiet=True``.
            One run at a time unless ``launcher`` or ``workers`` says otherwise; a script with several at once
            needs ``if __name__ == "__main__":`` around its calls.

    Raises:
        HarnessError: what the command would say in a line. Runs that failed are in the results.
    """
    from harness.study import answer, command

    context = command.make_context("harness.run", [])
    known = sorted({name for name in context.params} - set(_NOT_OPTIONS))
    for name in options:
        if name not in known:
            raise StudyError(f"harness.run: no option {name!r}{suggest(name, known)}")
    # one run at a time: several begin processes of their own, for which a script has to guard its main part
    chosen = {**context.params, "launcher": "serial", **options}
    if "workers" in options and "launcher" not in options:
        chosen["launcher"] = "auto"
    for name in ("out", "data"):
        chosen[name] = None if chosen[name] is None else Path(chosen[name])
    chosen["settings"] = tuple(f"{key}={_toml(value)}" for key, value in (settings or {}).items())
    chosen["seeds"] = None if seeds is None else ",".join(map(str, seeds))
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        if isinstance(study, Study):
            file = Path(folder) / f"{study.name}.toml"
            file.write_text(study.to_toml(), encoding="utf-8")
            study = file
        answer((str(study),), chosen)
        name = load_study(str(study), settings=chosen["settings"]).name
    return Results(chosen["out"] / name)


def _toml(value: Any) -> str:
    """A value as TOML has it: JSON's strings, numbers, booleans and arrays are the same there."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
