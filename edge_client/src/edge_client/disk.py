"""Files that are either whole or absent, whatever happens to the process or the power.

A file is written under another name, synced, renamed, and its folder synced. Files are 0600 and folders 0700 from the
moment they exist.
"""

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, ClassVar

from fedit_shared.errors import FeditError, UserError

from .sizes import size

FULL = (errno.ENOSPC, errno.EDQUOT)
"""How a full disk is told."""
TEMPORARY = ".tmp"
"""Ending of a file that is not finished. What bears it after a restart is rubbish."""

_ADVICE = {
    errno.ENOSPC: "Free some space and start again: everything up to now is kept.",
    errno.EDQUOT: "Free some space and start again: everything up to now is kept.",
    errno.EACCES: "Give this user write access to it, or name another folder with --state.",
    errno.EPERM: "Give this user write access to it, or name another folder with --state.",
    errno.EROFS: "Name a folder on a disk that can be written, with --state.",
}


class DiskError(FeditError):
    """The state cannot be written or read. What was kept before is untouched."""

    exit_code: ClassVar[int] = 6
    code: ClassVar[str] = "disk"


class Disk:
    """Durable file operations; each has happened when it returns. Raises DiskError for what the disk refuses."""

    def make(self, folder: Path) -> None:
        """``folder``, with its parents, each for its owner only if made here."""
        if folder.is_dir():
            return
        with disk_errors(folder):
            self.make(folder.parent)
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
            _sync_folder(folder.parent)

    def settle(self, folder: Path) -> None:
        """Make ``folder`` and every name below it durable: a kill may have come between the making of one and the sync
        of the folder that it lies in, and who finds it later would take it for durable."""
        with disk_errors(folder):
            with suppress(PermissionError):  # of another user, who made the folder for this one
                _sync_folder(folder.parent)
            for place, below, _ in os.walk(folder):
                below.sort()  # the same order each time: a simulation can be run again
                _sync_folder(Path(place))

    def write(self, path: Path, data: bytes) -> None:
        """``path`` holds ``data``, or, if this does not return, what it held before."""
        with self.stream(path) as file:
            file.write(data)

    @contextmanager
    def stream(self, path: Path) -> Iterator[BinaryIO]:
        """A file to be written piece by piece, that becomes ``path`` when the block is left without an exception."""
        temporary = path.with_name(path.name + TEMPORARY)
        with disk_errors(path):
            try:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, 0o600)
                with open(descriptor, "wb") as file:
                    yield file
                    file.flush()
                    _sync(file.fileno())
                os.replace(temporary, path)
                _sync_folder(path.parent)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise

    def read(self, path: Path) -> bytes | None:
        """What ``path`` holds; None if there is no such file."""
        with disk_errors(path):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

    def remove(self, path: Path) -> None:
        """``path``, a file or a folder with all that is in it, is gone; fine if there was none."""
        with disk_errors(path):
            try:
                path.unlink()
            except FileNotFoundError:
                return
            except (IsADirectoryError, PermissionError):  # macOS says EPERM of a folder, Windows EACCES
                if not path.is_dir():
                    raise
                shutil.rmtree(path)
            _sync_folder(path.parent)


def require_new(folder: Path) -> None:
    """Raise UserError unless ``folder`` can be made: it is not there, or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already.", advice="Name a new folder.")


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder beside ``out``, new or empty, that takes its place when the block is left without an exception, and is
    gone after one. Raises DiskError."""
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            yield beside
            beside.chmod(0o755)
            if out.exists():
                out.rmdir()
            beside.rename(out)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise


def free_bytes(folder: Path) -> int:
    """What the disk that ``folder`` lies on, or will lie on, has free."""
    return shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.is_dir())).free


def require_room(folder: Path, needed: int) -> None:
    """Raise DiskError unless ``needed`` bytes fit onto the disk of ``folder``."""
    free = free_bytes(folder)
    if needed > free:
        raise DiskError(
            f"{folder} has {size(free)} free, and {size(needed)} are needed.",
            advice="Nothing was fetched. Free some space there, or move the federation's whole folder onto a larger "
            "disk and name it with --state.",
        )


_BINARY = getattr(os, "O_BINARY", 0)


def _sync(descriptor: int) -> None:
    if sys.platform == "darwin":  # there, fsync does not reach the platter
        import fcntl

        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # a folder cannot be opened on Windows; NTFS journals the rename
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Within the block, what the operating system refuses at ``path`` is raised as DiskError."""
    try:
        yield
    except OSError as error:
        raise disk_error(path, error) from error


def disk_error(path: Path, error: OSError) -> DiskError:
    """What to say of ``error`` met at ``path``."""
    advice = _ADVICE.get(error.errno or 0, "Look at the disk, then start again: everything up to now is kept.")
    return DiskError(f"{path} cannot be used: {error.strerror or error}.", advice=advice)
