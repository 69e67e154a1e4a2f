"""The Python interface: ``harness.run`` takes a study and the command's options, and returns results."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis.numbers import std_text
from harness.errors import HarnessError, RunError, StudyError
from harness.messages import suggest
from harness.metrics import METRICS, title_of
from harness.request import make_request
from harness.store.folders import StudyFolder
from harness.store.sealed import read_sealed
from harness.study_file.config import Study

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

_SHOWN = {  # of the summary, shown in a notebook
    "std": "metric_std",
    "95 % from": "metric_ci_low",
    "to": "metric_ci_high",
    "target": "target",
}


def _written(value: float, metric: str) -> str:
    """Write a share in percent, another number plainly, and – for NaN (not equal to itself), of one run."""
    share = metric in METRICS and METRICS[metric].share
    return "–" if value != value else std_text(100 * value, 2) if share else std_text(value, 4)


class Results:
    """The results in a study's folder, ``<out>/<study>``, after its report was written.

    In a notebook it shows the verdict and the summary.

    Attributes:
        status: the exit status of the command, for results of :func:`run`: 0; 1 if a run failed; 3 if
            ``require_target=True`` and the target was missed. None for an earlier study's folder.

    Raises:
        RunError: there is no report.
    """

    def __init__(self, folder: str | Path, status: int | None = None) -> None:
        self.status = status
        path = Path(folder).resolve()
        self.folder = StudyFolder(path.parent, path.name)
        report = read_sealed(path / "report.json")
        if report is None:
            raise RunError(f"{folder}: there is no report; harness.run makes one")
        self._report = report

    @property
    def verdict(self) -> str:
        """Return the report's answer, in a sentence."""
        return str(self._report["verdict"])

    @property
    def met(self) -> bool:
        """Return whether every run that was asked for reached the target on its last epoch."""
        return bool(self._report["met"])

    @cached_property
    def runs(self) -> pd.DataFrame:
        """Return a row a run: its numbers, or why it failed."""
        return self.table("runs")

    @cached_property
    def history(self) -> pd.DataFrame:
        """Return a row an epoch of each run."""
        return self.table("history")

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Return a row a variant: mean, std and interval over seeds, of accuracy and the target's metric."""
        return self.table("summary")

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Return a row for each metric of each variant: mean, std and interval over seeds."""
        return self.table("metrics")

    def table(self, name: str) -> pd.DataFrame:
        """Read one of ``tables/*.csv``, by its name without the ending.

        Raises:
            StudyError: there is none of that name.
        """
        import pandas as pd

        return pd.read_csv(self._path("tables", name, "csv"))

    def figure(self, name: str) -> Image:
        """Read one of ``figures/*.png``, by its name without the ending; a notebook shows it.

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
        metric = str(self.summary["metric"].iloc[0])
        unit = ", %" * (metric in METRICS and METRICS[metric].share)
        columns = {f"{title_of(metric)}{unit}": "metric_mean", **_SHOWN}
        shown = self.summary[["variant", "runs", "failed"]].assign(
            **{
                title: [_written(value, metric) for value in self.summary[column]]
                for title, column in columns.items()
            }
        )
        table = shown.assign(reached=self.summary["reached"]).to_html(index=False, border=0)
        return f"<p><b>{html.escape(self.folder.name)}</b>: {html.escape(self.verdict)}</p>{table}"


def run(
    study: Study | str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    seeds: Sequence[int] | None = None,
    **options: Any,
) -> Results:
    """Execute a study's missing runs, write its report, and return its results.

    Args:
        study: a study, the name of a built-in one, or a path.
        settings: values that replace the study's, such as ``{"schedule.epochs": 2}`` or ``{"model": Net}``.
        seeds: seeds that replace the study's.
        options: options of the command, by their names: ``out="results"``, ``data="DIR"``,
            ``variants="base,adam"``, ``device="cpu"``, ``launcher="auto"``, ``workers=2``, ``quiet=True``.
            One run at a time unless ``launcher`` or ``workers`` says otherwise; a script with several at once
            needs ``if __name__ == "__main__":`` around its calls.

    Raises:
        HarnessError: a mistake in the study or an option, in one line. Failed runs are in the results.
    """
    # One run at a time, since several need worker processes, for which a script must guard its main part.
    launcher = "auto" if "workers" in options else "serial"
    changes = {"settings": settings, "seeds": None if seeds is None else [int(seed) for seed in seeds]}
    try:
        request = make_request([study], {"launcher": launcher, **options, **changes})
        (loaded,) = studies = request.load()  # mistakes are reported before torch is imported
        from harness.workflow import carry_out

        outcome = carry_out(request, studies, tell=lambda line: None)
    except HarnessError as error:
        raise error.with_traceback(None) from None  # the message says it all
    return Results(request.out / loaded.name, outcome.status)
