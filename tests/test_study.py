"""The command as people use it: options, exit status, one-line errors, and what lies on disk afterwards."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from harness.errors import StudyError
from harness.request import parse_formats
from harness.study import main
from tests.conftest import Command


def test_formats_of_figures_are_named_once_each() -> None:
    assert parse_formats("svg, PDF,svg") == ["svg", "pdf"]


@pytest.mark.parametrize("text", ["", "png", "svg,", "svg;pdf", "jpg"])
def test_what_is_no_format_of_figures_is_refused(text: str) -> None:
    with pytest.raises(StudyError, match="--figures .*expected svg, pdf or svg,pdf"):
        parse_formats(text)


@pytest.mark.parametrize("option", ["--help", "--list"])
def test_help_and_list_answer_within_a_second_and_do_not_import_torch(option: str) -> None:
    program = (
        "import sys; sys.argv = ['study', sys.argv[1]]\n"
        "from harness.study import main\n"
        "try: main()\n"
        "finally: print(sorted({'torch', 'pandas', 'albumentations'} & set(sys.modules)))"
    )
    before = os.times()
    done = subprocess.run([sys.executable, "-c", program, option], capture_output=True, text=True)
    after = os.times()
    assert done.returncode == 0 and "onecycle" in done.stdout and done.stdout.splitlines()[-1] == "[]"
    used = after.children_user + after.children_system - before.children_user - before.children_system
    assert used < 3, "a second of processor time, and up to three on a slow one"


def test_a_study_leaves_everything_that_the_design_names(
    command: Command, tiny_file: Path, tmp_path: Path
) -> None:
    done = command(tiny_file, new_process=True)
    assert done.returncode == 0, done.stderr
    verdict, place = done.stdout.splitlines()
    assert (
        verdict.startswith("tiny: ") and "± " in verdict and "over 2 seeds" in verdict and "of 2" in verdict
    )
    assert place == "report: results/tiny/report.html"
    out = tmp_path / "results" / "tiny"
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    tables = ("runs", "history", "summary", "comparisons", "per_class", "misclassified", "range_test",
              "learning_rates", "model", "attributions", "attribution_curves")  # fmt: skip
    figures = ("learning_rate", "curves", "accuracy", "per_class", "confusion", "augmented", "misclassified",
               "gradcam", "attributions")  # fmt: skip
    expected = {"study.toml", "report.html", "report.md", "report.json"}
    expected |= {f"tables/{name}.csv" for name in tables} | {f"figures/{name}.png" for name in figures}
    for seed in (0, 1):
        run = ("run.json", "history.csv", "learning_rates.csv", "predictions.npz", "model.safetensors")
        expected |= {f"runs/base/seed-{seed}/{name}" for name in run}
    assert expected <= files
    others = {name.partition("/")[0] for name in files - expected}
    assert others <= {"tables", "figures", ".locks"}
    runs = pd.read_csv(out / "tables" / "runs.csv")
    assert list(runs.status) == ["finished", "finished"]
    epochs = [line for line in done.stderr.splitlines() if " epoch " in line]
    assert len(epochs) == 6 and "tiny/base/seed-0  epoch 1 of 3  train loss " in epochs[0]
    ends = [line.partition("; ")[2] for line in done.stderr.splitlines() if "  finished: " in line]
    assert ends[0].startswith("1 of 2 runs, about ") and ends[1] == "2 of 2 runs"


@pytest.mark.slow
def test_a_second_start_changes_no_table(command: Command, tiny_file: Path, tmp_path: Path) -> None:
    command(tiny_file)
    tables = {path: path.read_bytes() for path in (tmp_path / "results/tiny/tables").iterdir()}
    done = command(tiny_file)
    assert done.returncode == 0 and " epoch " not in done.stderr
    assert {path: path.read_bytes() for path in tables} == tables
    page = tmp_path / "results" / "index.html"
    before = page.read_bytes()
    page.unlink()
    done = command(tiny_file, "--report-only", "--figures", "svg")
    assert done.returncode == 0 and {path: path.read_bytes() for path in tables} == tables
    assert page.read_bytes() == before and b"tiny/report.html" in before
    assert (tmp_path / "results" / "tiny" / "figures" / "curves.svg").is_file()


@pytest.mark.slow
def test_quiet_says_only_the_verdict(command: Command, tiny_file: Path) -> None:
    done = command(tiny_file, "--quiet", "--seeds", "5", new_process=True)
    assert done.returncode == 0 and done.stderr == ""
    assert len(done.stdout.splitlines()) == 1 and "1 seed" in done.stdout


@pytest.mark.slow
def test_what_the_report_warns_about_is_said_on_the_console(command: Command, tiny_file: Path) -> None:
    command(tiny_file, "--seeds", "0", OMP_NUM_THREADS="1")
    done = command(tiny_file, "--seeds", "1", OMP_NUM_THREADS="2")
    assert "tiny: warning: The runs of base mix different thread counts: " in done.stderr
    assert command(tiny_file, "--report-only", "--quiet").stderr == ""


@pytest.mark.slow
def test_a_diverged_run_gives_exit_status_1_and_is_counted(
    command: Command, tiny_file: Path, tmp_path: Path
) -> None:
    variants = '{ hot = { "schedule.lr_max" = 1e6, "schedule.lr_min" = 1e5, "loss.l1" = 1e6 } }'
    done = command(tiny_file, "--set", f"variants={variants}", "--out", "results")
    assert done.returncode == 1
    assert "not finite at iteration" in done.stderr
    runs = pd.read_csv(tmp_path / "results/tiny/tables/runs.csv")
    assert list(runs.status) == ["finished", "finished", "failed", "failed"]
    assert "not finite at iteration" in runs.error[2]
    summary = pd.read_csv(tmp_path / "results/tiny/tables/summary.csv")
    assert list(summary.failed) == [0, 2] and list(summary.runs) == [2, 2] and summary.reached[1] == 0


@pytest.mark.slow
def test_a_missed_target_is_a_result_unless_it_is_required(command: Command, tiny_file: Path) -> None:
    high = ("--set", "target.test_accuracy=1.0", "--seeds", "0")
    assert command(tiny_file, *high).returncode == 0
    assert command(tiny_file, *high, "--require-target").returncode == 3


WRONG = [
    (["nonsense"], "no study named 'nonsense'"),
    (["quickstrat"], "did you mean 'quickstart'"),
    (["missing/file.toml"], "study file not found"),
    (["--seeds", "0,0"], "seed 0 is named twice"),
    (["--seeds", "3x"], "--seeds 3x"),
    (["--variants", "bse"], "did you mean 'base'"),
    (["--set", "schedule.epochs"], "expected KEY=VALUE"),
    (["--set", "schedule.epoch=3"], "did you mean 'epochs'"),
    (["--set", "schedule.epochs=1000000000"], "schedule.epochs"),
    (["--set", "schedule.epochs=2.0"], "schedule.epochs"),
    (["--set", "name=../../escape"], "is not a name"),
    (["--set", "target.test_accuracy=97"], "expected a fraction such as 0.97, got 97"),
    (["--set", "model.width=-4"], "model.width"),
    (["--set", "data.train_limit=100000"], "train_limit"),
    (["--launcher", "slurm"], "--launcher slurm"),
    (["--tracker", "wandbb"], "--tracker wandbb"),
    (["--workers", "0"], "--workers 0"),
    (["--device", "cuda:7"], "--device cuda:7"),
    (["--device", "tpu"], "--device tpu"),
    (["--precision", "float8"], "float8"),
    (["--data", "nowhere"], "--data nowhere"),
    (["--json"], "--json"),
    (["--no-such-option"], "--no-such-option"),
    (["quickstart", "quickstart"], "two of the studies"),
    (["--out", "/dev/null/x"], "--out"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(a) for a, _ in WRONG])
def test_a_wrong_request_is_one_line_with_status_2_and_writes_nothing(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["study", *arguments])
    with pytest.raises(SystemExit) as done:
        main()
    captured = capsys.readouterr()
    assert done.value.code == 2
    assert captured.err.count("\n") == 1 and message in captured.err, captured.err
    assert captured.out == "" and list(tmp_path.iterdir()) == []


@pytest.fixture
def other_file(tiny_file: Path) -> Path:
    """The tiny study under another name."""
    other = tiny_file.with_name("other.toml")
    other.write_text(tiny_file.read_text().replace('"tiny"', '"other"'))
    return other


def test_a_mistake_in_the_last_study_stops_before_the_first_begins(
    command: Command, tiny_file: Path, other_file: Path, tmp_path: Path
) -> None:
    other_file.write_text(other_file.read_text().replace("width = 2", "width = 0"))
    done = command(tiny_file, other_file)
    assert done.returncode == 2 and "model.width" in done.stderr and not (tmp_path / "results").exists()


@pytest.mark.slow
def test_a_batch_of_studies_each_gets_its_folder(
    command: Command, tiny_file: Path, other_file: Path, tmp_path: Path
) -> None:
    done = command(tiny_file, other_file, "--seeds", "0")
    assert done.returncode == 0
    lines = [line for line in done.stdout.splitlines() if not line.startswith("report: ")]
    assert [line.split(":")[0] for line in lines] == ["tiny", "other", "all studies"]
    assert {path.name for path in (tmp_path / "results").iterdir() if path.is_dir()} == {"tiny", "other"}


def test_the_list_is_a_table_with_what_is_known(command: Command) -> None:
    done = command("--list", COLUMNS="200")
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["study", "target", "published", "measured", "question"]
    row = next(row for row in rows if row.startswith("onecycle "))
    assert re.search(r"90\.0%\s+\S+( %)?\s+9\d\.\d\d (± \d\.\d\d )?% \(n = \d+\)  +Does the custom", row), row
    assert next(row for row in rows if row.startswith("chapter11")).split()[2] == "91.65%"
    known = {entry["name"]: entry for entry in json.loads(command("--list", "--json").stdout)}
    assert known["onecycle"]["measured"]["mean"] > 0.9 and known["chapter11"]["published"] == 0.9165
    narrow = command("--list", COLUMNS="80").stdout
    assert max(map(len, narrow.splitlines())) <= 80 and "\x1b" not in narrow
    assert len(narrow.splitlines()) == len(known) + 2, "a line for each study"


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("harness-study onec", ["plain,onecycle", "plain,onecycle_adam"]),
        ("harness-study onecycle --launcher p", ["plain,process"]),
        ("harness-study ablations --variants base,no_f", ["plain,base,no_flip"]),
        ("harness-study --expo", ["plain,--export"]),
    ],
)
def test_the_shell_completes(words: str, offered: list[str]) -> None:
    script = Path(sys.executable).with_name("harness-study")
    if not script.is_file():
        pytest.skip("the package's command is not installed here")
    asked = {"_HARNESS_STUDY_COMPLETE": "bash_complete", "COMP_WORDS": words}
    asked["COMP_CWORD"] = str(len(words.split()) - 1)
    done = subprocess.run([script], capture_output=True, text=True, env={**os.environ, **asked})
    assert [line for line in done.stdout.splitlines() if not line.startswith("file,")] == offered, done.stderr


@pytest.mark.parametrize("no_color", ["", "1"])
def test_errors_are_red_on_a_terminal_and_where_colours_are_wanted(no_color: str) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm"}
    command = [sys.executable, "-m", "harness.study", "nowhere.toml"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env=environment)
    os.close(theirs)
    said = b""
    with suppress(OSError):  # the other end is closed
        while part := os.read(ours, 4096):
            said += part
    os.close(ours)
    assert process.wait(600) == 2 and b"study file not found" in said
    assert said.startswith(b"error:" if no_color else b"\x1b[31m\x1b[1merror:")


@pytest.mark.slow
def test_a_report_does_not_replace_one_whose_runs_are_elsewhere(
    tmp_path: Path, tiny_file: Path, command: Command
) -> None:
    assert command(tiny_file, "--seeds", "0").returncode == 0
    study = tmp_path / "results" / "tiny"
    before = (study / "report.md").read_text("utf-8")
    (study / "runs").rename(tmp_path / "elsewhere")
    done = command(tiny_file, "--seeds", "0", "--report-only")
    assert done.returncode == 2 and "has a report but no runs; nothing was changed" in done.stderr
    assert (study / "report.md").read_text("utf-8") == before


OWN = """
from torch import nn
def small(classes, width):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
                         nn.Linear(4 * width, classes))
"""


def accuracies(study: Path) -> dict[tuple[str, int], float]:
    table = pd.read_csv(study / "tables" / "runs.csv")
    return dict(zip(zip(table.variant, table.seed, strict=True), table.test_accuracy, strict=True))


def tables(study: Path) -> dict[str, str]:
    """The content of every table, without the columns of times."""
    content = {path.name: path.read_text("utf-8") for path in (study / "tables").iterdir()}
    for name in [name for name in content if name.endswith(".csv")]:
        frame = pd.read_csv(study / "tables" / name, dtype=str)
        times = [column for column in frame if "seconds" in column or "per_second" in column]
        content[name] = frame.drop(columns=times).to_csv(index=False)
    return content


def repeat(study: Path, empty: Path, data: Path, **environment: str) -> None:
    """Run the report's own commands in an empty folder that has its study file."""
    empty.mkdir()
    (empty / "study.toml").write_bytes((study / "study.toml").read_bytes())
    for line in json.loads((study / "report.json").read_text("utf-8"))["repeat"]:
        line = line.replace("python ", f"{sys.executable} ").replace("DATA", str(data))
        done = subprocess.run(
            line, shell=True, cwd=empty, env={**os.environ, **environment}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the commands are for a POSIX shell")
def test_the_reports_commands_make_its_runs_again(tmp_path: Path, tiny_file: Path, command: Command) -> None:
    with tiny_file.open("a") as file:
        file.write("[variants.slow]\noptimizer.momentum = 0.5\n")
    trial = (tiny_file, "--set", "schedule.epochs=1", "--set", "schedule.peak_epoch=0.5")
    assert command(*trial, "--seeds", "3").returncode == 0
    done = command(*trial, "--seeds", "1", "--variants", "base")
    assert done.returncode == 0, done.stderr
    (study,) = (path.parent for path in (tmp_path / "results").glob("tiny-trial-*/study.toml"))
    assert "seeds = [\n    1,\n    3,\n]" in (study / "study.toml").read_text("utf-8")
    page = (study / "report.md").read_text("utf-8")
    assert all(line in page for line in json.loads((study / "report.json").read_text("utf-8"))["repeat"])
    repeat(study, tmp_path / "empty", tmp_path)
    again = tmp_path / "empty" / "again" / study.name
    assert tables(study) == tables(again)
    ours = accuracies(study)
    assert sorted(ours) == [("base", 1), ("base", 3), ("slow", 3)]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the commands are for a POSIX shell")
def test_a_study_of_own_images_and_an_own_network_is_repeated_by_its_report(
    tmp_path: Path, tiny_file: Path, command: Command
) -> None:
    for split, count in (("train", 12), ("test", 6)):
        for label in ("dark", "light"):
            folder = tmp_path / "images" / "mine" / split / label
            folder.mkdir(parents=True)
            for at in range(count):
                rng = np.random.default_rng([count, at, len(label)])
                pixels = rng.integers(0, 128, (32, 32, 3)) + 100 * (label == "light")
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{at}.png")
    (tmp_path / "own_nets.py").write_text(OWN)
    text = tiny_file.read_text()
    for before, after in (
        ('source = "digits", batch_size = 32, train_limit = 160, test_limit = 60',
         'source = "image_folder", path = "mine", image_size = 32, batch_size = 8'),
        ('name = "custom_resnet", width = 2', 'name = "own_nets:small", width = 3'),
        ('["layer1", "res2"]', '["0"]'),
        ('precision = "float32"', ""),
        ("epochs = 3, peak_epoch = 1", "epochs = 1, peak_epoch = 0.5"),
    ):  # fmt: skip
        assert before in text
        text = text.replace(before, after)
    tiny_file.write_text(text)
    found = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = command(tiny_file, "--data", "images", "--allow", "own_nets", "--seeds", "0", **found)
    assert done.returncode == 0, done.stderr
    study = tmp_path / "results" / "tiny"
    repeat(study, tmp_path / "empty", tmp_path / "images", **found)
    assert accuracies(study) == accuracies(tmp_path / "empty" / "again" / "tiny")


@pytest.mark.slow
def test_a_trial_has_a_folder_of_its_own_and_says_what_it_changed(
    command: Command, tiny_file: Path, tmp_path: Path
) -> None:
    once = ("--seeds", "0", "--set", "schedule.epochs=1", "--set", "schedule.peak_epoch=0.5", "--quiet")
    done = command(tiny_file, *once)
    assert done.returncode == 0, done.stderr
    (folder,) = (path for path in (tmp_path / "results").iterdir() if path.is_dir())
    assert re.fullmatch("tiny-trial-[0-9a-f]{6}", folder.name) and done.stdout.startswith(f"{folder.name}: ")
    report = json.loads((folder / "report.json").read_text("utf-8"))
    assert report["title"] == "tiny (trial: schedule.epochs = 1, schedule.peak_epoch = 0.5)"
    assert "schedule.epochs = 1 (study file: 3)" in (folder / "report.md").read_text("utf-8")
    assert report["question"].endswith("Does it run?") and report["question"] != "Does it run?"
    before = (folder / "runs/base/seed-0/run.json").read_bytes()
    assert command(tiny_file, *once).returncode == 0  # the same trial goes on in its folder
    assert command(folder / "study.toml", "--report-only").returncode == 0
    assert (folder / "runs/base/seed-0/run.json").read_bytes() == before
    given = command(
        tiny_file, *once, "--out", "results", "--dry-run", "--json"
    )  # a named folder is as it was
    assert json.loads(given.stdout)[0]["name"] == "tiny"
    assert not (tmp_path / "results" / "tiny").exists()
