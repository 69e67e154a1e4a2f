"""``vary``: every source of randomness has its own seed, and only what is named takes the run's."""

from __future__ import annotations

import itertools
import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import load_data
from harness.errors import StudyError
from harness.models.weights import load_weights
from harness.plan import resolve_variant
from harness.schedule import Rates
from harness.store.folders import RunFolder
from harness.study_file.config import Study
from harness.study_file.load import resolve
from harness.study_file.vary import DEFAULT, SOURCES, run_seeds
from harness.training.assembly import train_batches
from tests.conftest import TINY
from tests.training.tiny_runs import assert_same_run, data_of, run

Tiny = Callable[..., Study]
LEVELS = st.lists(
    st.tuples(st.sampled_from(SOURCES), st.integers(2, 5)), min_size=1, max_size=6, unique_by=lambda x: x[0]
)
HELD_OUT: dict[str, Any] = {"source": "digits", "batch_size": 32, "train_limit": 160, "holdout": 60}


def study(**tables: Any) -> Study:
    return resolve({**TINY, **tables})


# ---- the seeds of a run -----------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.sets(st.sampled_from(SOURCES), min_size=1), st.integers(0, 2**53 - 1))
def test_a_named_source_takes_the_runs_seed_and_another_has_seed_0(named: set[str], seed: int) -> None:
    seeds = vars(run_seeds(sorted(named), seed))
    assert seeds == {source: seed if source in named else 0 for source in SOURCES}


@settings(deadline=None)
@given(LEVELS)
def test_a_crossed_design_has_every_combination_once_and_the_first_source_changes_fastest(
    levels: list[tuple[str, int]],
) -> None:
    table = dict(levels)
    runs = [vars(run_seeds(table, seed)) for seed in range(math.prod(table.values()))]
    found = [tuple(seeds[name] for name in table) for seeds in runs]
    # itertools counts the last one fastest
    expected = itertools.product(*(range(levels) for levels in reversed(table.values())))
    assert found == [combination[::-1] for combination in expected]
    assert all(seeds[name] == 0 for seeds in runs for name in SOURCES if name not in table)


def test_run_i_takes_the_hold_out_i_modulo_the_draws() -> None:
    made = study(data={**HELD_OUT, "holdout_draws": 3}, schedule=TINY["schedule"])
    found = [made.recipes["base"].run_seeds(seed) for seed in range(7)]
    assert [seeds.holdout for seeds in found] == [0, 1, 2, 0, 1, 2, 0]
    assert [seeds.order for seeds in found] == list(range(7))


def test_a_recipe_keeps_its_hold_out_on_the_way_to_another_process() -> None:
    made = study(vary=["holdout"], data=HELD_OUT).recipes["base"]
    assert (made.draw, made.of_run(3).draw, pickle.loads(pickle.dumps(made.of_run(3))).draw) == (0, 3, 3)
    assert made.model_dump() == made.of_run(3).model_dump()


# ---- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"vary": []}, "vary: name at least one source: initialisation, order"),
        ({"vary": {}}, "vary: name at least one source"),
        ({"vary": ["ordr"]}, "vary: 'ordr' is not a source, did you mean 'order'"),
        ({"vary": {"ordr": 3}}, "vary: 'ordr' is not a source, did you mean 'order'"),
        ({"vary": ["order", "order"]}, "vary: 'order' is named twice"),
        ({"vary": {"order": 1}}, "vary: order: expected a whole number of levels from 2 to 1000, got 1"),
        ({"vary": {"order": True}}, "vary: order: expected a whole number of levels"),
        ({"vary": {"order": 2.0}}, "vary: order: expected a whole number of levels"),
        ({"vary": {"order": 900, "dropout": 900}}, "vary: 810,000 combinations of levels"),
        ({"vary": "order"}, "vary: expected a list or a table"),
        ({"vary": ["holdout"]}, "vary names holdout: set data.holdout"),
        ({"vary": ["range_test"]}, "vary names range_test, and the schedule leaves no rate to find"),
        ({"data": {"holdout_draws": 3}}, "data.holdout_draws: set data.holdout too"),
        ({"vary": ["holdout"], "data": {**HELD_OUT, "holdout_draws": 3}}, "a draw for each seed: remove it"),
        (
            {"vary": {"order": 3}, "data": {**HELD_OUT, "holdout_draws": 3}},
            "data.holdout_draws: write holdout into the table vary instead",
        ),
        (
            {"vary": ["holdout"], "data": HELD_OUT, "schedule": {"epochs": 3, "peak_epoch": 1}},
            "one range test would see the images that other runs hold out: set range_test.per",
        ),
        (
            {"vary": {"order": 2, "dropout": 3}, "seeds": [0, 6]},
            "seeds: 6 is no run of vary, whose levels have 6 combinations; use seeds from 0 to 5",
        ),
        (
            {"variants": {"few": {"vary": {"order": 2}}}, "seeds": [0, 1, 2]},
            "seeds: 2 is no run of variants.few.vary",
        ),
    ],
)
def test_a_mistake_is_refused_in_a_line_with_the_way_out(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError) as raised:
        study(**tables)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_seeds_of_the_command_line_are_checked_too(tiny_file: Path, command: Any) -> None:
    done = command(tiny_file, "--set", "vary={order=2,dropout=2}", "--seeds", "0-4", "--dry-run")
    assert done.returncode == 2 and "4 is no run of vary" in done.stderr and done.stderr.count("\n") == 1


# ---- what it is part of -----------------------------------------------------------------------------------


def test_the_default_is_no_part_of_the_digest_and_every_other_choice_is() -> None:
    choices: list[Any] = [
        ["order"],
        ["order", "dropout"],
        {"order": 2, "dropout": 3},
        {"dropout": 3, "order": 2},
        {"order": 3, "dropout": 2},
    ]

    def identity(vary: Any) -> tuple[str, dict[str, Any]]:
        made = study(seeds=[0], vary=vary)
        variant = resolve_variant(made, "base", data_of(made), device="cpu")
        return variant.digest, variant.identity["recipe"]

    made = study()
    usual = resolve_variant(made, "base", data_of(made), device="cpu")
    assert identity(list(reversed(DEFAULT))) == (usual.digest, usual.identity["recipe"])
    assert not {"vary", "holdout_draws"} & {*usual.identity["recipe"], *usual.identity["recipe"]["data"]}
    assert len({usual.digest, *(identity(vary)[0] for vary in choices)}) == 1 + len(choices)


def test_a_variant_replaces_the_whole_table_and_its_order_survives_the_resolved_file() -> None:
    import tomllib

    changes: dict[str, Any] = {
        "turned": {"vary": {"dropout": 3, "order": 2}},
        "one": {"vary": {"order": 2}},
        "listed": {"vary": ["order"]},
    }
    made = study(seeds=[0], vary={"order": 2, "dropout": 3}, variants=changes)
    again = resolve(tomllib.loads(made.to_toml()))
    for resolved in (made, again):
        found = [list(recipe.vary) for recipe in resolved.recipes.values()]
        assert found == [["order", "dropout"], ["dropout", "order"], ["order"], ["order"]]
    assert again.recipes == made.recipes


# ---- real runs --------------------------------------------------------------------------------------------


def parameters(folder: RunFolder) -> list[torch.Tensor]:
    model, _ = load_weights(folder.path / "model.safetensors")
    return list(model.parameters())


def test_only_the_initialisation_decides_the_first_weights(tiny: Tiny, tmp_path: Path) -> None:
    still = Rates(0.0, 0.0)  # the weights stay as they were drawn
    others = ["order", "augmentation", "dropout"]
    weights = {}
    for vary, seed in ((DEFAULT, 0), (others, 1), (["initialisation"], 1)):
        made = tiny(("vary", list(vary)), ("optimizer.weight_decay", 0.0), ("model.dropout", 0.2))
        _, folder, _ = run(made, tmp_path / f"{len(vary)}-{seed}", seed, rates=still)
        weights[len(vary)] = parameters(folder)
    assert all(map(torch.equal, weights[4], weights[3]))
    assert not all(map(torch.equal, weights[4], weights[1]))


def test_order_and_augmentation_have_seeds_of_their_own(tiny: Tiny) -> None:
    made = tiny()
    data = data_of(made)
    variant = resolve_variant(made, "base", data, device="cpu")

    def batches(order: int, augmentation: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = zip(*train_batches(variant, data, order, augmentation=augmentation), strict=True)
        return torch.cat(images), torch.cat(labels)

    usual, drawn, shuffled = batches(0, 0), batches(0, 1), batches(1, 0)
    assert torch.equal(usual[1], drawn[1]) and not torch.equal(usual[0], drawn[0])
    assert not torch.equal(usual[1], shuffled[1])
    assert torch.equal(usual[0], torch.cat([images for images, _ in train_batches(variant, data, 0)]))


@pytest.mark.parametrize(("dropout", "same"), [(0.0, True), (0.3, False)])
def test_the_source_dropout_is_what_the_network_draws(
    tiny: Tiny, tmp_path: Path, dropout: float, same: bool
) -> None:
    made = tiny(("vary", ["dropout"]), ("model.dropout", dropout))
    folders = [run(made, tmp_path, seed)[1] for seed in (0, 1)]
    logits = [(folder.path / "predictions.npz").read_bytes() for folder in folders]
    assert (logits[0] == logits[1]) is same


def test_runs_by_default_and_seed_0_of_any_choice_are_the_same_bytes(tiny: Tiny, tmp_path: Path) -> None:
    dropping = ("model.dropout", 0.2)
    _, usual, _ = run(tiny(dropping), tmp_path / "usual", 1)
    _, named, _ = run(tiny(dropping, ("vary", list(DEFAULT))), tmp_path / "named", 1)
    assert_same_run(usual, named)
    _, first, _ = run(tiny(dropping), tmp_path / "usual", 0)
    _, other, _ = run(tiny(dropping, ("vary", ["order"])), tmp_path / "order", 0)
    assert_same_run(first, other)


def test_a_run_of_a_crossed_design_is_that_of_its_levels(tiny: Tiny, tmp_path: Path) -> None:
    crossed = tiny(("seeds", [0]), ("vary", {"initialisation": 2, "order": 2}))
    _, one, _ = run(crossed, tmp_path / "crossed", 3)  # initialisation 1, order 1
    _, two, _ = run(tiny(("vary", ["initialisation", "order"])), tmp_path / "list", 1)
    for name in ("predictions.npz", "model.safetensors"):
        assert (one.path / name).read_bytes() == (two.path / name).read_bytes()


@pytest.mark.slow
def test_each_run_has_its_own_hold_out_and_normalises_by_its_own_train_images(
    tmp_path: Path, command: Any
) -> None:
    file = tmp_path / "held.toml"
    made = study(name="held", seeds=[0, 1, 3], vary=["holdout"], data={**HELD_OUT, "holdout": 60})
    file.write_text(made.to_toml())
    done = command(file, "--out", "out")
    assert done.returncode == 0, done.stderr
    assert "mix different data" not in done.stderr
    folders = [tmp_path / "out" / "held" / "runs" / "base" / f"seed-{seed}" for seed in (0, 1, 3)]
    for folder, seed in zip(folders, (0, 1, 3), strict=True):
        data = load_data("digits", tmp_path, holdout=60, train_limit=160, draw=seed)
        record = json.loads((folder / "run.json").read_text())
        assert record["provenance"]["data"]["sha256"] == data.sha256
        labels = np.load(folder / "predictions.npz")["labels"]
        assert labels.tolist() == data.evaluation.labels.tolist()
        normalise = record["recipe"]["augment"]["train"][-1]
        expected = (data.train.images.reshape(-1, 3) / 255).mean(axis=0)
        assert normalise["mean"] == pytest.approx(expected, abs=1e-9)
    again = command(file, "--out", "out")
    assert again.returncode == 0 and "finished:" not in again.stderr + again.stdout


# ---- the range test ---------------------------------------------------------------------------------------

FINDS: dict[str, Any] = {
    "schedule": {"epochs": 3, "peak_epoch": 1},
    "range_test": {"start_lr": 1e-3, "end_lr": 1.0, "iterations": 10, "repeats": 1},
}


def finding(per: str | None = None, **tables: Any) -> Study:
    settings = {**FINDS["range_test"], **({} if per is None else {"per": per})}
    return study(**{**FINDS, "range_test": settings, **tables})


def test_naming_the_range_test_and_per_seed_are_one_thing() -> None:
    named, per = finding(vary=[*DEFAULT, "range_test"]), finding("seed")
    assert named.recipes["base"].varied == per.recipes["base"].varied == [*DEFAULT, "range_test"]
    for made in (named, per):
        recipe = made.recipes["base"]
        assert recipe.each_run_finds and recipe.run_seeds(5).range_test == 5
    digests = [resolve_variant(made, "base", data_of(made), device="cpu").digest for made in (named, per)]
    assert digests[0] == digests[1]
    shared = finding("variant")
    assert not shared.recipes["base"].each_run_finds
    usual = resolve_variant(finding(), "base", data_of(shared), device="cpu").digest
    assert resolve_variant(shared, "base", data_of(shared), device="cpu").digest == usual != digests[0]


@pytest.mark.parametrize(
    ("per", "vary", "message"),
    [
        ("variant", ["range_test"], 'vary names range_test, but range_test.per is "variant"'),
        ("seed", ["order"], 'range_test.per is "seed", but vary does not name range_test'),
        ("seed", {"order": 2}, 'range_test.per is "seed", but vary does not name range_test'),
    ],
)
def test_a_contradiction_with_the_range_test_is_refused(per: str, vary: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        finding(per, vary=vary, seeds=[0])


@pytest.mark.slow
def test_each_level_of_the_range_test_finds_one_rate_whatever_the_other_levels_are(
    tmp_path: Path, command: Any
) -> None:
    made = finding(name="levels", seeds=[0, 1, 2, 3], vary={"order": 2, "range_test": 2})
    file = tmp_path / "levels.toml"
    file.write_text(made.to_toml())
    done = command(file, "--out", "out")
    assert done.returncode == 0, done.stderr
    rates = []
    for seed in range(4):
        folder = tmp_path / "out" / "levels" / "runs" / "base" / f"seed-{seed}"
        rates.append(json.loads((folder / "run.json").read_text())["metrics"]["lr_max"])
        assert json.loads((folder / "range_test.json").read_text())["seed"] == seed // 2
    assert rates[0] == rates[1] and rates[2] == rates[3]


@pytest.mark.slow
def test_a_run_with_its_own_hold_out_finds_its_rate_on_its_own_train_images(
    tmp_path: Path, command: Any
) -> None:
    made = finding(name="both", seeds=[0, 1], vary=["holdout", "range_test"], data=HELD_OUT)
    file = tmp_path / "both.toml"
    file.write_text(made.to_toml())
    done = command(file, "--out", "out")
    assert done.returncode == 0, done.stderr
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("range_test.json")}
    assert len(before) == 2
    (tmp_path / "out" / "both" / "runs" / "base" / "seed-1" / "model.safetensors").unlink()
    assert command(file, "--out", "out").returncode == 0  # the lost run is done again, to the same rate
    again = tmp_path / "out" / "both" / "runs" / "base" / "seed-1" / "range_test.json"
    assert json.loads(again.read_text())["lr_max"] == json.loads(before[again])["lr_max"]
