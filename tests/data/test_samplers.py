"""Samplers draw an epoch's images by (seed, purpose, epoch) alone; what they return is checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import WeightedRandomSampler

from harness.data.arrays import split_of
from harness.data.batches import Batches
from harness.data.samplers import balanced, check_sampler, draw_images, get_sampler
from harness.errors import StudyError
from harness.imports import allow
from harness.plan import resolve_variant
from harness.schedule import Rates
from harness.seeding import generator
from harness.study_file.load import resolve
from harness.training.assembly import train_batches
from tests.conftest import TINY
from tests.training.tiny_runs import Killed, assert_same_run, data_of, killed_at, run

LABELS = np.array([0] * 90 + [1] * 8 + [2] * 2)
IMAGES = np.repeat(np.arange(100, dtype=np.uint8)[:, None, None, None], 3, axis=3) * np.ones(
    (1, 8, 8, 1), np.uint8
)
SPLIT = split_of(IMAGES, LABELS, ["many", "few", "two"])
PLAIN = [{"transform": "Normalize", "mean": [0.0] * 3, "std": [1.0] * 3}]
OWN = """
import torch


def last_first(labels, generator):
    return torch.arange(len(labels)).flip(0)


def only_even(labels, generator):
    return 2 * torch.randint(len(labels) // 2, (len(labels),), generator=generator)


def as_list(labels, generator):
    return torch.randperm(len(labels), generator=generator).tolist()


def changes_labels(labels, generator):
    labels.fill_(0)
    return torch.arange(len(labels))


def global_draws(labels, generator):
    return torch.randperm(len(labels))


def too_few(labels, generator):
    return torch.arange(len(labels) - 1)


def floats(labels, generator):
    return torch.rand(len(labels), generator=generator)


def too_high(labels, generator):
    return torch.arange(len(labels)) + 1


def negative(labels, generator):
    return torch.arange(len(labels)) - 1


def fails(labels, generator):
    raise ValueError("no\\nluck")


def few_classes_only(labels, generator):
    assert labels.max() < 9
    return torch.arange(len(labels))


number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of samplers that studies may name."""
    name = f"own_samplers_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(OWN)
    for variable in ("HARNESS_ALLOW", "HARNESS_PATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    allow([name], [tmp_path])
    return name


def images_of(epoch: int, **options: Any) -> list[list[int]]:
    usual = {"batch_size": 16, "seed": 3, "shuffle": True, "sampler": "balanced"}
    batches = Batches(SPLIT, PLAIN, **{**usual, **options})
    batches.set_epoch(epoch)
    return [(255 * images[:, 0, 0, 0]).round().int().tolist() for images, _ in batches]


def test_balanced_is_torchs_weighted_random_sampler() -> None:
    for seed in range(3):
        ours = balanced(torch.from_numpy(LABELS), torch.Generator().manual_seed(seed))
        weights = [1 / np.bincount(LABELS)[label] for label in LABELS]
        theirs = WeightedRandomSampler(weights, 100, generator=torch.Generator().manual_seed(seed))
        assert ours.tolist() == list(theirs)


def test_classes_come_equally_often_on_average() -> None:
    drawn = [balanced(torch.from_numpy(LABELS), generator(0, "x", epoch)) for epoch in range(300)]
    shares = np.bincount(LABELS[torch.cat(drawn).numpy()]) / 30_000
    assert np.abs(shares - 1 / 3).max() < 5 * np.sqrt(2 / 9 / 30_000)


def test_an_epoch_has_as_many_images_as_before_and_the_sampled_ones() -> None:
    draws = generator(3, "train/sampler", 2)
    expected = balanced(torch.from_numpy(LABELS), draws).tolist()
    batches = images_of(2)
    assert [len(batch) for batch in batches] == [16] * 6 + [4]
    assert [image for batch in batches for image in batch] == expected
    assert images_of(2, drop_last=True) == batches[:-1]


def test_epochs_seeds_and_purposes_differ_and_the_same_ones_agree() -> None:
    assert images_of(1) == images_of(1)
    others = [
        images_of(2),
        images_of(1, seed=4),
        images_of(1, purpose="range test"),
        images_of(1, sampler=None),
    ]
    assert all(images_of(1) != other for other in others)


def test_the_order_does_not_depend_on_how_much_is_drawn_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = images_of(1)
    monkeypatch.setattr("harness.data.batches.DRAWN_AHEAD", 32)
    assert images_of(1) == whole


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("sampler", ["balanced", None])
def test_the_parts_of_several_devices_are_one_devices_batches(sampler: str | None, reference: bool) -> None:
    whole = images_of(2, sampler=sampler, reference=reference)
    parts = [images_of(2, sampler=sampler, reference=reference, part=(at, 3)) for at in range(3)]
    assert [sum(batch, []) for batch in zip(*parts, strict=True)] == whole


def test_evaluation_has_each_image_once_whatever_the_sampler() -> None:
    assert sum(images_of(1, shuffle=False), []) == list(range(100))


def test_own_samplers_are_found_where_their_package_is_allowed(own: str) -> None:
    assert sum(images_of(1, sampler=f"{own}:last_first"), []) == list(range(99, -1, -1))
    assert {image % 2 for batch in images_of(1, sampler=f"{own}:only_even") for image in batch} == {0}
    assert sorted(sum(images_of(1, sampler=f"{own}:as_list"), [])) == list(range(100))
    for name in ("last_first", "only_even", "as_list"):
        check_sampler(f"{own}:{name}", "study")


def test_a_sampler_cannot_change_the_labels(own: str) -> None:
    sampler = get_sampler(f"{own}:changes_labels")
    labels = torch.from_numpy(LABELS.copy())
    draw_images(sampler, labels, torch.Generator())
    assert labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("global_draws", "draws from another generator than its own"),
        ("too_few", r"returned torch.int64 \(63,\), expected integers \(64,\)"),
        ("floats", r"returned torch.float32 \(64,\)"),
        ("too_high", "returned indices from 1 to 64, expected 0 to 63"),
        ("negative", "returned indices from -1 to 62"),
        ("fails", "ValueError: no luck"),
        ("number", "expected a function, got int"),
        ("missing", "has no attribute 'missing'"),
    ],
)
def test_a_wrong_sampler_is_refused_in_one_line(own: str, name: str, words: str) -> None:
    with pytest.raises(StudyError, match=words) as error:
        check_sampler(f"{own}:{name}", "study")
    message = str(error.value)
    assert message.startswith("study: data.sampler: ") and "\n" not in message


@pytest.mark.parametrize(
    ("name", "words"),
    [("balancd", "did you mean 'balanced'"), ("os:getcwd", "importing 'os' is not allowed; add --allow os")],
)
def test_unknown_and_forbidden_samplers_are_refused(name: str, words: str) -> None:
    with pytest.raises(StudyError, match=words):
        check_sampler(name, "study")


def test_a_sampler_that_fails_on_the_studys_own_labels_is_refused_before_any_work(own: str) -> None:
    study = resolve({**TINY, "data": {**TINY["data"], "sampler": f"{own}:few_classes_only"}})
    with pytest.raises(StudyError, match=r"data\.sampler: AssertionError"):
        resolve_variant(study, "base", data_of(study), device="cpu")


def test_a_range_test_draws_by_the_sampler_too() -> None:
    study = resolve({**TINY, "data": {**TINY["data"], "sampler": "balanced"}})
    data = data_of(study)
    variant = resolve_variant(study, "base", data, device="cpu")
    batches = train_batches(variant, data, 5, purpose="range_test")
    batches.set_epoch(1)
    labels = torch.from_numpy(data.train.labels)
    expected = labels[balanced(labels, generator(5, "range_test/sampler", 1))]
    assert torch.equal(torch.cat([labels for _, labels in batches]), expected)


def test_only_a_study_with_a_sampler_has_another_digest(own: str) -> None:
    def digest(**data: Any) -> str:
        study = resolve({**TINY, "data": {**TINY["data"], **data}})
        variant = resolve_variant(study, "base", data_of(study), device="cpu")
        assert ("sampler" in variant.identity["recipe"]["data"]) == bool(data)
        assert ("sources" in variant.identity) == (":" in data.get("sampler", ""))
        return variant.digest

    digests = [digest(), digest(sampler="balanced"), digest(sampler=f"{own}:last_first")]
    assert len(set(digests)) == 3


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_killed_run_with_a_sampler_ends_as_an_uninterrupted_one(tmp_path: Path, epoch: int) -> None:
    study = resolve({**TINY, "data": {**TINY["data"], "sampler": "balanced"}})
    rates = Rates(0.005, 0.05)
    _, whole, _ = run(study, tmp_path / "whole", rates=rates)
    with pytest.raises(Killed):
        run(study, tmp_path / "killed", rates=rates, say=killed_at(f"epoch {epoch} of 3"))
    _, resumed, _ = run(study, tmp_path / "killed", rates=rates)
    assert_same_run(whole, resumed)
