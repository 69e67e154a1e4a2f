"""``--plan``: before the first run, how many seeds a difference takes, and what a study's seeds can show.

``needs.py`` computes it, ``words.py`` writes it. Here is the question: it is checked before anything slow is
imported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.errors import StudyError


@dataclass(frozen=True)
class Question:
    """The question of ``--plan``; both are fractions.

    Attributes:
        difference: the smallest true difference of two recipes that the study is to show.
        std: over seeds; None leaves it to the finished runs.
    """

    difference: float
    std: float | None = None


def check_question(difference: float | None, std: float | None) -> Question:
    """Check the values of ``--difference`` and ``--std``.

    Raises:
        StudyError: there is no difference, or a value is not above 0.
    """
    if difference is None:
        raise StudyError(
            "--plan: give --difference, the smallest difference that matters; 0.003 is 0.3 points"
        )
    for name, value in (("--difference", difference), ("--std", std)):
        if value is not None and not 0 < value < math.inf:  # also of NaN
            raise StudyError(f"{name} {value:g}: expected a number above 0; 0.003 is 0.3 points of accuracy")
    return Question(difference, std)
