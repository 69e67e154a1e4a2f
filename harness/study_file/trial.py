"""A trial: a study whose file ``--set`` has changed. It has a title and, by default, a folder of its own."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from pydantic import Field

from harness.messages import one_line
from harness.schema import Strict
from harness.study_file.values import Name

# Keys whose change keeps every finished run valid, so that the trial stays in the study's folder.
_KEEPS_RUNS = {
    "target", "metrics", "baseline", "comparisons", "margin", "looks", "references", "search",
}  # fmt: skip
MOST_NAMED = 4  # changes in a title
LONGEST = 40  # characters of a value in a text
HASH = 6  # characters in a folder's name
LONGEST_NAME = 64  # characters of a study's name


class Change(Strict):
    """A key of the study file that was changed."""

    key: str
    """Its dotted path."""
    value: Any = None
    """Its new value; left out where the key was removed."""
    before: Any = None
    """Its value in the study file; left out where the file has none."""

    def text(self) -> str:
        """Write ``schedule.epochs = 2``."""
        return f"{self.key} = {_written(self.value)}"

    def long_text(self) -> str:
        """Write ``schedule.epochs = 2 (study file: 24)``."""
        before = "not set" if self.before is None else _written(self.before)
        return f"{self.text()} (study file: {before})"


class Trial(Strict):
    """What `--set` has changed of a study file. The harness writes this table into the resolved study."""

    of: Name
    """The study's name in its file."""
    changes: list[Change] = Field(min_length=1)
    """The changed keys."""

    def title(self, name: str) -> str:
        """Return ``onecycle (trial: schedule.epochs = 2, data.train_limit = 2000)``.

        Args:
            name: the study's, which is its folder's; the user may have chosen it.
        """
        more = len(self.changes) - MOST_NAMED
        parts = [change.text() for change in self.changes[:MOST_NAMED]]
        known = self.original_name(name)
        return f"{known} (trial: {', '.join([*parts, f'and {more} more'] if more > 0 else parts)})"

    @property
    def note(self) -> str:
        """Say what was changed, with the values of the study file."""
        return (
            f"This is a trial of {self.of}, not the study itself. Changes to the study file: "
            f"{', '.join(change.long_text() for change in self.changes)}."
        )

    def own_name(self, name: str) -> str:
        """Return the name of the trial's own folder.

        That is the study's where no run changes, and ``name`` where the user chose it.
        """
        deciding = {each.key: each.value for each in self.changes if _top(each.key) not in _KEEPS_RUNS}
        if not deciding or self._chosen(name):
            return self.original_name(name)
        digest = hashlib.sha256(json.dumps(deciding, sort_keys=True, default=str).encode()).hexdigest()
        return f"{self._stem}{digest[:HASH]}"

    def original_name(self, name: str) -> str:
        """Return the study's own name; ``name`` if the user chose it."""
        return name if self._chosen(name) else self.of

    @property
    def _stem(self) -> str:
        stem = "-trial-"
        return f"{self.of[: LONGEST_NAME - len(stem) - HASH]}{stem}"

    def _chosen(self, name: str) -> bool:
        """Tell whether the user chose the name: it is neither the file's nor that of a trial's own folder."""
        return name != self.of and not re.fullmatch(f"{re.escape(self._stem)}[0-9a-f]{{{HASH}}}", name)


def _top(key: str) -> str:
    return key.partition(".")[0]


def _written(value: Any) -> str:
    text = "removed" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return one_line(text, LONGEST)
