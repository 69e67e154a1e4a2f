"""Training that starts from a file of weights: weights that are used, newly initialised or refused."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from harness.errors import StudyError
from harness.models import build_model
from harness.models.pretrained import Pretrained
from harness.models.weights import load_weights
from harness.plan import Variant, resolve_variant
from harness.seeding import global_seed
from harness.study_file.config import Study
from tests.training.tiny_runs import assert_resumes, data_of, run

Tiny = Callable[..., Study]
HEAD = "head.1.weight"


def network(classes: int = 10, seed: int = 0, **options: Any) -> nn.Module:
    with global_seed(seed, "test"):
        return build_model("custom_resnet", {"width": 2, **options}, classes)


def file_of(path: Path, model: nn.Module, **changes: Tensor | None) -> Path:
    """Save a network's weights, some of them changed or (None) left out."""
    state = {key.replace("__", "."): value for key, value in changes.items()}
    save_file({k: v for k, v in {**model.state_dict(), **state}.items() if v is not None}, path)
    return path


def checked(path: Path, model: nn.Module, classes: int = 10) -> Pretrained:
    return Pretrained.of(str(path), "mine: model.pretrained").checked(model, classes)


def starting(study: Study, seed: int = 0) -> dict[str, Tensor]:
    """Return the weights that a run of the study starts from."""
    data = data_of(study)
    with global_seed(seed, "test"):
        return resolve_variant(study, "base", data, device="cpu").new_network(data).state_dict()


def variant_of(study: Study) -> Variant:
    return resolve_variant(study, "base", data_of(study), device="cpu")


def test_a_run_starts_from_a_finished_runs_weights(tiny: Tiny, finished_run: Path, tmp_path: Path) -> None:
    weights = finished_run / "model.safetensors"
    study = tiny(("model.pretrained", str(weights)))
    expected = load_file(weights)
    expected.pop("harness.rest", None)
    started = starting(study)
    assert started.keys() == expected.keys() and all(torch.equal(started[k], expected[k]) for k in expected)
    record, folder, variant = run(study, tmp_path / "out")
    assert record.status == "finished", record.error
    assert variant.pretrained is not None and variant.pretrained.anew == ()
    model, config = load_weights(folder.weights_file)
    assert config.options == {"width": 2}, "the file is not needed once the run has finished"


def test_a_killed_run_goes_on_to_the_same_bytes(tiny: Tiny, tmp_path: Path) -> None:
    study = tiny(("model.pretrained", str(file_of(tmp_path / "w.safetensors", network(7)))))
    _, whole, _ = run(study, tmp_path / "whole")
    assert_resumes(study, tmp_path / "again", "epoch 2 of 3", whole)


def test_a_head_for_other_classes_is_drawn_anew_by_each_seed(tiny: Tiny, tmp_path: Path) -> None:
    source = network(7)
    study = tiny(("model.pretrained", str(file_of(tmp_path / "seven.safetensors", source))))
    variant = variant_of(study)
    assert variant.pretrained is not None
    assert variant.pretrained.says.endswith(f"; {HEAD} newly initialised")
    first, second = starting(study), starting(study, seed=1)
    for key, value in source.state_dict().items():
        assert key == HEAD or torch.equal(first[key], value)
        assert torch.equal(first[key], second[key]) == (key != HEAD)


@pytest.mark.parametrize("classes", [3, 10, 1000])
@pytest.mark.parametrize("head", ["linear", "conv3x3"])
def test_a_head_of_any_kind_and_number_of_classes_is_recognised(
    classes: int, head: str, tmp_path: Path
) -> None:
    path = file_of(tmp_path / "w.safetensors", network(classes, head=head, fc_bias=True))
    model = network(10, head=head, fc_bias=True)
    layer = "head.1" if head == "linear" else "head.0"
    assert checked(path, model).anew == (() if classes == 10 else (f"{layer}.weight", f"{layer}.bias"))


def test_a_file_without_a_head_gives_the_rest(tmp_path: Path) -> None:
    path = file_of(tmp_path / "w.safetensors", network(), head__1__weight=None)
    assert checked(path, network(seed=1)).anew == (HEAD,)


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s, "args": "x"}]
)
@pytest.mark.parametrize("suffix", ["pt", "pth", "bin"])
def test_torchs_files_are_read_too(wrap: Callable[[Any], Any], suffix: str, tmp_path: Path) -> None:
    source, path = network(), tmp_path / f"weights.{suffix}"
    torch.save(wrap(source.state_dict()), path)
    model = network(seed=1)
    checked(path, model).load_into(model)
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in model.state_dict().items())


def test_old_files_without_counts_of_batches_load(tmp_path: Path) -> None:
    source = network()
    counts = {key for key in source.state_dict() if key.endswith("num_batches_tracked")}
    path = file_of(tmp_path / "w.safetensors", source, **dict.fromkeys(k.replace(".", "__") for k in counts))
    model = network(seed=1)
    checked(path, model).load_into(model)
    assert torch.equal(model.state_dict()["prep.0.weight"], source.state_dict()["prep.0.weight"])


def test_the_filters_of_a_whitening_layer_come_from_the_file(tiny: Tiny, tmp_path: Path) -> None:
    source = network(whitening=True)
    path = file_of(tmp_path / "w.safetensors", source)
    model = {"name": "custom_resnet", "width": 2, "whitening": True, "pretrained": str(path)}
    assert torch.equal(
        starting(tiny(("model", model)))["prep.0.weight"], source.state_dict()["prep.0.weight"]
    )


def test_the_digest_has_the_files_content_and_not_its_place(tiny: Tiny, tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.safetensors", network())
    shutil.copy(path, other := tmp_path / "b.safetensors")
    first, second = (variant_of(tiny(("model.pretrained", str(place)))) for place in (path, other))
    assert first.digest == second.digest != variant_of(tiny()).digest
    file_of(path, network(seed=1))
    assert variant_of(tiny(("model.pretrained", str(path)))).digest != first.digest
    assert "pretrained" not in variant_of(tiny()).identity["recipe"]["model"]


def test_a_file_that_changes_after_planning_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    path = file_of(tmp_path / "w.safetensors", network())
    study = tiny(("model.pretrained", str(path)))
    variant = variant_of(study)
    file_of(path, network(seed=1))
    with pytest.raises(StudyError, match="w.safetensors: it has changed since the study was planned"):
        variant.new_network(data_of(study))
    path.unlink()
    with pytest.raises(StudyError, match="w.safetensors: No such file"):
        variant.new_network(data_of(study))


def test_a_path_is_seen_from_the_current_folder(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file_of(tmp_path / "w.safetensors", network())
    pretrained = variant_of(tiny(("model.pretrained", "w.safetensors"))).pretrained
    assert pretrained is not None and pretrained.path == str(tmp_path / "w.safetensors")


OTHER_SHAPE = torch.zeros(4, 3, 3, 3)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"prep__0__weight": OTHER_SHAPE}, r"prep.0.weight is \(2, 3, 3, 3\), and it has \(4, 3, 3, 3\)"),
        ({"prep__0__weight": None}, r"the network's prep.0.weight is \(2, 3, 3, 3\), and it lacks it"),
        ({"head__1__weight": torch.zeros(7, 8)}, r"head.1.weight is \(10, 16\), and it has \(7, 8\)"),
        ({"a": OTHER_SHAPE, "b": OTHER_SHAPE}, "the network has no a, b; is it from another network?"),
        (dict.fromkeys("abcde", OTHER_SHAPE), "the network has no a, b, c and 2 more; is it from another"),
    ],
)  # fmt: skip
def test_weights_of_another_network_are_refused_in_one_line(
    changes: dict[str, Any], expected: str, tiny: Tiny, tmp_path: Path
) -> None:
    path = file_of(
        tmp_path / "w.safetensors",
        network(),
        **{key: value if value is None else value.clone() for key, value in changes.items()},
    )
    with pytest.raises(StudyError, match=expected) as caught:
        variant_of(tiny(("model.pretrained", str(path))))
    assert str(caught.value).startswith(f"tiny: model.pretrained: {path}: ") and "\n" not in str(caught.value)


class Code:
    def __reduce__(self) -> Any:
        return (print, ("this must not run",))


def test_files_that_are_no_weights_are_refused_and_run_nothing(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    buffer = io.BytesIO()
    torch.save({"a": Code()}, buffer)
    contents = {
        "a.pt": b"", "b.pt": b"no weights", "c.safetensors": b"no weights", "d.pt": buffer.getvalue(),
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(
            StudyError, match="has no tensors that can be read without running code"
        ) as caught:
            variant_of(tiny(("model.pretrained", str(tmp_path / name))))
        assert "\n" not in str(caught.value)
    for other in ([1, 2], {"a": 1}, torch.zeros(3)):
        torch.save(other, tmp_path / "e.pt")
        with pytest.raises(StudyError, match="is no state_dict"):
            variant_of(tiny(("model.pretrained", str(tmp_path / "e.pt"))))
    with pytest.raises(StudyError, match="Is a directory"):
        variant_of(tiny(("model.pretrained", str(tmp_path))))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "model.pretrained: nothing is downloaded in a study; name a file of weights"),
        (3, "model.pretrained: expected text"),
        ("", "model.pretrained: "),
    ],
)
def test_what_is_no_path_is_refused_in_one_line(value: Any, expected: str, tiny: Tiny) -> None:
    with pytest.raises(StudyError, match=expected):
        tiny(("model.pretrained", value))


def test_false_is_as_if_it_were_not_there(tiny: Tiny) -> None:
    assert variant_of(tiny(("model.pretrained", False))).digest == variant_of(tiny()).digest
