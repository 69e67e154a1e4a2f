"""Every random draw of a run comes from a generator seeded by (seed, what for, epoch)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, purpose: str, epoch: int = 0, part: int = 0) -> int:
    """A 63-bit seed that depends on all arguments and on nothing else.

    Args:
        seed: the run's seed.
        purpose: what the draws are for, such as ``"shuffle"`` or ``"augment"``.
        epoch: counted from 1; 0 for draws that are made once a run.
        part: a further index inside the epoch, such as the batch.
    """
    key = f"{seed}/{purpose}/{epoch}/{part}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str, epoch: int = 0, part: int = 0) -> torch.Generator:
    """A CPU generator seeded by :func:`derive_seed`: every device sees the same numbers."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, purpose, epoch, part))


@contextmanager
def global_seed(seed: int, purpose: str, epoch: int = 0) -> Iterator[None]:
    """Seed torch's global generators for code that knows no other, and restore them afterwards."""
    import torch

    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive_seed(seed, purpose, epoch))
        yield
