"""The configuration of a network: the same in a plan, in run.json and in the metadata of its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from harness.models import build_model
from harness.seeding import global_seed

if TYPE_CHECKING:
    from torch import nn

Measured = TypeVar("Measured")


@dataclass(frozen=True)
class NetworkConfig:
    """A model's name and options, the classes and the shape of its images.

    Attributes:
        classes: their names, by label.
        image_shape: (3, H, W); where it is empty, lazy layers stay lazy.
    """

    name: str
    options: dict[str, Any]
    classes: tuple[str, ...]
    image_shape: tuple[int, ...]

    @classmethod
    def of(
        cls, model: Mapping[str, Any], classes: Sequence[str], image_shape: Sequence[int]
    ) -> NetworkConfig:
        """Make one from the table ``model`` of a study file, which has the name among the options."""
        options = {key: value for key, value in model.items() if key not in ("name", "pretrained")}
        return cls(model["name"], options, tuple(classes), tuple(image_shape))

    @classmethod
    def from_json(cls, metadata: Mapping[str, Any]) -> NetworkConfig:
        """Make one from the content that :meth:`to_json` returned.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: other content.
        """
        classes, (_, _, _) = metadata["classes"], metadata["image_shape"]
        return cls.of(metadata["model"], classes, metadata["image_shape"])

    @property
    def model(self) -> dict[str, Any]:
        """Return the table ``model`` of a study file."""
        return {"name": self.name, **self.options}

    def to_json(self) -> dict[str, Any]:
        """Return the content that is stored with the weights."""
        return {"model": self.model, "classes": list(self.classes), "image_shape": list(self.image_shape)}

    def build(self) -> nn.Module:
        """Build the network in float32, with weights freshly drawn from the global generators.

        Raises:
            StudyError: unknown model or option, or an error of a user's own network.
        """
        return build_model(self.name, self.options, len(self.classes), self.image_shape or None)

    def measure(self, measure: Callable[[nn.Module], Measured]) -> Measured:
        """Measure the network, without its weights where that works: they may not fit into memory.

        Args:
            measure: gets a new network, on torch's ``meta`` device or on the CPU.

        Raises:
            StudyError: the network cannot be built.
            Exception: an error of the network.
        """
        import torch

        try:
            with torch.device("meta"):
                return measure(self.build())
        except Exception:  # a user's network may need the values of its weights or outputs
            with global_seed(0, "measure"):
                return measure(self.build())
