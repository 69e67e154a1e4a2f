"""MixUp and CutMix: torchvision's own pixels and labels, whoever makes the batch."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from harness.data.arrays import split_of
from harness.data.batches import Batches
from harness.data.mixing import Mixing, shares
from harness.data.samples import mix_samples
from harness.seeding import derive_seed
from harness.study_file.augment import Augment, BatchTransform
from harness.vision import import_torchvision

import_torchvision()
from torchvision.transforms import v2  # noqa: E402

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 12, 12, 3), dtype=np.uint8)
SPLIT = split_of(IMAGES, np.arange(50) % 10, list("0123456789"))
MIXUP, CUTMIX = BatchTransform(transform="MixUp", alpha=0.2), BatchTransform(transform="CutMix")
NORMALIZE = {"transform": "Normalize", "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 0.3]}
FLIP = {"transform": "HorizontalFlip"}
TRAIN = [FLIP, NORMALIZE]
PATHS: list[dict[str, Any]] = [
    {},
    {"reference": True, "workers": 2},
    {"transforms": [{**NORMALIZE, "library": "torchvision"}], "workers": 2},
]


def batches_of(**options: Any) -> Batches:
    usual = {"split": SPLIT, "transforms": TRAIN, "batch_size": 16, "seed": 1, "shuffle": True}
    batches = Batches(**{**usual, "mixing": (MIXUP, CUTMIX), **options})
    batches.set_epoch(3)
    return batches


THEIRS = [v2.MixUp(alpha=0.2, num_classes=10), v2.CutMix(num_classes=10)]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([MIXUP], THEIRS[0]),
        ([CUTMIX], THEIRS[1]),
        ([MIXUP, CUTMIX], v2.RandomChoice(THEIRS)),
        (
            [BatchTransform(transform="MixUp", alpha=0.2, p=0.3), CUTMIX],
            v2.RandomChoice(THEIRS, p=[0.3, 0.7]),
        ),
    ],
)
def test_a_batch_is_torchvisions_from_the_same_state_of_torchs_generator(
    ours: list[BatchTransform], theirs: Any
) -> None:
    plain, mixed = batches_of(mixing=()), batches_of(mixing=ours)
    for batch, ((images, labels), (found, soft)) in enumerate(zip(plain, mixed, strict=True)):
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(derive_seed(1, "train/mix", 3, batch))
            wanted, expected = theirs(images, labels)
        assert torch.equal(found, wanted) and torch.equal(soft, expected)
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert soft.dtype == torch.float32 and soft.shape == (len(labels), 10)
        torch.testing.assert_close(soft.sum(1), torch.ones(len(labels)))


@pytest.mark.parametrize("options", PATHS)
def test_a_batch_depends_on_seed_epoch_and_place_alone(options: dict[str, Any]) -> None:
    def state() -> Any:
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]

    before = state()
    first = list(batches_of(**options))
    assert state() == before
    torch.manual_seed(99)
    again, other = batches_of(**options | {"workers": 0}), batches_of(**options | {"augmentation": 2})
    for one, two, three in zip(first, again, other, strict=True):
        assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])
        assert not torch.equal(one[1], three[1])


@pytest.mark.parametrize("options", PATHS)
@pytest.mark.parametrize("parts", [2, 3])
def test_processes_that_share_a_batch_have_its_parts(options: dict[str, Any], parts: int) -> None:
    whole = list(batches_of(**options, drop_last=True))
    made = [list(batches_of(**options, drop_last=True, part=(part, parts))) for part in range(parts)]
    for batch, (images, labels) in enumerate(whole):
        assert torch.equal(torch.cat([part[batch][0] for part in made]), images)
        assert torch.equal(torch.cat([part[batch][1] for part in made]), labels)


def table(name: Any = "MixUp", p: float | None = None) -> BatchTransform:
    return BatchTransform(transform=name, p=p)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([None], [1, 0]),
        ([None, None], [0.5, 0.5, 0]),
        ([0.2], [0.2, 0.8]),
        ([0.2, None], [0.2, 0.8, 0]),
        ([0.2, None, None], [0.2, 0.4, 0.4, 0]),
        ([0.5, 0.5], [0.5, 0.5, 0]),
        ([0.0, 0.1], [0.0, 0.1, 0.9]),
    ],
)
def test_the_shares_of_several_transforms(given: list[float | None], expected: list[float]) -> None:
    assert shares([table(p=p) for p in given]) == pytest.approx(expected)


def test_each_batch_takes_one_transform_as_often_as_its_share() -> None:
    mixing = Mixing([table("MixUp", 0.2), table("CutMix", 0.5)], 2)
    images = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    labels, seen = torch.tensor([0, 1]), {"none": 0, "MixUp": 0, "CutMix": 0}
    for seed in range(2000):
        found, soft = mixing(images, labels, seed)
        values = found[0].unique()
        kind = "none" if torch.equal(soft, torch.eye(2)) else "CutMix"
        if len(values) == 1 and 0 < values[0] < 1:
            kind = "MixUp"
            assert float(soft[0, 1]) == pytest.approx(float(values[0]), abs=1e-6)
        elif kind == "CutMix":
            assert float(soft[0, 1]) == pytest.approx(float(found[0].mean()), abs=1e-6)
        seen[kind] += 1
    # three standard deviations; some boxes have no area, and count as none
    assert abs(seen["MixUp"] - 400) < 54 and 400 < seen["CutMix"] <= 1067 and seen["none"] >= 530


def test_a_single_image_is_mixed_with_itself() -> None:
    images, labels = torch.rand(1, 3, 8, 8), torch.tensor([3])
    for seed in range(5):
        found, soft = Mixing([MIXUP, CUTMIX], 10)(images, labels, seed)
        torch.testing.assert_close(found, images)
        torch.testing.assert_close(soft, torch.eye(10)[3:4])


def test_samples_are_mixed_by_column() -> None:
    images = np.repeat(np.array([0, 100, 200], np.uint8)[:, None, None, None, None], 6, axis=1)
    images = np.broadcast_to(images, (3, 6, 8, 8, 3)).copy()
    batch = Augment(batch=[MIXUP]).model_dump(mode="json")["batch"]
    mixed = mix_samples(images, np.array([0, 1, 2]), 3, batch, seed=0)
    assert mixed.shape == images.shape and mixed.dtype == np.uint8
    own = (200.0 - mixed[0, :, 0, 0, 0]) / 200  # the first row is mixed with the last
    np.testing.assert_allclose(mixed[1, :, 0, 0, 0], 100 * own, atol=1.5)
    assert len(set(mixed[0, :, 0, 0, 0].tolist())) > 2
