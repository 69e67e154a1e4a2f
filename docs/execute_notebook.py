"""Execute a notebook and save its outputs: ``python docs/execute_notebook.py NOTEBOOK``.

CIFAR-10 is taken from ``HARNESS_DATA``. Results are written into a temporary folder.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbclient
import nbformat


def executed(file: Path) -> Any:
    """Return the notebook with the outputs of its cells."""
    notebook = nbformat.read(file, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        nbclient.NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": folder}}).execute()
    return cleaned(notebook)


def cleaned(notebook: Any) -> Any:
    """Return the notebook without progress bars, the times of cells, and pictures in a second format."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        kept: list[Any] = []
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/jpeg", None)
            if output.output_type == "stream":
                lines = output.text.replace("\r", "\n").splitlines()
                shown = [line.rstrip() for line in lines if line.strip() and not _is_noise(line)]
                output.text = "".join(f"{line}\n" for line in shown)
                if not shown:
                    continue
                if kept and kept[-1].output_type == "stream" and kept[-1].name == output.name:
                    kept[-1].text += output.text
                    continue
            kept.append(output)
        if cell.cell_type == "code":
            cell.outputs = kept
    return notebook


def _is_noise(line: str) -> bool:
    return "%|" in line or "tqdm" in line or "it/s" in line


if __name__ == "__main__":
    notebook_file = Path(sys.argv[1])
    nbformat.write(executed(notebook_file), notebook_file)
