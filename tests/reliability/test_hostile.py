"""Files and names made to do harm: they are data, they stay in their folder, and they are shown as text."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import StudyError
from harness.outline import check_recipe
from harness.store.atomic import sha256_file
from harness.store.folders import StudyFolder
from harness.store.sealed import read_sealed, write_sealed
from harness.study_file.load import load_study
from tests.reliability.conftest import write_images

GoOn = Callable[..., Any]


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def seal(finished: StudyFolder, name: str) -> None:
    """Give a run's record the right checksum of a file that was exchanged."""
    folder = finished.run("base", 0)
    record = read_sealed(folder.record_file) or {}
    record["files"][name] = sha256_file(folder.path / name)
    write_sealed(folder.record_file, record)


# ---- files that are not what they seem --------------------------------------------------------------------


def test_a_bomb_goes_off_where_it_is_unpickled(tmp_path: Path) -> None:
    """Else the other tests could not fail."""
    pickle.loads(pickle.dumps(Bomb(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


@pytest.mark.slow
def test_a_checkpoint_that_is_a_bomb_is_not_run_though_its_checksum_is_right(
    killed_at: Callable[..., None], go_on: GoOn, tmp_path: Path
) -> None:
    killed_at("seed-0  epoch 3 of 3")
    path = tmp_path / "out/fragile/runs/base/seed-0/checkpoint.pt"
    content = pickle.dumps({"digest": "any", "state": Bomb(tmp_path / "mark")})
    path.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    assert "checkpoint.pt: not a checkpoint of ours" in go_on().stderr
    assert not (tmp_path / "mark").exists()


@pytest.mark.slow
def test_predictions_and_weights_that_are_bombs_are_not_run_though_their_checksums_are_right(
    nursery: Any, fragile: Path, finished: StudyFolder, tmp_path: Path
) -> None:
    folder = finished.run("base", 0).path
    bomb = np.array([Bomb(tmp_path / "mark")], dtype=object)
    archive = io.BytesIO()
    np.savez(archive, logits=bomb, labels=bomb)
    whole = (folder / "predictions.npz").read_bytes()
    (folder / "predictions.npz").write_bytes(archive.getvalue())
    seal(finished, "predictions.npz")
    done = nursery.run(tmp_path, fragile, "--out", "out", "--report-only")
    assert done.status == 1 and "fragile/base/seed-0: damaged: " in done.stderr
    (folder / "predictions.npz").write_bytes(whole)
    seal(finished, "predictions.npz")
    (folder / "model.safetensors").write_bytes(pickle.dumps(Bomb(tmp_path / "mark")))
    seal(finished, "model.safetensors")
    done = nursery.run(tmp_path, fragile, "--out", "out", "--report-only")
    assert "Traceback" not in done.stderr
    assert "no image galleries or Grad-CAM: " in (finished.path / "report.html").read_text()
    assert not (tmp_path / "mark").exists()


@pytest.mark.slow
def test_an_intact_record_with_nothing_in_it_is_refused(
    nursery: Any, fragile: Path, finished: StudyFolder, go_on: GoOn, tmp_path: Path
) -> None:
    write_sealed(finished.run("base", 0).record_file, {"status": "finished"})
    write_sealed(finished.range_test_json("base"), {"digest": ["?"]})
    done = nursery.run(tmp_path, fragile, "--out", "out", "--report-only")
    assert done.status == 1 and "Traceback" not in done.stderr
    go_on()


@pytest.mark.slow
def test_a_run_folder_that_is_a_link_is_moved_aside_and_not_what_it_points_to(
    nursery: Any, fragile: Path, finished: StudyFolder, tmp_path: Path
) -> None:
    folder, elsewhere = finished.run("base", 0).path, tmp_path / "elsewhere"
    shutil.move(folder, elsewhere)
    folder.symlink_to(elsewhere)
    before = {path.name: path.read_bytes() for path in elsewhere.iterdir()}
    other = ("--set", "data.batch_size=40", "--seeds", "0", "--force")
    assert nursery.run(tmp_path, fragile, "--out", "out", *other).status == 0
    assert {path.name: path.read_bytes() for path in elsewhere.iterdir()} == before
    assert (finished.path / "superseded/base-seed-0-1").is_symlink() and not folder.is_symlink()


# ---- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["name={}", "variants={{{}={{}}}}", "variants.{}.schedule.epochs=2"])
@pytest.mark.parametrize("name", ['"../../escape"', "'/etc'", '"a/b"', '"\\u001b[2J"'])
def test_no_setting_can_name_anything_out_of_its_folder(fragile: Path, setting: str, name: str) -> None:
    with pytest.raises(StudyError) as refused:
        load_study(str(fragile), settings=[setting.format(name)])
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("key", ["__class__", "../x", "model.__class__.x", "..", "name.x", "\x1b[2J"])
def test_no_settings_key_reaches_anything_but_the_study(fragile: Path, key: str) -> None:
    with pytest.raises(StudyError) as refused:
        check_recipe(load_study(str(fragile), settings=[f"{key}=1"]), "base")
    assert str(refused.value).isprintable()


def test_what_is_no_file_is_not_read_as_a_study(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero", "/dev/stdin"):
        with pytest.raises(StudyError, match="not found"):
            load_study(str(path))


# ---- text that is shown -----------------------------------------------------------------------------------

INJECTION = '<img src=x onerror=alert(1)> | [a](javascript:alert) =1+1,"`'


class Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_strings_from_outside_are_shown_as_text(nursery: Any, fragile: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", (INJECTION, "=HYPERLINK(1)\r\nfinished,1"))
    study = tmp_path / "hostile.toml"
    text = fragile.read_text().replace('"Does it survive?"', json.dumps(f"{INJECTION}\x1b[2J"))
    digits = 'source = "digits", batch_size = 32, train_limit = 160, test_limit = 60'
    assert digits in text
    text = text.replace(digits, 'source = "image_folder", path = "pictures", batch_size = 32')
    study.write_text(f"{text}\n[references.paper]\ntest_accuracy = 0.5\nsource = {json.dumps(INJECTION)}\n")
    cache = {"environment": {"HARNESS_CACHE": str(tmp_path / "cache")}}
    done = nursery.run(tmp_path, study, "--data", "data", "--out", "out", "--seeds", "0", **cache)
    assert done.status == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    out = tmp_path / "out/fragile"

    text = (out / "report.html").read_text()
    page = Page(text)
    assert not {"iframe", "object", "embed", "form"} & page.tags
    assert text.count("<script") == 1  # the page's own, which its policy names by its checksum
    assert not {name for name in page.attributes if name.startswith("on")}
    beside = ("tables/", "figures/")
    assert all(address.startswith(("data:image/webp;", "#", "runs/", *beside)) for address in page.addresses)
    assert page.text.count("onerror=alert(1)") >= 2  # shown, as text
    markdown = (out / "report.md").read_text()
    outside_code = re.sub(r"(?ms)^(`{3,})$.*?^\1$", "", markdown)
    assert "<img" not in outside_code and "[a](javascript" not in outside_code
    with (out / "tables/per_class.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["class"] for row in rows} == {INJECTION, "=HYPERLINK(1)\r\nfinished,1"}
    assert len(rows) == 2 and all(row["variant"] == "base" and row["seed"] == "0" for row in rows)


def test_control_characters_do_not_reach_the_terminal(nursery: Any, fragile: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(fragile.read_text() + '\n[variants."\\u001b[2J\\u0007"]\n')
    done = nursery.run(tmp_path, study, "--out", "\x1b[2J", "--seeds", "0\x1b")
    assert done.status == 2 and done.stderr[:-1].isprintable() and done.stderr.count("\n") == 1
    assert not (tmp_path / "\x1b[2J").exists()


# ---- foreign things in the output folder ------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "run.json",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("history.csv", "model.safetensors")),
    ],
)
def test_a_pipe_in_a_runs_folder_is_not_waited_for_and_the_run_is_done_again(
    nursery: Any, fragile: Path, finished: StudyFolder, go_on: GoOn, tmp_path: Path, name: str
) -> None:
    (finished.run("base", 0).path / name).unlink()
    os.mkfifo(finished.run("base", 0).path / name)
    done = nursery.run(tmp_path, fragile, "--out", "out", "--report-only", timeout=60)
    assert done.status == 1 and f"damaged: {name}: cannot be read: not a regular file" in done.stderr
    go_on(timeout=60)


@pytest.mark.slow
def test_a_pipe_for_a_range_test_and_a_record_of_gigabytes_are_done_again(
    finished: StudyFolder, go_on: GoOn
) -> None:
    finished.range_test_json("base").unlink()
    os.mkfifo(finished.range_test_json("base"))
    with finished.run("base", 0).record_file.open("r+b") as file:
        file.truncate(3 << 30)
    go_on(more_memory=1 << 30, timeout=60)


@pytest.mark.slow
def test_foreign_figures_are_left_alone(
    nursery: Any, fragile: Path, finished: StudyFolder, tmp_path: Path
) -> None:
    own = {name: finished.figures / f"{name}.png" for name in ("folder", "pipe", "link", "large")}
    own["folder"].mkdir()
    os.mkfifo(own["pipe"])
    own["link"].symlink_to("nowhere")
    with own["large"].open("wb") as file:
        file.truncate(3 << 30)
    done = nursery.run(tmp_path, fragile, "--out", "out", "--report-only", more_memory=1 << 30, timeout=60)
    assert done.status == 0, done.stderr
    assert all(os.path.lexists(path) for path in own.values())
