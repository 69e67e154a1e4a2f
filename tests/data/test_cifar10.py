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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harness.data import cifar10
from harness.data.arrays import SourceRequest, mean_std
from harness.data.cifar10 import ARCHIVE, BATCHES_FOLDER, CIFAR10, CLASSES, Published
from harness.errors import DataError

TRAIN = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
TEST = np.random.default_rng(1).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
LABELS = list(range(10)) * 5


class Python2Pickler(pickle._Pickler):
    """Writes as Python 2 did when CIFAR-10 was published: byte strings, and NumPy under its old name."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_bytes(self, content):
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(content)

    def save_text(self, text):
        self.save_bytes(text.encode("latin1"))

    def save_global(self, obj, name=None):
        module = "numpy.core.multiarray" if obj.__name__ == "_reconstruct" else obj.__module__
        self.write(pickle.GLOBAL + f"{module}\n{obj.__name__}\n".encode())
        self.memoize(obj)

    dispatch[bytes] = save_bytes
    dispatch[str] = save_text
    dispatch[type(np.empty(0).__reduce__()[0])] = save_global
    dispatch[type] = save_global


def pickled(images, labels):
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), 3072)
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump({"data": rows, "labels": labels, "batch_label": "a batch"})
    return buffer.getvalue()


def md5(content):
    return hashlib.md5(content).hexdigest()


def make_archive(contents):
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


def facts_of(contents=CONTENTS, tar=TAR, url="http://127.0.0.1:9/nothing"):
    """The facts of the small copy: the real code runs with its checksums and counts."""
    sums = {name: md5(content) for name, content in contents.items()}
    return Published(url, md5(tar), sums, {"train": 50, "test": 10})


FACTS = facts_of()


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HARNESS_CIFAR10_URL", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def load(root, which="train", facts=FACTS, download=False):
    return cifar10.load(SourceRequest(root, which, download=download, progress=False), facts)


def check_both(root, **options):
    train, test = load(root, "train", **options), load(root, "test", **options)
    assert (train.images == TRAIN).all()
    assert train.labels.tolist() == LABELS
    assert (test.images == TEST).all()
    assert train.classes == test.classes == CLASSES


def put_batches(folder, contents=CONTENTS):
    (folder / BATCHES_FOLDER).mkdir(parents=True)
    for name, content in contents.items():
        (folder / BATCHES_FOLDER / name).write_bytes(content)


def put_archive(folder, tar=TAR):
    folder.mkdir(exist_ok=True)
    (folder / ARCHIVE).write_bytes(tar)


def put_parquet(folder, images=TRAIN, labels=LABELS, split="train", column="img", names=None, shards=2):
    folder.mkdir(parents=True, exist_ok=True)
    cells = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        cells.append({"bytes": buffer.getvalue(), "path": None})
    for shard in range(shards):
        part = slice(shard * len(images) // shards, (shard + 1) * len(images) // shards)
        table = pa.table({column: cells[part], "label": labels[part]})
        if names:
            features = {column: {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
            table = table.replace_schema_metadata(
                {"huggingface": json.dumps({"info": {"features": features}})}
            )
        pq.write_table(table, folder / f"{split}-{shard:05}-of-{shards:05}.parquet")


# --- what is there ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "cifar10", "cifar10/data", "cifar10/plain_text"])
@pytest.mark.parametrize("column", ["img", "image"])
def test_parquet_shards_are_read(root, place, column):
    put_parquet(root / place, column=column)
    put_parquet(root / place, TEST, list(range(10)), "test", column, shards=1)
    check_both(root)


def test_class_names_of_parquet_shards_come_from_their_metadata(root):
    names = [f"class {label}" for label in range(10)]
    put_parquet(root, names=names)
    assert load(root).classes == tuple(names)


@pytest.mark.parametrize("place", ["", "cifar10"])
def test_torchvisions_folder_is_read(root, place):
    put_batches(root / place)
    check_both(root)


@pytest.mark.parametrize("place", ["", "cifar10"])
def test_archive_is_read_without_being_unpacked(root, place):
    put_archive(root / place)
    check_both(root)
    assert [path.name for path in (root / place).iterdir()] == [ARCHIVE]


def test_parquet_comes_before_batches_and_batches_before_the_archive(root):
    put_archive(root, b"damaged")
    put_batches(root)
    check_both(root)
    put_parquet(root, images=TRAIN[::-1])
    assert (load(root).images == TRAIN[::-1]).all()


def test_other_parquet_data_is_not_taken_for_cifar10(root):
    put_parquet(root, images=TRAIN[:40], labels=LABELS[:40])
    with pytest.raises(DataError, match=r"not CIFAR-10, its train split is \(40, 32, 32, 3\)") as error:
        load(root)
    assert "\n" not in str(error.value)


def test_missing_parquet_shard_is_noticed(root):
    put_parquet(root, shards=3)
    (root / "train-00001-of-00003.parquet").unlink()
    with pytest.raises(DataError, match="2 train shards, their names tell of 3"):
        load(root)


def test_data_folder_is_not_written_to(root):
    put_batches(root)
    before = sorted(root.rglob("*"))
    check_both(root)
    assert sorted(root.rglob("*")) == before


# --- what is not believed --------------------------------------------------------------------------------


class Attack:
    """A pickle that writes a file when it is opened."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def test_batch_with_another_md5_is_not_unpickled(root, tmp_path):
    attack = pickle.dumps({"data": Attack(tmp_path / "owned"), "labels": []})
    put_batches(root, CONTENTS | {"data_batch_3": attack})
    with pytest.raises(DataError, match="data_batch_3: MD5 is .*, expected .*fetch it anew"):
        load(root)
    assert not (tmp_path / "owned").exists()


def test_archive_with_another_md5_is_not_opened(root):
    put_archive(root, TAR[:-1] + b"x")
    with pytest.raises(DataError, match=f"{ARCHIVE}: MD5 is "):
        load(root)


def test_batch_inside_the_archive_is_checked_too(root, tmp_path):
    tar = make_archive(CONTENTS | {"test_batch": pickle.dumps(Attack(tmp_path / "owned"))})
    put_archive(root, tar)
    with pytest.raises(DataError, match="test_batch: MD5 is "):
        load(root, "test", facts_of(tar=tar))
    assert not (tmp_path / "owned").exists()


def test_even_with_the_right_md5_a_pickle_makes_arrays_only(root, tmp_path):
    contents = CONTENTS | {"data_batch_1": pickle.dumps({"data": Attack(tmp_path / "owned"), "labels": []})}
    put_batches(root, contents)
    with pytest.raises(DataError, match="expected NumPy arrays only"):
        load(root, facts=facts_of(contents))
    assert not (tmp_path / "owned").exists()


def test_missing_batch_is_named(root):
    put_batches(root)
    (root / BATCHES_FOLDER / "data_batch_4").unlink()
    with pytest.raises(DataError, match="data_batch_4 cannot be read"):
        load(root)


def test_dry_run_downloads_nothing(root):
    with Server(TAR) as server:
        with pytest.raises(DataError, match="a dry run downloads nothing"):
            load(root, facts=facts_of(url=server.url))
        assert server.requests == 0
    assert list(root.iterdir()) == []


# --- the download ----------------------------------------------------------------------------------------


class Server:
    """A web server on this machine that gives ``content``, or only its first bytes before it hangs up."""

    def __init__(self, content, cut_at=None, status=200):
        outer = self
        self.cut_at = cut_at
        self.requests = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests += 1
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: outer.cut_at])

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/{ARCHIVE}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def test_archive_is_downloaded_once_and_then_used(root):
    with Server(TAR) as server:
        facts = facts_of(url=server.url)
        check_both(root, facts=facts, download=True)
        assert server.requests == 1
    assert (root / "cifar10" / ARCHIVE).read_bytes() == TAR
    assert [path.name for path in (root / "cifar10").iterdir()] == [ARCHIVE]
    check_both(root, facts=facts, download=True)  # the server is gone


def test_environment_names_another_address(root, monkeypatch):
    with Server(TAR) as server:
        monkeypatch.setenv("HARNESS_CIFAR10_URL", server.url)
        check_both(root, download=True)


def test_data_that_is_there_needs_no_network(root):
    put_parquet(root)
    with Server(TAR) as server:
        load(root, facts=facts_of(url=server.url), download=True)
        assert server.requests == 0


def test_interrupted_download_leaves_nothing_and_the_next_one_succeeds(root):
    with Server(TAR, cut_at=len(TAR) // 2) as server:
        facts = facts_of(url=server.url)
        with pytest.raises(DataError, match="cannot be downloaded"):
            load(root, facts=facts, download=True)
        assert list(root.iterdir()) == []
        server.cut_at = None
        check_both(root, facts=facts, download=True)


def test_what_a_killed_download_left_is_no_obstacle(root):
    left = root / "cifar10" / ".download"
    left.mkdir(parents=True)
    (left / "tmpabc").write_bytes(TAR[:100])
    (root / "cifar10" / ".download.lock").touch()
    with Server(TAR) as server:
        check_both(root, facts=facts_of(url=server.url), download=True)
    assert not left.exists()


@pytest.mark.parametrize(
    ("content", "status", "cause"), [(b"a login page", 200, "MD5 hash"), (b"", 404, "404 Client Error")]
)
def test_wrong_answers_are_refused_and_say_what_to_do_by_hand(root, content, status, cause):
    with Server(content, status=status) as server, pytest.raises(DataError, match=cause) as error:
        load(root, facts=facts_of(url=server.url), download=True)
    message = str(error.value)
    assert f"put {ARCHIVE} (MD5 {FACTS.archive_md5}) into {root / 'cifar10'} by hand" in message
    assert "\n" not in message
    assert list(root.iterdir()) == []


def test_no_network_is_one_line(root):
    with pytest.raises(DataError, match="cannot be downloaded from http://127.0.0.1:9/nothing") as error:
        load(root, download=True)
    assert "\n" not in str(error.value)


def test_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "data").write_text("a file where the folder should be")
    with Server(TAR) as server, pytest.raises(DataError, match="Not a directory|cannot be downloaded"):
        load(tmp_path / "data", facts=facts_of(url=server.url), download=True)


def test_starts_at_the_same_time_download_once(root):
    outcomes = []

    def start(facts):
        outcomes.append(load(root, facts=facts, download=True).sha256)

    with Server(TAR) as server:
        threads = [threading.Thread(target=start, args=(facts_of(url=server.url),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.requests == 1
    assert len(outcomes) == 3
    assert len(set(outcomes)) == 1


def test_progress_without_a_terminal_is_plain_lines(root, capsys):
    content = make_archive(CONTENTS | {"padding": np.random.default_rng(0).bytes(12 << 20)})
    with Server(content) as server:
        facts = facts_of(tar=content, url=server.url)
        cifar10.load(SourceRequest(root, "train", progress=True), facts)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("downloading CIFAR-10 (170 MB) from http://127.0.0.1")
    assert 10 <= len(lines) <= 12
    assert all("\r" not in line for line in lines)
    assert lines[-1].endswith("13 of 13 MB")


# --- the whole data set ----------------------------------------------------------------------------------


def test_checksums_are_torchvisions():
    package = pytest.importorskip("importlib.util").find_spec("torchvision")
    if package is None:
        pytest.skip("torchvision is not installed")
    source = Path(package.submodule_search_locations[0], "datasets", "cifar.py").read_text()
    for name, checksum in CIFAR10.batch_md5.items():
        assert f'["{name}", "{checksum}"]' in source
    assert f'tgz_md5 = "{CIFAR10.archive_md5}"' in source
    assert f'url = "{CIFAR10.url}"' in source


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The real train split, loaded cold and then from the cache, and the processor time of the latter."""
    shared = Path(__file__).parents[3] / "shared" / "data"
    root = Path(os.environ.get("HARNESS_DATA") or shared)
    if not (root / "cifar10").is_dir():
        pytest.skip(f"CIFAR-10 is not in {root}: set HARNESS_DATA to the folder that holds cifar10/")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        cold = cifar10.load(SourceRequest(root, "train", download=False, progress=False))
        started = time.process_time()
        warm = cifar10.load(SourceRequest(root, "train", download=False, progress=False))
        return cold, warm, time.process_time() - started


def test_whole_train_split_is_cifar10(whole):
    cold, _, _ = whole
    assert cold.images.shape == (50_000, 32, 32, 3)
    assert np.bincount(cold.labels).tolist() == [5000] * 10
    assert cold.classes == CLASSES
    assert [CLASSES[label] for label in cold.labels[:5]] == ["frog", "truck", "truck", "deer", "automobile"]


def test_mean_and_std_of_the_whole_train_split_are_the_published_ones(whole):
    mean, std = mean_std(whole[0])
    assert [f"{value:.8f}" for value in mean] == ["0.49139968", "0.48215841", "0.44653091"]
    assert [f"{value:.8f}" for value in std] == ["0.24703223", "0.24348513", "0.26158784"]


def test_second_start_takes_less_than_a_second(whole):
    cold, warm, warm_seconds = whole
    assert warm.sha256 == cold.sha256
    assert warm_seconds < 1
