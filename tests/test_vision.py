"""torchvision beside a torch that its compiled operators do not fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_torchvision_can_be_imported_and_used() -> None:
    done = python(
        "from harness.vision import import_torchvision\n"
        "vision = import_torchvision()\n"
        "assert import_torchvision() is vision\n"
        "import torch\n"
        "from torchvision.models import resnet18\n"
        "from torchvision.utils import make_grid\n"
        "print(make_grid(torch.zeros(4, 3, 8, 8)).shape, resnet18().fc.out_features)"
    )
    assert done.stdout.strip() == "torch.Size([3, 12, 42]) 1000", done.stderr


def test_it_is_mended_only_where_it_is_broken() -> None:
    plain = python("import torchvision")
    mended = python(
        "from harness import vision\nvision.import_torchvision()\nprint(vision._library is not None)"
    )
    assert mended.returncode == 0, mended.stderr
    assert mended.stdout.strip() == str(plain.returncode != 0)


@pytest.mark.parametrize(
    "name",
    [
        "theirs:early",
        pytest.param("torchvision.models:resnet18", marks=pytest.mark.slow),
        pytest.param("theirs:late", marks=pytest.mark.slow),
    ],
)
def test_networks_of_others_may_use_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(
        "def late(classes):\n    from torchvision.models import resnet18\n"
        "    return resnet18(num_classes=classes)\n"
        f"{'from torchvision.models import resnet18 as early' if 'early' in name else ''}\n"
    )
    done = python(
        f"import sys\nsys.path.append({str(tmp_path)!r})\n"
        "from harness.imports import allow\nfrom harness.models.imported import imported\n"
        "allow(['torchvision', 'theirs'])\n"
        f"print(imported({name!r}, {{}}, 'study').build(7).fc.out_features)"
    )
    assert done.stdout.strip() == "7", done.stderr


def test_another_breakage_is_an_import_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.vision import import_torchvision

    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError):
        import_torchvision()
