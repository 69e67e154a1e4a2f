"""torchvision's data sets, read from tiny files in their own formats; nothing is fetched from the network."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image

from harness.data import load_data
from harness.data.torchvision_sets import DATA_SETS
from harness.errors import AbsentDataError, DataError
from harness.vision import import_torchvision

data_sets = import_torchvision().datasets
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def write_idx(path: Path, array: np.ndarray) -> None:
    """The format of MNIST: https://yann.lecun.org/exdb/mnist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.tobytes())


def write_mnist(
    folder: Path, prefixes: tuple[str, str] = ("train", "t10k"), first: int = 0
) -> dict[str, Any]:
    written = {}
    for split, prefix, count in zip(("train", "test"), prefixes, (40, 20), strict=True):
        classes = 26 if first else 10
        images = pixels(count + 20, 28, 28)
        labels = (np.arange(count + 20) % classes + first).astype(np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels)
        written[split] = images, labels
    return written


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
def test_grey_images_become_three_equal_channels_and_that_is_noted(root: Path, name: str) -> None:
    written = write_mnist(root / "torchvision" / name / name / "raw")
    data = load_data(f"torchvision:{name}", root, download=False)
    for split, part in (("train", data.train), ("test", data.evaluation)):
        images, labels = written[split]
        assert np.array_equal(part.images, np.repeat(images[..., None], 3, axis=3))
        assert np.array_equal(part.labels, labels)
        assert part.classes == tuple(getattr(data_sets, name).classes)
    assert data.notes == [
        "train: grey images, as three equal channels",
        "test: grey images, as three equal channels",
    ]


def test_the_second_time_it_comes_from_the_cache_with_its_notes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(root / "torchvision/MNIST/MNIST/raw")
    first = load_data("torchvision:MNIST", root, download=False)
    monkeypatch.setattr(data_sets.MNIST, "_load_data", lambda self: pytest.fail("read again"))
    again = load_data("torchvision:MNIST", root, download=False)
    assert (again.sha256, again.notes) == (first.sha256, first.notes)


def test_images_are_resized_as_those_of_other_sources_are(root: Path) -> None:
    written = write_mnist(root / "torchvision/MNIST/MNIST/raw")
    data = load_data("torchvision:MNIST", root, image_size=32, download=False)
    assert data.train.images.shape[1:] == (32, 32, 3)
    expected = (
        Image.fromarray(written["train"][0][0]).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
    )
    assert np.array_equal(data.train.images[0], np.asarray(expected))


def test_a_folder_of_ones_own_may_be_named(root: Path) -> None:
    write_mnist(root / "old" / "MNIST" / "raw")
    assert len(load_data("torchvision:MNIST", root, path="old", download=False).train) == 60


def test_emnists_letters_lose_the_class_that_has_no_image(root: Path) -> None:
    raw = root / "torchvision/EMNIST/EMNIST/raw"
    written = write_mnist(raw, ("emnist-letters-train", "emnist-letters-test"), first=1)
    data = load_data("torchvision:EMNIST", root, options={"split": "letters"}, download=False)
    assert data.train.classes == tuple("abcdefghijklmnopqrstuvwxyz")
    assert np.array_equal(data.train.labels, written["train"][1].astype(np.int64) - 1)


def test_emnist_without_its_split_says_where_to_name_it(root: Path) -> None:
    with pytest.raises(DataError, match=r"'split'; see data\.options"):
        load_data("torchvision:EMNIST", root, download=False)


def test_cifar100_is_read_only_with_the_published_checksums(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = root / "torchvision/CIFAR100/cifar-100-python"
    folder.mkdir(parents=True)
    written = {}
    names = [f"class {at}" for at in range(100)]
    for split, count in (("train", 200), ("test", 100)):
        images, labels = pixels(count, 32, 32, 3), [at % 100 for at in range(count)]
        batch = {"data": images.transpose(0, 3, 1, 2).reshape(count, -1), "fine_labels": labels}
        (folder / split).write_bytes(pickle.dumps(batch))
        written[split] = images
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    with pytest.raises(DataError, match="not found or corrupted"):
        load_data("torchvision:CIFAR100", root, download=False)
    ours = data_sets.CIFAR100
    monkeypatch.setattr(ours, "train_list", [["train", md5(folder / "train")]])
    monkeypatch.setattr(ours, "test_list", [["test", md5(folder / "test")]])
    monkeypatch.setattr(ours, "meta", {**ours.meta, "md5": md5(folder / "meta")})
    data = load_data("torchvision:CIFAR100", root, download=False)
    assert np.array_equal(data.train.images, written["train"])
    assert np.array_equal(data.evaluation.images, written["test"])
    assert data.train.classes == tuple(names) and data.notes == []


def test_svhn_has_its_digits_as_classes_and_with_a_hold_out_no_test_file(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = root / "torchvision/SVHN"
    folder.mkdir(parents=True)
    images, labels = pixels(40, 32, 32, 3), np.arange(40) % 10 + 1  # 10 stands for the digit 0
    file = folder / "train_32x32.mat"
    scipy.io.savemat(file, {"X": images.transpose(1, 2, 3, 0), "y": labels[:, None].astype(np.uint8)})
    published = data_sets.SVHN.split_list
    monkeypatch.setattr(data_sets.SVHN, "split_list", {**published, "train": ["", file.name, md5(file)]})
    data = load_data("torchvision:SVHN", root, holdout=10, download=False)
    assert data.train.classes == tuple("0123456789") and len(data.train) == 30
    together = np.concatenate([data.train.images, data.evaluation.images])
    assert {image.tobytes() for image in together} == {image.tobytes() for image in images}
    by_pixels = dict(zip([image.tobytes() for image in images], (labels % 10).tolist(), strict=True))
    assert [by_pixels[image.tobytes()] for image in data.train.images] == data.train.labels.tolist()
    with pytest.raises(DataError, match="not found or corrupted"):
        load_data("torchvision:SVHN", root, download=False)


def test_stl10_keeps_its_96_pixels_upright(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "torchvision/STL10/stl10_binary"
    folder.mkdir(parents=True)
    written = {}
    for split in ("train", "test"):
        images = pixels(20, 96, 96, 3)
        (folder / f"{split}_X.bin").write_bytes(images.transpose(0, 3, 2, 1).tobytes())  # columns first
        (folder / f"{split}_y.bin").write_bytes((np.arange(20, dtype=np.uint8) % 10 + 1).tobytes())
        written[split] = images
    (folder / "unlabeled_X.bin").write_bytes(b"")
    (folder / "class_names.txt").write_text("\n".join(f"c{at}" for at in range(10)))
    ours = data_sets.STL10
    for attribute in ("train_list", "test_list"):
        known = [[name, md5(folder / name)] for name, _ in getattr(ours, attribute)]
        monkeypatch.setattr(ours, attribute, known)
    data = load_data("torchvision:STL10", root, download=False)
    assert np.array_equal(data.train.images, written["train"])
    assert np.array_equal(data.evaluation.images, written["test"])
    assert data.train.classes == tuple(f"c{at}" for at in range(10))


def write_eurosat(root: Path, size: Callable[[int], int]) -> None:
    for name in ("Forest", "River"):
        folder = root / "torchvision/EuroSAT/eurosat/2750" / name
        folder.mkdir(parents=True)
        for at in range(8):
            Image.fromarray(pixels(size(at), size(at), 3)).save(folder / f"{name}_{at}.png")


def test_a_data_set_without_a_test_split_needs_a_hold_out(root: Path) -> None:
    write_eurosat(root, lambda at: 16)
    with pytest.raises(DataError, match=r"no test split: set data\.holdout"):
        load_data("torchvision:EuroSAT", root, download=False)
    data = load_data("torchvision:EuroSAT", root, holdout=4, download=False)
    assert (len(data.train), len(data.evaluation)) == (12, 4) and data.train.classes == ("Forest", "River")


def test_images_of_different_sizes_need_image_size(root: Path) -> None:
    write_eurosat(root, lambda at: 16 + at)
    with pytest.raises(DataError, match=r"images differ in size .* set data\.image_size"):
        load_data("torchvision:EuroSAT", root, holdout=4, download=False)
    data = load_data("torchvision:EuroSAT", root, holdout=4, image_size=16, download=False)
    assert data.train.images.shape == (12, 16, 16, 3)


def test_missing_files_are_absent_data_and_nothing_is_created(root: Path) -> None:
    with pytest.raises(AbsentDataError, match="is not in"):
        load_data("torchvision:FashionMNIST", root, download=False)
    assert list(root.iterdir()) == []


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """FashionMNIST's archives, small ones, on a server of this machine, where torchvision looks for them."""
    folder = tmp_path / "server"
    write_mnist(folder / "raw")
    resources = []
    for file in sorted((folder / "raw").iterdir()):
        archive = folder / f"{file.name}.gz"
        archive.write_bytes(gzip.compress(file.read_bytes()))
        resources.append((archive.name, md5(archive)))

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        mirrors = [f"http://127.0.0.1:{running.server_port}/"]
        monkeypatch.setattr(data_sets.FashionMNIST, "mirrors", mirrors)
        monkeypatch.setattr(data_sets.FashionMNIST, "resources", resources)
        yield folder
        running.shutdown()


def test_torchvision_downloads_what_is_missing(
    root: Path, server: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    first = load_data("torchvision:FashionMNIST", root)
    out, err = capfd.readouterr()
    assert out == "" and "downloading torchvision:FashionMNIST to" in err  # stdout is for verdicts
    folder = root / "torchvision/FashionMNIST"
    assert [path.name for path in folder.iterdir()] == ["FashionMNIST"]
    monkeypatch.setattr(data_sets.FashionMNIST, "download", lambda self: pytest.fail("downloaded again"))
    assert load_data("torchvision:FashionMNIST", root).sha256 == first.sha256


def test_a_failed_download_says_where_to_put_the_files(root: Path, server: Path) -> None:
    for archive in server.glob("t10k*.gz"):
        archive.write_bytes(b"damaged")
    with pytest.raises(DataError, match="cannot be downloaded .*by hand"):
        load_data("torchvision:FashionMNIST", root, progress=False)


@pytest.mark.parametrize(
    ("source", "changes", "words"),
    [
        ("torchvision:CIFAR1000", {}, "did you mean 'CIFAR100'"),
        ("torchvision:CocoDetection", {}, "not a usable data set of torchvision"),
        ("torchvision:__name__", {}, "not a usable data set of torchvision"),
        ("torchvision", {}, "not a usable data set of torchvision"),
        ("torchvision:", {}, "is not a data source|not a data set of torchvision"),
        ("CIFAR100", {}, "did you mean 'torchvision:CIFAR100'"),
        ("digits:MNIST", {}, "did you mean 'digits'"),
        ("torchvision:MNIST", {"options": {"split": "letters"}}, "has no option 'split'"),
        ("torchvision:MNIST", {"options": {"train": False}}, "has no option 'train'"),
        ("torchvision:SVHN", {"options": {"split": "extra"}}, "has no option 'split'"),
        ("torchvision:SVHN", {"options": {"download": True}}, "has no option 'download'"),
        ("torchvision:STL10", {"options": {"folds": 99}}, r"99\.; see data\.options"),
        ("torchvision:MNIST", {"bits": 12}, r"data\.bits does not apply"),
        ("torchvision:MNIST", {"cluster": "x", "holdout": 2}, r"data\.cluster does not apply"),
        ("digits", {"options": {"split": "letters"}}, r"data\.options does not apply"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    root: Path, source: str, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words) as error:
        load_data(source, root, download=False, **changes)
    assert "\n" not in str(error.value) and not isinstance(error.value, AbsentDataError)


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_data_set_knows_the_arguments_of_its_splits(name: str, root: Path) -> None:
    """Asking torchvision for a split that it does not have would be an error of its arguments."""
    options = {"split": "letters"} if name == "EMNIST" else {}
    needs_h5py = "h5py" if name == "PCAM" else ""
    for holdout in (None, 1):
        with pytest.raises(DataError) as error:
            load_data(f"torchvision:{name}", root, holdout=holdout, options=options, download=False)
        assert "is not in" in str(error.value) or "no test split" in str(error.value) or needs_h5py
