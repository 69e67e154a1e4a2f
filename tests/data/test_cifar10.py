"""CIFAR-10 from each of its forms, the download included (from a server on this machine)."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import struct
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harness.data import cifar10
from harness.data.arrays import SourceRequest, Split, Which, mean_std
from harness.data.cifar10 import ARCHIVE, BATCHES_FOLDER, CIFAR10, CLASSES, Published
from harness.errors import DataError

TRAIN = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
TEST = np.random.default_rng(1).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
LABELS = list(range(10)) * 5


class Python2Pickler(cast(Any, pickle._Pickler)):  # type: ignore[misc]
    """Writes as Python 2 did when CIFAR-10 was published: byte strings, and NumPy under its old name."""

    dispatch: ClassVar[dict[Any, Any]] = pickle._Pickler.dispatch.copy()

    def save_bytes(self, content: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(content)

    def save_text(self, text: str) -> None:
        self.save_bytes(text.encode("latin1"))

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = "numpy.core.multiarray" if obj.__name__ == "_reconstruct" else obj.__module__
        self.write(pickle.GLOBAL + f"{module}\n{obj.__name__}\n".encode())
        self.memoize(obj)

    dispatch[bytes] = save_bytes
    dispatch[str] = save_text
    dispatch[type(np.empty(0).__reduce__()[0])] = save_global
    dispatch[type] = save_global


def pickled(images: Any, labels: list[int]) -> bytes:
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), 3072)
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump({"data": rows, "labels": labels, "batch_label": "a batch"})
    return buffer.getvalue()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def make_archive(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"{BATCHES_FOLDER}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


CONTENTS = {
    f"data_batch_{number}": pickled(TRAIN[10 * number - 10 : 10 * number], list(range(10)))
    for number in range(1, 6)
} | {"test_batch": pickled(TEST, list(range(10)))}
TAR = make_archive(CONTENTS)


def published(
    contents: dict[str, bytes] = CONTENTS, tar: bytes = TAR, url: str = "http://127.0.0.1:9/nothing"
) -> Published:
    """A small copy as if it were published: the real code runs with its checksums and counts."""
    sums = {name: md5(content) for name, content in contents.items()}
    return Published(url, md5(tar), sums, {"train": 50, "test": 10})


SMALL = published()


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HARNESS_CIFAR10_URL", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def load(root: Path, which: Which = "train", published: Published = SMALL, download: bool = False) -> Split:
    return cifar10.load(SourceRequest(root, which, download=download, progress=False), published)


def check_both(root: Path, **options: Any) -> None:
    train, test = load(root, "train", **options), load(root, "test", **options)
    assert (train.images == TRAIN).all() and train.labels.tolist() == LABELS
    assert (test.images == TEST).all() and train.classes == test.classes == CLASSES


def put_batches(folder: Path, contents: dict[str, bytes] = CONTENTS) -> None:
    (folder / BATCHES_FOLDER).mkdir(parents=True)
    for name, content in contents.items():
        (folder / BATCHES_FOLDER / name).write_bytes(content)


def put_archive(folder: Path, tar: bytes = TAR) -> None:
    folder.mkdir(exist_ok=True)
    (folder / ARCHIVE).write_bytes(tar)


def put_parquet(
    folder: Path, images: Any = TRAIN, split: str = "train", column: str = "img", names: Any = None
) -> None:
    """Two shards of the images, labelled 0 to 9 again and again."""
    folder.mkdir(parents=True, exist_ok=True)
    cells = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        cells.append({"bytes": buffer.getvalue(), "path": None})
    features = {column: {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if names else None
    for shard, part in enumerate((slice(0, len(images) // 2), slice(len(images) // 2, None))):
        table = pa.table({column: cells[part], "label": LABELS[: len(images)][part]})
        pq.write_table(
            table.replace_schema_metadata(metadata), folder / f"{split}-{shard:05}-of-00002.parquet"
        )


# --- what is there ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "cifar10", "cifar10/data", "cifar10/plain_text"])
@pytest.mark.parametrize("column", ["img", "image"])
def test_parquet_shards_are_read(root: Path, place: str, column: str) -> None:
    put_parquet(root / place, column=column)
    put_parquet(root / place, TEST, "test", column)
    check_both(root)


def test_class_names_of_parquet_shards_come_from_their_metadata(root: Path) -> None:
    names = [f"class {label}" for label in range(10)]
    put_parquet(root, names=names)
    assert load(root).classes == tuple(names)


@pytest.mark.parametrize("put", [put_batches, put_archive])
@pytest.mark.parametrize("place", ["", "cifar10"])
def test_torchvisions_folder_and_the_archive_are_read_and_nothing_is_written(
    root: Path, place: str, put: Callable[[Path], None]
) -> None:
    put(root / place)
    before = sorted(root.rglob("*"))
    check_both(root)
    assert sorted(root.rglob("*")) == before


def test_parquet_comes_before_batches_and_batches_before_the_archive(root: Path) -> None:
    put_archive(root, b"damaged")
    put_batches(root)
    check_both(root)
    put_parquet(root, images=TRAIN[::-1])
    assert (load(root).images == TRAIN[::-1]).all()


def test_other_parquet_data_is_not_taken_for_cifar10(root: Path) -> None:
    put_parquet(root, images=TRAIN[:40])
    with pytest.raises(DataError, match=r"not CIFAR-10, its train split is \(40, 32, 32, 3\)") as error:
        load(root)
    assert "\n" not in str(error.value)


def test_missing_parquet_shard_and_missing_batch_are_named(root: Path) -> None:
    put_batches(root)
    (root / BATCHES_FOLDER / "data_batch_4").unlink()
    with pytest.raises(DataError, match="data_batch_4 cannot be read"):
        load(root)
    put_parquet(root)
    (root / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match="1 train shards, but their names say 2"):
        load(root)


# --- what is not believed --------------------------------------------------------------------------------


class Attack:
    """A pickle that writes a file when it is opened."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (Path.touch, (self.target,))


@pytest.fixture
def attack(tmp_path: Path) -> Iterator[bytes]:
    yield pickle.dumps({"data": Attack(tmp_path / "owned"), "labels": []})
    assert not (tmp_path / "owned").exists()


def test_batch_with_another_md5_is_not_unpickled(root: Path, attack: bytes) -> None:
    put_batches(root, CONTENTS | {"data_batch_3": attack})
    with pytest.raises(DataError, match="data_batch_3: MD5 is .*, expected .*download it again"):
        load(root)


def test_archive_with_another_md5_is_not_opened(root: Path) -> None:
    put_archive(root, TAR[:-1] + b"x")
    with pytest.raises(DataError, match=f"{ARCHIVE}: MD5 is "):
        load(root)


def test_batch_inside_the_archive_is_checked_too(root: Path, attack: bytes) -> None:
    tar = make_archive(CONTENTS | {"test_batch": attack})
    put_archive(root, tar)
    with pytest.raises(DataError, match="test_batch: MD5 is "):
        load(root, "test", published(tar=tar))


def test_even_with_the_right_md5_a_pickle_makes_arrays_only(root: Path, attack: bytes) -> None:
    contents = CONTENTS | {"data_batch_1": attack}
    put_batches(root, contents)
    with pytest.raises(DataError, match="expected NumPy arrays only"):
        load(root, published=published(contents))


# --- the download ----------------------------------------------------------------------------------------


class Server:
    """A web server on this machine that gives ``content``, or only its first bytes before it hangs up."""

    def __init__(self, content: bytes, cut_at: int | None = None, status: int = 200) -> None:
        outer = self
        self.cut_at = cut_at
        self.requests = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: outer.cut_at])

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/{ARCHIVE}"

    def __enter__(self) -> Server:
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_dry_run_downloads_nothing(root: Path) -> None:
    with Server(TAR) as server:
        with pytest.raises(DataError, match="a dry run downloads nothing"):
            load(root, published=published(url=server.url))
        assert server.requests == 0
    assert list(root.iterdir()) == []


def test_archive_is_downloaded_once_and_then_used(root: Path) -> None:
    with Server(TAR) as server:
        small = published(url=server.url)
        check_both(root, published=small, download=True)
        assert server.requests == 1
    assert (root / "cifar10" / ARCHIVE).read_bytes() == TAR
    assert [path.name for path in (root / "cifar10").iterdir()] == [ARCHIVE]
    check_both(root, published=small, download=True)  # the server is gone


def test_environment_names_another_address(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(TAR) as server:
        monkeypatch.setenv("HARNESS_CIFAR10_URL", server.url)
        check_both(root, download=True)


def test_data_that_is_there_needs_no_network(root: Path) -> None:
    put_parquet(root)
    with Server(TAR) as server:
        load(root, published=published(url=server.url), download=True)
        assert server.requests == 0


def test_interrupted_download_leaves_nothing_and_the_next_one_succeeds(root: Path) -> None:
    with Server(TAR, cut_at=len(TAR) // 2) as server:
        small = published(url=server.url)
        with pytest.raises(DataError, match="cannot be downloaded"):
            load(root, published=small, download=True)
        assert list(root.iterdir()) == []
        server.cut_at = None
        check_both(root, published=small, download=True)


def test_what_a_killed_download_left_is_no_obstacle(root: Path) -> None:
    left = root / "cifar10" / ".download"
    left.mkdir(parents=True)
    (left / "tmpabc").write_bytes(TAR[:100])
    (root / "cifar10" / ".download.lock").touch()
    with Server(TAR) as server:
        check_both(root, published=published(url=server.url), download=True)
    assert not left.exists()


@pytest.mark.parametrize(
    ("content", "status", "cause"), [(b"a login page", 200, "MD5 hash"), (b"", 404, "404 Client Error")]
)
def test_wrong_answers_are_refused_and_say_what_to_do_by_hand(
    root: Path, content: bytes, status: int, cause: str
) -> None:
    with Server(content, status=status) as server, pytest.raises(DataError, match=cause) as error:
        load(root, published=published(url=server.url), download=True)
    message = str(error.value)
    assert f"put {ARCHIVE} (MD5 {SMALL.archive_md5}) into {root / 'cifar10'} by hand" in message
    assert "\n" not in message
    assert list(root.iterdir()) == []


def test_no_network_is_one_line(root: Path) -> None:
    with pytest.raises(DataError, match="cannot be downloaded from http://127.0.0.1:9/nothing") as error:
        load(root, download=True)
    assert "\n" not in str(error.value)


def test_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    with Server(TAR) as server, pytest.raises(DataError, match="Not a directory|cannot be downloaded"):
        load(tmp_path / "data", published=published(url=server.url), download=True)


def test_starts_at_the_same_time_download_once(root: Path) -> None:
    with Server(TAR) as server, ThreadPoolExecutor() as pool:
        small = published(url=server.url)
        starts = [pool.submit(load, root, published=small, download=True) for _ in range(3)]
        assert len({start.result().sha256 for start in starts}) == 1
        assert server.requests == 1


def test_progress_without_a_terminal_is_plain_lines(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = make_archive(CONTENTS | {"padding": np.random.default_rng(0).bytes(12 << 20)})
    with Server(content) as server:
        small = published(tar=content, url=server.url)
        cifar10.load(SourceRequest(root, "train", progress=True), small)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("downloading CIFAR-10 (170 MB) from http://127.0.0.1")
    assert 10 <= len(lines) <= 12
    assert all("\r" not in line for line in lines)
    assert lines[-1].endswith("13 of 13 MB")


# --- the whole data set ----------------------------------------------------------------------------------


def test_checksums_are_torchvisions() -> None:
    package = find_spec("torchvision")
    if package is None or package.origin is None:
        pytest.skip("torchvision is not installed")
    source = Path(package.origin).with_name("datasets").joinpath("cifar.py").read_text()
    for name, checksum in CIFAR10.batch_md5.items():
        assert f'["{name}", "{checksum}"]' in source
    assert f'tgz_md5 = "{CIFAR10.archive_md5}"' in source
    assert f'url = "{CIFAR10.url}"' in source


def test_the_whole_train_split_is_cifar10_and_the_second_start_takes_less_than_a_second() -> None:
    root = Path(os.environ.get("HARNESS_DATA") or Path(__file__).parents[3] / "shared" / "data")
    if not (root / "cifar10").is_dir():
        pytest.skip(f"CIFAR-10 is not in {root}: set HARNESS_DATA to the folder that holds cifar10/")
    request = SourceRequest(root, "train", download=False, progress=False)
    cold = cifar10.load(request)
    assert cold.images.shape == (50_000, 32, 32, 3) and cold.classes == CLASSES
    assert np.bincount(cold.labels).tolist() == [5000] * 10
    assert [CLASSES[label] for label in cold.labels[:5]] == ["frog", "truck", "truck", "deer", "automobile"]
    published_numbers = ["0.49139968", "0.48215841", "0.44653091"], ["0.24703223", "0.24348513", "0.26158784"]
    assert tuple([f"{value:.8f}" for value in values] for values in mean_std(cold)) == published_numbers
    started = time.process_time()
    assert cifar10.load(request).sha256 == cold.sha256
    assert time.process_time() - started < 1
