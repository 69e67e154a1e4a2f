"""How networks are computed here: as in the runs on disk, else in the fastest way by timing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import compute as module
from harness.compute import Compute, choose_compute, compute_on_disk, identity_of
from harness.data import load_data
from harness.models.network import NetworkConfig
from harness.outline import Outline, make_outline
from harness.plan import Variant, make_plan, resolve_variant
from harness.planning.states import Preview
from harness.preview import as_json
from harness.schedule import Rates
from harness.store.folders import StudyFolder
from harness.store.records import RunRecord
from harness.store.sealed import write_sealed
from harness.study_file.config import Recipe, Study
from harness.study_file.load import resolve
from harness.training.run import execute
from tests.conftest import TINY

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

        def time_ways(step: Any, ways: list[tuple[str, str]]) -> dict[Any, float]:
            asked.append(ways)
            return {way: known[way] for way in ways}

        monkeypatch.setattr(module, "_time_ways", time_ways)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bfloat16)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        return asked

    return take


def tiny(*changes: tuple[str, Any]) -> Study:
    """The tiny study, which leaves its precision open."""
    return resolve({key: TINY[key] for key in TINY if key != "precision"}, changes)


def parts(study: Study) -> tuple[Recipe, NetworkConfig, Outline]:
    recipe, outline = study.recipes["base"], make_outline(study, "base", 160, (32, 32), 10)
    network = NetworkConfig(recipe.model.name, recipe.model.options, tuple("0123456789"), outline.image_shape)
    return recipe, network, outline


def choose(study: Study, device: str = "cpu", **options: Any) -> Compute:
    return choose_compute(*parts(study), device, **{"runs": 1, **options})


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
    clock: Any, seconds: tuple[float, ...], expected: tuple[str, str]
) -> None:
    clock(*seconds)
    chosen = choose(tiny())
    assert (chosen.precision, chosen.memory_format) == expected
    assert f"float32 {1000 * min(seconds[:2]):.0f} ms" in chosen.reason
    assert f"bfloat16 {1000 * min(seconds[2:]):.0f} ms" in chosen.reason


def test_without_bfloat16_in_the_processor_it_is_not_timed(clock: Any) -> None:
    assert clock(2.0, 3.0, 1.0, 1.0, bfloat16=False) == []
    assert choose(tiny()).precision == "float32"
    assert clock(2.0, 3.0, 1.0, 1.0, bfloat16=False) == [ALL[:2]]


def test_a_precision_that_the_study_names_is_kept_without_timing(clock: Any) -> None:
    asked = clock(2.0, 3.0, 1.0, 0.5)
    assert choose(tiny(("precision", "float32"))) == Compute("float32", "channels_last")
    assert asked == []


def test_what_was_timed_is_kept_for_this_network_and_machine(
    clock: Any, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = clock(2.0, 3.0, 1.0, 2.0)
    first = choose(tiny())
    assert choose(tiny()) == first and len(asked) == 1
    choose(tiny(("model.width", 4)))
    assert len(asked) == 2
    monkeypatch.setattr(module, "processor", lambda: "another")
    choose(tiny())
    assert len(asked) == 3 and len(list(own_cache.glob("speed-*.json"))) == 3


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"seconds": [1, 1, 1, 1]}', "\x00"])
def test_a_damaged_cache_entry_is_timed_again(clock: Any, own_cache: Path, content: str) -> None:
    asked = clock(2.0, 3.0, 1.0, 2.0)
    first = choose(tiny())
    (entry,) = own_cache.glob("speed-*.json")
    entry.write_text(content)
    assert choose(tiny()) == first and len(asked) == 2
    assert json.loads(entry.read_text())["seconds"] == [2.0, 3.0, 1.0, 2.0]


@pytest.mark.parametrize("seconds", [[0.0, 1, 1, 1], [-1.0, 1, 1, 1], [1.0, 1], None, ["a"] * 4])
def test_an_entry_without_four_times_is_timed_again(clock: Any, own_cache: Path, seconds: Any) -> None:
    asked = clock(2.0, 3.0, 1.0, 2.0)
    first = choose(tiny())
    write_sealed(next(own_cache.glob("speed-*.json")), {"seconds": seconds})
    assert choose(tiny()) == first and len(asked) == 2


def test_a_cache_that_cannot_be_written_is_no_error(clock: Any, own_cache: Path) -> None:
    own_cache.write_text("a file in its place")
    clock(2.0, 3.0, 1.0, 2.0)
    assert choose(tiny()).precision == "bfloat16"


def test_a_network_that_cannot_take_the_timed_step_is_left_to_its_first_own_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(module.TimedStep, "__init__", broken)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert choose(tiny()) == Compute("float32", "channels_last")


def test_timing_for_real_takes_a_moment_and_leaves_random_state_and_threads() -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    _, network, outline = parts(tiny(("model.dropout", 0.2)))
    times = module._time_ways(module.TimedStep(network, 32, outline.flops_per_image), ALL)
    assert list(times) == ALL and all(seconds > 0 for seconds in times.values())
    assert torch.equal(state, torch.get_rng_state()) and torch.get_num_threads() == threads


def on_disk(folder: StudyFolder, variant: str = "base", **identity: Any) -> None:
    identity = {"device": "cpu", "precision": "bfloat16", "recipe": {}, **identity}
    run = folder.run(variant, 0)
    run.write(RunRecord(study="s", variant=variant, seed=0, status="running", digest="0", identity=identity))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_runs_on_disk_decide_before_any_timing(clock: Any, tmp_path: Path, precision: str) -> None:
    asked = clock(1.0, 2.0, 3.0, 4.0) if precision == "bfloat16" else clock(4.0, 3.0, 2.0, 1.0)
    folder = StudyFolder(tmp_path, "tiny")
    on_disk(folder, precision=precision, memory_format="contiguous_format")
    chosen = choose(tiny(), on_disk=compute_on_disk(folder.runs(), "cpu"))
    assert (chosen.precision, chosen.memory_format) == (precision, "contiguous_format") and asked == []


@pytest.mark.parametrize(
    "identity",
    [
        {"device": "cuda"}, {"device": None}, {"precision": "float8"}, {"precision": []},
        {"memory_format": "strided"}, {"recipe": None}, {"recipe": []},
    ],
)  # fmt: skip
def test_runs_of_another_device_and_odd_records_decide_nothing(tmp_path: Path, identity: Any) -> None:
    folder = StudyFolder(tmp_path, "tiny")
    on_disk(folder, **identity)
    assert compute_on_disk(folder.runs(), "cpu") is None
    folder.run("base", 0).record_file.write_text("{}")
    assert compute_on_disk(folder.runs(), "cpu") is None


def planned(study: Study, tmp_path: Path) -> tuple[Variant, ...]:
    data = load_data("digits", tmp_path, train_limit=160, test_limit=60)
    return make_plan(study, StudyFolder(tmp_path, "tiny"), lambda recipe: data, device="cpu").variants


def test_variants_that_are_compared_are_computed_alike(clock: Any, tmp_path: Path) -> None:
    asked = clock(4.0, 3.0, 2.0, 1.0)
    study = tiny(("variants.wide", {"model.width": 4}), ("variants.exact", {"precision": "float32"}))
    first = planned(study, tmp_path)
    assert [variant.precision for variant in first] == ["bfloat16", "bfloat16", "float32"]
    assert asked == [ALL], "the second variant follows the first, the third says what it wants"
    clock(1.0, 2.0, 3.0, 4.0)
    on_disk(StudyFolder(tmp_path, "tiny"), precision="bfloat16", memory_format="contiguous_format")
    second = planned(study, tmp_path)
    assert [variant.digest for variant in second] == [variant.digest for variant in first]


def test_each_variant_keeps_what_its_own_runs_were_computed_with(clock: Any, tmp_path: Path) -> None:
    clock(1.0, 2.0, 3.0, 4.0)
    study = tiny(("variants.compiled", {"compile": True}), ("variants.wide", {"model.width": 4}))
    folder = StudyFolder(tmp_path, "tiny")
    on_disk(folder, variant="compiled", precision="bfloat16", recipe={"compile": True})
    base, compiled, wide = planned(study, tmp_path)
    assert not base.compute.compiled and base.precision == "float32", "it leaves more open than that variant"
    assert compiled.compute.compiled and compiled.precision == "bfloat16"
    on_disk(folder, variant="wide", precision="bfloat16", recipe={"compile": True})
    base, compiled, wide = planned(study, tmp_path)
    assert wide.compute.compiled and base.compute.compiled, "base follows the variant that is as open"
    on_disk(folder, precision="float32")
    base, compiled, wide = planned(study, tmp_path)
    assert not base.compute.compiled and wide.compute.compiled


def test_a_dry_run_tells_the_digest_of_the_start(clock: Any, tmp_path: Path) -> None:
    clock(1.0, 2.0, 3.0, 4.0)
    study = tiny()
    folder = StudyFolder(tmp_path, "tiny")
    on_disk(folder, precision="bfloat16")
    data = load_data("digits", tmp_path, train_limit=160, test_limit=60)
    shown = json.loads(as_json([Preview(study, folder, lambda recipe: data, None, "cpu", 1)]))
    assert shown[0]["variants"][0]["digest"] == planned(study, tmp_path)[0].digest


def test_the_usual_memory_format_is_not_in_the_identity_so_that_digests_stay() -> None:
    assert identity_of(Compute("float32", "channels_last"), "cpu") == {"precision": "float32"}
    assert identity_of(Compute("float32", "contiguous_format"), "mps") == {"precision": "float32"}
    unusual = {"precision": "float32", "memory_format": "contiguous_format"}
    assert identity_of(Compute("float32", "contiguous_format"), "cuda:1") == unusual


def test_both_memory_formats_train_the_same_network(tmp_path: Path) -> None:
    study = tiny(("precision", "float32"), ("schedule.epochs", 2))
    data = load_data("digits", tmp_path, train_limit=160, test_limit=60)
    usual = resolve_variant(study, "base", data, device="cpu")
    losses = []
    for layout in ("channels_last", "contiguous_format"):
        variant = replace(usual, compute=Compute("float32", layout))
        run = StudyFolder(tmp_path / layout, "tiny").run("base", 0)
        record = execute(variant, run, data, Rates(1e-4, 1e-3), threads=1, say=lambda line: None)
        losses.append(record.metrics["test_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize(
    ("runs", "device", "able", "expected"),
    [(1, "cuda", True, False), (1000, "cuda", True, True), (1000, "cuda", False, False),
     (1000, "cpu", True, False), (1000, "mps", True, False)],
)  # fmt: skip
def test_compiling_is_on_where_the_planned_runs_earn_it_back(
    monkeypatch: pytest.MonkeyPatch, runs: int, device: str, able: bool, expected: bool
) -> None:
    monkeypatch.setattr(module, "can_compile", lambda device: able)
    study = tiny(("model.width", 64), ("precision", "float32"), ("schedule.epochs", 100))
    recipe, network, outline = parts(study)
    longer = replace(outline, steps_per_epoch=98)
    assert choose_compute(recipe, network, longer, device, runs=runs).compiled is expected


def test_compiled_and_eager_runs_never_mix() -> None:
    study, begun = tiny(("precision", "float32")), Compute("float32", "channels_last")
    assert choose(study, on_disk=replace(begun, compiled=True)).compiled
    assert not choose(study, on_disk=begun, compared_with=replace(begun, compiled=True), runs=10**9).compiled
    assert choose(tiny(("precision", "float32"), ("compile", True)), on_disk=begun).compiled


def test_compiling_for_several_devices_is_left_to_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "can_compile", lambda device: True)
    study = tiny(("precision", "float32"))
    for devices, expected in ((1, True), (2, False)):
        assert choose(study, "cuda", runs=10**9, devices=devices).compiled is expected
