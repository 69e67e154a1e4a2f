"""The GPU benchmark's dry run, and what becomes of parts that fail or are late."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import command, parts, step, workers
from benchmarks.gpu.shared import Options, Row, synthetic_images
from benchmarks.gpu.table import Report, Section
from harness.data import load_data
from harness.study_file.load import load_study


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options("cpu", None, True, str(tmp_path), time.time() + 60)


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts named well, broken, crashed and late instead of the real ones."""
    modules = {
        "well": "def rows(options):\n    yield Row('all', 'well')\n",
        "broken": "def rows(options):\n    yield Row('one', '1 ms')\n    raise ValueError('two\\nlines')\n",
        "crashed": "def rows(options):\n    yield Row('one', '1 ms')\n    __import__('os').abort()\n",
        "late": "import time\ndef rows(options):\n    yield Row('one', '1 ms')\n    time.sleep(60)\n",
    }
    for name, text in modules.items():
        (tmp_path / f"part_{name}.py").write_text(f"from benchmarks.gpu.shared import Row\n{text}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(parts, "PARTS", tuple(parts.Part(n, n.upper(), f"part_{n}", 0.25) for n in modules))


@pytest.mark.slow
def test_a_dry_run_prints_its_table_and_writes_it_as_markdown_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "gpu.md"
    arguments = ["--device", "cpu", "--quick", "--parts", "tests,batches", "--out", str(page)]
    assert gpu.main(arguments) == 0
    printed, written = capsys.readouterr().out, page.read_text("utf-8")
    known = json.loads(page.with_suffix(".json").read_text("utf-8"))
    assert known["about"]["torch"] == torch.__version__ and "dry run" in known["about"]
    assert list(known["parts"]) == ["tests", "batches"]
    train, test = known["parts"]["batches"]["rows"]
    assert train["what"] == "a train batch of 512 images" and len(train["values"]["ms"]) == 2
    for row in (*known["parts"]["tests"]["rows"], train, test):
        assert row["what"] in printed and f"| {row['what']} | {row['result']} | {row['n']} |" in written
    assert "== Making batches" in printed and "## Making batches" in written


def test_parts_that_fail_or_crash_cost_a_row_and_no_other_part(
    made_up: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "gpu.md"
    chosen = ["--parts", "broken,crashed,well"]
    assert gpu.main(["--device", "cpu", "--quick", *chosen, "--seconds", "99", "--out", str(page)]) == 0
    known = json.loads(page.with_suffix(".json").read_text("utf-8"))["parts"]
    rows = {name: [(row["what"], row["result"]) for row in part["rows"]] for name, part in known.items()}
    rest = "the rest of this part"
    assert rows["well"] == [("all", "well")]
    assert rows["broken"] == [("one", "1 ms"), (rest, "failed")]
    assert rows["crashed"] == [("one", "1 ms"), (rest, "failed")]
    assert known["broken"]["rows"][1]["notes"] == "ValueError: two lines"
    assert "status -6" in known["crashed"]["rows"][1]["notes"]
    assert "ValueError: two lines" in capsys.readouterr().out


def test_a_part_that_is_late_is_ended_and_keeps_what_it_has_found(made_up: None, options: Options) -> None:
    report = Report(None, {})
    soon = replace(options, ends=time.time() + 4)
    (section,) = parts.run_together(parts.PARTS[3:], soon, report)
    assert time.time() - soon.ends < 10
    rows = [(row.what, row.result) for row in section.rows]
    assert rows == [("one", "1 ms"), ("the rest of this part", "out of time")]
    assert report.sections == [section] and "out of time" in section.text() and report.late() == ["late"]


def test_what_a_part_has_found_is_written_before_it_ends(
    made_up: None, options: Options, tmp_path: Path
) -> None:
    page = tmp_path / "gpu.md"
    job = parts.Job(parts.PARTS[3], options, Report(page, {"device": "cpu"}))
    try:
        while not job.section.rows and time.time() < options.ends:
            assert job.runs()
            time.sleep(0.05)
        assert "| one | 1 ms |" in page.read_text("utf-8")
    finally:
        job.end()
    assert job.process.returncode == -9


def test_an_unknown_part_or_folder_is_refused(tmp_path: Path) -> None:
    for wrong in (["--parts", "steps"], ["--data", str(tmp_path)]):
        with pytest.raises(SystemExit):
            gpu.main([*wrong, "--device", "cpu", "--quick"])


def test_parts_that_time_nothing_run_beside_the_one_before() -> None:
    groups = [[part.name for part in group] for group in parts.in_turn(parts.PARTS)]
    assert groups[0] == ["tests", "identity"] and all(len(group) == 1 for group in groups[1:])
    assert sum(part.share for part in parts.PARTS) == pytest.approx(1)


@pytest.fixture
def switches() -> Iterator[None]:
    """Put back what the steps switch for the whole process."""
    memory: Any = torch.utils.deterministic
    deterministic, filled = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(deterministic)
    memory.fill_uninitialized_memory = filled
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = False, True


@pytest.mark.slow
def test_eager_steps_are_timed_in_turn_and_the_gpus_own_are_named(options: Options, switches: None) -> None:
    rates = {"bfloat16": 1e12, "float32": 1e12}
    measured: dict[str, float] = {}
    rows = {row.what: row for row in step._group(step.EAGER, options, rates, measured)}
    assert set(rows) == set(step.EAGER)
    for name, setup in step.EAGER.items():
        assert (rows[name].result == "needs CUDA") == setup.cuda_only
        assert (name in measured) != setup.cuda_only
    assert "against whole batches" in rows["eager, deterministic, ghost batches of 32"].notes


def test_a_step_that_fails_is_a_row(
    options: Options, switches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("no compiler\nis here")

    monkeypatch.setattr(step, "compiled", broken)
    group = {"compiled": step.Setup(mode="default"), "eager": step.Setup()}
    rows = list(step._group(group, options, {"bfloat16": 1e12}, {}))
    assert rows[0] == Row("compiled", "failed", notes="RuntimeError: no compiler is here")
    assert [row.what for row in rows[1:]] == ["eager"] and rows[1].result.endswith(" ms")


def test_synthetic_images_are_what_the_harness_reads(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    root = synthetic_images(options)
    assert synthetic_images(options) == root
    data = load_data("parquet", root, path="images", progress=False)
    assert data.train.images.shape == (320, 32, 32, 3) and data.evaluation.images.shape == (100, 32, 32, 3)
    assert len(data.train.classes) == 10 and data.train.images.std() > 30


@pytest.mark.parametrize("base", ["onecycle", "annealed"])
@pytest.mark.parametrize("data", [None, "somewhere"])
def test_study_files_ask_for_no_range_test(tmp_path: Path, base: str, data: str | None) -> None:
    options = Options("cuda", data, False, str(tmp_path), 0.0)
    study = load_study(str(command.study_file(options, base, 6)))
    recipe = study.recipes["base"]
    assert recipe.range_test_settings is None and not recipe.schedule.finds
    assert (recipe.schedule.epochs, recipe.schedule.peak_epoch) == (6, 1.25)
    assert recipe.data.source == ("cifar10" if data else "parquet") and recipe.data.batch_size == 512
    assert command.accepts(command.study_file(options, base, 6), "compile=true")
    assert not command.accepts(command.study_file(options, base, 6), "compile=3")


def test_differences_between_runs_ignore_times_alone(tmp_path: Path) -> None:
    for name, loss in (("a", "0.5"), ("b", "0.5"), ("c", "0.6")):
        (tmp_path / name).mkdir()
        for file in ("model.safetensors", "predictions.npz", "learning_rates.csv"):
            (tmp_path / name / file).write_text("same")
        history = f"epoch,train_loss,train_seconds\n1,{loss},{ord(name)}\n"
        (tmp_path / name / "history.csv").write_text(history)
    assert command.differences(tmp_path / "a", tmp_path / "b") == []
    (tmp_path / "c" / "model.safetensors").write_text("other")
    assert command.differences(tmp_path / "a", tmp_path / "c") == ["model.safetensors", "history.csv"]


def test_only_epochs_that_end_while_all_workers_train_are_counted() -> None:
    lines = [(at, f"onecycle/base/seed-0  epoch {n} of 3  lr 0.1") for n, at in enumerate((1.0, 2.0, 3.0), 1)]
    lines += [
        (at, f"onecycle/base/seed-1  epoch {n} of 3  lr 0.1") for n, at in enumerate((1.5, 2.5, 3.5), 1)
    ]
    seconds, count = workers.epoch_seconds(command.Outcome(lines))
    assert (seconds, count) == (0.5, 3)  # 2.0, 2.5 and 3.0 between 1.5 and 3.0
    assert workers.epoch_seconds(command.Outcome(lines[:3] + lines[5:])) == (None, 0)
    assert workers.epoch_seconds(command.Outcome([])) == (None, 0)


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    assert "| a \\| b | 1 ms |  |  |" in Section("x", "X", [Row("a | b", "1 ms")]).markdown()


@pytest.mark.slow
def test_every_part_runs_dry(tmp_path: Path) -> None:
    page = tmp_path / "gpu.md"
    arguments = ["--device", "cpu", "--quick", "--seconds", "900", "--out", str(page)]
    assert gpu.main(arguments) == 0
    known = json.loads(page.with_suffix(".json").read_text("utf-8"))["parts"]
    assert list(known) == [part.name for part in parts.PARTS]
    rows = {row["what"]: row["result"] for part in known.values() for row in part["rows"]}
    assert not {"failed", "out of time"} & set(rows.values()), rows
    assert rows["a run killed in its middle and resumed"] == "identical"
    assert rows["two runs of 3 epochs"] == rows["compile=false: first and again"] == "identical"
