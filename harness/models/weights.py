"""Weights on disk: safetensors whose metadata names their network, so that a file alone can be loaded."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import nn

from harness.errors import RunError, StudyError
from harness.models import build_model
from harness.schema import one_line
from harness.seeding import global_seed

KEYS = ("model", "classes", "image_shape")


def weights_bytes(model: nn.Module, metadata: Mapping[str, Any]) -> bytes:
    """A safetensors file: equal weights give equal bytes.

    Args:
        model: its ``state_dict`` is stored, moved to the CPU, in its own types.
        metadata: ``{"model": {"name": ..., option: ...}, "classes": [...], "image_shape": [3, H, W]}``; other
            keys are allowed, each value is stored as JSON.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    texts = {key: json.dumps(value, sort_keys=True) for key, value in metadata.items()}
    return _ordered(safetensors.torch.save(tensors, metadata=texts))


def _ordered(content: bytes) -> bytes:
    """The same file with its header's keys sorted: the library's order differs by process."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def load_weights(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a file of :func:`weights_bytes`, in eval mode on the CPU, and the metadata.

    Raises:
        RunError: the file cannot be read, names no known network, or its weights are of another one.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            texts = file.metadata() or {}
        metadata = {key: json.loads(text) for key, text in texts.items()}
        options = dict(metadata["model"])
        classes, (_, _, _) = metadata["classes"], metadata["image_shape"]
        with global_seed(0, "load weights"):
            model = build_model(options.pop("name"), options, len(classes))
        model.load_state_dict(safetensors.torch.load_file(path))
    except FileNotFoundError:
        raise RunError(
            f"{path}: not there; copy it back, or remove its folder and run the study again"
        ) from None
    except (OSError, safetensors.SafetensorError) as error:
        raise RunError(f"{path}: cannot be read: {one_line(error)}") from None
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path}: its metadata is not ours ({one_line(error)}): expected {', '.join(KEYS)}"
        ) from None
    except StudyError as error:
        raise RunError(f"{path}: its network cannot be built: {one_line(error)}") from None
    except RuntimeError as error:
        raise RunError(f"{path}: does not fit its network: {one_line(error)}") from None
    return model.eval(), metadata
