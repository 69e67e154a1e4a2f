"""Read ``docs/results/``: the records and the predictions of the published runs.

A study's folder holds:

* ``study.toml``: the study as it was run;
* ``runs/<variant>.json``: the runs' records, their common part written once;
* ``predictions/<variant>.npz``: ``labels`` (N,), ``predicted`` (N, runs), ``seeds`` (runs,);
* ``other_runs/<variant>.json``: records of runs that were published earlier, on other devices;
* ``tables/``, ``figures/``, ``report.md``, ``report.json``: as the study's report has them, figures smaller.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from harness.errors import RunError
from harness.messages import one_line
from harness.statistics.distribution import Distribution, describe
from harness.store.published import read_records
from harness.store.records import RunRecord
from harness.store.sealed import read_sealed
from harness.study_file.builtin import builtin_studies
from harness.study_file.config import Study
from harness.study_file.load import load_study

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
KNOWN = ROOT / "studies" / "results.json"
ORDER = (
    "onecycle", "annealed", "onecycle_adam",
    "chapter11", "s11_l2", "assignment8", "s11_l1", "assignment10_adam",
    "record", "search_onecycle", "search_annealed", "search_record",
    "ablations", "search", "lr_grid", "variance_cifar10",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Variant:
    """A variant's published runs, by seed.

    Attributes:
        records: of its finished and failed runs.
        labels: (N,), the true classes of the evaluation images.
        predicted: (N, finished runs), the last epoch's.
        other: records of runs on other devices, which are in none of the numbers.
    """

    name: str
    records: tuple[RunRecord, ...]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    other: tuple[RunRecord, ...]

    @property
    def finished(self) -> list[RunRecord]:
        """The records of its finished runs."""
        return [record for record in self.records if record.status == "finished"]

    @property
    def evaluated_on(self) -> str:
        """``test`` or ``holdout``; of a variant with a finished run."""
        return str(self.finished[0].data["evaluated_on"])

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(N, finished runs)."""
        return np.equal(self.predicted, self.labels[:, None])

    @property
    def accuracies(self) -> list[float]:
        """One per finished run, recomputed from what it predicted."""
        return [float(share) for share in self.correct.mean(axis=0)] if self.finished else []


@dataclass(frozen=True, eq=False)
class Published:
    """A study in ``docs/results/``; ``study`` is the built-in one where there is one: its claims count."""

    folder: Path
    study: Study
    verdict: str
    variants: tuple[Variant, ...]

    @property
    def name(self) -> str:
        """The study's name."""
        return self.folder.name


def page_order(name: str) -> tuple[int, str]:
    """Return a sort key: the place of a study on the page."""
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def read_all(results: Path) -> list[Published]:
    """Read every published study, in the page's order.

    Raises:
        RunError: there is none, or one is damaged.
    """
    folders = [path.parent for path in results.glob("[!.]*/report.json")]
    if not folders:
        raise RunError(f"{results}: holds no published study")
    return [read(folder) for folder in sorted(folders, key=lambda path: page_order(path.name))]


def read(folder: Path) -> Published:
    """Read a published study.

    Raises:
        RunError: a file is not what was written, or a record's accuracy is not that of the predictions.
    """
    try:
        study = load_study(str(builtin_studies().get(folder.name, folder / "study.toml")))
        order = {name: at for at, name in enumerate(study.recipes)}
        names = {file.stem for file in folder.glob("*runs/*.json")}
        ordered = sorted(names, key=lambda name: (order.get(name, len(order)), name))
        variants = tuple(_read_variant(folder, name) for name in ordered)
        verdict = (read_sealed(folder / "report.json") or {})["verdict"]
    except (OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, BadZipFile) as error:
        raise RunError(f"{folder}: damaged: {type(error).__name__}: {one_line(error)}") from None
    return Published(folder, study, verdict, variants)


def _read_variant(folder: Path, name: str) -> Variant:
    records, other = (
        tuple(map(RunRecord.from_json, read_records(folder / kind / f"{name}.json")))
        for kind in ("runs", "other_runs")
    )
    labels, predicted, seeds = np.empty(0, np.int64), np.empty((0, 0), np.int64), np.empty(0, np.int64)
    file = folder / "predictions" / f"{name}.npz"
    if file.is_file():
        with np.load(file, allow_pickle=False) as arrays:
            labels, predicted, seeds = (
                arrays[key].astype(np.int64) for key in ("labels", "predicted", "seeds")
            )
    variant = Variant(name, records, labels, predicted, other)
    if [record.seed for record in variant.finished] != seeds.tolist():
        raise RunError(f"{folder}: {name}: records and predictions are of different seeds")
    for record, accuracy in zip(variant.finished, variant.accuracies, strict=True):
        if record.metrics["accuracy"] != accuracy:
            raise RunError(f"{folder}: {name}/seed-{record.seed}: predictions give {accuracy}")
    return variant


def device_name(record: RunRecord) -> str:
    """Name the device of a run: ``NVIDIA H200``; ``2 cores of AMD EPYC``."""
    hardware = record.provenance["hardware"]
    accelerator = hardware["accelerator"]
    if accelerator is not None:
        return str(accelerator["name"] if isinstance(accelerator, dict) else accelerator)
    return f"{hardware['cores']} cores of {hardware['processor']}"


def described(accuracies: Iterable[float]) -> Distribution:
    """Describe the accuracies of at least one run; their interval is cut at 0 and 1."""
    distribution = describe(list(accuracies), shares=True)
    assert distribution is not None
    return distribution
