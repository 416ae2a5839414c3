"""A folder and S3-compatible storage keep blobs and uploads alike."""

import logging
import resource
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import pytest
from bucket import SECRET, Bucket, bucket

from agg_server.config import bucket_and_prefix
from agg_server.errors import UnavailableError
from agg_server.storage import cache
from agg_server.storage.blobs import Blobs
from agg_server.storage.kinds import Storage
from agg_server.storage.objects import ObjectBlobs
from fedit_shared.errors import ConflictError, ProtocolError
from fedit_shared.messages import CHUNK_SIZE, PIECE_SIZE

SIZE = 2 * CHUNK_SIZE + PIECE_SIZE
PIECES = CHUNK_SIZE // PIECE_SIZE
DATA = bytes(i * 7 % 251 for i in range(251)) * (SIZE // 251) + bytes(SIZE % 251)
CHUNKS = [DATA[i : i + CHUNK_SIZE] for i in range(0, SIZE, CHUNK_SIZE)]


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with bucket(tmp_path_factory.mktemp("s3")) as made:
        yield made


def objects_of(s3: Bucket, tmp_path: Path) -> ObjectBlobs:
    return ObjectBlobs("bucket", f"tests/{tmp_path.name}", tmp_path / "cache")


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return Blobs(tmp_path / "blobs")
    return objects_of(request.getfixturevalue("s3"), tmp_path)


def test_a_blob_is_read_as_it_was_written_and_gone_once_deleted(storage: Storage):
    with pytest.raises(FileNotFoundError):
        storage.read("a/b/c")
    with pytest.raises(FileNotFoundError):
        storage.file("a/b/c")
    assert storage.empty()
    storage.write("a/b/c", DATA)
    assert not storage.empty()
    storage.write("a/b/d", memoryview(b"other"))
    storage.write("a/bc", b"neighbour")
    assert storage.read("a/b/c") == storage.file("a/b/c").read_bytes() == DATA
    storage.delete("a/b")
    with pytest.raises(FileNotFoundError):
        storage.read("a/b/d")
    assert storage.read("a/bc") == b"neighbour"
    storage.delete("a/bc")
    storage.delete("a/bc")
    with pytest.raises(FileNotFoundError):
        storage.read("a/bc")


def test_rooms_with_something_in_them_are_found(storage: Storage):
    assert storage.having("rooms", ("x", "y")) == set()
    for key in ("rooms/1/x/a", "rooms/2/y/b/c", "rooms/3/z/a", "rooms/4/sum", "others/5/x/a"):
        storage.write(key, b"content")
    assert storage.having("rooms", ("x", "y")) == {"1", "2"}


def test_chunks_in_any_order_make_the_whole(storage: Storage):
    for index in (2, 0, 1):
        upload = storage.upload("up", SIZE)  # a new object each time: nothing is kept in memory
        assert not upload.complete()
        upload.put(index * PIECES, CHUNKS[index])
        if index == 2:
            assert storage.upload("up", SIZE).held() == b"\0\0\0\0\x01"
    upload = storage.upload("up", SIZE)
    assert upload.complete()
    assert upload.held() == b"\xff\xff\xff\xff\x01"
    assert upload.digest() == sha256(DATA).digest()
    assert upload.vector().tobytes() == DATA
    assert upload.vector().dtype == "<u4"


def test_a_chunk_may_come_twice_but_not_with_other_content_until_all_are_forgotten(storage: Storage):
    upload = storage.upload("up", SIZE)
    upload.put(0, CHUNKS[0])
    storage.upload("up", SIZE).put(0, CHUNKS[0])
    with pytest.raises(ConflictError, match="other content"):
        storage.upload("up", SIZE).put(0, bytes(CHUNK_SIZE))
    with pytest.raises(ProtocolError):
        upload.put(2 * PIECES + 1, CHUNKS[2])
    with pytest.raises(ProtocolError):
        upload.put(2 * PIECES, CHUNKS[0])
    upload.discard()
    assert not any(storage.upload("up", SIZE).held())
    upload.put(0, bytes(CHUNK_SIZE))


def test_a_chunk_that_comes_in_parts_is_kept_piece_by_piece_and_stays_as_it_came(storage: Storage):
    def put(first: int, count: int, content: bytes = DATA) -> None:
        storage.upload("up", SIZE).put(first, content[first * PIECE_SIZE : (first + count) * PIECE_SIZE])

    other = bytes(SIZE)
    put(16, 16)
    put(2, 3)
    put(3, 2)
    assert storage.upload("up", SIZE).held() == b"\x1c\0\xff\xff\0"
    for first, count in ((3, 1), (20, 2)):
        with pytest.raises(ConflictError, match="other content"):
            put(first, count, other)
    for first, count in ((0, 2), (5, 11), (32, 1), (20, 4)):
        put(first, count)
    upload = storage.upload("up", SIZE)
    assert upload.complete()
    with suppress(ConflictError):
        put(0, 16, other)
    assert storage.upload("up", SIZE).digest() == upload.digest() == sha256(DATA).digest()


def test_of_two_contents_of_a_chunk_that_come_at_once_one_stays(s3: Bucket, tmp_path: Path):
    replicas = [objects_of(s3, tmp_path) for _ in range(4)]
    contents = [bytes([number]) * CHUNK_SIZE for number in range(4)]

    def put(number: int) -> bool:
        try:
            replicas[number].upload("up", SIZE).put(0, contents[number])
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        kept = list(pool.map(put, range(4)))
    assert kept.count(True) == 1
    assert replicas[0].read("up/000000") == contents[kept.index(True)]


def test_a_storage_that_is_away_is_named_without_its_secrets_and_used_again_when_it_is_back(
    s3: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", f"{s3.environment['AWS_ENDPOINT_URL']}/")  # it is in every error's text
    storage = objects_of(s3, tmp_path)
    storage.write("a", b"content")
    s3.stop()
    try:
        with caplog.at_level(logging.WARNING):
            for ask in (
                lambda: storage.read("a"),
                lambda: storage.write("b", b"content"),
                lambda: storage.upload("up", SIZE).put(0, CHUNKS[0]),
                lambda: storage.upload("up", SIZE).held(),
            ):
                with pytest.raises(UnavailableError, match="does not answer") as refused:
                    ask()
                assert SECRET not in repr(refused.value)
    finally:
        s3.start()
    assert "the storage failed" in caplog.text
    assert SECRET not in caplog.text
    assert s3.environment["AWS_ENDPOINT_URL"] not in caplog.text, "what is a secret by its name is not shown"
    assert SECRET not in f"{storage!r} {vars(storage)}"
    assert storage.read("a") == b"content"


def test_files_of_this_machine_take_no_more_than_they_may(s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache, "CACHE_BYTES", 2 * SIZE)
    monkeypatch.setattr(cache, "_IN_USE_SECONDS", 0.0)
    storage = objects_of(s3, tmp_path)
    for name in "abcdef":
        storage.write(name, DATA)
    for name in "abcdefa":
        assert storage.file(name).read_bytes() == DATA
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(left) <= 3


def test_blobs_that_are_there_are_found_however_many_are_fetched_at_once(s3: Bucket, tmp_path: Path):
    storage = objects_of(s3, tmp_path)
    names = [f"packets/{number}" for number in range(300)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: storage.write(name, name.encode()), names))
        assert [path.read_bytes() for path in pool.map(storage.file, names)] == [name.encode() for name in names]


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Writes beyond this many bytes of a file are cut short, then fail, as on a full disk: by the kernel's limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_where_this_machines_disk_is_full_nothing_is_cut_short_or_taken_for_missing(s3: Bucket, tmp_path: Path):
    storage = objects_of(s3, tmp_path)
    storage.write("a", DATA[:1000])
    upload = storage.upload("up", SIZE)
    for index, chunk in enumerate(CHUNKS):
        upload.put(index * PIECES, chunk)
    for size in (0, 100):
        with no_file_beyond(size):
            for ask in (lambda: storage.file("a"), upload.digest, upload.vector):
                with pytest.raises(UnavailableError, match="disk"):
                    ask()
    assert storage.file("a").read_bytes() == DATA[:1000]
    assert upload.digest() == sha256(DATA).digest()
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").touch()
    with pytest.raises(UnavailableError, match="disk"):
        storage.file("a")


def test_what_a_killed_process_left_in_the_cache_is_removed_and_nothing_else(s3: Bucket, tmp_path: Path):
    storage = objects_of(s3, tmp_path)
    storage.write("a", b"content")
    mine = storage.file("a")
    [host, _] = mine.relative_to(tmp_path / "cache").parts[0].rsplit("-", 1)
    gone, elsewhere = (tmp_path / "cache" / name for name in (f"{host}-4194399", "otherhost-4194399"))
    for folder in (gone, elsewhere):
        folder.mkdir()
    storage.settle()
    assert mine.exists()
    assert elsewhere.exists()
    assert not gone.exists()


@pytest.mark.parametrize(
    ("blobs", "found"),
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://my.bucket/fedit/one/", ("my.bucket", "fedit/one")),
        ("blobs", None),
        ("/srv/blobs", None),
        ("s3://", None),
        ("s3://bucket//x", None),
        ("https://bucket", None),
    ],
)
def test_only_a_bucket_is_taken_for_one(blobs: str, found: tuple[str, str] | None):
    assert bucket_and_prefix(blobs) == found
