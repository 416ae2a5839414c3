"""A file is whole or absent, for its owner only, and a disk that refuses is named."""

import os
import stat
from pathlib import Path

import pytest

from edge_client.state import Disk, DiskError


def test_files_are_for_their_owner_only_and_so_are_folders(tmp_path: Path) -> None:
    disk = Disk()
    disk.make(tmp_path / "a" / "b")
    disk.write(tmp_path / "a" / "b" / "secret", b"x")
    assert stat.S_IMODE((tmp_path / "a" / "b" / "secret").stat().st_mode) == 0o600
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b")} == {0o700}


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    disk, path = Disk(), tmp_path / "file"
    disk.write(path, b"before")

    def interrupted() -> None:
        with disk.stream(path) as file:
            file.write(b"after")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_each_write_is_synced_renamed_and_its_folder_synced_in_this_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        calls.append("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        fsync(descriptor)

    def noted_replace(source: Path, target: Path) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    Disk().write(tmp_path / "file", b"x")
    assert calls == ["sync file", "rename", "sync folder"]


def test_removing_what_is_not_there_is_fine_and_folders_go_whole(tmp_path: Path) -> None:
    disk = Disk()
    disk.remove(tmp_path / "nothing")
    disk.make(tmp_path / "folder" / "inner")
    disk.write(tmp_path / "folder" / "inner" / "file", b"x")
    disk.remove(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_to_be_full_with_advice_and_what_was_kept_stays(tmp_path: Path) -> None:
    disk, path = Disk(), tmp_path / "file"
    disk.write(path, b"before")
    (tmp_path / "file.tmp").symlink_to("/dev/full")
    with pytest.raises(DiskError, match=r"No space left.*Free some space") as error:
        disk.write(path, b"after")
    assert error.value.exit_code == 6
    assert path.read_bytes() == b"before"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskError, match="file"):
        Disk().make(tmp_path / "file" / "folder")


def test_what_a_kill_left_unsynced_is_made_durable_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {tmp_path / "state", tmp_path / "state" / "a", tmp_path / "state" / "a" / "b"}
    for folder in sorted(folders):
        folder.mkdir()
    synced: set[Path] = set()
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.add(Path(os.readlink(f"/proc/self/fd/{descriptor}"))))
    Disk().settle(tmp_path / "state")
    assert synced == folders | {tmp_path}
