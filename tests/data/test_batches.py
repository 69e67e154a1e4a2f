"""Batches depend on seed, purpose, epoch and place in the epoch alone; figures see what was trained on."""

from __future__ import annotations

import multiprocessing
import random
import time
import warnings

import numpy as np
import pytest
import torch

from harness.data.arrays import Split, mean_std, split_of
from harness.data.augment import resolve
from harness.data.batches import Batches, augment_images, denormalise

PAD = {"transform": "PadIfNeeded", "min_height": 16, "min_width": 16, "border_mode": "reflect_101"}
CROP = {"transform": "RandomCrop", "height": 12, "width": 12}
FLIP = {"transform": "HorizontalFlip", "p": 0.5}
CUT = {
    "transform": "CoarseDropout",
    "num_holes_range": [1, 1],
    "hole_height_range": [4, 4],
    "hole_width_range": [4, 4],
    "p": 1.0,
}
NORMALIZE = {"transform": "Normalize", "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 0.3]}
TRAIN = [PAD, CROP, FLIP, CUT, NORMALIZE]
BLUR = [PAD, CROP, {"transform": "GaussianBlur", "p": 0.5}, FLIP, NORMALIZE]  # no tensor path
TEST = [NORMALIZE]


def make_split(count: int = 50) -> Split:
    images = np.random.default_rng(0).integers(0, 256, (count, 12, 12, 3), dtype=np.uint8)
    return split_of(images, np.arange(count) % 10, [str(label) for label in range(10)])


SPLIT = make_split()


def epochs(count: int, **options) -> list[list[tuple[torch.Tensor, torch.Tensor]]]:
    settings = {"split": SPLIT, "transforms": TRAIN, "batch_size": 16, "seed": 1, "shuffle": True} | options
    batches = Batches(**settings)
    found = []
    for epoch in range(1, count + 1):
        batches.set_epoch(epoch)
        found.append(list(batches))
    return found


def equal(one, other) -> bool:
    return all(
        torch.equal(a, b)
        for left, right in zip(one, other, strict=True)
        for a, b in zip(left, right, strict=True)
    )


def images_of(epoch) -> torch.Tensor:
    return torch.cat([images for images, _ in epoch])


PATHS = [
    {"transforms": TRAIN},
    {"transforms": TRAIN, "reference": True},
    {"transforms": BLUR},
    {"transforms": BLUR, "workers": 2},
]


@pytest.mark.parametrize("options", PATHS)
def test_every_image_comes_once_an_epoch_in_batches_of_the_form_the_network_wants(options):
    for epoch in epochs(2, **options):
        assert [len(labels) for _, labels in epoch] == [16, 16, 16, 2]
        for images, labels in epoch:
            assert images.dtype == torch.float32 and images.shape == (len(labels), 3, 12, 12)
            assert images.is_contiguous(memory_format=torch.channels_last)
            assert labels.dtype == torch.int64
        assert torch.equal(torch.cat([labels for _, labels in epoch]).bincount(), torch.full((10,), 5))


def test_the_number_of_batches_is_known_before():
    assert len(Batches(SPLIT, TEST, 16, seed=0, shuffle=False)) == 4
    assert len(Batches(SPLIT, TEST, 25, seed=0, shuffle=False)) == 2


@pytest.mark.parametrize(
    ("options", "path"),
    [(PATHS[0], "tensor"), (PATHS[1], "albumentations"), (PATHS[2], "albumentations")],
)
def test_the_path_says_what_augments(options, path):
    assert Batches(SPLIT, batch_size=8, seed=0, shuffle=True, **options).path == path


@pytest.mark.parametrize("options", PATHS)
def test_images_keep_their_labels(options):
    images = np.repeat(np.arange(50, dtype=np.uint8)[:, None], 12 * 12 * 3, 1).reshape(50, 12, 12, 3)
    split = split_of(images, np.arange(50), [str(label) for label in range(50)])
    plain = [table for table in options["transforms"] if table not in (CUT, NORMALIZE)]
    for epoch in epochs(1, **options | {"split": split, "transforms": plain}):
        for found, labels in epoch:
            assert torch.equal(found[:, 0, 5, 5].long(), labels)


@pytest.mark.parametrize("options", PATHS)
def test_an_epoch_is_the_same_each_time_and_like_no_other(options):
    first, second = epochs(2, **options)
    again = Batches(SPLIT, batch_size=16, seed=1, shuffle=True, **options)
    again.set_epoch(2)
    assert equal(list(again), second), "without the first epoch: as a resumed run has it"
    assert not equal(first, second)
    assert not equal(first, epochs(1, **options | {"seed": 2})[0])
    assert not equal(first, epochs(1, **options | {"purpose": "range_test"})[0])


@pytest.mark.parametrize("options", PATHS[:3])
def test_in_file_order_it_is_still_augmented_anew(options):
    first, second = epochs(2, **options | {"shuffle": False})
    assert torch.equal(torch.cat([labels for _, labels in first]), torch.from_numpy(SPLIT.labels))
    assert not torch.equal(images_of(first), images_of(second))
    halves = images_of(first)[:16], images_of(first)[16:32]
    assert not torch.equal(*halves)


@pytest.mark.parametrize("at_once", [2, 100])
@pytest.mark.parametrize("ahead", [1, 3, 100])
@pytest.mark.parametrize("transforms", [TRAIN, TEST])
def test_neither_drawing_ahead_nor_many_batches_at_once_changes_a_batch(ahead, at_once, transforms):
    settings = {"shuffle": True, "seed": 1}
    usual = Batches(SPLIT, transforms, 16, **settings)
    many = Batches(SPLIT, transforms, 16, **settings)
    many._ahead, many._at_once = ahead, at_once
    for epoch in (1, 2):
        usual.set_epoch(epoch)
        many.set_epoch(epoch)
        assert equal(list(usual), list(many))


@pytest.mark.parametrize("transforms", [TRAIN, TEST])
def test_draws_that_are_sent_in_one_table_arrive_as_they_were(transforms):
    draws = Batches(SPLIT, transforms, 16, seed=1, shuffle=True)._draw(1, 1)
    there = draws.sent(torch.device("cpu"))
    assert there.sizes == draws.sizes == [16, 16, 2]
    assert torch.equal(there.indices, draws.indices)
    for sent, given in zip(there.parameters, draws.parameters, strict=True):
        assert (sent is None) == (given is None)
        assert sent is None or (sent.dtype == given.dtype and torch.equal(sent, given))


def test_making_a_batch_leaves_the_number_of_threads_to_the_training():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for _ in Batches(SPLIT, TRAIN, 16, seed=1, shuffle=True):
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("other", [{"seed": 2}, {"purpose": "range_test"}])
def test_each_epoch_seed_and_purpose_has_its_own_order(other):
    first, second = epochs(2, transforms=TEST)
    (third,) = epochs(1, transforms=TEST, **other)
    assert not torch.equal(images_of(first), images_of(second))
    assert not torch.equal(images_of(first), images_of(third))
    assert not torch.equal(images_of(first), images_of(epochs(1, transforms=TEST, shuffle=False)[0]))


def test_every_batch_draws_anew():
    same = split_of(np.repeat(SPLIT.images[:1], 32, axis=0), np.arange(32) % 10, SPLIT.classes)
    for options in PATHS[:3]:
        (epoch,) = epochs(1, **options | {"split": same})
        assert not torch.equal(epoch[0][0], epoch[1][0])


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_number_of_workers_changes_nothing(workers):
    expected = epochs(3, transforms=BLUR)
    for one, other in zip(expected, epochs(3, transforms=BLUR, workers=workers), strict=True):
        assert equal(one, other)


def test_workers_end_with_their_epoch_finished_or_not():
    batches = Batches(SPLIT, BLUR, 4, seed=0, shuffle=True, workers=2)
    iterator = iter(batches)
    next(iterator)
    assert len(multiprocessing.active_children()) == 2
    del iterator
    list(batches)
    deadline = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not multiprocessing.active_children()


def test_two_iterations_at_once_do_not_disturb_each_other():
    for options in PATHS:
        batches = Batches(SPLIT, batch_size=16, seed=1, shuffle=True, **options)
        pairs = list(zip(batches, batches, strict=True))
        assert equal([one for one, _ in pairs], [other for _, other in pairs])


@pytest.mark.parametrize("options", PATHS)
def test_global_random_states_are_neither_read_nor_changed(options):
    def state():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = state()
    expected = epochs(1, **options)
    assert state() == before
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)
    assert all(equal(one, other) for one, other in zip(expected, epochs(1, **options), strict=True))


def test_both_paths_give_the_same_images_where_nothing_is_random():
    fixed = [PAD, FLIP | {"p": 1.0}, NORMALIZE]
    (tensors,), (reference,) = epochs(1, transforms=fixed), epochs(1, transforms=fixed, reference=True)
    assert equal(tensors, reference)


def test_arrays_are_used_in_place_even_read_only_ones():
    split = make_split()
    split.images.flags.writeable = False
    split.labels.flags.writeable = False
    before = split.images.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batches = Batches(split, TRAIN, 16, seed=0, shuffle=True)
        list(batches)
    assert batches._images.data_ptr() == split.images.ctypes.data
    np.testing.assert_array_equal(split.images, before)


@pytest.mark.cuda
@pytest.mark.parametrize("options", PATHS)
def test_cuda_gets_the_same_batches_and_one_copy_of_the_split(options):
    expected = epochs(1, **options)[0]
    found = epochs(1, **options, device="cuda")[0]
    for (images, labels), (other, others) in zip(expected, found, strict=True):
        assert other.is_cuda and others.is_cuda
        torch.testing.assert_close(other.cpu(), images, rtol=0, atol=1e-6)
        assert torch.equal(others.cpu(), labels)
    two = [Batches(SPLIT, TEST, 16, seed=seed, shuffle=False, device="cuda") for seed in (0, 1)]
    assert two[0]._images.data_ptr() == two[1]._images.data_ptr()


def test_evaluation_is_the_normalised_split_in_file_order():
    mean, std = mean_std(SPLIT)
    _, transforms = resolve(TRAIN[:-1], [], mean, std)
    (epoch,) = epochs(1, transforms=transforms, shuffle=False)
    expected = (SPLIT.images / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(images_of(epoch).permute(0, 2, 3, 1), expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(denormalise(images_of(epoch), transforms), SPLIT.images)


def test_samples_come_in_the_order_of_their_images():
    samples = augment_images(SPLIT.images, [FLIP | {"p": 1.0}, NORMALIZE], seed=0)
    np.testing.assert_array_equal(samples, SPLIT.images[:, :, ::-1])


@pytest.mark.parametrize("middle", [[], [{"transform": "ToGray", "p": 0.0}]])
def test_samples_to_look_at_are_the_augmented_images_not_normalised(middle):
    before = [PAD, CROP, *middle, FLIP, CUT | {"fill": 127}]
    samples = augment_images(SPLIT.images, [*before, NORMALIZE], seed=3)
    assert samples.dtype == np.uint8 and samples.shape == SPLIT.images.shape
    np.testing.assert_array_equal(samples, augment_images(SPLIT.images, before, seed=3))
    assert ((samples == 127).all(axis=3).sum(axis=(1, 2)) >= 16).all(), "each shows its hole of 4x4 pixels"
    assert not np.array_equal(samples, augment_images(SPLIT.images, [*before, NORMALIZE], seed=4))


def test_a_hole_cut_after_normalising_is_shown_in_its_colour():
    cut = CUT | {"fill": [0.0, 1.0, -1.0]}
    samples = augment_images(SPLIT.images, [NORMALIZE, cut], seed=3)
    colour = [round(255 * value) for value in (0.5, 0.4 + 0.2, 0.3 - 0.3)]
    assert ((samples == colour).all(axis=3).sum(axis=(1, 2)) >= 16).all()


def test_images_normalised_one_by_one_are_stretched_to_be_shown():
    transforms = [FLIP, NORMALIZE | {"normalization": "min_max"}]
    samples = augment_images(SPLIT.images, transforms, seed=0)
    assert (samples.min((1, 2, 3)) == 0).all() and (samples.max((1, 2, 3)) == 255).all()
