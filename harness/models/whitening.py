"""A fixed first layer that whitens the patches of images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.device import use_threads

AT_ONCE = 128  # images whose patches are held in memory, some 30 MB at 32x32
NOTHING = 1e-10  # share of the largest variance below which a direction has none but rounding errors
SMALL = 0.05  # share of a filter's largest entry below which an entry does not decide its sign


class PatchWhitening(nn.Conv2d):
    """A convolution 3x3 whose outputs over the train images are uncorrelated, with a variance of about 1.

    Its filters are the principal components of the images' 3x3 patches, strongest first, each divided by
    sqrt(variance + eps): Page, "How to Train Your ResNet 8: Bag of Tricks" (2019). They are not learned.
    Before :meth:`initialise_from` they are those of an ordinary new convolution.
    """

    def __init__(self, eps: float) -> None:
        super().__init__(3, 27, 3, padding=1, bias=False)
        self.eps = eps
        self.weight.requires_grad_(False)

    @torch.no_grad()
    def initialise_from(self, images: Tensor) -> None:
        """Set the filters by images.

        The sign of a filter is a convention: the first entry that is not small is positive. A direction in
        which patches do not vary, as where all channels are equal, has a filter of zeros.

        Args:
            images: float (N, 3, H, W), normalised as they are trained on.
        """
        with use_threads(1):  # several would add up in another order
            values, vectors = torch.linalg.eigh(patch_covariance(images))
        values, vectors = values.flip(0), vectors.flip(1).T
        sizes = vectors.abs()
        first = (sizes >= SMALL * sizes.amax(1, keepdim=True)).byte().argmax(1, keepdim=True)
        filters = vectors * vectors.gather(1, first).sign() / (values.clamp(min=0) + self.eps).sqrt()[:, None]
        filters[values <= NOTHING * values[0]] = 0
        self.weight.copy_(filters.view_as(self.weight))


def patch_covariance(images: Tensor) -> Tensor:
    """Return the covariance of all 3x3 patches that lie inside the images.

    Args:
        images: float (N, 3, H, W).

    Returns:
        float64 (27, 27), of a patch's numbers in the order of a convolution's weights.
    """
    total = torch.zeros(27, dtype=torch.float64)
    products = torch.zeros(27, 27, dtype=torch.float64)
    count = 0
    for some in torch.split(images.cpu(), AT_ONCE):
        patches = F.unfold(some.double(), 3).transpose(0, 1).flatten(1)
        total += patches.sum(1)
        products += patches @ patches.T
        count += patches.shape[1]
    mean = total / count
    return (products - count * torch.outer(mean, mean)) / (count - 1)
