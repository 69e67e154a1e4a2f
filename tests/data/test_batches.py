"""Batches depend on seed, purpose, epoch and place in the epoch alone; figures see what was trained on."""

from __future__ import annotations

import multiprocessing
import random
import time
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from harness.data.arrays import mean_std, split_of
from harness.data.augment import resolve
from harness.data.batches import Batches
from harness.data.samples import augment_images, denormalise

Epoch = list[tuple[torch.Tensor, torch.Tensor]]
PAD = {"transform": "PadIfNeeded", "min_height": 16, "min_width": 16, "border_mode": "reflect_101"}
CROP = {"transform": "RandomCrop", "height": 12, "width": 12}
FLIP = {"transform": "HorizontalFlip", "p": 0.5}
HOLE = {"num_holes_range": [1, 1], "hole_height_range": [4, 4], "hole_width_range": [4, 4]}
CUT = {"transform": "CoarseDropout", "p": 1.0, **HOLE}
NORMALIZE = {"transform": "Normalize", "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 0.3]}
TRAIN: list[dict[str, Any]] = [PAD, CROP, FLIP, CUT, NORMALIZE]
BLUR = [PAD, CROP, {"transform": "GaussianBlur", "p": 0.5}, FLIP, NORMALIZE]  # no tensor path
TEST = [NORMALIZE]
IMAGES = np.random.default_rng(0).integers(0, 256, (50, 12, 12, 3), dtype=np.uint8)
SPLIT = split_of(IMAGES, np.arange(50) % 10, list("0123456789"))
PATHS: list[dict[str, Any]] = [
    {"transforms": TRAIN},
    {"transforms": TRAIN, "reference": True},
    {"transforms": BLUR},
    {"transforms": BLUR, "workers": 2},
]


def batches_of(**options: Any) -> Batches:
    usual = {"split": SPLIT, "transforms": TRAIN, "batch_size": 16, "seed": 1, "shuffle": True}
    return Batches(**{**usual, **options})


def epochs(count: int, batches: Batches | None = None, **options: Any) -> list[Epoch]:
    batches = batches or batches_of(**options)
    found = []
    for epoch in range(1, count + 1):
        batches.set_epoch(epoch)
        found.append(list(batches))
    return found


def equal(one: Epoch, other: Epoch) -> bool:
    pairs = [pair for batches in zip(one, other, strict=True) for pair in zip(*batches, strict=True)]
    return all(torch.equal(a, b) for a, b in pairs)


def images_of(epoch: Epoch) -> torch.Tensor:
    return torch.cat([images for images, _ in epoch])


@pytest.mark.parametrize("options", PATHS)
def test_every_image_comes_once_an_epoch_in_batches_of_the_form_the_network_wants(options: Any) -> None:
    for epoch in epochs(2, **options):
        assert [len(labels) for _, labels in epoch] == [16, 16, 16, 2]
        for images, labels in epoch:
            assert images.dtype == torch.float32 and images.shape == (len(labels), 3, 12, 12)
            assert images.is_contiguous(memory_format=torch.channels_last)
            assert labels.dtype == torch.int64
        assert torch.equal(torch.cat([labels for _, labels in epoch]).bincount(), torch.full((10,), 5))


def test_the_number_of_batches_is_known_before() -> None:
    assert [len(batches_of(batch_size=size)) for size in (16, 25)] == [4, 2]


def test_the_path_says_what_augments() -> None:
    assert [batches_of(**options).path for options in PATHS[:3]] == ["tensor", *["albumentations"] * 2]


@pytest.mark.parametrize("options", PATHS)
def test_images_keep_their_labels(options: Any) -> None:
    numbered = np.tile(np.arange(50, dtype=np.uint8)[:, None, None, None], (1, 12, 12, 3))
    split = split_of(numbered, np.arange(50), [str(label) for label in range(50)])
    plain = [table for table in options["transforms"] if table not in (CUT, NORMALIZE)]
    for images, labels in epochs(1, **options | {"split": split, "transforms": plain})[0]:
        assert torch.equal(images[:, 0, 5, 5].long(), labels)


@pytest.mark.parametrize("options", PATHS)
def test_an_epoch_is_the_same_each_time_and_like_no_other(options: Any) -> None:
    first, second = epochs(2, **options)
    again = batches_of(**options)
    again.set_epoch(2)
    assert equal(list(again), second), "without the first epoch: as a resumed run has it"
    others = [
        second,
        *(epochs(1, **options | other)[0] for other in ({"seed": 2}, {"purpose": "range_test"})),
    ]
    assert not any(equal(first, other) for other in others)


@pytest.mark.parametrize("options", PATHS[:3])
def test_in_file_order_it_is_still_augmented_anew(options: Any) -> None:
    first, second = epochs(2, **options | {"shuffle": False})
    assert torch.equal(torch.cat([labels for _, labels in first]), torch.from_numpy(SPLIT.labels))
    assert not torch.equal(images_of(first), images_of(second))


@pytest.mark.parametrize("at_once", [2, 100])
@pytest.mark.parametrize("ahead", [1, 3, 100])
@pytest.mark.parametrize("transforms", [TRAIN, TEST])
def test_neither_drawing_ahead_nor_many_batches_at_once_changes_a_batch(
    ahead: int, at_once: int, transforms: Any
) -> None:
    many = batches_of(transforms=transforms)
    many._ahead, many._at_once = ahead, at_once
    for one, other in zip(epochs(2, transforms=transforms), epochs(2, many), strict=True):
        assert equal(one, other)


@pytest.mark.parametrize("transforms", [TRAIN, TEST])
def test_draws_that_are_sent_in_one_table_arrive_as_they_were(transforms: Any) -> None:
    draws = batches_of(transforms=transforms)._draw(1, 1)
    there = draws.sent(torch.device("cpu"))
    assert there.sizes == draws.sizes == [16, 16, 2]
    assert torch.equal(there.indices, draws.indices)
    for sent, given in zip(there.parameters, draws.parameters, strict=True):
        assert (sent is None) == (given is None)
        assert sent is None or given is None or (sent.dtype == given.dtype and torch.equal(sent, given))


def test_making_a_batch_leaves_the_number_of_threads_to_the_training() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert {torch.get_num_threads() for _ in batches_of()} == {3}
    finally:
        torch.set_num_threads(before)


def test_each_epoch_seed_and_purpose_has_its_own_order() -> None:
    first, second = epochs(2, transforms=TEST)
    others = ({"seed": 2}, {"purpose": "range_test"}, {"shuffle": False})
    orders = [first, second, *(epochs(1, transforms=TEST, **other)[0] for other in others)]
    assert len({images_of(order).numpy().tobytes() for order in orders}) == 5


@pytest.mark.parametrize("options", PATHS[:3])
def test_every_batch_draws_anew(options: Any) -> None:
    same = split_of(np.repeat(IMAGES[:1], 32, axis=0), np.arange(32) % 10, SPLIT.classes)
    (epoch,) = epochs(1, **options | {"split": same})
    assert not torch.equal(epoch[0][0], epoch[1][0])


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_number_of_workers_changes_nothing(workers: int) -> None:
    for one, other in zip(
        epochs(3, transforms=BLUR), epochs(3, transforms=BLUR, workers=workers), strict=True
    ):
        assert equal(one, other)


def test_workers_end_with_their_epoch_finished_or_not() -> None:
    batches = batches_of(transforms=BLUR, batch_size=4, workers=2)
    iterator = iter(batches)
    next(iterator)
    assert len(multiprocessing.active_children()) == 2
    del iterator
    list(batches)
    deadline = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("options", PATHS)
def test_two_iterations_at_once_do_not_disturb_each_other(options: Any) -> None:
    batches = batches_of(**options)
    pairs = list(zip(batches, batches, strict=True))
    assert equal([one for one, _ in pairs], [other for _, other in pairs])


@pytest.mark.parametrize("options", PATHS)
def test_global_random_states_are_neither_read_nor_changed(options: Any) -> None:
    def state() -> Any:
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]

    before = state()
    (expected,) = epochs(1, **options)
    assert state() == before
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(99)
    assert equal(expected, epochs(1, **options)[0])


def test_both_paths_give_the_same_images_where_nothing_is_random() -> None:
    fixed = [PAD, FLIP | {"p": 1.0}, NORMALIZE]
    assert equal(epochs(1, transforms=fixed)[0], epochs(1, transforms=fixed, reference=True)[0])


def test_arrays_are_used_in_place_even_read_only_ones() -> None:
    split = split_of(IMAGES.copy(), SPLIT.labels.copy(), SPLIT.classes)
    split.images.flags.writeable = split.labels.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batches = batches_of(split=split)
        list(batches)
    assert batches._images.data_ptr() == split.images.ctypes.data
    np.testing.assert_array_equal(split.images, IMAGES)


@pytest.mark.cuda
@pytest.mark.parametrize("options", PATHS)
def test_cuda_gets_the_same_batches_and_one_copy_of_the_split(options: Any) -> None:
    (expected,), (found,) = epochs(1, **options), epochs(1, **options, device="cuda")
    for (images, labels), (other, others) in zip(expected, found, strict=True):
        assert other.is_cuda and others.is_cuda
        torch.testing.assert_close(other.cpu(), images, rtol=0, atol=1e-6)
        assert torch.equal(others.cpu(), labels)
    two = [batches_of(transforms=TEST, seed=seed, device="cuda") for seed in (0, 1)]
    assert two[0]._images.data_ptr() == two[1]._images.data_ptr()


def test_evaluation_is_the_normalised_split_in_file_order() -> None:
    mean, std = mean_std(SPLIT)
    _, transforms = resolve(TRAIN[:-1], [], mean, std)
    (epoch,) = epochs(1, transforms=transforms, shuffle=False)
    expected = (IMAGES / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(images_of(epoch).permute(0, 2, 3, 1), expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(denormalise(images_of(epoch), transforms), IMAGES)


def test_samples_come_in_the_order_of_their_images() -> None:
    samples = augment_images(IMAGES, [FLIP | {"p": 1.0}, NORMALIZE], seed=0)
    np.testing.assert_array_equal(samples, IMAGES[:, :, ::-1])


@pytest.mark.parametrize("middle", [[], [{"transform": "ToGray", "p": 0.0}]])
def test_samples_to_look_at_are_the_augmented_images_not_normalised(middle: Any) -> None:
    before = [PAD, CROP, *middle, FLIP, CUT | {"fill": 127}]
    samples = augment_images(IMAGES, [*before, NORMALIZE], seed=3)
    assert samples.dtype == np.uint8 and samples.shape == IMAGES.shape
    np.testing.assert_array_equal(samples, augment_images(IMAGES, before, seed=3))
    assert ((samples == 127).all(axis=3).sum(axis=(1, 2)) >= 16).all(), "each shows its hole of 4x4 pixels"
    assert not np.array_equal(samples, augment_images(IMAGES, [*before, NORMALIZE], seed=4))


def test_a_hole_cut_after_normalising_is_shown_in_its_colour() -> None:
    samples = augment_images(IMAGES, [NORMALIZE, CUT | {"fill": [0.0, 1.0, -1.0]}], seed=3)
    colour = [round(255 * value) for value in (0.5, 0.4 + 0.2, 0.3 - 0.3)]
    assert ((samples == colour).all(axis=3).sum(axis=(1, 2)) >= 16).all()


def test_images_normalised_one_by_one_are_stretched_to_be_shown() -> None:
    samples = augment_images(IMAGES, [FLIP, NORMALIZE | {"normalization": "min_max"}], seed=0)
    assert (samples.min((1, 2, 3)) == 0).all() and (samples.max((1, 2, 3)) == 255).all()
