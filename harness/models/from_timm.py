"""timm's networks by name: ``timm:resnet26``; the other options are those of ``timm.create_model``."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from harness.errors import StudyError
from harness.messages import check_installed, one_line, suggest
from harness.models.imported import TIMM, Imported
from harness.vision import with_torchvision

# Arguments of timm that the harness sets: where weights are read from, and what the data decides.
_OURS = {
    **dict.fromkeys(
        ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"),
        "weights come from the file that model.pretrained names",
    ),
    "num_classes": "the data has the number of classes",
    "in_chans": "images have three channels",
}


def timm_network(name: str, options: dict[str, Any], where: str) -> Imported:
    """Return the maker of a network of timm.

    Raises:
        StudyError: timm is not installed or has no such network, or an option is not for a study.
    """
    place = f"{where}: model.name: {one_line(name, 200)}"
    check_installed("timm", place)
    timm = with_torchvision(lambda: import_module("timm"))
    architecture = name.removeprefix(TIMM)
    if architecture not in (known := timm.list_models()):
        near = suggest(TIMM + architecture.partition(".")[0], [TIMM + network for network in known])
        raise StudyError(f"{place}: timm {version('timm')} has no such network{near}")
    for key in options:
        if key in _OURS:
            raise StudyError(f"{where}: model.{key}: {_OURS[key]}; remove it")
    return Imported(name, partial(timm.create_model, architecture), options, keyword=True)


def timm_names() -> list[str]:
    """List the networks of timm as a study names them; none where timm is not installed."""
    if find_spec("timm") is None:
        return []
    return [TIMM + name for name in with_torchvision(lambda: import_module("timm")).list_models()]
