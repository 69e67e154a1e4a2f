"""The Python interface: ``harness.run`` takes a study and the command's options, and returns results."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.console import torchrun_rank_and_world_size
from harness.errors import HarnessError, RunError, StudyError
from harness.messages import suggest
from harness.report.render.markdown import escape
from harness.request import make_request
from harness.store.folders import StudyFolder
from harness.store.sealed import read_sealed
from harness.study_file.config import Study

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

    from harness.analysis.side_by_side import SideBySide


class Results:
    """The results in a study's folder, ``<out>/<study>``, after its report was written.

    In a notebook it shows the verdict and the ranked table.

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
    def sentence(self) -> str:
        """Return what was found as a sentence for a paper: numbers, n, images, and the test.

        Raises:
            RunError: the report is of an earlier version.
        """
        if "sentence" not in self._report:
            raise self._outdated()
        return str(self._report["sentence"])

    def to_latex(self) -> str:
        """Return the ranked table of all variants for LaTeX, with the packages that its first line names.

        Raises:
            RunError: the report is of an earlier version.
        """
        return self._ranked("tex")

    def to_markdown(self) -> str:
        """Return the ranked table of all variants in Markdown.

        Raises:
            RunError: the report is of an earlier version.
        """
        return self._ranked("md")

    def to_typst(self) -> str:
        """Return the ranked table of all variants for Typst.

        Raises:
            RunError: the report is of an earlier version.
        """
        return self._ranked("typ")

    def _ranked(self, ending: str) -> str:
        try:
            return (self.folder.tables / f"ranked.{ending}").read_text("utf-8")
        except FileNotFoundError:
            raise self._outdated() from None

    def _outdated(self) -> RunError:
        return RunError(
            f"{self.folder.path}: the report is of an earlier version; rebuild it with --report-only"
        )

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

    def compare(self, *others: Results | str | Path, variant: str | None = None) -> Comparison:
        """Compare these results with others; these are the baseline. Nothing is changed.

        Args:
            others: results, or folders such as ``"results/onecycle"``; a text may end with ``:<variant>``.
            variant: of these results; None for the study's baseline, or the only one with runs.

        Raises:
            StudyError: one of them has no runs, or cannot be read.
        """
        from harness.analysis.side_by_side import compare_results

        own = self.folder.path if variant is None else f"{self.folder.path}:{variant}"
        named = [other.folder.path if isinstance(other, Results) else other for other in others]
        return Comparison(compare_results([own, *named], self.folder.out))

    def __repr__(self) -> str:
        return f"{self.folder.name}: {self.verdict}"

    def _repr_markdown_(self) -> str:
        parts = [f"**{escape(self.folder.name)}**: {escape(self.verdict)}"]
        with suppress(RunError):  # of an earlier version
            parts.append(self.to_markdown())
        return "\n\n".join(parts)


class Comparison:
    """Results that were compared, as :meth:`Results.compare` gives them; a notebook shows what it found.

    Attributes:
        parameters: a frame with a row for each key that differs, its index, and a column for each result.
        tests: a frame with a row for each comparison with the first result; columns as in
            ``tables/comparisons.csv``.
    """

    def __init__(self, compared: SideBySide) -> None:
        from harness.report.side_by_side import frames

        self._compared = compared
        self.parameters, self.tests = frames(compared)

    @property
    def sentence(self) -> str:
        """Return what was found, in sentences to copy."""
        return self._compared.sentence

    @property
    def notes(self) -> list[str]:
        """Return what a reader has to know: what cannot be compared, and which runs failed."""
        return self._compared.notes

    def to_html(self, path: str | Path | None = None) -> str:
        """Return the page of the comparison: one file without links. Write it too, where a path is given."""
        from harness.report.render.html import html_page
        from harness.report.side_by_side import compose
        from harness.store.atomic import atomic_write

        page = html_page(compose(self._compared))
        if path is not None:
            atomic_write(Path(path), page)
        return page

    def __repr__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        text = "".join(f"<p>{html.escape(line)}</p>" for line in (self.sentence, *self.notes))
        return text + self.parameters.to_html(border=0)


def run(
    study: Study | str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    seeds: Iterable[int] | str | None = None,
    **options: Any,
) -> Results:
    """Execute a study's missing runs, write its report, and return its results.

    Args:
        study: a study, the name of a built-in one, or a path.
        settings: values that replace the study's, such as ``{"schedule.epochs": 2}`` or ``{"model": Net}``.
        seeds: seeds that replace the study's: ``[0, 1, 2]``, or as in the shell ``"0-2"``.
        options: options of the command, by their names: ``out="results"``, ``data="DIR"``,
            ``variants="base,adam"``, ``device="cpu"``, ``launcher="auto"``, ``workers=2``, ``quiet=True``.
            One run at a time unless ``launcher`` or ``workers`` says otherwise; a script with several at once
            needs ``if __name__ == "__main__":`` around its calls.

    Raises:
        HarnessError: a mistake in the study or an option, in one line. Failed runs are in the results.
    """
    # One run at a time, since several need worker processes, for which a script must guard its main part.
    launcher = "auto" if "workers" in options else "serial"
    changes = {"settings": settings, "seeds": seeds}
    try:
        if torchrun_rank_and_world_size() is not None:
            raise StudyError(
                "harness.run: torchrun starts the command: torchrun ... -m harness.study; "
                "in Python use devices=N, without torchrun"
            )
        request = make_request([study], {"launcher": launcher, **options, **changes})
        (loaded,) = studies = request.load()  # mistakes are reported before torch is imported
        from harness.workflow import carry_out

        outcome = carry_out(request, studies, tell=lambda line: None)
    except HarnessError as error:
        raise error.with_traceback(None) from None  # the message says it all
    return Results(request.results / loaded.name, outcome.status)
