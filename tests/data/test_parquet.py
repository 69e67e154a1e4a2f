"""Hugging Face's Parquet layout, as people really write it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from harness.data import parquet
from harness.data.arrays import SourceRequest, Split, Which
from harness.errors import DataError

AB: dict[str, Any] = {"names": ["a", "b"]}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def png(value: int, size: tuple[int, int] = (5, 4)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(buffer, "PNG")
    return buffer.getvalue()


def write(
    file: Path, labels: Any, *, image: str = "image", label: str = "label", names: Any = None,
    raw: bool = False, images: Any = None, features: Any = None
) -> None:  # fmt: skip
    """A shard whose image ``i`` is gray ``i``, with the ``datasets`` library's metadata where asked for."""
    images = [png(index) for index in range(len(labels))] if images is None else images
    cells = images if raw else [{"bytes": content, "path": None} for content in images]
    table = pa.table({"id": list(range(len(labels))), image: cells, label: labels})
    if names:
        features = {image: {"_type": "Image"}, label: {"_type": "ClassLabel", "names": names}}
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=2)


def load(root: Path, which: Which = "train", **options: Any) -> Split:
    return parquet.load(SourceRequest(root, which, progress=False, **options))


def values(split: Split) -> list[int]:
    return [int(image[0, 0, 0]) for image in split.images]


def test_names_come_from_the_metadata(root: Path) -> None:
    write(root / "train.parquet", [1, 0, 1], image="photo_of_it", label="kind", names=["cat", "dog"])
    split = load(root)
    assert split.classes == ("cat", "dog")
    assert split.labels.tolist() == [1, 0, 1]
    assert split.images.shape == (3, 4, 5, 3)
    assert values(split) == [0, 1, 2]


def test_shards_are_joined_in_order(root: Path) -> None:
    write(root / "train-00001-of-00002.parquet", [1], **AB, images=[png(9)])
    write(root / "train-00000-of-00002.parquet", [0, 1], **AB)
    assert values(load(root)) == [0, 1, 9]
    assert load(root).labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "name",
    ["data/train-00000-of-00001-0123456789abcdef.parquet", "train/0000.parquet", "plain_text/train.parquet"],
)
def test_shards_are_found_where_the_hub_puts_them(root: Path, name: str) -> None:
    write(root / name, [0, 1], **AB)
    assert len(load(root)) == len(load(root.parent, path="data")) == 2


def test_missing_shard_is_noticed(root: Path) -> None:
    write(root / "train-00000-of-00003.parquet", [0], names=["a"])
    write(root / "train-00002-of-00003.parquet", [0], names=["a"])
    with pytest.raises(DataError, match="2 train shards, but their names say 3"):
        load(root)


@pytest.mark.parametrize("labels", [[10, 9, 10], pa.array([10, 9, 10]).dictionary_encode()], ids=type)
def test_raw_bytes_and_plain_integers_are_understood_and_sort_as_numbers(root: Path, labels: Any) -> None:
    write(root / "train.parquet", labels, image="img", label="target", raw=True)
    assert load(root).classes == ("9", "10") and load(root).labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.string(), pa.large_string(), pa.string_view(), pa.binary()),
        *(pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.binary())),
    ],
    ids=str,
)
def test_strings_are_classes_in_alphabetical_order(root: Path, kind: pa.DataType) -> None:
    labels = pa.array(["dog", "ant", "dog"])
    if pa.types.is_dictionary(kind):
        labels = labels.cast(kind.value_type).dictionary_encode()
    write(root / "train.parquet", labels.cast(kind))
    split = load(root)
    assert split.classes == ("ant", "dog")
    assert split.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("struct", [False, True])
@pytest.mark.parametrize(
    "kind", [pa.large_binary(), pa.binary_view(), pa.dictionary(pa.int32(), pa.binary())], ids=str
)
def test_image_bytes_are_read_in_whatever_form_arrow_has_for_them(
    root: Path, kind: pa.DataType, struct: bool
) -> None:
    cells = pa.array([png(0), png(1)], pa.binary())
    cells = cells.dictionary_encode() if pa.types.is_dictionary(kind) else cells.cast(kind)
    if struct:
        cells = pa.StructArray.from_arrays([cells, pa.nulls(2, pa.string())], ["bytes", "path"])
    write(root / "train.parquet", [0, 1], images=cells, raw=True)
    assert values(load(root)) == [0, 1]


@pytest.mark.parametrize(
    ("image", "label"),
    [("Image", "Label"), ("IMG", "Fine_Label"), ("img", "fine_label"), ("image", "LABELS")],
)
def test_the_case_of_column_names_does_not_matter(root: Path, image: str, label: str) -> None:
    write(root / "train.parquet", [0, 1], image=image, label=label, raw=True)
    assert load(root).labels.tolist() == [0, 1]


@pytest.mark.parametrize("twins", [("label", "Label"), ("image", "IMAGE")])
def test_columns_that_differ_in_case_alone_are_refused(root: Path, twins: tuple[str, str]) -> None:
    write(root / "train.parquet", [0, 1])
    table = pq.read_table(root / "train.parquet")
    pq.write_table(table.append_column(twins[1], table[twins[0]]), root / "train.parquet")
    with pytest.raises(DataError, match=f"'{twins[0]}' and '{twins[1]}' differ only in case"):
        load(root)


def test_test_labels_are_read_with_the_classes_of_the_train_split(root: Path) -> None:
    write(root / "train.parquet", ["ant", "bee", "cow"])
    write(root / "test.parquet", ["cow", "bee"])
    split = load(root, "test")
    assert split.classes == ("ant", "bee", "cow") and split.labels.tolist() == [2, 1]
    write(root / "test.parquet", ["emu"])
    with pytest.raises(DataError, match="'emu' does not occur in the train split"):
        load(root, "test")


@pytest.mark.parametrize("named", [False, True])
def test_class_names_are_the_same_in_both_unicode_forms(root: Path, named: bool) -> None:
    names = ["caf\u00e9", "bar"], ["cafe\u0301", "bar"]
    for file, form in zip(("train-0", "train-1", "test"), (*names, names[1]), strict=True):
        if named:
            write(root / f"{file}.parquet", [0, 1], names=form)
        else:
            write(root / f"{file}.parquet", form)
    train, test = load(root), load(root, "test")
    assert train.classes == test.classes and set(train.classes) == set(names[0])
    assert train.labels.tolist() == [*test.labels.tolist()] * 2


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_shard_is_read_by_its_own_names_and_columns(root: Path, data: st.DataObject) -> None:
    """Whatever order, columns and kind of labels the shards have, an image keeps its class."""
    folder = root / str(len(list(root.iterdir())))
    classes = ["ant", "bee", "cow", "dog"]
    expected = []
    for number in range(3):
        names = data.draw(st.permutations(classes))
        wanted = data.draw(st.lists(st.sampled_from(classes), min_size=1, max_size=5))
        if number == 0:
            wanted, first = [*classes, *wanted], names
        expected += wanted
        as_text = number > 0 and data.draw(st.booleans())
        labels = wanted if as_text else [names.index(name) for name in wanted]
        columns: dict[str, Any] = {"image": data.draw(st.sampled_from(["image", "img"]))}
        columns["label"] = data.draw(st.sampled_from(["label", "class"]))
        write(folder / f"train-{number}.parquet", labels, names=None if as_text else names, **columns)
    split = load(root, path=folder.name)
    assert split.classes == tuple(first)
    assert [split.classes[label] for label in split.labels] == expected


def test_shards_of_one_split_with_other_class_names_are_refused(root: Path) -> None:
    write(root / "train-0.parquet", [0, 1], names=["ant", "bee"])
    write(root / "train-1.parquet", [1, 0], names=["bee", "emu"])
    with pytest.raises(DataError, match=r"train-1.parquet: the class 'emu' is not among .*: ant, bee"):
        load(root)
    write(root / "train-1.parquet", [0, 0], names=["bee", "emu"])  # a name that no image has
    assert load(root).labels.tolist() == [0, 1, 1, 1]


def test_the_test_splits_columns_and_order_of_classes_may_be_others(root: Path) -> None:
    write(root / "train.parquet", [0, 1], image="img", **AB)
    write(root / "test.parquet", [1, 0, 1], image="picture", label="labels", names=["b", "a"])
    assert load(root, "test").labels.tolist() == [0, 1, 0] and load(root, "test").classes == ("a", "b")


def test_a_shard_without_names_is_read_by_those_of_the_others(root: Path) -> None:
    write(root / "train-0.parquet", [0, 1])
    write(root / "train-1.parquet", [1, 1], **AB)
    write(root / "test.parquet", [1, 0])
    assert load(root).classes == ("a", "b") and load(root).labels.tolist() == [0, 1, 1, 1]
    assert load(root, "test").labels.tolist() == [1, 0]


def test_numbers_and_text_are_not_mixed_up(root: Path) -> None:
    write(root / "train-0.parquet", [0, 1])
    write(root / "train-1.parquet", ["0", "1"])
    with pytest.raises(DataError, match="numbers in some train shards and text in others"):
        load(root)


def test_first_class_label_is_taken_unless_one_has_the_usual_name(root: Path) -> None:
    features = {
        "pic": {"_type": "Image"},
        "maker": {"_type": "ClassLabel", "names": ["x", "y"]},
        "label": {"_type": "ClassLabel", "names": ["a", "b"]},
    }
    write(root / "train.parquet", [1, 0], image="pic", features=features)
    assert load(root).classes == ("a", "b")


@pytest.mark.parametrize("name", ["validation", "valid", "val"])
def test_validation_takes_the_place_of_a_missing_test_split_and_says_so(
    root: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(root / "train.parquet", [0, 1], **AB)
    with pytest.raises(DataError, match="data.holdout"):
        load(root, "test")
    write(root / f"{name}-00000-of-00001.parquet", [1], **AB)
    assert load(root, "test").labels.tolist() == [1]
    assert f"evaluating on {name}-00000-of-00001.parquet" in caplog.text
    caplog.clear()
    write(root / "test.parquet", [0, 0], **AB)
    assert load(root, "test").labels.tolist() == [0, 0] and not caplog.records


@pytest.mark.parametrize("name", ["training.parquet", "trainer-0.parquet", "notes.parquet"])
def test_other_names_are_no_train_shards(root: Path, name: str) -> None:
    write(root / name, [0, 1], **AB)
    with pytest.raises(DataError, match=r"no train\*.parquet"):
        load(root)


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-20], lambda c: c[: len(c) // 2], lambda c: b"", lambda c: b"x" * 99]
)
def test_truncated_shard_is_named(root: Path, damage: Callable[[bytes], bytes]) -> None:
    write(root / "train-00000-of-00002.parquet", [0, 1], **AB)
    broken = root / "train-00001-of-00002.parquet"
    write(broken, [0, 1], **AB)
    broken.write_bytes(damage(broken.read_bytes()))
    with pytest.raises(DataError, match="train-00001-of-00002.parquet: damaged or no Parquet") as error:
        load(root)
    assert "\n" not in str(error.value)


def test_byte_changed_inside_a_shard_with_checksums_is_noticed(root: Path) -> None:
    bitmap = io.BytesIO()  # without a checksum of its own, unlike PNG
    Image.new("RGB", (16, 16), (7, 7, 7)).save(bitmap, "BMP")
    table, shard = pa.table({"image": [bitmap.getvalue()], "label": ["a"]}), root / "train.parquet"
    # no statistics: they would hold the pixels a second time, where no checksum covers them
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(table, shard, write_page_checksum=True, **options)
    assert values(load(root)) == [7]
    shard.write_bytes(shard.read_bytes().replace(b"\x07" * 100, b"\x07" * 99 + b"\x08", 1))
    with pytest.raises(DataError, match="train.parquet: damaged"):
        load(root)


@pytest.mark.parametrize(("cell", "message"), [(b"broken", "not an image"), (None, "no image bytes")])
def test_damaged_or_missing_image_is_named_by_shard_and_row(root: Path, cell: Any, message: str) -> None:
    write(root / "train.parquet", [0, 0, 0], names=["a"], images=[png(1), cell, png(2)])
    with pytest.raises(DataError, match=f"train.parquet, row 1: {message}"):
        load(root)


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 2], ["a", "b"], "label 2, expected 0 to 1"),
        ([0, -1], ["a", "b"], "label -1"),
        ([0, -1], None, "negative labels"),
        ([0, None], ["a", "b"], "1 rows have no label"),
        ([0.5, 1.0], None, "labels in column 'label' are double"),
    ],
)
def test_labels_that_are_none_are_refused(root: Path, labels: Any, names: Any, message: str) -> None:
    write(root / "train.parquet", labels, names=names)
    with pytest.raises(DataError, match=message):
        load(root)


def test_missing_columns_are_refused_with_those_there_are(root: Path) -> None:
    write(root / "train.parquet", [0], label="number")
    with pytest.raises(DataError, match="no label column .* among id, image, number"):
        load(root)
    pq.write_table(pa.table({"a": [1], "label": [0]}), root / "train.parquet")
    with pytest.raises(DataError, match="no image column .* among a, label"):
        load(root)


def test_shard_without_rows_is_refused(root: Path) -> None:
    none = pa.array([], pa.binary())
    write(root / "train.parquet", pa.array([], pa.int64()), names=["a"], images=none, raw=True)
    with pytest.raises(DataError, match="train.parquet: 0 images"):
        load(root)


def test_images_of_several_sizes_need_image_size(root: Path) -> None:
    write(root / "train.parquet", [0, 0], names=["a"], images=[png(1), png(2, (9, 9))])
    with pytest.raises(DataError, match="set data.image_size"):
        load(root)
    assert load(root, image_size=3).images.shape == (2, 3, 3, 3)


def test_the_bits_that_are_used_hold_for_both_splits(root: Path) -> None:
    for name, value in (("train", 4095), ("test", 1000)):
        content = io.BytesIO()
        Image.fromarray(np.full((4, 4), value, np.uint16)).save(content, "PNG")
        write(root / f"{name}.parquet", [0], names=["a"], images=[content.getvalue()])
    with pytest.raises(DataError, match="train.parquet: no value .* is above 4095: set data.bits = 12"):
        load(root)
    assert values(load(root, bits=12)) == [255] and values(load(root, "test", bits=12)) == [62]


def test_more_rows_than_are_held_at_a_time_stay_in_order(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_BATCH_ROWS", 3)
    write(root / "train.parquet", [0] * 20, names=["a"])
    assert values(load(root)) == list(range(20))


def test_foreign_metadata_is_no_obstacle(root: Path) -> None:
    write(root / "train.parquet", [0, 1])
    table = pq.read_table(root / "train.parquet").replace_schema_metadata({"huggingface": "[not json"})
    pq.write_table(table, root / "train.parquet")
    assert load(root).classes == ("0", "1")
