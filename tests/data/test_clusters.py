"""``data.cluster``: images that belong together, from a file to the page."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harness import data as sources
from harness.data import load_data
from harness.data.arrays import SourceRequest, Split, hold_out, limit, split_of, with_clusters
from harness.data.digits import load as load_digits
from harness.errors import DataError, StudyError
from harness.plan import resolve_variant
from harness.study_file.load import resolve
from tests.conftest import TINY, Command

FILM = r"^[^/]+/([^_]+)_"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Films of three frames, each of one class, beside one film that is in both classes."""
    pixels = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 6)):
        for film in range(count):
            for frame in range(3):
                name = "both" if film < 2 else f"film{film}"
                path = tmp_path / "films" / split / "ab"[film % 2] / f"{name}_{frame}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.integers(0, 255, (32, 32, 3), np.uint8)).save(path)
    return tmp_path / "films"


def read(root: Path, cluster: str, **options: Any) -> Any:
    return load_data("image_folder", root.parent, path=root.name, cluster=cluster, progress=False, **options)


def test_the_first_group_of_a_rule_names_the_cluster_of_a_file(films: Path) -> None:
    data = read(films, FILM)
    assert data.train.clusters is None  # nothing asks for it
    # in file order: class a with both, film2 and film4, then b with both, film3 and film5
    assert data.evaluation.clusters.tolist() == [0] * 3 + [1] * 3 + [3] * 3 + [0] * 3 + [2] * 3 + [4] * 3
    limited = read(films, FILM, test_limit=4).evaluation
    assert limited.clusters.tolist() == [0, 0, 0, 0]


def test_a_second_reading_from_the_cache_has_the_clusters_of_its_own_rule(films: Path) -> None:
    assert len(set(read(films, FILM).evaluation.clusters)) == 5
    assert len(set(read(films, r"_(\d)").evaluation.clusters)) == 3
    assert read(films, FILM).sha256 != read(films, r"_(\d)").sha256
    plain = load_data("image_folder", films.parent, path=films.name, progress=False)
    assert plain.evaluation.clusters is None and plain.sha256 != read(films, FILM).sha256


def test_a_hold_out_takes_whole_films(films: Path) -> None:
    data = read(films, FILM, holdout=20)
    held, rest = set(data.evaluation.clusters.tolist()), set(data.train.clusters.tolist())
    assert not held & rest and 0 < len(data.evaluation) <= 20
    assert len(data.evaluation) % 3 == 0 and len(data.train) + len(data.evaluation) == 60
    with pytest.raises(StudyError, match="data.holdout = 2: no cluster of images fits in it"):
        read(films, FILM, holdout=2)


def test_a_run_whose_films_are_longer_has_the_steps_of_its_own_train_images(films: Path) -> None:
    for extra in range(3, 13):  # one film of class b is longer than the others
        frame = films / "train" / "b" / f"film3_{extra}.png"
        frame.write_bytes((films / "train" / "b" / "film3_0.png").read_bytes())
    table = {"source": "image_folder", "path": films.name, "cluster": FILM, "batch_size": 4, "holdout": 30}
    study = resolve({**TINY, "data": table, "vary": ["holdout"]})
    data = {draw: read(films, FILM, holdout=30, draw=draw) for draw in range(8)}
    sizes = {draw: len(part.train) for draw, part in data.items()}
    seed = next(draw for draw in sizes if sizes[draw] != sizes[0])
    variant = resolve_variant(study, "base", data[0], device="cpu")
    own = variant.of_run(seed, data[seed])
    assert own.train_images == sizes[seed] and own.steps_per_epoch == math.ceil(sizes[seed] / 4)
    assert own.digest == variant.digest and variant.of_run(0, data[0]) is variant


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=3, max_size=60),
    st.integers(1, 59),
)
def test_no_cluster_is_ever_on_both_sides(images: list[tuple[int, int]], n: int) -> None:
    labels, names = (list(column) for column in zip(*images, strict=True))
    pixels = np.arange(len(labels), dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    plain = split_of(pixels, np.array(labels, np.int64), ("a", "b", "c"))
    split = with_clusters(plain, [f"film {name}" for name in names])
    if n >= len(split):
        return
    try:
        rest, held = hold_out(split, n)
    except StudyError:
        return  # no cluster was small enough
    assert rest.clusters is not None and held.clusters is not None
    assert not set(rest.clusters.tolist()) & set(held.clusters.tolist())
    assert len(rest) + len(held) == len(split) and 1 <= len(held) <= n
    assert len(rest) > 0 and len(rest.clusters) == len(rest)


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        (r"^[^/]+/(film\d+)_", r"data.cluster = .* finds nothing in 'a/both_0.png'"),
        (r"(z)?", r"finds nothing in 'a/both_0.png'"),
        (r"\.(png)", "puts all images into one cluster"),
    ],
)
def test_a_rule_that_finds_no_clusters_is_refused(films: Path, cluster: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as error:
        read(films, cluster)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("cluster", "said"), [("(", "no regular expression"), ("film", "no group in brackets")]
)
def test_what_is_no_rule_is_refused_before_any_image_is_read(cluster: str, said: str) -> None:
    raw = {**TINY, "data": {"source": "image_folder", "path": "x", "cluster": cluster}}
    with pytest.raises(StudyError, match=said):
        resolve(raw)


def test_other_sources_refuse_the_key(cifar10: Path) -> None:
    for source, root in (("digits", Path()), ("cifar10", cifar10)):
        with pytest.raises(DataError, match=f"data.cluster does not apply to data.source = '{source}'"):
            load_data(source, root, cluster="patient")


def shard(file: Path, **columns: Any) -> None:
    from tests.data.test_parquet import png

    labels = [0, 1, 0, 1]
    images = [{"bytes": png(40 * index), "path": None} for index in range(4)]
    pq.write_table(pa.table({"image": images, "label": labels, **columns}), file)


@pytest.mark.parametrize("patients", [["p10", "p2", "p10", "é"], [10, -2, 10, 3]])
def test_a_column_names_the_cluster_of_a_row(tmp_path: Path, patients: list[Any]) -> None:
    shard(tmp_path / "train-0.parquet")
    shard(tmp_path / "test-0.parquet", patient=patients)
    shard(tmp_path / "test-1.parquet", patient=patients[::-1])
    split = load_data("parquet", tmp_path, cluster="patient", progress=False).evaluation
    together = split.clusters
    assert together is not None and together.dtype == np.int64
    names = [*patients, *patients[::-1]]
    assert [[one == other for other in together] for one in together] == [
        [one == other for other in names] for one in names
    ]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({}, "test.parquet: no column data.cluster = 'patient' among image, label"),
        ({"patient": ["a", None, "b", "b"]}, "test.parquet, row 1: no cluster in column 'patient'"),
        ({"patient": [0.5, 1.5, 2.5, 2.5]}, "clusters in column 'patient' are double"),
    ],
)
def test_a_column_that_tells_no_clusters_is_refused(
    tmp_path: Path, columns: dict[str, Any], said: str
) -> None:
    shard(tmp_path / "train.parquet")
    shard(tmp_path / "test.parquet", **columns)
    with pytest.raises(DataError, match=said):
        load_data("parquet", tmp_path, cluster="patient", progress=False)


def own(request: SourceRequest) -> Split:
    """Digits, in clusters where they are asked for."""
    split = load_digits(SourceRequest(Path(), request.which))
    return with_clusters(split, split.labels.tolist()) if request.cluster == "label" else split


def test_a_source_of_ones_own_gives_clusters_or_the_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    point = SimpleNamespace(name="mine", value="tests.data.test_clusters:own")
    monkeypatch.setattr(sources, "entry_points", lambda group: [point])
    clusters = load_data("mine", Path(), cluster="label").evaluation.clusters
    assert clusters is not None and len(set(clusters.tolist())) == 10
    with pytest.raises(DataError, match="data.cluster does not apply to this source"):
        load_data("mine", Path(), cluster="other")
    with pytest.raises(DataError, match="3 names of clusters for 360 images"):
        with_clusters(limit(own(SourceRequest(Path(), "test")), 360), ["a", "b", "c"])


@pytest.mark.slow
def test_a_run_saves_the_clusters_and_its_report_counts_them(
    command: Command, tiny_file: Path, films: Path, tmp_path: Path
) -> None:
    text = tiny_file.read_text()
    text = text.replace(", train_limit = 160, test_limit = 60", f", path = 'films', cluster = '{FILM}'")
    tiny_file.write_text(text.replace('"digits"', '"image_folder"'))
    arguments = [tiny_file, "--data", tmp_path]
    assert (done := command(*arguments)).returncode == 0, done.stderr
    folder = tmp_path / "results/tiny"
    run = folder / "runs/base/seed-0"
    with np.load(run / "predictions.npz") as arrays:
        assert arrays["clusters"].dtype == np.int64
        assert arrays["clusters"].tolist() == read(films, FILM).evaluation.clusters.tolist()
    record = json.loads((run / "run.json").read_text())
    assert record["provenance"]["data"]["clusters"] == 5
    (noise,) = csv.DictReader((folder / "tables/noise.csv").read_text().splitlines())
    assert (noise["images"], noise["clusters"]) == ("18", "5")
    assert "clusters of images" in (folder / "report.md").read_text()
    # the report is a function of the folders alone
    tables = {path.name: path.read_bytes() for path in (folder / "tables").iterdir()}
    assert command(*arguments, "--report-only").returncode == 0
    assert {path.name: path.read_bytes() for path in (folder / "tables").iterdir()} == tables
    # other clusters, and none, are other configurations
    other = [*arguments, "--set", r"data.cluster='_(\d)'", "--out", "results"]
    assert "holds another configuration's run" in (done := command(*other)).stderr and done.returncode == 2
    tiny_file.write_text(tiny_file.read_text().replace(f", cluster = '{FILM}'", ""))
    plain = command(*arguments, "--out", "plain")
    assert plain.returncode == 0
    with np.load(tmp_path / "plain/tiny/runs/base/seed-0/predictions.npz") as arrays:
        assert sorted(arrays) == ["labels", "logits"]
    assert "identity" in record and "cluster" not in record["identity"]["recipe"]["data"]
