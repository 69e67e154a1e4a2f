"""The batches of an epoch; their order and augmentation depend only on (seed, purpose, epoch, batch)."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, cast
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from harness.data.arrays import Split, count_steps
from harness.data.augment import parse
from harness.data.augment.library import Table
from harness.data.mixing import Mixing
from harness.data.samplers import Sampler, draw_images, get_sampler
from harness.data.tensor_pipeline import Parameters, TensorPipeline, tensor_pipeline
from harness.device import send, use_threads
from harness.seeding import derive_seed, generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.data.augment.library import Run
    from harness.study_file.augment import BatchTransform

DRAWN_AHEAD = 65_536  # images whose order and augmentation are drawn together
AUGMENTED_BYTES = 128 << 20  # float32 images that a GPU augments at once
_drawing = ThreadPoolExecutor(1, "draw")  # starts its thread with the first work
# Splits on an accelerator, shared by all Batches of them, and freed with the last one.
_resident: WeakValueDictionary[tuple[str, str, str], Tensor] = WeakValueDictionary()


class Batches:
    """Iterable over the batches of one epoch.

    Batches are float32 ``(B, 3, H, W)`` in channels_last memory and int64 ``(B,)``, on the device; where
    images are mixed, the labels are each class's share, float32 ``(B, classes)``. No global random state is
    read or changed, and neither the device nor the number of workers changes a batch.

    Args:
        split: the images.
        transforms: a pipeline, checked and resolved (:mod:`harness.data.augment`).
        batch_size: images a batch.
        seed: of the order.
        augmentation: the seed of the augmentation; that of the order where it is None.
        purpose: separates the draws of different uses of one seed.
        shuffle: whether each epoch has an order of its own; else file order.
        sampler: draws an epoch's images instead of shuffling them: a name for :func:`get_sampler`.
        drop_last: leave the last batch out where it is smaller.
        device: where the batches are wanted. On CUDA the split is moved there once and augmented there.
        workers: processes for pipelines that only their library can run.
        reference: run the library even where tensors would do.
        part: (k, n): only the k-th of n parts of each batch, as one of n processes trains on it.
        mixing: the study's ``augment.batch``.

    Attributes:
        path: ``"tensor"``, or the library's name: what augments.
    """

    def __init__(
        self,
        split: Split,
        transforms: list[Table],
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
        mixing: Sequence[BatchTransform] = (),
    ) -> None:
        self._split, self._parsed, self._batch_size = split, parse(transforms), batch_size
        self._seed, self._purpose, self._shuffle, self._drop_last = seed, purpose, shuffle, drop_last
        self._sampler = get_sampler(sampler) if sampler and shuffle else None
        self._sampled: tuple[int, Tensor] | None = None  # the last epoch, and its images
        self._augmentation = seed if augmentation is None else augmentation
        self._device, self._workers, self._part = torch.device(device), workers, part
        self._epoch = 1
        self._ahead = max(1, DRAWN_AHEAD // batch_size)
        self._coming: dict[tuple[int, int], Future[_Draws]] = {}
        self._pipeline = None if reference else tensor_pipeline(transforms)
        self.path = self._parsed.library.NAME if self._pipeline is None else "tensor"
        self._mixing = Mixing(mixing, len(split.classes)) if mixing else None
        # Accelerators other than CUDA get finished batches: their gathers are slower than the CPU's.
        home = self._device if self._device.type == "cuda" and self._pipeline else torch.device("cpu")
        self._images = _resident_tensor(split, "images", home)
        self._labels = _resident_tensor(split, "labels", home)
        self._flips: Tensor | None = None  # which images the first epoch flips
        if self._parsed.alternating:
            coin = torch.rand(len(split), generator=generator(self._augmentation, f"{purpose}/flip"))
            self._flips = (coin < 0.5).to(home)
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
        made = self._through_library(epoch) if self._pipeline is None else self._through_tensors(epoch)
        for batch, (images, labels) in enumerate(made):
            images, labels = send(images, self._device), send(labels, self._device)
            if self._mixing is not None:
                seed = derive_seed(self._augmentation, f"{self._purpose}/mix", epoch, batch)
                images, labels = self._mixing(images, labels, seed)
                if self._part[1] > 1:  # the image before this part was only there to be mixed in
                    images, labels = images[1:], labels[1:]
            yield images, labels

    def _through_tensors(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        pipeline = cast(TensorPipeline, self._pipeline)
        for first in range(0, len(self), self._ahead):
            for block in self._drawn(epoch, first).of_few_batches(self._at_once):
                images = self._images.index_select(0, block.indices)
                if self._flips is not None:
                    flipped = self._flipped(block.indices, epoch)[:, None, None, None]
                    images = torch.where(flipped, images.flip(2), images)
                images = pipeline.apply(images, block.parameters)
                labels = self._labels.index_select(0, block.indices)
                yield from zip(
                    images.split_with_sizes(block.sizes), labels.split_with_sizes(block.sizes), strict=True
                )

    def _flipped(self, indices: Tensor, epoch: int) -> Tensor:
        """Return which images the alternating flip flips: by a coin in epoch 1, in epoch 2 the others."""
        assert self._flips is not None
        return self._flips[indices] ^ (epoch % 2 == 0)

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

    def _through_library(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        purpose = f"{self._purpose}/augment"
        jobs = []
        for batch, part in enumerate(self._parts(epoch)):
            flipped = None if self._flips is None else self._flipped(part, epoch).numpy()
            seed = derive_seed(self._augmentation, purpose, epoch, batch)
            jobs.append(_Job(part.numpy(), flipped, seed))
        loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
            _Augmented(self._split.images, self._parsed.run(), jobs),
            batch_size=None,
            num_workers=self._workers,
            worker_init_fn=_start_worker,
            generator=torch.Generator(),  # else it draws from torch's global one
        )
        for images, indices in loader:
            mine = self._mine(len(indices))
            yield images[mine], self._labels.index_select(0, indices[mine])

    def _mine(self, images: int) -> slice | Tensor:
        """Return which images of a batch this process trains on.

        Where images are mixed, the one before them comes first: it is mixed into the part's first image.
        """
        number, parts = self._part
        start, end = images * number // parts, images * (number + 1) // parts
        if self._mixing is not None and parts > 1:
            return torch.arange(start - 1, end) % images
        return slice(start, end)


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


class _Job(NamedTuple):
    """A batch to make."""

    indices: NDArray[np.int64]
    flipped: NDArray[np.bool_] | None
    seed: int


class _Augmented(Dataset[tuple[Tensor, Tensor]]):
    """A data set of whole batches, so that a result depends on the batch and not on the worker."""

    def __init__(self, images: NDArray[np.uint8], run: Run, jobs: list[_Job]) -> None:
        self._images, self._run, self._jobs = images, run, jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, batch: int) -> tuple[Tensor, Tensor]:
        indices, flipped, seed = self._jobs[batch]
        images = self._images[indices]
        if flipped is not None:
            images[flipped] = images[flipped, :, ::-1]
        return augmented(self._run, images, seed), torch.from_numpy(indices)


def augmented(run: Run, images: NDArray[np.uint8], seed: int) -> Tensor:
    """Return float32 ``(B, 3, H, W)`` in channels_last memory, by the pipeline's library."""
    return torch.from_numpy(run(images, seed).astype(np.float32, copy=False)).permute(0, 3, 1, 2)


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
