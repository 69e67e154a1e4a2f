"""Generated study files: each is accepted and runs, or is rejected by one line with exit status 2."""

from __future__ import annotations

import contextlib
import datetime
import io
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.study import main

FILES = int(os.environ.get("HARNESS_FUZZ_FILES", "10000"))
RUNS = int(os.environ.get("HARNESS_FUZZ_RUNS", "200"))

VALID: dict[str, Any] = {
    "name": "fuzz",
    "question": "Does it run?",
    "seeds": [0, 1],
    "precision": "auto",
    "baseline": "base",
    "target": {"test_accuracy": 0.2},
    "data": {"source": "digits", "batch_size": 32, "train_limit": 64, "test_limit": 40},
    "augment": {"train": [{"transform": "HorizontalFlip", "p": 0.5}], "test": []},
    "model": {"name": "custom_resnet", "width": 2},
    "optimizer": {"name": "SGD", "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    "loss": {"label_smoothing": 0.1, "l1": 0.0},
    "schedule": {"epochs": 2, "peak_epoch": 1, "lr_max": 0.05, "lr_min": 0.005, "final": "lr_min"},
    "range_test": {"start_lr": 1e-3, "end_lr": 0.3, "iterations": 6, "criterion": "minimum", "seed": 0},
    "attribution": {"layers": ["layer1"], "images": 2},
    "references": {"paper": {"test_accuracy": 0.9, "runs": 1, "source": "a paper"}},
}
PATHS: list[tuple[Any, ...]] = [
    *((table, key) for table, inner in VALID.items() if isinstance(inner, dict) for key in inner),
    *((key,) for key in VALID),
    ("data", "holdout"), ("data", "image_size"), ("data", "path"), ("schedule", "kind"),
    ("schedule", "total_steps"), ("range_test", "mode"), ("range_test", "lr_min_divisor"),
    ("model", "dropout"), ("model", "residual"), ("model", "head"), ("model", "logit_scale"),
    ("optimizer", "betas"), ("optimizer", "eps"), ("augment", "train", 0, "p"), ("variants",),
]  # fmt: skip
TRANSFORMS: list[dict[str, Any]] = [
    {"transform": "PadIfNeeded", "min_height": 36, "min_width": 36, "border_mode": "reflect_101"},
    {"transform": "RandomCrop", "height": 32, "width": 32},
    {"transform": "CenterCrop", "height": 24, "width": 24},
    {"transform": "CoarseDropout", "num_holes_range": [1, 2], "hole_height_range": [4, 8], "fill": 0},
    {"transform": "Normalize", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    {"transform": "OneOf", "transforms": [{"transform": "VerticalFlip"}, {"transform": "HorizontalFlip"}]},
    {"transform": "GaussianBlur", "blur_limit": [3, 5]},
    {"transform": "Rotate", "limit": 15, "interpolation": "linear"},
    {"transform": "Resize", "height": 20, "width": 20},
    {"transform": "ToGray", "p": 1.0},
    {"transform": "Lambda"},
    {"transform": "RandomBrightnessContrast"},
]
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "Adam": {"betas": [0.9, 0.99]}, "AdamW": {"weight_decay": 0.1}, "RMSprop": {}, "Adagrad": {}, "NAdam": {},
    "Rprop": {}, "ASGD": {}, "Adadelta": {}, "LBFGS": {}, "Adamax": {}, "Muon": {}, "SparseAdam": {},
    "RAdam": {}, "Adafactor": {}, "SGD": {}, "Optimizer": {}, "lr_scheduler": {},
}  # fmt: skip
SOUND: dict[tuple[Any, ...], st.SearchStrategy[Any]] = {
    ("model",): st.sampled_from([
        {"name": "custom_resnet", "width": 1, "dropout": 0.2, "residual": "double", "head": "conv3x3"},
        {"name": "custom_resnet", "width": 3, "residual": "inner", "logit_scale": 0.125, "fc_bias": True},
    ]),
    ("optimizer",): st.sampled_from([
        {"name": name, **options}
        for name, options in OPTIMIZERS.items()
    ]),
    ("schedule",): st.sampled_from([
        {"epochs": 2, "peak_epoch": 0.5},
        {"epochs": 3, "peak_epoch": 1.5, "lr_max": "find", "lr_min": 0.0, "final": 0.0},
        {"kind": "constant", "epochs": 2, "lr": 0.01},
        {"kind": "constant", "epochs": 1, "lr": "find"},
        {"kind": "one_cycle_lr", "epochs": 2, "lr_max": 0.1, "pct_start": 0.5, "cycle_momentum": [0.8, 0.9]},
        {"kind": "one_cycle_lr", "epochs": 3, "lr_max": "find", "pct_start": 0.9, "step": "epoch"},
        {"kind": "one_cycle_lr", "epochs": 2, "lr_max": 0.1, "pct_start": 0.4, "step": "batch_and_epoch"},
        {"kind": "one_cycle_lr", "epochs": 2, "lr_max": 0.1, "pct_start": 0.1, "total_steps": 3},
        {"kind": "piecewise", "epochs": 2, "points": [[0, 0.0], [0.7, 1.0], [0.7, 0.1]], "lr_max": "find"},
        {"kind": "piecewise", "epochs": 2, "points": [[1, 0.1]], "momentum_points": [[0, 0.9], [2, 0.8]]},
        {"kind": "cosine", "epochs": 2, "warmup_epochs": 0.5, "cycle_epochs": 1.0, "cycle_mult": 2},
        {"kind": "step", "epochs": 2, "lr_max": 0.1, "every": 0.3},
        {"kind": "torch.optim.lr_scheduler:StepLR", "epochs": 2, "options": {"step_size": 2}},
        {"kind": "os:getpid", "epochs": 2},
    ]),
    ("optimizer", "groups"): st.lists(
        st.sampled_from([
            {"match": "*.bias", "lr_factor": 2.0}, {"type": "*Norm*", "weight_decay": 0.0}, {"match": "no"},
            {"match": ["prep.*", "head.*"], "frozen": True}, {"match": "*", "momentum": 0.5},
        ]),
        max_size=3,
    ),
    ("loss",): st.sampled_from([
        {"name": "MultiMarginLoss", "options": {"margin": 0.5}}, {"class_weights": "balanced"},
        {"class_weights": [1.0] * 10, "label_smoothing": 0.1}, {"name": "NLLLoss"}, {"name": "os:getpid"},
    ]),
    ("augment", "train"): st.lists(st.sampled_from(TRANSFORMS), max_size=5),
    ("augment", "test"): st.lists(st.sampled_from(TRANSFORMS), max_size=2),
    ("precision",): st.sampled_from(["float32", "bfloat16", "float16"]),
    ("data", "holdout"): st.integers(1, 2000),
    ("data", "batch_size"): st.integers(1, 80),
    ("range_test", "criterion"): st.sampled_from(["accuracy", "steepest", "valley", "minimum"]),
    ("range_test", "mode"): st.sampled_from(["linear", "exponential"]),
    ("seeds",): st.lists(st.integers(0, 9), min_size=1, max_size=3),
    ("attribution", "layers"): st.lists(st.sampled_from(["prep", "res2", "head", "res1", "no"]), max_size=3),
    ("question",): st.text(max_size=60),
}  # fmt: skip
NAMES = [
    "..", "../../escape", "/etc/passwd", "a/b", "a\\b", "C:\\x", ".hidden", "con", "x" * 65, "x" * 64, "ü",
    "a b", "a\nb", "\x00", "-rf", "", "base", "BASE", "~", "a.b", "a..b", "v1", "V1", "__class__", "$HOME",
    "\u202egpj",
]  # fmt: skip
TEXTS = ["<script>alert(1)</script>", "find", "lr_min", "{{7*7}}", "%s%n", "=1+1", "auto", "\x1b[2J"]
hostile_text = st.one_of(st.sampled_from(NAMES), st.sampled_from(TEXTS), st.text(max_size=30))
numbers = st.one_of(
    st.sampled_from([0, -1, 1, 10**9, -(10**9), 2**31, 2**53, 2**63 - 1, 2**63, 10**30, -(2**63)]),
    st.sampled_from([0.0, -0.0, 1e-300, 1e300, 5e-324, 0.5, 1.0, 97.0, math.nan, math.inf, -math.inf]),
    st.integers(-5, 200),
    st.floats(),
)  # fmt: skip
scalars = st.one_of(
    numbers, hostile_text, st.booleans(), st.just(datetime.date(2026, 1, 1)), st.just(datetime.time(1, 2))
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(hostile_text, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def deep(draw: st.DrawFn) -> Any:
    """Tables in tables or lists in lists, tens of levels deep."""
    value: Any = draw(scalars)
    as_list = draw(st.booleans())
    for _ in range(draw(st.integers(10, 45))):
        value = [value] if as_list else {"a": value}
    return value


def put(study: Any, path: tuple[Any, ...], value: Any) -> None:
    """Set a value where its table is still one."""
    *parents, last = path
    for part in parents:
        if isinstance(study, dict):
            study = study.setdefault(part, {})
        elif isinstance(study, list) and isinstance(part, int) and part < len(study):
            study = study[part]
    with contextlib.suppress(TypeError, IndexError):
        study[last] = deepcopy(value)


@st.composite
def studies(draw: st.DrawFn, sound: int = 65) -> dict[str, Any]:
    """A valid study and what became of it: sound changes for the most part, or hostile ones."""
    study = deepcopy(VALID)
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.integers(0, 99)) < sound:
            path = draw(st.sampled_from(list(SOUND)))
            put(study, path, draw(SOUND[path]))
            continue
        path = draw(st.sampled_from(PATHS))
        how = draw(st.sampled_from(["value", "value", "value", "deep", "unknown", "missing"]))
        if how == "missing":
            with contextlib.suppress(KeyError, TypeError):
                (study[path[0]] if len(path) > 1 else study).pop(path[-1])
        elif how == "unknown":
            put(study, (*path[:-1], draw(hostile_text)), draw(values))
        else:
            put(study, path, draw(values if how == "value" else deep()))
    if draw(st.integers(0, 3)) == 0 and isinstance(study, dict):
        changes = {}
        for _ in range(draw(st.integers(1, 2))):
            name = draw(st.sampled_from(["wide", "other", "v1"] if draw(st.booleans()) else NAMES))
            path = draw(st.sampled_from([path for path in SOUND if path not in (("seeds",), ("question",))]))
            value = draw(SOUND[path] if draw(st.integers(0, 99)) < sound + 20 else values)
            changes[name] = {".".join(map(str, path)): value}
        study["variants"] = changes
    return study


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A study as TOML; one in eight has its text spoilt."""
    study = draw(studies())
    try:
        content = tomli_w.dumps(study).encode("utf-8", "surrogatepass")
    except (RecursionError, TypeError, AttributeError):
        content = repr(study).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 7)) == 0:
        at = draw(st.integers(0, len(content)))
        bits = [b"[", b"]]", b'"""', b"\n=\n", b"\xff\xfe", b"a.b.c=1\n"]
        junk = draw(st.binary(max_size=8) | st.sampled_from(bits))
        content = content[:at] + junk + content[at + draw(st.integers(0, 40)) :]
    return content


@pytest.fixture
def accepts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., bool]]:
    """Plan one file in this process: whether it was accepted, or else rejected by one line."""
    before = signal.getsignal(signal.SIGTERM)
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)

    def plan(content: bytes, *arguments: str) -> bool:
        Path("study.toml").write_bytes(content)
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "argv", ["study", "study.toml", "--dry-run", *arguments])
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as done,
        ):
            main()
        status, said, error = done.value.code, out.getvalue(), err.getvalue()
        if status == 0:
            assert error == "" and said != ""
        else:
            assert status == 2 and said == ""
            assert error.startswith("error: ") and error.count("\n") == 1 and error[:-1].isprintable(), error
        assert [path.name for path in place.iterdir()] == ["study.toml"], "planning writes nothing"
        return status == 0

    yield plan
    signal.signal(signal.SIGTERM, before)


def examples(count: int) -> settings:
    """The same examples every time, however long they take."""
    unhurried = list(HealthCheck)
    return settings(
        max_examples=count, deadline=None, database=None, derandomize=True, suppress_health_check=unhurried
    )


@pytest.mark.parametrize("count", [50, pytest.param(FILES, marks=pytest.mark.slow)])
def test_a_generated_file_is_accepted_or_rejected_by_one_line(
    accepts: Callable[..., bool], count: int
) -> None:
    seen: list[bool] = []

    @examples(count)
    @given(content=files())
    def every_file_is_accepted_or_rejected_by_one_line(content: bytes) -> None:
        seen.append(accepts(content))

    every_file_is_accepted_or_rejected_by_one_line()
    print(f"files planned: {len(seen)}, accepted: {sum(seen)}")
    assert len(seen) >= count and len(seen) / 10 < sum(seen) < len(seen) * 9 / 10


SMALL = ["data.train_limit=64", "data.test_limit=20", "range_test.iterations=5", "schedule.epochs=3"]


@pytest.mark.slow
@pytest.mark.parametrize("count", [4, pytest.param(RUNS, marks=pytest.mark.slow)])
def test_an_accepted_file_runs(
    nursery: Any, accepts: Callable[..., bool], tmp_path: Path, count: int
) -> None:
    statuses: list[int] = []

    @examples(10 * count)
    @given(study=studies(sound=80))
    def every_accepted_file_runs(study: dict[str, Any]) -> None:
        if len(statuses) >= count:
            return
        try:
            content = tomli_w.dumps(study).encode("utf-8", "surrogatepass")
        except (RecursionError, TypeError, AttributeError):
            return
        triangle = study.get("schedule", {}).get("kind", "triangle") == "triangle"
        small = [*SMALL, "schedule.peak_epoch=0.5"] if triangle else SMALL
        arguments = [part for setting in small for part in ("--set", setting)] + ["--seeds", "0"]
        if not accepts(content, *arguments):
            return
        where = tmp_path / f"run-{len(statuses)}"
        done = nursery.run(where, Path("study.toml").resolve(), "--out", "out", *arguments, timeout=600)
        assert done.status in (0, 1) and "Traceback" not in done.stderr, done.stderr
        assert {path.name for path in where.iterdir()} == {"out", "stdout", "stderr"}
        assert done.status == 0 or "FAILED" in done.stderr or "failed" in done.stdout
        statuses.append(done.status)

    every_accepted_file_runs()
    print(f"files run: {len(statuses)}, of which a run failed in {sum(statuses)}")
    assert len(statuses) == count
