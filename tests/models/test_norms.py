"""Batch norm over groups of a batch's images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from harness.models.norms import GhostBatchNorm2d


def images(n: int = 3, size: tuple[int, int] = (32, 32)) -> Tensor:
    return torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(1))


def test_ghost_batch_norm_normalises_each_group_as_batch_norm_does_alone() -> None:
    x = images(11, (4, 4)) * 3 + 1
    ghost, alone = GhostBatchNorm2d(3, 4, momentum=0.3), nn.BatchNorm2d(3)
    expected = torch.cat([alone(group) for group in (x[:3], x[3:7], x[7:])])  # groups of about 4
    torch.testing.assert_close(ghost(x), expected)
    assert not torch.allclose(ghost(x), nn.BatchNorm2d(3)(x))


@pytest.mark.parametrize("images", [12, 14, 11])  # groups of 4; of 4, 5, 5; of 3, 4, 4
def test_all_groups_at_once_are_what_one_after_another_are(images: int) -> None:
    x = torch.randn(images, 3, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 1
    one_by_one, at_once = (GhostBatchNorm2d(3, 4, momentum=0.3) for _ in range(2))
    with torch.no_grad():
        for layer in (one_by_one, at_once):
            layer.weight.copy_(torch.tensor([0.5, 2.0, -1.0]))
            layer.bias.copy_(torch.tensor([0.1, 0.0, 3.0]))
    results = []
    ways = (one_by_one, one_by_one), (at_once, lambda x: at_once._on_gpu(x, round(images / 4)))
    for layer, compute in ways:
        given = x.float().contiguous(memory_format=torch.channels_last).requires_grad_()
        for _ in range(2):
            output = compute(given)
        (output * torch.arange(output.numel()).view_as(output)).sum().backward()
        assert output.shape == x.shape and output.dtype == torch.float32
        results.append((output, given.grad, layer.weight.grad, layer.running_mean, layer.running_var))
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_a_batch_weighs_in_ghost_statistics_what_it_weighs_in_ordinary_ones() -> None:
    ghost, whole = GhostBatchNorm2d(3, 8, momentum=0.02), nn.BatchNorm2d(3, momentum=0.02)
    generator = torch.Generator().manual_seed(1)
    for _ in range(300):
        x = torch.randn(64, 3, 2, 2, generator=generator) * 2 + 5
        ghost(x), whole(x)
    torch.testing.assert_close(ghost.running_mean, whole.running_mean, rtol=0.01, atol=0)
    torch.testing.assert_close(ghost.running_var, whole.running_var, rtol=0.02, atol=0)


def test_torchs_update_bn_computes_statistics_of_whole_batches() -> None:
    ghost, whole = GhostBatchNorm2d(3, 4, momentum=0.3), nn.BatchNorm2d(3)
    batches = [images(size=(2, 2), n=n) * 3 + 1 for n in (16, 11)]
    for layer in (ghost, whole):
        update_bn(batches, nn.Sequential(layer))
    statistics, expected = ghost.state_dict(), whole.state_dict()
    assert all(torch.equal(statistics[name], expected[name]) for name in expected)
    assert ghost.momentum == 0.3 and int(statistics["num_batches_tracked"]) == 2
