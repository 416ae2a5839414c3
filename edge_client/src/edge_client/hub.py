"""Downloads from the Hugging Face hub into its cache: once, with the size said beforehand, never onto a full disk."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from edge_client.disk import FULL, disk_error, free_bytes
from edge_client.reasons import reason_of
from edge_client.sizes import size
from fedit_shared.errors import UserError

Progress = Callable[[int, int], None]
"""Bytes that are here, and bytes in all."""

_ROOM = 2**30
"""Bytes that a download leaves free: a full disk stops more than this program."""
_TELL_SECONDS = 1.0
_BUSY = (408, 429)


class HubError(UserError):
    """The hub cannot be reached, or not now. What came down already is kept."""

    exit_code: ClassVar[int] = 3
    code: ClassVar[str] = "hub"


def library() -> Any:
    """Hugging Face's, quiet: no bars, and nothing told to the hub that a download does not need. Its setting is read
    at every request, so it holds for whoever else in this process uses the library, however early that was imported."""
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars

    constants.HF_HUB_DISABLE_TELEMETRY = True
    disable_progress_bars()
    return huggingface_hub


@dataclass(frozen=True)
class Repository:
    """A model or a data set on the hub, and how to speak of it. ``error``: what is raised where a person has to set
    something right, else HubError, or DiskError of a full disk; ``otherwise``: what a person can do without the hub."""

    id: str
    revision: str
    kind: str
    """``model`` or ``dataset``, as the hub says."""
    noun: str
    error: type[UserError]
    otherwise: str

    def __str__(self) -> str:
        return f"{self.noun} {self.id}@{self.revision}" if self.revision else f"{self.noun} {self.id}"

    def list_files(self, patterns: list[str], without: list[str] | None = None) -> list[Any] | None:
        """Hugging Face's ``DryRunFileInfo`` of each file that matches; None where the hub cannot be asked, and what
        is in the cache has to do. Raises ``error``."""
        from huggingface_hub.errors import DryRunError, HfHubHTTPError

        with self.errors():
            try:
                files: list[Any] = self._snapshot(patterns, without)(dry_run=True)
            except DryRunError as error:
                if isinstance(error.__cause__, HfHubHTTPError) and self.cached(patterns, without) is None:
                    raise error.__cause__ from error
                return None
            return files

    def download(self, patterns: list[str], without: list[str] | None, progress: Progress) -> Path:
        """The folder in the cache that holds the files, its name the commit; what is missing is downloaded now.
        Raises ``error``, before anything is fetched if the disk has no room for it."""
        files = self.list_files(patterns, without) or ()
        total = sum(file.file_size or 0 for file in files if file.will_download)
        self._require_room(total)
        snapshot = self._snapshot(patterns, without)
        with self.errors():
            if not total:
                return Path(snapshot())
            with ThreadPoolExecutor(1) as thread:
                download = thread.submit(snapshot)
                blobs = _cache() / f"{self.kind}s--{self.id.replace('/', '--')}" / "blobs"
                before = _bytes_in(blobs)
                progress(0, total)
                while wait([download], _TELL_SECONDS).not_done:
                    progress(min(_bytes_in(blobs) - before, total), total)
                return Path(download.result())

    def cached(self, patterns: list[str], without: list[str] | None = None) -> Path | None:
        """The folder in the cache, without asking the hub; None where the cache has not all of this revision."""
        from huggingface_hub.errors import LocalEntryNotFoundError

        with self.errors():
            try:
                return Path(self._snapshot(patterns, without)(local_files_only=True))
            except LocalEntryNotFoundError:
                return None

    def _snapshot(self, patterns: list[str], without: list[str] | None) -> Callable[..., Any]:
        return partial(
            library().snapshot_download,
            self.id,
            repo_type=self.kind,
            revision=self.revision or None,
            allow_patterns=patterns,
            ignore_patterns=without,
        )

    def _require_room(self, total: int) -> None:
        cache = _cache()
        free = free_bytes(cache)
        if total and total + _ROOM > free:
            raise self.error(
                f"The {self} has {size(total)} to download, and {cache} has {size(free)} free.",
                advice="Nothing was fetched. Make room, or set HF_HOME to a folder on a larger disk.",
            )

    @contextmanager
    def errors(self) -> Iterator[None]:
        """What the hub's library raises within becomes ``error``."""
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        try:
            yield
        except GatedRepoError as error:
            advice = "Ask for access on its page, then run `hf auth login`."
            raise self.error(f"The {self} is gated.", advice=advice) from error
        except RevisionNotFoundError as error:
            message = f"The {self.noun} {self.id} has no revision {self.revision}."
            raise self.error(message, advice="Check the revision.") from error
        except (RepositoryNotFoundError, HFValidationError) as error:
            advice = f"Check the spelling, or {self.otherwise}."
            raise self.error(f"There is no {self} on the Hugging Face hub.", advice=advice) from error
        except (OSError, HfHubHTTPError.__bases__[0], ImportError) as error:
            # no network, hub down, a line that broke, which only the library's own library for HTTP has a name for;
            # a SOCKS proxy without its library
            if isinstance(error, OSError) and error.errno in FULL:
                raise disk_error(_cache(), error) from error
            raise (HubError if _may_pass(error) else self.error)(
                f"The {self} is not in the local cache and could not be fetched: {reason_of(error, 200)}.",
                advice=f"Check the network, or {self.otherwise}.",
            ) from error


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later: not offline by its owner's will, nor refused by the hub."""
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HfHubHTTPError

    if HF_HUB_OFFLINE or isinstance(error, ImportError):
        return False
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, HfHubHTTPError):
            return cause.response.status_code >= 500 or cause.response.status_code in _BUSY
        cause = cause.__cause__
    return True


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.glob("*"):
        try:
            total += path.stat().st_size
        except OSError:  # renamed in this moment: a file that is complete
            continue
    return total


def _cache() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)
