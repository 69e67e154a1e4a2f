"""Records notice any damage; identities have digests, and what differs in them is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RunError
from harness.store.sealed import digest, first_difference, read_sealed, write_sealed

RECORD = {"status": "finished", "n": [1, 2.5, None, True], "text": 'é "quoted"\n', "nested": {"a": 0.1}}


def test_a_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    write_sealed(tmp_path / "r.json", RECORD)
    assert read_sealed(tmp_path / "r.json") == RECORD
    assert json.loads((tmp_path / "r.json").read_text())["checksum"] == digest(RECORD)
    write_sealed(tmp_path / "r.json", {**RECORD, "checksum": "of another time"})
    assert read_sealed(tmp_path / "r.json") == RECORD
    assert read_sealed(tmp_path / "none.json") is None


def test_a_record_with_any_byte_changed_or_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_sealed(path, RECORD)
    content = path.read_bytes()
    for at in range(len(content)):
        others = {*(content[at] ^ 1 << bit for bit in range(8)), *b'\n\t "0eE.'} - {content[at]}
        damaged = [content[:at] + bytes([byte]) + content[at + 1 :] for byte in others]
        for spoilt in (*damaged, content[:at]):
            path.write_bytes(spoilt)
            with pytest.raises(RunError, match="r.json: damaged"):
                read_sealed(path)


@pytest.mark.parametrize(
    "content",
    [
        b"{}", b"[]", b"3", b"null", b'"checksum"', b'{"checksum": null}', b'{"checksum": NaN}', b"\xff",
        b"[" * 100_000, b'{"a": NaN, "checksum": "x"}', b'{"a": ' + b"9" * 5000 + b', "checksum": "x"}',
    ],
)  # fmt: skip
def test_what_is_no_record_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(RunError, match="r.json: damaged"):
        read_sealed(tmp_path / "r.json")


def test_a_record_holds_finite_numbers_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_sealed(tmp_path / "r.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_digest_depends_on_values_and_not_on_order() -> None:
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert len({digest({"a": value}) for value in (1, 1.5, "1", True, None, [1], {"b": 1})}) == 7


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"b": 1, "a": {"x": {"y": 1}}}, {"b": 2, "a": {"x": {"y": 2}}}, "a.x.y: 1 planned, 2 on disk"),
        ({"a": 1, "new": None}, {"a": 1}, "new: null planned, nothing on disk"),
        ({"a": {}}, {"a": {"old": 3}}, "a.old: nothing planned, 3 on disk"),
        ({"a": 0}, {"a": 0.0}, "a: 0 planned, 0.0 on disk"),
        ({"a": True}, {"a": 1}, "a: true planned, 1 on disk"),
        ({"a": {"b": 1}}, {"a": [1]}, 'a: {"b":1} planned, [1] on disk'),
        (
            {"t": [{"p": 1, "long": "x" * 99}, {"p": 1}]},
            {"t": [{"p": 1, "long": "x" * 99}, {"p": 0.5}]},
            "t[1].p: 1 planned, 0.5 on disk",
        ),
        ({"t": [1]}, {"t": [1, 2]}, "t[1]: nothing planned, 2 on disk"),
        ({"t": (1, 2)}, {"t": [1, 2]}, None),
        ({"t": "x" * 99}, {"t": "y"}, f't: "{"x" * 58}… planned, "y" on disk'),
    ],
)
def test_the_first_difference_is_named_with_its_path_and_both_values(
    ours: Any, theirs: Any, said: str | None
) -> None:
    assert first_difference(ours, theirs) == said
    assert (said is None) == (digest(ours) == digest(theirs)), "where digests differ a difference is named"
