"""Groups of a network's parameters, by patterns: with options of their own, or frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn

from harness.errors import StudyError
from harness.messages import one_line
from harness.study_file.parts import ParameterGroup

NAMED = 3  # parameters that an error names


@dataclass(frozen=True)
class Part:
    """Parameters of a network that are treated alike.

    Attributes:
        group: the study's group that they belong to; None of those that no group matches.
        names: of the parameters, as the network's ``named_parameters`` has them.
    """

    group: ParameterGroup | None
    names: list[str]
    parameters: list[nn.Parameter]

    @property
    def frozen(self) -> bool:
        """Whether they are not trained."""
        return self.group is not None and self.group.frozen

    def describe(self) -> str:
        """Describe the parameters and their treatment."""
        count = f"{sum(weights.numel() for weights in self.parameters):,} parameters"
        if self.group is None:
            return f"all others: {count}"
        return f"{self.group.patterns}: {count}, {self.group.treatment}"


def split_parameters(model: nn.Module, groups: Sequence[ParameterGroup], where: str = "study") -> list[Part]:
    """Split a network's parameters: those that no group matches, then each group's; the first match counts.

    Args:
        where: the study, for errors.

    Raises:
        StudyError: a group has no parameter, or all are frozen.
    """
    parts = [Part(None, [], []), *(Part(group, [], []) for group in groups)]
    names = [name for name, _ in model.named_parameters()]
    matches: list[set[str]] = [set() for _ in groups]
    for name, weights in model.named_parameters():
        owner = type(model.get_submodule(name.rpartition(".")[0]))
        types = [base.__name__ for base in owner.__mro__]
        fitting = [at for at, group in enumerate(groups) if _fits(group, name, types)]
        for at in fitting:
            matches[at].add(name)
        part = parts[fitting[0] + 1 if fitting else 0]
        part.names.append(name)
        part.parameters.append(weights)
    for at, part in enumerate(parts[1:]):
        if not part.names:
            place = f"{where}: optimizer.groups[{at}]"
            if matches[at]:
                taken = one_line(", ".join(sorted(matches[at])), 80)
                raise StudyError(
                    f"{place}: earlier groups match all its parameters ({taken}); put it before them"
                )
            raise StudyError(f"{place}: matches no parameter of the network{_hint(groups[at], model, names)}")
    if groups and all(part.frozen for part in parts if part.names):
        raise StudyError(f"{where}: optimizer.groups: they freeze all parameters; leave some to train")
    return [part for part in parts if part.names]


def freeze(model: nn.Module, groups: Sequence[ParameterGroup], where: str = "study") -> None:
    """Have the parameters of frozen groups take no gradient."""
    if any(group.frozen for group in groups):
        for part in split_parameters(model, groups, where):
            for weights in part.parameters if part.frozen else ():
                weights.requires_grad_(False)


def describe_groups(model: nn.Module, groups: Sequence[ParameterGroup]) -> list[str]:
    """Describe for each group, in one line, its matches and its treatment."""
    return [part.describe() for part in split_parameters(model, groups)] if groups else []


def _fits(group: ParameterGroup, name: str, types: Sequence[str]) -> bool:
    by_name = group.match is None or any(fnmatchcase(name, pattern) for pattern in group.names)
    return by_name and (
        group.type is None or any(fnmatchcase(base, pattern) for base in types for pattern in group.types)
    )


def _hint(group: ParameterGroup, model: nn.Module, names: Sequence[str]) -> str:
    """Name the nearest matches of a group's patterns: classes of modules, or else parameters."""
    owners = [
        module for module in model.modules() if next(module.parameters(recurse=False), None) is not None
    ]
    bases = {base.__name__ for owner in owners for base in type(owner).__mro__}
    if group.types and not any(fnmatchcase(name, pattern) for pattern in group.types for name in bases):
        return (
            f"; modules with parameters are {', '.join(sorted({type(owner).__name__ for owner in owners}))}"
        )
    pattern = next(iter(group.names), "").replace("*", "")
    near = get_close_matches(pattern, names[:1000], n=NAMED, cutoff=0.0)
    return f"; similar names are {', '.join(near)}" if near else ""
