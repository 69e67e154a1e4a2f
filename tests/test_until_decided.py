"""``--until-decided``: from look to look, by every launcher, killed and resumed; and what is refused."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import harness
from harness.analysis.starts import plan_of
from harness.errors import StudyError
from harness.plan import Plan
from harness.request import make_request
from harness.store.folders import StudyFolder
from harness.until_decided import stages
from tests.children import Nursery
from tests.conftest import TINY_TOML, Command
from tests.lab import Lab
from tests.launch.conftest import same_tables

LOOKS = (
    TINY_TOML.replace("seeds = [0, 1]", "seeds = [5, 0, 1, 2]\nlooks = [3, 4]")
    .replace("batch_size = 32, train_limit = 160", "batch_size = 16, train_limit = 320")
    .replace("width = 2", "width = 4")
    .replace("test_accuracy = 0.2", "test_accuracy = 0.0")
    .partition("[augment]")[0]
    + """
[variants.frozen]  # learns nothing: the first look tells it from base
"schedule.lr_max" = 1e-9
"schedule.lr_min" = 1e-9

[variants.equal]  # trains as base does: nothing ever tells them apart
"attribution.images" = 3
"""
)
Start = Callable[..., Any]


@pytest.fixture(scope="module")
def looks_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three variants, four seeds and two looks."""
    path = tmp_path_factory.mktemp("study") / "tiny.toml"
    path.write_text(LOOKS)
    return path


@pytest.fixture(scope="module")
def undisturbed(nursery: Nursery, looks_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """How it ends when nothing happens to it: its place and what it has said."""
    place = tmp_path_factory.mktemp("undisturbed")
    done = nursery.run(place, looks_file, "--out", "out", "--until-decided", "--require-target")
    assert done.status == 0, done.stderr
    return place, done


def statuses(study: Path) -> dict[str, list[str]]:
    runs = pd.read_csv(study / "tables/runs.csv")
    return {str(variant): list(of.sort_values("seed").status) for variant, of in runs.groupby("variant")}


def files(study: Path) -> dict[str, bytes]:
    """What the runs leave, without times and dates."""
    names = ("predictions.npz", "model.safetensors", "learning_rates.csv")
    paths = [path for name in names for path in study.rglob(name)]
    return {str(path.relative_to(study)): path.read_bytes() for path in paths}


def test_a_decided_variant_stops_and_the_others_go_on(undisturbed: Any) -> None:
    place, done = undisturbed
    stopped = ["finished", "finished", "not needed", "finished"]  # by seed: 0, 1, 2, 5
    assert statuses(place / "out/tiny") == {
        "base": ["finished"] * 4, "equal": ["finished"] * 4, "frozen": stopped,
    }  # fmt: skip
    assert not (place / "out/tiny/runs/frozen/seed-2").exists()
    first, last = (line for line in done.stderr.splitlines() if line.startswith("tiny: look "))
    assert first.startswith("tiny: look 1 of 2, after 3 seeds; frozen is worse than base (t = -")
    assert first.endswith("; continuing to 4 seeds: equal against base")
    assert last == "tiny: look 2 of 2, after 4 seeds; not decided: equal against base"
    assert "tiny: continued to look 2 of 2: 1 of 12 runs not needed" in done.stdout.splitlines()
    assert "not finished" not in done.stdout
    summary = pd.read_csv(place / "out/tiny/tables/summary.csv").set_index("variant")
    assert dict(summary["runs"]) == {"base": 4, "frozen": 3, "equal": 4}


def test_each_run_records_what_was_planned(undisturbed: Any) -> None:
    place, _ = undisturbed
    plans = [run.verify().planned for run in StudyFolder(place / "out", "tiny").runs()]
    assert len(plans) == 11 and {(plan["seeds"], *plan["looks"]) for plan in plans} == {("5,0-2", 3, 4)}
    assert len({plan["at"] for plan in plans}) == 1


@pytest.mark.slow
def test_its_report_is_a_function_of_the_folders(
    undisturbed: Any, looks_file: Path, nursery: Nursery
) -> None:
    place, done = undisturbed
    before = {path.name: path.read_bytes() for path in (place / "out/tiny/tables").iterdir()}
    again = nursery.run(place, looks_file, "--out", "out", "--report-only")
    assert again.status == 0 and again.stdout == done.stdout
    assert {path.name: path.read_bytes() for path in (place / "out/tiny/tables").iterdir()} == before
    repeat = (place / "out/tiny/report.md").read_text("utf-8")
    assert "--variants base,equal --device cpu" in repeat
    assert "--variants frozen --seeds 0-1,5 --device cpu" in repeat


MOMENTS = [
    "look 1 of 2",
    *(pytest.param(at, marks=pytest.mark.slow) for at in ("1  epoch 2 of 3", "equal/seed-2")),
]


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed_it_decides_the_same(
    undisturbed: Any, nursery: Nursery, looks_file: Path, tmp_path: Path, moment: str
) -> None:
    options = (looks_file, "--out", "out", "--until-decided")
    child = nursery.begin(tmp_path, *options, asleep_at=moment)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    done = nursery.run(tmp_path, *options)
    assert done.status == 0, done.stderr
    place, once = undisturbed
    assert [line for line in done.stderr.splitlines() if ": look " in line] == [
        line for line in once.stderr.splitlines() if ": look " in line
    ]
    same_tables(tmp_path / "out/tiny", place / "out/tiny", 12)
    assert files(tmp_path / "out/tiny") == files(place / "out/tiny")


class Killed(Exception):
    """Ends a start."""


@pytest.mark.parametrize(
    "effects",
    [
        (25, 4),
        *(pytest.param(each, marks=pytest.mark.slow) for each in [(0, 0), (9, 0), (60, -60), (30, 28)]),
    ],
)
def test_killed_after_any_run_it_does_the_same_runs(tmp_path: Path, effects: tuple[int, int]) -> None:
    """Runs that are only written, not trained: as many images better than base's as the effect, and noise."""
    rng = np.random.default_rng(sum(effects))
    noise = {(name, seed): int(rng.integers(-6, 7)) for name in ("base", "a", "b") for seed in range(8)}
    right = {"base": 250, "a": 250 + effects[0], "b": 250 + effects[1]}
    changes: dict[str, Any] = {"looks": [2, 3, 5, 8], "comparisons": "all", "augment": {}, "range_test": None}
    changes["seeds"] = list(range(8))
    changes["variants"] = {"a": {"optimizer.momentum": 0.1}, "b": {"optimizer.momentum": 0.2}}

    def go_through(place: Lab, runs: int) -> tuple[list[tuple[str, int]], list[str]]:
        """Execute so many runs, then be killed; return what is on disk and was said."""
        said: list[str] = []
        variants: Any = tuple(SimpleNamespace(name=name) for name in place.study.recipes)
        plan = Plan(place.study, place.folder, variants, tuple(place.study.seeds))
        with suppress(Killed):
            for stage in stages(plan, said.append):
                for variant, folder in stage.runs():
                    if folder.record() is None:
                        if not runs:
                            raise Killed
                        runs -= 1
                        logits = place.logits(right[variant.name] + noise[variant.name, folder.seed])
                        place.finish(variant.name, folder.seed, logits=logits, planned=plan_of(place.study))
        return [(run.variant, run.seed) for run in place.folder.runs()], said

    once = go_through(Lab(tmp_path, {**changes, "name": "once"}), 1000)
    killed = Lab(tmp_path, {**changes, "name": "killed"})
    for _ in range(24):
        go_through(killed, 1)
    assert go_through(killed, 0) == (once[0], [line.replace("once:", "killed:") for line in once[1]])


@pytest.mark.slow
def test_without_the_option_all_seeds_are_run_and_the_looks_decide_the_same(
    nursery: Nursery, looks_file: Path, tmp_path: Path
) -> None:
    one = ("--variants", "base,frozen", "--out", "out")
    done = nursery.run(tmp_path, looks_file, *one)
    assert done.status == 0 and ": look " not in done.stderr and "not needed" not in done.stdout
    assert statuses(tmp_path / "out/tiny") == {"base": ["finished"] * 4, "frozen": ["finished"] * 4}
    again = nursery.run(tmp_path, looks_file, *one, "--until-decided")
    assert "look 1 of 2, after 3 seeds; frozen is worse" in again.stderr and " epoch " not in again.stderr


@pytest.mark.slow
def test_a_slice_of_the_seeds_runs_these_alone(nursery: Nursery, looks_file: Path, tmp_path: Path) -> None:
    slice_ = ("--seeds", "2,5", "--variants", "base")
    done = nursery.run(tmp_path, looks_file, *slice_, "--out", "out")
    assert done.status == 0 and "base: " in done.stdout and "2 seeds" in done.stdout
    runs = StudyFolder(tmp_path / "out", "tiny").runs()
    assert [run.seed for run in runs] == [2, 5]
    assert {run.verify().planned["seeds"] for run in runs} == {"5,0-2"}  # of the whole study
    written = harness.load_study(tmp_path / "out/tiny/study.toml")
    assert (written.seeds, written.looks) == ([5, 0, 1, 2], [3, 4])


LAUNCHERS = [
    pytest.param(("--launcher", "process", "--workers", "2"), marks=pytest.mark.slow),
    pytest.param(("--devices", "2"), marks=pytest.mark.slow),
    pytest.param(("--launcher", "auto"), marks=pytest.mark.slow),
    pytest.param(("--launcher", "ray"), marks=pytest.mark.slow),
]


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda options: options[1])
def test_every_launcher_goes_from_look_to_look(
    undisturbed: Any, looks_file: Path, tmp_path: Path, command: Command, launcher: tuple[str, ...]
) -> None:
    done = command(
        looks_file, *launcher, "--until-decided", "--device", "cpu", "--out", "out", OMP_NUM_THREADS="1"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(": look ") == 2 and "1 of 12 runs not needed" in done.stdout
    if "--devices" not in launcher:  # there each of two processes normalises its half of a batch
        same_tables(tmp_path / "out/tiny", undisturbed[0] / "out/tiny", 12)


@pytest.mark.slow
def test_two_studies_stop_each_at_its_own_look(looks_file: Path, tmp_path: Path, command: Command) -> None:
    for name in ("one", "two"):
        text = LOOKS.replace('name = "tiny"', f'name = "{name}"').partition("[variants.equal]")[0]
        (tmp_path / f"{name}.toml").write_text(text.replace("[3, 4]", "[4]") if name == "two" else text)
    done = command("one.toml", "two.toml", "--until-decided", "--device", "cpu", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert "one: stopped at look 1 of 2: 2 of 8 runs not needed" in done.stdout
    assert "two: look 1 of 1, after 4 seeds; frozen is worse than base" in done.stderr
    assert "not needed" not in done.stdout.partition("two")[2]


@pytest.mark.slow
def test_a_run_that_failed_is_tried_again_at_the_next_look(
    looks_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, failed = harness.store.folders.RunFolder.finish, []  # type: ignore[attr-defined]

    def once(self: Any, record: Any) -> None:
        if (self.variant, self.seed) == ("frozen", 0) and not failed:
            failed.append(self.name)
            raise OSError(28, "No space left on device")
        finish(self, record)

    monkeypatch.setattr("harness.store.folders.RunFolder.finish", once)
    said: list[str] = []
    monkeypatch.setattr("harness.runner.say", said.append)
    results = harness.run(looks_file, out=tmp_path, device="cpu", until_decided=True, variants="base,frozen")
    assert failed and results.status == 0
    looks = [line for line in said if ": look " in line]
    assert "not reached by frozen against base, because a run has not ended" in looks[0]
    assert "frozen is worse than base" in looks[1]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"report_only": True}, "--until-decided and --report-only: the looks decide which runs start"),
    ({"seeds": [0, 1]}, "--until-decided and --seeds: the looks decide which runs start"),
    ({"n_seeds": 2}, "--until-decided and --n-seeds: the looks decide which runs start"),
    ({"settings": {"looks": [4, 3]}}, "looks: [4, 3] do not rise"),
    ({"settings": {"looks": [1, 4]}}, "looks[0]: expected at least 2"),
    ({"settings": {"looks": []}}, "looks: expected a list of at least 1"),
    ({"settings": {"looks": [3, 5]}}, "looks: the last is after 5 seeds, and seeds has 4; make them equal"),
    ({"settings": {"seeds": [0, 1, 2]}}, "looks: the last is after 4 seeds, and seeds has 3"),
    ({"settings": {"looks": list(range(2, 23)), "seeds": list(range(22))}}, "looks: expected at most 20"),
    ({"variants": "frozen"}, "compares no two of these variants; name base too"),
]


@pytest.mark.parametrize(("options", "error"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_wrong_wish_is_one_line(
    looks_file: Path, tmp_path: Path, options: dict[str, Any], error: str
) -> None:
    with pytest.raises(StudyError) as caught:
        harness.run(looks_file, out=tmp_path, device="cpu", until_decided=True, quiet=True, **options)
    assert error in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "tiny").exists()


def test_a_study_without_looks_is_told_what_to_write(tiny_file: Path) -> None:
    request = make_request([tiny_file], {"until_decided": True})
    with pytest.raises(StudyError, match=r"tiny has no planned looks; add them to the file: `looks = \[2\]`"):
        request.load()


def test_looks_need_something_to_compare(tiny_file: Path) -> None:
    with pytest.raises(StudyError, match="looks: there is one variant; add a"):
        harness.load_study(tiny_file, settings={"looks": [2]})
    search = {"trials": 3, "values": {"optimizer.momentum": [0.1, 0.9]}}
    with pytest.raises(StudyError, match="looks: a search has none"):
        harness.load_study(tiny_file, settings={"looks": [2], "search": search})


@pytest.mark.parametrize(
    "shared",
    [
        {"vary": {"initialisation": 2, "order": 2}},
        {"data.holdout": 60, "vary": ["order", "holdout"]},
        {"data.holdout": 60, "data.holdout_draws": 2},
    ],
)
def test_looks_need_independent_runs(looks_file: Path, shared: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match="looks: the runs of base share levels or images"):
        harness.load_study(looks_file, settings={"seeds": [0, 1, 2, 3], **shared})


def test_a_seed_that_no_look_has_is_refused(looks_file: Path) -> None:
    with pytest.raises(StudyError, match=r"--seeds: seed 7 is not one of the 4 seeds that .*tiny.toml plans"):
        harness.load_study(looks_file, seeds=[0, 7])


@pytest.mark.slow
def test_looks_that_come_after_the_runs_are_noticed(
    tiny_file: Path, tmp_path: Path, nursery: Nursery
) -> None:
    tiny_file.write_text(LOOKS.replace("looks = [3, 4]\n", "").partition("[variants.equal]")[0])
    first = nursery.run(tmp_path, tiny_file, "--seeds", "0-1", "--out", "out")
    assert first.status == 0, first.stderr
    tiny_file.write_text(LOOKS.partition("[variants.equal]")[0])
    done = nursery.run(tmp_path, tiny_file, "--until-decided", "--out", "out")
    assert done.status == 2 and "could be compared before these looks were planned" in done.stderr
    assert len(StudyFolder(tmp_path / "out", "tiny").runs()) == 4
    done = nursery.run(tmp_path, tiny_file, "--report-only", "--out", "out")
    assert "warning: The looks of frozen against base were planned, changed or removed after" in done.stderr


def test_a_dry_run_shows_the_looks(looks_file: Path, tmp_path: Path, nursery: Nursery) -> None:
    done = nursery.run(tmp_path, looks_file, "--dry-run", "--until-decided")
    assert "looks after 3 (seeds 5,0-1), 4 (seeds 5,0-2) of 4 seeds" in done.stdout, done.stdout
    done = nursery.run(tmp_path, looks_file, "--dry-run", "--json", "--seeds", "0-1")
    assert '"looks": [\n      3,\n      4\n    ]' in done.stdout and done.stdout.count('"seed": ') == 6
