"""The batches of an epoch; their order and augmentation depend only on (seed, purpose, epoch, batch)."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from harness.data.arrays import Split, count_steps
from harness.data.augment import reference_pipeline, seed_pipeline
from harness.data.samplers import Sampler, draw_images, get_sampler
from harness.data.tensor_pipeline import Parameters, TensorPipeline, tensor_pipeline
from harness.device import send, use_threads
from harness.seeding import derive_seed, generator

if TYPE_CHECKING:
    import albumentations as A
    from numpy.typing import NDArray

DRAWN_AHEAD = 65_536  # images whose order and augmentation are drawn together
AUGMENTED_BYTES = 128 << 20  # float32 images that a GPU augments at once
_drawing = ThreadPoolExecutor(1, "draw")  # starts its thread with the first work
# Splits on an accelerator, shared by all Batches of them, and freed with the last one.
_resident: WeakValueDictionary[tuple[str, str, str], Tensor] = WeakValueDictionary()


class Batches:
    """Iterable over the batches of one epoch.

    Batches are float32 ``(B, 3, H, W)`` in channels_last memory and int64 ``(B,)``, on the device. No global
    random state is read or changed, and neither the device nor the number of workers changes a batch.

    Args:
        split: the images.
        transforms: a pipeline, checked and resolved (:mod:`harness.data.augment`).
        batch_size: images a batch.
        seed: of the order.
        augmentation: the seed of the augmentation; that of the order where it is None.
        purpose: keeps the draws of different uses of one seed apart.
        shuffle: whether each epoch has an order of its own; else file order.
        sampler: draws an epoch's images instead of shuffling them: a name for :func:`get_sampler`.
        drop_last: leave the last batch out where it is smaller.
        device: where the batches are wanted. On CUDA the split is moved there once and augmented there.
        workers: processes for pipelines that only Albumentations can run.
        reference: run Albumentations even where tensors would do.
        part: (k, n): only the k-th of n parts of each batch, as one of n processes trains on it.

    Attributes:
        path: ``"tensor"`` or ``"albumentations"``: what augments.
    """

    def __init__(
        self,
        split: Split,
        transforms: list[dict[str, Any]],
        batch_size: int,
        *,
        seed: int,
        augmentation: int | None = None,
        purpose: str = "train",
        shuffle: bool,
        sampler: str | None = None,
        drop_last: bool = False,
        device: str | torch.device = "cpu",
        workers: int = 0,
        reference: bool = False,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self._split, self._transforms, self._batch_size = split, transforms, batch_size
        self._seed, self._purpose, self._shuffle, self._drop_last = seed, purpose, shuffle, drop_last
        self._sampler = get_sampler(sampler) if sampler and shuffle else None
        self._sampled: tuple[int, Tensor] | None = None  # the last epoch, and its images
        self._augmentation = seed if augmentation is None else augmentation
        self._device, self._workers, self._part = torch.device(device), workers, part
        self._epoch = 1
        self._ahead = max(1, DRAWN_AHEAD // batch_size)
        self._coming: dict[tuple[int, int], Future[_Draws]] = {}
        self._pipeline = None if reference else tensor_pipeline(transforms)
        self.path = "albumentations" if self._pipeline is None else "tensor"
        # Accelerators other than CUDA get finished batches: their gathers are slower than the CPU's.
        home = self._device if self._device.type == "cuda" and self._pipeline else torch.device("cpu")
        self._images = _resident_tensor(split, "images", home)
        self._labels = _resident_tensor(split, "labels", home)
        # A GPU augments many batches at once, in few large kernels; a CPU one, which stays in its cache.
        of_a_batch = batch_size * self._images[0].numel() * 4
        self._at_once = max(1, AUGMENTED_BYTES // of_a_batch) if home.type == "cuda" else 1

    def __len__(self) -> int:
        return count_steps(len(self._split), self._batch_size, self._drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration, counted from 1."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch = self._epoch
        if self._pipeline is None:
            for images, indices in self._through_albumentations(self._parts(epoch)):
                yield send(images, self._device), send(self._labels.index_select(0, indices), self._device)
            return
        for first in range(0, len(self), self._ahead):
            for block in self._drawn(epoch, first).of_few_batches(self._at_once):
                images = self._pipeline.apply(self._images.index_select(0, block.indices), block.parameters)
                labels = self._labels.index_select(0, block.indices)
                parts = (images.split_with_sizes(block.sizes), labels.split_with_sizes(block.sizes))
                for batch in zip(*parts, strict=True):
                    yield send(batch[0], self._device), send(batch[1], self._device)

    def _parts(self, epoch: int) -> tuple[Tensor, ...]:
        """Return the indices of each batch's images."""
        if self._sampler is not None:
            order = self._sample(epoch)
        elif self._shuffle:
            draws = generator(self._seed, f"{self._purpose}/shuffle", epoch)
            order = torch.randperm(len(self._split), generator=draws)
        else:
            order = torch.arange(len(self._split))
        return torch.split(order, self._batch_size)[: len(self)]

    def _sample(self, epoch: int) -> Tensor:
        sampled = self._sampled
        if sampled is None or sampled[0] != epoch:
            draws = generator(self._seed, f"{self._purpose}/sampler", epoch)
            labels = torch.from_numpy(self._split.labels.copy())
            sampled = self._sampled = epoch, draw_images(cast(Sampler, self._sampler), labels, draws)
        return sampled[1]

    def _drawn(self, epoch: int, first: int) -> _Draws:
        """Return the draws of a block of batches, on the images' device.

        On CUDA the next block is drawn meanwhile, so that the device never waits for it.
        """
        if not self._images.is_cuda:
            return self._draw(epoch, first)
        coming = self._coming.pop((epoch, first), None)
        draws = coming.result() if coming else self._draw(epoch, first)
        following = (epoch, first + self._ahead) if first + self._ahead < len(self) else (epoch + 1, 0)
        if self._shuffle:  # an evaluation needs no other epoch
            self._coming = {following: _drawing.submit(self._draw, *following)}
        return draws.sent(self._images.device)

    def _draw(self, epoch: int, first: int) -> _Draws:
        pipeline = cast(TensorPipeline, self._pipeline)
        height, width = self._images.shape[1:3]
        indices, parameters = [], []
        with use_threads(1):  # the operators are small: several threads cost more time than they save
            parts = self._parts(epoch)[first : first + self._ahead]
            for batch, part in enumerate(parts, first):
                draws = generator(self._augmentation, f"{self._purpose}/augment", epoch, batch)
                mine = self._mine(len(part))
                drawn = pipeline.draw(len(part), height, width, draws)
                indices.append(part[mine])
                parameters.append([None if step is None else step[mine] for step in drawn])
            steps = zip(*parameters, strict=True)
            joined = [None if batches[0] is None else torch.cat(batches) for batches in steps]
        return _Draws(torch.cat(indices), tuple(joined), [len(part) for part in indices])

    def _through_albumentations(self, parts: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, Tensor]]:
        purpose = f"{self._purpose}/augment"
        seeds = [derive_seed(self._augmentation, purpose, self._epoch, batch) for batch in range(len(parts))]
        jobs = [(part.numpy(), seed) for part, seed in zip(parts, seeds, strict=True)]
        loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
            _Augmented(self._split.images, reference_pipeline(self._transforms), jobs),
            batch_size=None,
            num_workers=self._workers,
            worker_init_fn=_start_worker,
            generator=torch.Generator(),  # else it draws from torch's global one
        )
        for images, indices in loader:
            mine = self._mine(len(indices))
            yield images[mine], indices[mine]

    def _mine(self, images: int) -> slice:
        """Return which images of a batch this process trains on."""
        number, parts = self._part
        return slice(images * number // parts, images * (number + 1) // parts)


@dataclass(frozen=True)
class _Draws:
    """The draws of some batches of an epoch, joined."""

    indices: Tensor  # of the images, int64 (N,)
    parameters: Parameters  # of the augmentation, an entry a step, N first
    sizes: list[int]  # images of each batch

    def sent(self, device: torch.device) -> _Draws:
        """Return the draws on a device, by one copy for which the host does not wait."""
        drawn = [self.indices, *(step for step in self.parameters if step is not None)]
        table = torch.cat([part.flatten(1) if part.ndim > 1 else part[:, None] for part in drawn], dim=1)
        widths = [part[0].numel() for part in drawn]
        columns = iter(send(table.to(torch.int32), device).split_with_sizes(widths, dim=1))
        indices = next(columns)[:, 0].long()
        parameters = tuple(
            None if step is None else next(columns).long().reshape(step.shape) for step in self.parameters
        )
        return _Draws(indices, parameters, self.sizes)

    def of_few_batches(self, batches: int) -> Iterator[_Draws]:
        """Yield the draws in groups of ``batches`` batches."""
        start = 0
        for first in range(0, len(self.sizes), batches):
            sizes = self.sizes[first : first + batches]
            group = slice(start, start := start + sum(sizes))
            parameters = tuple(None if step is None else step[group] for step in self.parameters)
            yield _Draws(self.indices[group], parameters, sizes)


class _Augmented(Dataset[tuple[Tensor, Tensor]]):
    """A data set of whole batches, so that a result depends on the batch and not on the worker."""

    def __init__(
        self, images: NDArray[np.uint8], pipeline: A.Compose, jobs: list[tuple[NDArray[np.int64], int]]
    ) -> None:
        self._images, self._pipeline, self._jobs = images, pipeline, jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, batch: int) -> tuple[Tensor, Tensor]:
        indices, seed = self._jobs[batch]
        return _reference_batch(self._pipeline, self._images[indices], seed), torch.from_numpy(indices)


def augment_images(
    images: NDArray[np.uint8], transforms: list[dict[str, Any]], seed: int
) -> NDArray[np.uint8]:
    """Return augmented images, for a figure.

    Args:
        images: uint8, ``(N, H, W, 3)``.
        transforms: a resolved pipeline; its normalisation is undone afterwards.
        seed: of the draws.

    Returns:
        uint8, ``(N, H', W', 3)``.
    """
    pipeline = tensor_pipeline(transforms)
    if pipeline is None:
        batch = _reference_batch(reference_pipeline(transforms), images, derive_seed(seed, "samples"))
    else:
        batch_size, height, width, _ = images.shape
        parameters = pipeline.draw(batch_size, height, width, generator(seed, "samples"))
        batch = pipeline.apply(torch.from_numpy(images.copy()), parameters)
    return denormalise(batch, transforms)


def denormalise(batch: Tensor, transforms: list[dict[str, Any]]) -> NDArray[np.uint8]:
    """Undo a batch's normalisation, by the mean and std in its pipeline.

    Normalisation by each image's own numbers cannot be undone: such images are stretched to 0 to 255.

    Args:
        batch: float, ``(B, 3, H, W)``.
        transforms: the resolved pipeline.

    Returns:
        uint8, ``(B, H, W, 3)``.
    """
    pixels = batch.detach().to("cpu", torch.float64).permute(0, 2, 3, 1).numpy()
    for transform in reference_pipeline([table for table in transforms if table["transform"] == "Normalize"]):
        if transform.normalization == "standard":
            pixels = 255 * (pixels * transform.std + transform.mean)
        else:
            low, high = pixels.min((1, 2, 3), keepdims=True), pixels.max((1, 2, 3), keepdims=True)
            pixels = 255 * (pixels - low) / np.maximum(high - low, 1e-12)
    return pixels.round().clip(0, 255).astype(np.uint8)


def _reference_batch(pipeline: A.Compose, images: NDArray[np.uint8], seed: int) -> Tensor:
    """Return float32 ``(B, 3, H, W)`` in channels_last memory, by Albumentations, image after image."""
    seed_pipeline(pipeline, seed)
    augmented = np.stack([pipeline(image=image)["image"] for image in images])
    return torch.from_numpy(augmented.astype(np.float32, copy=False)).permute(0, 3, 1, 2)


def _resident_tensor(split: Split, name: str, device: torch.device) -> Tensor:
    """Return the split's array as a tensor: on the CPU the same memory, on a GPU one copy for all users."""
    array = getattr(split, name)
    if device.type == "cpu":
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing writes to it
            return torch.from_numpy(array)
    key = (split.sha256, name, str(device))
    tensor = _resident.get(key)
    if tensor is None:
        tensor = _resident[key] = _resident_tensor(split, name, torch.device("cpu")).to(device)
    return tensor


def _start_worker(worker: int) -> None:
    import cv2

    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles an interrupt, and ends its workers
