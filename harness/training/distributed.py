"""One run on several devices, by Ignite's distributed layer: rank, world size, and communication.

Every batch is the same as on one device, and each process trains on its part of it; gradients are averaged,
weighted by the sizes of the parts. Batch norm uses the statistics of a process's part, except on GPUs, where
they are synchronised. Without a process group all functions here do nothing.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import ignite.distributed as idist
import torch
import torch.distributed
from torch import Tensor, nn

from harness.device import synchronise_statistics


def rank_and_world_size() -> tuple[int, int]:
    """Return this process's rank and the world size: (0, 1) without a process group."""
    return idist.get_rank(), idist.get_world_size()


def is_leader() -> bool:
    """Tell whether this process prints and writes: rank 0."""
    return idist.get_rank() == 0


def wrap(model: nn.Module, device: str, *, unused: bool = False) -> nn.Module:
    """Wrap the network, so that its gradients are averaged over the processes, if there are several.

    Args:
        unused: some parameters may take no part in a step.
    """
    if idist.get_world_size() == 1:
        return model
    logging.getLogger("ignite.distributed.auto.auto_model").disabled = True  # it resets its level
    # Ignite converts every batch norm, also one that normalises groups of a device's images separately.
    convertible = all(getattr(module, "synchronised", True) for module in model.modules())
    sync_bn = convertible and synchronise_statistics(device)
    wrapped: nn.Module = idist.auto_model(model, sync_bn=sync_bn, find_unused_parameters=unused)
    return wrapped


def broadcast(content: Any) -> Any:
    """Return rank 0's content in every process."""
    box = [content]
    if idist.get_world_size() > 1:
        torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def broadcast_buffers(model: nn.Module) -> None:
    """Copy rank 0's buffers to all processes, as DDP does with those of the network that it trains."""
    if idist.get_world_size() > 1:
        for buffer in model.buffers():
            content = buffer.contiguous()
            torch.distributed.broadcast(content, src=0)
            buffer.copy_(content)


def communicating(model: nn.Module, last: bool) -> AbstractContextManager[Any]:
    """Average gradients over the processes in the block's backward pass only if it is the last of a step.

    Args:
        model: wrapped, where there are several processes.
    """
    if last or idist.get_world_size() == 1:
        return nullcontext()
    local: AbstractContextManager[Any] = model.no_sync()  # type: ignore[operator]
    return local


def loss_weight(amount: float | Tensor, device: str) -> float | Tensor:
    """Return the weight of this process's mean loss that makes the mean over processes that of the batch.

    ``amount`` is what the mean is over: images, or their weights. The result is a tensor on the device, so
    that a GPU's host does not wait for it.
    """
    size = idist.get_world_size()
    if size == 1:
        return 1.0
    total = torch.zeros((), device=device) + amount
    torch.distributed.all_reduce(total)
    return amount * size / total


def gather(batches: list[tuple[Tensor, ...]]) -> list[tuple[Tensor, ...]]:
    """Return the parts that all processes have of the batches, in the order of the batches."""
    size = idist.get_world_size()
    if size == 1:
        return batches
    parts: list[Any] = [None] * size
    mine = [tuple(part.cpu() for part in batch) for batch in batches]
    torch.distributed.all_gather_object(parts, mine)
    return [part[at] for at in range(len(batches)) for part in parts]
