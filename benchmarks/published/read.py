"""What lies in ``docs/results/``: the records of the published runs and what each predicted.

A study's folder holds:

* ``study.toml``: the study as it was run;
* ``runs/<variant>.json``: the runs' records, what they share written once;
* ``predictions/<variant>.npz``: ``labels`` (N,), ``predicted`` (N, runs), ``seeds`` (runs,);
* ``other_runs/<variant>.json``: records of runs that were published earlier, on other devices;
* ``tables/``, ``figures/``, ``report.md``, ``report.json``: as the study's report has them, figures smaller.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from harness.errors import RunError
from harness.messages import one_line
from harness.store.sealed import canonical, digest, read_sealed
from harness.study_file.builtin import builtin_studies
from harness.study_file.config import Study
from harness.study_file.load import load_study

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
KNOWN = ROOT / "studies" / "results.json"
ORDER = (
    "onecycle", "annealed", "onecycle_adam",
    "chapter11", "s11_l2", "assignment8", "s11_l1", "assignment10_adam",
    "ablations", "search", "lr_grid",
)  # fmt: skip

Record = dict[str, Any]


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
    records: tuple[Record, ...]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    other: tuple[Record, ...]

    @property
    def finished(self) -> list[Record]:
        """The records of its finished runs."""
        return [record for record in self.records if record["status"] == "finished"]

    @property
    def evaluated_on(self) -> str:
        """``test`` or ``holdout``; of a variant with a finished run."""
        return str(self.finished[0]["provenance"]["data"]["evaluated_on"])

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(N, finished runs)."""
        right: NDArray[np.bool_] = self.predicted == self.labels[:, None]
        return right

    @property
    def accuracies(self) -> list[float]:
        """One a finished run, recomputed from what it predicted."""
        return [float(share) for share in self.correct.mean(axis=0)] if self.finished else []


@dataclass(frozen=True, eq=False)
class Published:
    """A study in ``docs/results/``; ``study`` is the built-in one where there is one: its claims count."""

    folder: Path
    study: Study
    verdict: str
    variants: tuple[Variant, ...]


def page_order(name: str) -> tuple[int, str]:
    """A sort key: where a study stands on the page."""
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def read_all(results: Path) -> list[Published]:
    """Every published study, in the page's order.

    Raises:
        RunError: there is none, or one is damaged.
    """
    folders = [path.parent for path in results.glob("[!.]*/report.json")]
    if not folders:
        raise RunError(f"{results}: holds no published study")
    return [read(folder) for folder in sorted(folders, key=lambda path: page_order(path.name))]


def read(folder: Path) -> Published:
    """A published study.

    Raises:
        RunError: a file is not what was written, or a record's accuracy is not that of the predictions.
    """
    try:
        study = load_study(str(builtin_studies().get(folder.name, folder / "study.toml")))
        order = {name: at for at, name in enumerate(study.recipes)}
        names = {file.stem for file in folder.glob("*runs/*.json")}
        variants = [
            _variant(folder, name)
            for name in sorted(names, key=lambda name: (order.get(name, len(order)), name))
        ]
        verdict = (read_sealed(folder / "report.json") or {})["verdict"]
    except (OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, BadZipFile) as error:
        raise RunError(f"{folder}: damaged: {type(error).__name__}: {one_line(error)}") from None
    return Published(folder, study, verdict, tuple(variants))


def _variant(folder: Path, name: str) -> Variant:
    records = read_records(folder / "runs" / f"{name}.json")
    labels, predicted, seeds = np.empty(0, np.int64), np.empty((0, 0), np.int64), np.empty(0, np.int64)
    file = folder / "predictions" / f"{name}.npz"
    if file.is_file():
        with np.load(file, allow_pickle=False) as arrays:
            labels, predicted, seeds = (
                arrays[key].astype(np.int64) for key in ("labels", "predicted", "seeds")
            )
    other = read_records(folder / "other_runs" / f"{name}.json")
    found = Variant(name, records, labels, predicted, other)
    if [record["seed"] for record in found.finished] != seeds.tolist():
        raise RunError(f"{folder}: {name}: records and predictions are of different seeds")
    for record, accuracy in zip(found.finished, found.accuracies, strict=True):
        if record["metrics"]["test_accuracy"] != accuracy:
            raise RunError(f"{folder}: {name}/seed-{record['seed']}: predictions give {accuracy}")
    return found


def device_name(record: Record) -> str:
    """``NVIDIA H200``; ``2 cores of AMD EPYC``."""
    hardware = record["provenance"]["hardware"]
    accelerator = hardware["accelerator"]
    if accelerator is not None:
        return str(accelerator["name"] if isinstance(accelerator, dict) else accelerator)
    return f"{hardware['cores']} cores of {hardware['processor']}"


# ---- records, what they share written once ---------------------------------------------------------------


def read_records(file: Path) -> tuple[Record, ...]:
    """The records of a variant's runs, by seed, each whole again; none where there is no such file.

    Raises:
        RunError: one is not what was written.
    """
    if not file.is_file():
        return ()
    content = json.loads(file.read_text("utf-8"))
    records = [_merge(content["shared"], own) for own in content["runs"]]
    for record in records:
        whole = {key: value for key, value in record.items() if key != "checksum"}
        if digest(whole) != record["checksum"]:
            raise RunError(f"{file}: seed {record.get('seed')}: damaged (its checksum does not match)")
    return tuple(records)


def records_text(records: Sequence[Record]) -> str:
    """The file of such records."""
    shared, own = _split(sorted(records, key=lambda record: int(record["seed"])))
    lines = ",\n".join(json.dumps(one, separators=(",", ":")) for one in own)
    return f'{{"shared": {json.dumps(shared, indent=1)},\n"runs": [\n{lines}\n]}}\n'


def _split(records: Sequence[Record]) -> tuple[Record, list[Record]]:
    """What all have in common, and of each what is its own."""
    shared: Record = {}
    own: list[Record] = [{} for _ in records]
    for key in dict.fromkeys(key for record in records for key in record):
        values = [record.get(key) for record in records]
        if any(key not in record for record in records):
            for record, mine in zip(records, own, strict=True):
                mine |= {key: record[key]} if key in record else {}
        elif all(canonical(value) == canonical(values[0]) for value in values):  # 0 is not 0.0
            shared[key] = values[0]
        elif all(isinstance(value, dict) for value in values):
            shared[key], parts = _split([dict(value) for value in values])  # type: ignore[arg-type]
            for mine, part in zip(own, parts, strict=True):
                mine[key] = part
        else:
            for mine, value in zip(own, values, strict=True):
                mine[key] = value
    return shared, own


def _merge(shared: Mapping[str, Any], own: Mapping[str, Any]) -> Record:
    merged = dict(shared)
    for key, value in own.items():
        inner = merged.get(key)
        merged[key] = _merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged
