"""What ``run.json`` says, with a type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self, TypedDict

from harness.errors import NOT_THE_RECIPE, RunError

Recorded = Literal["running", "finished", "failed"]


class Failure(TypedDict, total=False):
    """Why a run failed.

    Attributes:
        kind: ``diverged``, ``out_of_memory``, ``worker_died``, ... or the name of the error's class.
        iteration: the first whose loss was not finite, from 1.
    """

    kind: str
    message: str
    iteration: int


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What is known of a run, as :class:`~harness.store.folders.RunFolder` reads and writes it.

    Attributes:
        status: ``running`` from the first work on it until its end.
        digest, identity: of the configuration; see :class:`harness.plan.Variant`.
        earlier_errors: why earlier tries failed.
        metrics: the last epoch's numbers, and the rates and parameters it was trained with.
        image_shape: (3, H, W) as the network sees it.
        recipe: the variant as resolved.
        provenance: code, versions, hardware, precision, data.
        timings: seconds over all processes that worked on the run.
        doubts: why its results may mislead.
        files: file name -> SHA-256 of what was written with this record.
    """

    study: str
    variant: str
    seed: int
    status: Recorded
    digest: str
    identity: dict[str, Any]
    error: Failure | None = None
    earlier_errors: list[Failure] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    image_shape: list[int] = field(default_factory=list)
    recipe: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, Any] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``run.json``; what is not known yet is left out."""
        always = {"identity", "error", "earlier_errors", "metrics"}
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        return {name: value for name, value in values.items() if name in always or value not in ([], {})}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read the content of a ``run.json``; keys of other versions are passed over.

        Raises:
            RunError: it is not a run's record.
        """
        for name, kinds in _KINDS.items():
            if name in _REQUIRED and name not in content:
                raise RunError(f"{name} is missing")
            if name in content and not isinstance(content[name], kinds):
                raise RunError(f"{name} is not a {kinds[0].__name__}")
        if content["status"] not in ("running", "finished", "failed"):
            raise RunError(f"status is {content['status']!r}")
        if (content["status"] == "failed") != (content["error"] is not None):
            raise RunError("error and status do not fit")
        return cls(**{name: content[name] for name in _KINDS if name in content})

    @property
    def diverged(self) -> bool:
        """Tell whether the loss was not finite: a result, which is not repeated."""
        return (self.error or {}).get("kind") == "diverged"

    @property
    def failed_by_recipe(self) -> bool:
        """Tell whether the recipe made it fail and not the machine: it diverged, its network raised."""
        kind = (self.error or {}).get("kind")
        return kind is not None and kind not in NOT_THE_RECIPE

    @property
    def data(self) -> dict[str, Any]:
        """Return what its provenance says of the data; empty where that is unknown."""
        data = self.provenance.get("data")
        return data if isinstance(data, dict) else {}

    @property
    def threads(self) -> int | None:
        """Return the threads it was trained with; None where that is unknown."""
        threads = self.provenance.get("threads")
        return threads if isinstance(threads, int) and threads > 0 else None

    def number(self, key: str, table: Literal["metrics", "timings"] = "metrics") -> float | None:
        """Return a metric or timing; None where it is unknown."""
        value = getattr(self, table).get(key)
        return value if isinstance(value, int | float) else None


_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("study", "variant", "status", "digest"), (str,)),
    "seed": (int,),
    "error": (dict, type(None)),
    **dict.fromkeys(("identity", "metrics", "recipe", "provenance", "timings", "files"), (dict,)),
    **dict.fromkeys(("earlier_errors", "classes", "image_shape", "doubts"), (list,)),
}
_REQUIRED = ("study", "variant", "seed", "status", "digest", "identity", "error", "metrics")
