"""Data sets that the datasets library saved to disk are read as their Parquet shards would be."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.data import load_data
from harness.errors import AbsentDataError, DataError

datasets = pytest.importorskip("datasets")
RNG = np.random.default_rng(0)
NAMES = ["cat", "dog"]


@pytest.fixture(autouse=True)
def quiet_and_own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def pixels(count: int, size: int = 12) -> np.ndarray:
    return RNG.integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def table(images: Any, labels: Any, label: Any = None, image: str = "image", **more: list[Any]) -> Any:
    columns = {image: [Image.fromarray(one) for one in images], "label": list(labels), **more}
    features = {image: datasets.Image(), "label": label or datasets.ClassLabel(names=NAMES)}
    kinds = {name: datasets.Value("string") for name in more}
    return datasets.Dataset.from_dict(columns, features=datasets.Features({**features, **kinds}))


def save(root: Path, **splits: Any) -> None:
    datasets.DatasetDict(splits).save_to_disk(str(root / "saved"))


def load(root: Path, **options: Any) -> Any:
    return load_data("datasets", root, path="saved", progress=False, **options)


def test_images_labels_and_names_are_those_that_the_library_gives(root: Path) -> None:
    train, test = pixels(600), pixels(20)  # more than are decoded at a time
    save(root, train=table(train, np.arange(600) % 2), test=table(test, np.arange(20) // 10))
    data = load(root)
    saved = datasets.load_from_disk(str(root / "saved"))
    for part, name, images in ((data.train, "train", train), (data.evaluation, "test", test)):
        assert np.array_equal(part.images, images)
        assert part.labels.tolist() == list(saved[name]["label"])
        assert np.array_equal(part.images, np.stack([np.asarray(row["image"]) for row in saved[name]]))
        assert part.classes == ("cat", "dog")


def test_several_files_a_selection_and_a_saved_format_are_one_split(root: Path) -> None:
    images = pixels(30)
    chosen = table(images, np.arange(30) % 2).shuffle(seed=1).select(range(20)).with_format("numpy")
    folder = root / "saved"
    chosen.save_to_disk(str(folder / "train"), num_shards=3)
    table(images[:10], np.arange(10) % 2).save_to_disk(str(folder / "test"))
    data = load(root)
    expected = np.stack([np.asarray(row) for row in chosen.with_format(None)["image"]])
    assert np.array_equal(data.train.images, expected)


def test_text_labels_are_classes_in_the_train_splits_order(root: Path) -> None:
    text = datasets.Value("string")
    save(
        root,
        train=table(pixels(4), ["zebra", "ant", "ant", "cow"], text),
        test=table(pixels(3), ["cow", "zebra", "ant"], text),
    )
    data = load(root)
    assert data.train.classes == ("ant", "cow", "zebra")
    assert (data.train.labels.tolist(), data.evaluation.labels.tolist()) == ([2, 0, 0, 1], [1, 2, 0])


def test_the_same_names_in_another_order_are_the_same_classes(root: Path) -> None:
    other = datasets.ClassLabel(names=["dog", "cat"])
    save(root, train=table(pixels(4), [0, 1, 0, 1]), test=table(pixels(2), [0, 1], other))
    assert load(root).evaluation.labels.tolist() == [1, 0]


def test_a_validation_split_takes_the_place_of_test_and_is_warned_of(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(root, train=table(pixels(4), [0, 1, 0, 1]), validation=table(pixels(2), [0, 1]))
    assert len(load(root).evaluation) == 2
    assert "no test split, evaluating on validation" in caplog.text


def test_a_single_data_set_is_a_train_split_for_hold_outs(root: Path) -> None:
    table(pixels(20), np.arange(20) % 2).save_to_disk(str(root / "saved"))
    assert len(load(root, holdout=4).train) == 16
    with pytest.raises(DataError, match=r"no split 'test' .*data\.holdout"):
        load(root)


def test_with_a_hold_out_the_test_split_stays_closed(root: Path) -> None:
    save(root, train=table(pixels(20), np.arange(20) % 2), test=table(pixels(4), [0, 1, 0, 1]))
    for file in (root / "saved/test").iterdir():
        file.unlink()
    assert len(load(root, holdout=4).evaluation) == 4


def test_columns_may_be_named(root: Path) -> None:
    def both(count: int) -> Any:
        coarse = table(pixels(count), np.arange(count) % 2).rename_column("label", "fine_label")
        names = datasets.ClassLabel(names=["x", "y", "z"])
        return coarse.add_column("kind", (np.arange(count) % 3).tolist()).cast_column("kind", names)

    save(root, train=both(9), test=both(6))
    assert load(root).train.classes == ("cat", "dog")
    named = load(root, options={"label": "kind"})
    assert named.train.classes == ("x", "y", "z") and named.train.labels.tolist() == [0, 1, 2] * 3


def test_clusters_are_a_columns_values(root: Path) -> None:
    patients = [f"p{at // 2}" for at in range(8)]
    save(
        root,
        train=table(pixels(4), [0, 1, 0, 1], patient=patients[:4]),
        test=table(pixels(8), [0, 1] * 4, patient=patients),
    )
    assert load(root, cluster="patient").evaluation.clusters.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    with pytest.raises(DataError, match=r"no column data\.cluster = 'doctor'"):
        load(root, cluster="doctor")


def test_encoded_bytes_without_an_image_feature_are_decoded(root: Path) -> None:
    images = pixels(4)

    def encoded(image: np.ndarray) -> bytes:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        return file.getvalue()

    plain = datasets.Dataset.from_dict(
        {"image": [encoded(image) for image in images], "label": [0, 1, 0, 1]},
        features=datasets.Features({"image": datasets.Value("binary"), "label": datasets.Value("int64")}),
    )
    save(root, train=plain, test=plain)
    data = load(root)
    assert np.array_equal(data.train.images, images) and data.train.classes == ("0", "1")


def test_changed_files_are_read_anew_and_unchanged_ones_come_from_the_cache(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(root, train=table(pixels(4), [0, 1, 0, 1]), test=table(pixels(2), [0, 1]))
    first = load(root).sha256
    with monkeypatch.context() as patch:
        patch.setattr(datasets, "load_from_disk", lambda folder: pytest.fail("read again"))
        assert load(root).sha256 == first
    save(root, train=table(pixels(4), [0, 1, 0, 1]), test=table(pixels(2), [0, 1]))
    assert load(root).sha256 != first


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"options": {"label": "labl"}}, r"data\.options: no column 'labl' among image, label"),
        ({"options": {"labels": "label"}}, "did you mean 'label'"),
        ({"options": {"label": 3}}, "expected the names of the columns"),
        ({"options": {"image": "label"}}, "no image bytes in column 'label'"),
    ],
)
def test_wrong_options_are_refused(root: Path, options: dict[str, Any], words: str) -> None:
    save(root, train=table(pixels(4), [0, 1, 0, 1]), test=table(pixels(2), [0, 1]))
    with pytest.raises(DataError, match=words):
        load(root, **options)


def test_unlabelled_test_images_are_refused(root: Path) -> None:
    save(root, train=table(pixels(4), [0, 1, 0, 1]), test=table(pixels(2), [-1, -1]))
    with pytest.raises(DataError, match="has label -1, .*is this split unlabelled"):
        load(root)


@pytest.mark.parametrize("name", ["state.json", "dataset_info.json", "data-00000-of-00001.arrow"])
def test_damage_is_named(root: Path, name: str) -> None:
    save(root, train=table(pixels(4), [0, 1, 0, 1]), test=table(pixels(2), [0, 1]))
    (root / "saved/train" / name).write_bytes(b"{}damaged")
    with pytest.raises(DataError, match="saved/train.*damaged|damaged.*saved/train"):
        load(root)


def test_a_folder_that_is_not_there_is_absent_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set saved by save_to_disk"):
        load(tmp_path)
    with pytest.raises(AbsentDataError):
        from harness.data.arrays import SourceRequest
        from harness.data.saved_datasets import load as load_split

        load_split(SourceRequest(tmp_path, "train", "saved"))


def test_without_the_package_it_says_what_to_install(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.messages.find_spec", lambda package: None)
    with pytest.raises(
        DataError, match=r"datasets is not installed; pip install 'ignite-harness\[datasets\]'"
    ):
        load(root)
