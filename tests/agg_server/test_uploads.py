"""Chunks on disk, and blobs: whole or absent, whatever is cut off."""

import errno
import os
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agg_server.errors import UnavailableError
from agg_server.storage.blobs import Blobs, pack_items, read_item
from agg_server.storage.uploads import Upload
from fedit_shared.errors import ConflictError, ProtocolError
from fedit_shared.messages import CHUNK_SIZE, PIECE_SIZE

SIZE = 2 * CHUNK_SIZE + PIECE_SIZE
PIECES = CHUNK_SIZE // PIECE_SIZE


def content(size: int = SIZE) -> bytes:
    return bytes(i * 7 % 251 for i in range(251)) * (size // 251) + bytes(size % 251)


def chunks(data: bytes) -> list[bytes]:
    return [data[i : i + CHUNK_SIZE] for i in range(0, len(data), CHUNK_SIZE)]


def test_chunks_in_any_order_make_the_whole_and_survive_a_new_start(tmp_path: Path):
    data = content()
    for index in (2, 0, 1):
        upload = Upload(tmp_path / "u", SIZE)  # a new object each time: nothing is kept in memory
        assert not upload.complete()
        upload.put(index * PIECES, chunks(data)[index])
    assert Upload(tmp_path / "u", SIZE).complete()
    assert Upload(tmp_path / "u", SIZE).digest() == sha256(data).digest()
    assert Upload(tmp_path / "u", SIZE).vector().tobytes() == data


def test_what_is_held_is_told_bit_by_bit(tmp_path: Path):
    upload = Upload(tmp_path / "u", SIZE)
    assert upload.held() == bytes(5)
    upload.put(2 * PIECES, chunks(content())[2])
    upload.put(1, content()[PIECE_SIZE : 4 * PIECE_SIZE])
    assert upload.held() == b"\x0e\0\0\0\x01"


def test_pieces_and_whole_chunks_make_the_whole_and_none_changes_what_is_there(tmp_path: Path):
    data, upload = content(), Upload(tmp_path / "u", SIZE)
    for first, count in ((1, 2), (17, 15), (32, 1), (0, 16), (16, 1)):
        assert not upload.complete()
        upload.put(first, data[first * PIECE_SIZE : (first + count) * PIECE_SIZE])
    assert upload.complete()
    with pytest.raises(ConflictError, match="other content"):
        upload.put(4, data[4 * PIECE_SIZE : 5 * PIECE_SIZE] + bytes(PIECE_SIZE))
    assert upload.digest() == sha256(data).digest()


def test_a_chunk_may_come_twice_but_not_with_other_content(tmp_path: Path):
    upload, first = Upload(tmp_path / "u", SIZE), chunks(content())[0]
    upload.put(0, first)
    upload.put(0, first)
    with pytest.raises(ConflictError):
        upload.put(0, bytes(CHUNK_SIZE))
    assert (tmp_path / "u").read_bytes()[:CHUNK_SIZE] == first


@pytest.mark.parametrize(
    ("index", "size"),
    [
        (33, PIECE_SIZE),
        (-1, CHUNK_SIZE),
        (32, 2 * PIECE_SIZE),
        (0, 10),
        (0, PIECE_SIZE + 10),
        (0, 0),
        (1, CHUNK_SIZE),
        (15, 2 * PIECE_SIZE),
    ],
)
def test_a_chunk_of_a_wrong_place_or_size_is_refused_and_nothing_is_kept(tmp_path: Path, index: int, size: int):
    upload = Upload(tmp_path / "u", SIZE)
    with pytest.raises(ProtocolError):
        upload.put(index, bytes(size))
    assert list(tmp_path.iterdir()) == []


def test_a_chunk_whose_mark_did_not_reach_the_disk_is_asked_for_again(tmp_path: Path):
    upload = Upload(tmp_path / "u", SIZE)
    upload.put(PIECES, chunks(content())[1])
    (tmp_path / "u").write_bytes(bytes(SIZE))
    (tmp_path / "u.pieces").write_bytes(bytes(33))  # as after a power cut between the chunk and its mark
    assert not any(upload.held())
    upload.put(PIECES, chunks(content())[1])
    assert upload.held() == b"\0\0\xff\xff\0"


def test_a_full_disk_refuses_the_upload_before_its_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    upload = Upload(tmp_path / "u", SIZE)
    with pytest.raises(UnavailableError, match="disk is full"):
        upload.put(0, chunks(content())[0])
    assert not any(upload.held())
    monkeypatch.undo()
    upload.put(0, chunks(content())[0])
    assert upload.held() == b"\xff\xff\0\0\0"


def test_an_uploads_last_piece_may_be_shorter(tmp_path: Path):
    upload = Upload(tmp_path / "u", PIECE_SIZE + 100)
    upload.put(0, content()[: PIECE_SIZE + 100])
    assert upload.complete()


def test_a_discarded_upload_can_be_sent_again(tmp_path: Path):
    upload = Upload(tmp_path / "u", SIZE)
    upload.put(0, bytes(CHUNK_SIZE))
    upload.discard()
    upload.put(0, chunks(content())[0])
    assert upload.held() == b"\xff\xff\0\0\0"


def test_a_blob_that_cannot_be_written_whole_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    blobs = Blobs(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnavailableError, match="disk is full"):
        blobs.write("a/b", b"content")
    monkeypatch.undo()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    blobs.write("a/b", b"content")
    assert blobs.read("a/b") == b"content"


def test_blobs_are_their_owners_alone(tmp_path: Path):
    Blobs(tmp_path).write("a/b", b"content")
    assert (tmp_path / "a/b").stat().st_mode & 0o077 == 0


@settings(max_examples=50)
@given(items=st.lists(st.binary(max_size=50), min_size=1, max_size=20))
def test_one_of_many_joined_items_is_read_back(tmp_path_factory: pytest.TempPathFactory, items: list[bytes]):
    file = tmp_path_factory.mktemp("items") / "f"
    file.write_bytes(pack_items(items))
    assert [read_item(file, i, len(items)) for i in range(len(items))] == items
