"""Records with types: the contents of ``run.json`` and ``range_test/<variant>.json``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Literal, Self, TypedDict

from harness.errors import NOT_THE_RECIPE, RunError
from harness.store.run_files import OLD_METRICS, with_new_names

RecordedStatus = Literal["running", "finished", "failed"]


class Failure(TypedDict, total=False):
    """Why a run failed.

    Attributes:
        kind: ``diverged``, ``out_of_memory``, ``worker_died``, ... or the name of the error's class.
        iteration: the first one whose loss was not finite, from 1.
    """

    kind: str
    message: str
    iteration: int


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The content of ``run.json``, as :class:`~harness.store.folders.RunFolder` reads and writes it.

    Attributes:
        status: ``running`` until the run has ended.
        digest, identity: of the configuration; see :class:`harness.plan.Variant`.
        earlier_errors: why earlier tries failed.
        metrics: the last epoch's numbers, of the test split or of the hold-out (``data`` says which); and the
            rates and parameters it was trained with.
        image_shape: (3, H, W) as the network sees it.
        recipe: the resolved recipe.
        planned: by the start that first claimed the run: its ``seeds``, such as ``0-4``; its ``looks``, if it
            had any; the target's ``metric``, if not accuracy; when it began (``at``); its Slurm job array
            (``array``). Empty in records of 0.2.0.
        provenance: code, versions, hardware, precision, data.
        timings: seconds over all processes that worked on the run.
        doubts: why its results may mislead.
        files: file name -> SHA-256 of what was written with this record.
    """

    study: str
    variant: str
    seed: int
    status: RecordedStatus
    digest: str
    identity: dict[str, Any]
    error: Failure | None = None
    earlier_errors: list[Failure] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    image_shape: list[int] = field(default_factory=list)
    recipe: dict[str, Any] = field(default_factory=dict)
    planned: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, Any] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``run.json``, without values that are not known yet."""
        always = {"identity", "error", "earlier_errors", "metrics"}
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        return {name: value for name, value in values.items() if name in always or value not in ([], {})}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read the content of a ``run.json``; keys of other versions are ignored.

        Raises:
            RunError: it is not a run's record.
        """
        values = _checked(content, _KINDS, _REQUIRED)
        if content["status"] not in ("running", "finished", "failed"):
            raise RunError(f"status is {content['status']!r}")
        if (content["status"] == "failed") != (content["error"] is not None):
            raise RunError("error and status do not fit")
        values["metrics"] = with_new_names(values["metrics"], OLD_METRICS)
        return cls(**values)

    @property
    def diverged(self) -> bool:
        """Tell whether the loss was not finite: a result, which is not repeated."""
        return (self.error or {}).get("kind") == "diverged"

    @property
    def failed_by_recipe(self) -> bool:
        """Tell whether its recipe made it fail, and not the machine: it diverged, or its network raised."""
        kind = (self.error or {}).get("kind")
        return kind is not None and kind not in NOT_THE_RECIPE

    @property
    def data(self) -> dict[str, Any]:
        """Return the data's entry in its provenance; empty where it is unknown."""
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


def _checked(
    content: Mapping[str, Any], kinds: Mapping[str, tuple[type, ...]], required: Iterable[str]
) -> dict[str, Any]:
    """Return the values of the keys in ``kinds``, after checking their types."""
    if missing := [name for name in required if name not in content]:
        raise RunError(f"{missing[0]} is missing")
    values = {name: content[name] for name in kinds if name in content}
    for name, value in values.items():
        if not isinstance(value, kinds[name]):
            raise RunError(f"{name} is not a {kinds[name][0].__name__}")
    return values


_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("study", "variant", "status", "digest"), (str,)),
    "seed": (int,),
    "error": (dict, type(None)),
    **dict.fromkeys(("identity", "metrics", "recipe", "planned"), (dict,)),
    **dict.fromkeys(("provenance", "timings", "files"), (dict,)),
    **dict.fromkeys(("earlier_errors", "classes", "image_shape", "doubts"), (list,)),
}
_REQUIRED = ("study", "variant", "seed", "status", "digest", "identity", "error", "metrics")


@dataclass(frozen=True, kw_only=True)
class RangeTestRecord:
    """The content of ``range_test/<variant>.json``: a variant's range test.

    The first fields are those of the study's :class:`~harness.study_file.schedules.RangeTest`.

    Attributes:
        used: whether the variant's rates come from it; else the study sets them itself.
        warnings: why the choice is doubtful.
        steps: number of swept rates, before the first loss that was not finite; of the shortest sweep.
        diverged: whether a sweep ended early because the loss diverged.
        threads: of the sweeps; None where the number is unknown.
        digest: of what decides the sweeps.
        csv_sha256: of the sweeps' table.
        repeats: number of sweeps; 1 in records of version 0.2, which do not have it.
        per: ``variant``, or ``seed`` where the run found it for itself; its seed is ``seed``.
        choices: the rate that each sweep chooses; ``lr_max`` is their median.
        lr_max_low, lr_max_high: the lowest and the highest of them.
    """

    start_lr: float
    end_lr: float
    iterations: int
    mode: str
    criterion: str
    lr_min_divisor: float
    seed: int
    lr_min: float
    lr_max: float
    used: bool
    warnings: list[str]
    steps: int
    threads: int | None = None
    diverged: bool
    digest: str
    csv_sha256: str
    repeats: int = 1
    per: str = "variant"
    choices: list[float] = field(default_factory=list)
    lr_max_low: float | None = None
    lr_max_high: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read the content of the file; keys of other versions are ignored.

        Raises:
            RunError: it is not a range test's record.
        """
        optional = {part.name for part in fields(cls) if part.default is not MISSING} | {"choices"}
        required = [name for name in _RANGE_TEST_KINDS if name not in optional]
        return cls(**_checked(content, _RANGE_TEST_KINDS, required))


_NUMBER = (float, int)
_RANGE_TEST_KINDS: dict[str, tuple[type, ...]] = {
    "start_lr": _NUMBER,
    "end_lr": _NUMBER,
    "iterations": (int,),
    "mode": (str,),
    "criterion": (str,),
    "lr_min_divisor": _NUMBER,
    "seed": (int,),
    "lr_min": _NUMBER,
    "lr_max": _NUMBER,
    "used": (bool,),
    "warnings": (list,),
    "steps": (int,),
    "threads": (int, type(None)),
    "diverged": (bool,),
    "digest": (str,),
    "csv_sha256": (str,),
    "repeats": (int,),
    "per": (str,),
    "choices": (list,),
    "lr_max_low": (*_NUMBER, type(None)),
    "lr_max_high": (*_NUMBER, type(None)),
}
