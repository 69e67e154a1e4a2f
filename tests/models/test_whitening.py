"""A fixed first layer that whitens patches, against scikit-learn's PCA."""

from __future__ import annotations

import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from harness.device import use_threads
from harness.models.whitening import PatchWhitening, patch_covariance


def smooth_images(count: int = 300) -> Tensor:
    """Images whose pixels and channels are correlated, with means other than 0."""
    noise = torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(3))
    smooth = noise + noise.roll(1, 2) + 0.5 * noise.roll(1, 3)
    return (
        torch.einsum("ij,njhw->nihw", torch.tensor([[1.0, 0, 0], [0.8, 0.5, 0], [0.3, 0.2, 0.4]]), smooth) + 1
    )


def patches(images: Tensor) -> Tensor:
    """All 3x3 patches inside the images, (patches, 27), cut out one place after another."""
    height, width = images.shape[2:]
    places = [(y, x) for y in range(height - 2) for x in range(width - 2)]
    return torch.cat([images[:, :, y : y + 3, x : x + 3].flatten(1) for y, x in places]).double()


def whitened(images: Tensor, eps: float) -> PatchWhitening:
    layer = PatchWhitening(eps)
    layer.initialise_from(images)
    return layer


def test_the_covariance_is_that_of_all_patches_inside_the_images() -> None:
    images = smooth_images()
    torch.testing.assert_close(patch_covariance(images), torch.cov(patches(images).T))


def test_outputs_over_the_images_are_uncorrelated_with_a_variance_of_one() -> None:
    images = smooth_images()
    outputs = whitened(images, 1e-9)(images)[:, :, 1:-1, 1:-1]  # without the padding
    covariance = torch.cov(outputs.double().transpose(0, 1).flatten(1))
    torch.testing.assert_close(covariance, torch.eye(27).double(), rtol=0, atol=1e-3)


def test_the_filters_are_scikit_learns_principal_components_up_to_their_signs() -> None:
    images, eps = smooth_images(), 0.2
    pca = PCA(whiten=True).fit(patches(images).numpy())
    variance = torch.from_numpy(pca.explained_variance_)
    expected = torch.from_numpy(pca.components_) / (variance + eps).sqrt()[:, None]
    filters = whitened(images, eps).weight.detach().double().flatten(1)
    signs = (filters * expected).sum(1, keepdim=True).sign()
    torch.testing.assert_close(filters, signs * expected, rtol=1e-3, atol=1e-5)


def test_the_first_entry_of_a_filter_that_is_not_small_is_positive() -> None:
    for row in whitened(smooth_images(), 0.01).weight.detach().flatten(1):
        assert row[row.abs() >= 0.05 * row.abs().max()][0] > 0


def test_equal_images_give_equal_bytes_with_any_number_of_threads_and_memory_format() -> None:
    images = smooth_images()
    filters = []
    for threads, layout in ((1, torch.contiguous_format), (2, torch.channels_last)):
        with use_threads(threads):
            filters.append(whitened(images.contiguous(memory_format=layout), 0.01).weight)
            assert torch.get_num_threads() == threads
    assert torch.equal(*filters)


def test_directions_in_which_grey_images_do_not_vary_have_filters_of_zeros() -> None:
    images = smooth_images()[:, :1].expand(-1, 3, -1, -1)
    layer = whitened(images, 1e-3)
    rows = layer.weight.detach().flatten(1)
    assert (rows[:9] != 0).any(1).all() and (rows[9:] == 0).all()
    assert layer(images).isfinite().all()


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 8, 8), torch.full((2, 3, 8, 8), 7.0)])
def test_images_of_one_colour_give_zeros_not_numbers_that_are_not_finite(images: Tensor) -> None:
    assert (whitened(images, 0.01).weight == 0).all()


def test_the_filters_are_not_learned_and_keep_their_device_and_type() -> None:
    layer = whitened(smooth_images(8), 0.01)
    assert not layer.weight.requires_grad and layer.weight.dtype == torch.float32
    half = PatchWhitening(0.01).bfloat16()
    half.initialise_from(smooth_images(8))
    assert torch.equal(half.weight, layer.weight.bfloat16())
