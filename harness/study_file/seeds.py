"""Seeds as text: ``0-4,7``, as ``--seeds`` takes them and run.json keeps them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from harness.errors import StudyError
from harness.messages import one_line
from harness.study_file.config import MAX_SEEDS


def parse_seeds(text: str) -> list[int]:
    """Return the seeds that a text names: ``"0,1,5-7"`` -> ``[0, 1, 5, 6, 7]``.

    Raises:
        StudyError: not seeds, or a seed is named twice.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        digits = max(len(first), len(last))
        numbers = part.isascii() and first.isdecimal() and (last.isdecimal() or not dash)
        if not numbers or digits > 16:
            raise StudyError(f"--seeds {one_line(text, 80)}: expected seeds such as 0,1,2 or 0-4")
        low, high = int(first), int(last or first)
        if high < low or len(seeds) + high - low >= MAX_SEEDS:
            raise StudyError(
                f"--seeds {one_line(text, 80)}: {part.strip()} is not a range of rising seeds, "
                f"or there are more than {MAX_SEEDS}"
            )
        seeds += range(low, high + 1)
    twice = next((seed for seed, times in Counter(seeds).items() if times > 1), None)
    if twice is not None:
        raise StudyError(f"--seeds {one_line(text, 80)}: seed {twice} is named twice")
    return seeds


def first_seeds(seeds: Any, n: int) -> list[int] | None:
    """Return the first ``n`` seeds; if there are fewer, the next ones continue after the highest.

    Returns:
        None if ``seeds`` is not a list of integers; validation reports it.

    Raises:
        StudyError: ``n`` is no number of seeds.
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_SEEDS:
        raise StudyError(f"--n-seeds {n}: expected a number of seeds from 1 to {MAX_SEEDS}")
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
        return None
    further = max(0, n - len(seeds))
    return [*seeds[:n], *range(max(seeds) + 1, max(seeds) + 1 + further)]


def seeds_text(seeds: Iterable[int]) -> str:
    """Write seeds in their order as ``--seeds`` takes them: ``0-2,7``."""
    ranges: list[list[int]] = []
    for seed in seeds:
        if ranges and seed == ranges[-1][1] + 1:
            ranges[-1][1] = seed
        else:
            ranges.append([seed, seed])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)
