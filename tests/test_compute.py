"""How networks are computed here: what was begun goes on so, else what is fastest by the clock."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import compute as module
from harness.compute import Compute, choose_compute, identity_of
from harness.config import Study
from harness.data import load_data
from harness.plan import Outline, make_plan, outline, resolve_variant
from harness.schedule import Rates
from harness.store import StudyFolder, write_record
from harness.training.run import execute

ALL = [
    ("float32", "channels_last"), ("float32", "contiguous_format"),
    ("bfloat16", "channels_last"), ("bfloat16", "contiguous_format"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[tuple[str, str]]]]:
    """Say that this processor has bfloat16, and how long a step takes in each of the four ways."""
    asked: list[list[tuple[str, str]]] = []

    def take(*seconds: float, bfloat16: bool = True) -> list[list[tuple[str, str]]]:
        known = dict(zip(ALL, seconds, strict=True))

        def time_ways(recipe: Any, facts: Any, classes: int, ways: list[tuple[str, str]]) -> dict[Any, float]:
            asked.append(ways)
            return {way: known[way] for way in ways}

        monkeypatch.setattr(module, "_time_ways", time_ways)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bfloat16)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        return asked

    return take


def facts(study: Study) -> Outline:
    return outline(study, "base", 160, (32, 32), 10)


def choose(study: Study, **options: Any) -> Compute:
    return choose_compute(study.recipes["base"], facts(study), 10, "cpu", **{"runs": 1, **options})


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ((2.0, 3.0, 1.0, 2.0), ALL[2]),
        ((1.0, 2.0, 3.0, 4.0), ALL[0]),
        ((1.0, 2.0, 0.99, 4.0), ALL[0]),  # no faster to speak of: the exact one
        ((4.0, 3.0, 5.0, 5.0), ALL[1]),
        ((4.0, 3.0, 5.0, 2.0), ALL[3]),
    ],
)
def test_the_fastest_way_is_taken_and_the_times_are_said(
    tiny: Callable[..., Study], clock: Any, seconds: tuple[float, ...], expected: tuple[str, str]
) -> None:
    clock(*seconds)
    found = choose(tiny())
    assert (found.precision, found.memory_format) == expected
    assert f"float32 {1000 * min(seconds[:2]):.0f} ms" in found.reason
    assert f"bfloat16 {1000 * min(seconds[2:]):.0f} ms" in found.reason


def test_without_bfloat16_in_the_processor_it_is_not_timed(tiny: Callable[..., Study], clock: Any) -> None:
    assert clock(2.0, 3.0, 1.0, 1.0, bfloat16=False) == []
    assert choose(tiny()).precision == "float32"
    assert clock(2.0, 3.0, 1.0, 1.0, bfloat16=False) == [ALL[:2]]


def test_a_precision_that_the_study_names_is_kept_and_only_its_memory_format_chosen(
    tiny: Callable[..., Study], clock: Any
) -> None:
    asked = clock(2.0, 3.0, 1.0, 0.5)
    found = choose(tiny(("precision", "float32")))
    assert (found.precision, found.memory_format, found.reason) == ("float32", "channels_last", "")
    assert asked == [ALL[:2]]


def test_what_was_timed_is_kept_for_this_network_and_machine(
    tiny: Callable[..., Study], clock: Any, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = clock(2.0, 3.0, 1.0, 2.0)
    first = choose(tiny())
    assert choose(tiny()) == first and len(asked) == 1
    choose(tiny(("model.width", 4)))
    assert len(asked) == 2
    monkeypatch.setattr(module, "processor", lambda: "another")
    choose(tiny())
    assert len(asked) == 3 and len(list(own_cache.glob("speed-*.json"))) == 3


@pytest.mark.parametrize("content", ["", "{", "[]", '{"seconds": [1]}', '{"seconds": null}', "\x00"])
def test_a_damaged_cache_entry_is_timed_again(
    tiny: Callable[..., Study], clock: Any, own_cache: Path, content: str
) -> None:
    asked = clock(2.0, 3.0, 1.0, 2.0)
    first = choose(tiny())
    (entry,) = own_cache.glob("speed-*.json")
    entry.write_text(content)
    assert choose(tiny()) == first and len(asked) == 2
    assert json.loads(entry.read_text())["seconds"] == [2.0, 3.0, 1.0, 2.0]


def test_a_cache_that_cannot_be_written_is_no_error(
    tiny: Callable[..., Study], clock: Any, own_cache: Path
) -> None:
    own_cache.write_text("a file in its place")
    clock(2.0, 3.0, 1.0, 2.0)
    assert choose(tiny()).precision == "bfloat16"


def test_a_network_that_cannot_take_the_timed_step_is_left_to_its_first_own_step(
    tiny: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(module, "build_model", broken)
    assert choose(tiny(("precision", "float32"))) == Compute("float32", "channels_last")


def test_timing_for_real_takes_a_moment_and_leaves_random_state_and_threads(
    tiny: Callable[..., Study],
) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    study = tiny(("model.dropout", 0.2))
    times = module._time_ways(study.recipes["base"], facts(study), 10, ALL)
    assert list(times) == ALL and all(0 < seconds < 5 for seconds in times.values())
    assert torch.equal(state, torch.get_rng_state()) and torch.get_num_threads() == threads


def on_disk(folder: StudyFolder, **identity: Any) -> None:
    write_record(
        folder.run("base", 0).record_file,
        {
            "variant": "base",
            "seed": 0,
            "status": "running",
            "error": None,
            "digest": "0",
            "metrics": {},
            "identity": {"device": "cpu", "precision": "bfloat16", "recipe": {}, **identity},
        },
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_runs_on_disk_decide_before_any_timing(
    tiny: Callable[..., Study], clock: Any, tmp_path: Path, precision: str
) -> None:
    asked = clock(1.0, 2.0, 3.0, 4.0) if precision == "bfloat16" else clock(4.0, 3.0, 2.0, 1.0)
    folder = StudyFolder(tmp_path, "tiny")
    on_disk(folder, precision=precision, memory_format="contiguous_format")
    found = choose(tiny(), on_disk=folder.runs())
    assert (found.precision, found.memory_format) == (precision, "contiguous_format") and asked == []


def test_runs_of_another_kind_of_device_and_damaged_ones_decide_nothing(
    tiny: Callable[..., Study], clock: Any, tmp_path: Path
) -> None:
    clock(1.0, 2.0, 3.0, 4.0)
    folder = StudyFolder(tmp_path, "tiny")
    on_disk(folder, device="cuda")
    assert choose(tiny(), on_disk=folder.runs()).precision == "float32"
    folder.run("base", 0).record_file.write_text("{}")
    assert choose(tiny(), on_disk=folder.runs()).precision == "float32"


def test_variants_that_are_compared_are_computed_alike(
    tiny: Callable[..., Study], clock: Any, tmp_path: Path
) -> None:
    asked = clock(4.0, 3.0, 2.0, 1.0)
    study = tiny(("variants.wide", {"model.width": 4}), ("variants.exact", {"precision": "float32"}))
    data = load_data("digits", tmp_path, train_limit=160, test_limit=60)
    plan = make_plan(study, StudyFolder(tmp_path, "tiny"), lambda recipe: data, device="cpu")
    assert [variant.precision for variant in plan.variants] == ["bfloat16", "bfloat16", "float32"]
    assert asked == [ALL, ALL[:2]], "the second variant follows the first"


def test_the_usual_memory_format_is_not_in_the_identity_so_that_digests_stay() -> None:
    assert identity_of(Compute("float32", "channels_last"), "cpu") == {"precision": "float32"}
    assert identity_of(Compute("float32", "contiguous_format"), "mps") == {"precision": "float32"}
    unusual = {"precision": "float32", "memory_format": "contiguous_format"}
    assert identity_of(Compute("float32", "contiguous_format"), "cuda:1") == unusual


def test_both_memory_formats_train_the_same_network(tiny: Callable[..., Study], tmp_path: Path) -> None:
    study = tiny(("precision", "float32"), ("schedule.epochs", 2))
    data = load_data("digits", tmp_path, train_limit=160, test_limit=60)
    usual = resolve_variant(study, "base", data, device="cpu", alike=Compute("float32", "channels_last"))
    losses = []
    for layout in ("channels_last", "contiguous_format"):
        variant = replace(usual, compute=Compute("float32", layout))
        run = StudyFolder(tmp_path / layout, "tiny").run("base", 0)
        record = execute(variant, run, data, Rates(1e-4, 1e-3), threads=1, say=lambda line: None)
        losses.append(record["metrics"]["test_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize(
    ("runs", "device", "able", "expected"),
    [(1, "cuda", True, False), (1000, "cuda", True, True), (1000, "cuda", False, False),
     (1000, "cpu", True, False), (1000, "mps", True, False)],
)  # fmt: skip
def test_compiling_is_on_where_the_planned_runs_earn_it_back(
    tiny: Callable[..., Study],
    monkeypatch: pytest.MonkeyPatch,
    runs: int,
    device: str,
    able: bool,
    expected: bool,
) -> None:
    monkeypatch.setattr(module, "can_compile", lambda device: able)
    study = tiny(("model.width", 64), ("precision", "float32"), ("schedule.epochs", 100))
    few = replace(facts(study), steps_per_epoch=98)
    found = choose_compute(study.recipes["base"], few, 10, device, runs=runs)
    assert found.compiled is expected


def test_compiled_and_eager_runs_never_mix(tiny: Callable[..., Study], tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "tiny")
    on_disk(folder, precision="float32", recipe={"compile": True})
    study = tiny(("precision", "float32"))
    assert choose(study, on_disk=folder.runs()).compiled
    on_disk(folder, precision="float32")
    assert not choose(study, on_disk=folder.runs(), runs=10**9).compiled
    assert choose(tiny(("precision", "float32"), ("compile", True)), on_disk=folder.runs()).compiled
