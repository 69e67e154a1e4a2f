"""Seeds: every random draw of a run comes from a generator seeded by (seed, purpose, epoch, part)."""

from __future__ import annotations

import hashlib
import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class RunSeeds:
    """The seed of each source of randomness of a run; see :mod:`harness.study_file.vary`.

    Attributes:
        initialisation: everything that is drawn while the network is built, from whichever generator: a
            user's network may draw from those of torch, numpy or Python.
        order: the order of the train images in each epoch, so also which images share a batch.
        augmentation: what is drawn for the images, of both pipelines.
        dropout: everything that is drawn from the global generators while the network trains and is
            evaluated: dropout, stochastic depth, and the draws of a user's own ``forward``. They are seeded
            anew at each epoch.
        range_test: all draws of the range test that finds the run's rates.
        holdout: which train images are held out.
    """

    initialisation: int = 0
    order: int = 0
    augmentation: int = 0
    dropout: int = 0
    range_test: int = 0
    holdout: int = 0


def derive_seed(seed: int, purpose: str, epoch: int = 0, part: int = 0) -> int:
    """Return a 63-bit seed that depends on all arguments and on nothing else.

    Args:
        seed: the run's seed.
        purpose: what the draws are for, such as ``"shuffle"`` or ``"augment"``.
        epoch: counted from 1; 0 for draws that are made once a run.
        part: a further index inside the epoch, such as the batch.
    """
    key = f"{seed}/{purpose}/{epoch}/{part}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str, epoch: int = 0, part: int = 0) -> torch.Generator:
    """Return a CPU generator seeded by :func:`derive_seed`: every device sees the same numbers."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, purpose, epoch, part))


@contextmanager
def global_seed(seed: int, purpose: str, epoch: int = 0) -> Iterator[None]:
    """Seed the global generators for code that uses no other, and restore them at the end of the block."""
    with generators_restored():
        seed_generators(derive_seed(seed, purpose, epoch))
        yield


def seed_generators(seed: int) -> None:
    """Seed the global generators of torch, numpy and Python: a user's network may draw from any of them."""
    import numpy as np
    import torch

    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def cpu_seed(seed: int) -> Iterator[None]:
    """Seed the global generators of the CPU (torch, numpy, Python), and restore them after the block.

    Unlike :func:`global_seed` it leaves GPUs alone, so that a process that loads batches may use it.
    """
    import numpy as np
    import torch

    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])


def generator_states() -> dict[str, bytes]:
    """Return the states of the global generators; torch's is that of the CPU."""
    import numpy as np
    import torch

    of_torch = torch.get_rng_state().numpy().tobytes()
    others = {"numpy": np.random.get_state(), "Python": random.getstate()}
    return {"torch": of_torch} | {name: pickle.dumps(state) for name, state in others.items()}


@contextmanager
def generators_restored() -> Iterator[None]:
    """Restore the global generators of torch, numpy and Python at the end of the block."""
    import numpy as np
    import torch

    of_numpy, of_python = np.random.get_state(), random.getstate()
    try:
        gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
        with torch.random.fork_rng(devices=gpus):
            yield
    finally:
        np.random.set_state(of_numpy)
        random.setstate(of_python)
