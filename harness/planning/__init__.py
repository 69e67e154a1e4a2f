"""``--plan``: before the first run, how many seeds a difference takes, and what a study's seeds can show.

``needs.py`` computes it, ``words.py`` writes it. Here is the question: it is checked before anything slow is
imported.
"""

from __future__ import annotations

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
        StudyError: there is no difference, or a value is no fraction that accuracies allow.
    """
    if difference is None:
        raise StudyError(
            "--plan: give --difference, the smallest difference that matters; 0.003 is 0.3 points"
        )
    for name, value in (("--difference", difference), ("--std", std)):
        if value is not None and not 0 < value < 0.5:  # also of NaN
            raise StudyError(
                f"{name} {value:g}: expected a fraction above 0 and below 0.5; 0.003 is 0.3 points"
            )
    return Question(difference, std)
