"""Which images were evaluated on and trained on, as the runs recorded it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.analysis.results import Results
from harness.analysis.runs import Run
from harness.data.leakage import leakage_notes, leakage_warnings


@dataclass(frozen=True, eq=False)
class SharedImages:
    """The comparison of the two splits of some runs, with the first run that recorded it."""

    run: Run

    @property
    def record(self) -> dict[str, Any]:
        """Counts and first pairs, as :meth:`harness.data.leakage.Leakage.to_record` has them."""
        record: dict[str, Any] = self.run.data["leakage"]
        return record

    @property
    def evaluated_on(self) -> str:
        """``test`` or ``holdout``."""
        return str(self.run.data["evaluated_on"])

    @property
    def warnings(self) -> list[str]:
        """A sentence about identical images, if there are any."""
        return leakage_warnings(*self._counted)

    @property
    def notes(self) -> list[str]:
        """A sentence about nearly equal images, if there are any."""
        return leakage_notes(*self._counted)

    @property
    def _counted(self) -> tuple[dict[str, Any], str, int]:
        return self.record, self.evaluated_on, int(self.run.data["evaluation_images"])

    def pairs(self) -> list[dict[str, Any]]:
        """Return the recorded pairs, identical ones first, then those with the nearest hashes."""
        classes, rows = self.run.classes, []
        for line in self.record.get("first_pairs") or ():
            evaluation, its_label, train, label, kind, distance, correlation = line.split(",")
            rows.append(
                {
                    "data": self.run.data["sha256"],
                    "split_a": "train",
                    "index_a": int(train),
                    "class_a": classes[int(label)],
                    "split_b": self.evaluated_on,
                    "index_b": int(evaluation),
                    "class_b": classes[int(its_label)],
                    "kind": kind,
                    "distance": int(distance),
                    "correlation": float(correlation),
                }
            )
        return rows


def leakages(results: Results) -> list[SharedImages]:
    """Return the comparison of each data set or hold-out; runs of earlier versions have recorded none."""
    first: dict[str, Run] = {}
    for run in results.finished:
        if isinstance(run.data.get("leakage"), dict):
            first.setdefault(str(run.data.get("sha256")), run)
    return [SharedImages(run) for run in first.values()]
