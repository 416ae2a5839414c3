"""Fetches a model's files from the Hugging Face hub into its cache, once, and says beforehand how much that is."""

import re
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

from fedit_shared.messages import ModelRef

from .failures import ModelError

Progress = Callable[[int, int], None]
"""Bytes that are here, and bytes in all."""

_PATTERNS = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
_ELSEWHERE = ["*/*", "consolidated*", "adapter_*"]
"""Other formats of the same weights, as some repositories keep them besides, and adapters, which are not the base."""
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_ROOM = 2**30
"""Bytes that a download leaves free: a full disk stops more than this program."""
_TELL_SECONDS = 1.0


def fetch(ref: ModelRef, progress: Progress) -> Path:
    """The folder in the hub's cache that holds ``ref``'s files; what is missing is downloaded now. Its name is the
    commit. Raises ModelError, before anything is fetched if the disk has no room for it."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    where = f"{ref.id}@{ref.revision}" if ref.revision else ref.id
    if not _HUB_ID.fullmatch(ref.id):
        raise ModelError(
            f"{ref.id!r} is neither a folder nor a model's name.",
            advice="Check the spelling; a participant names the model's folder with --model-path.",
        )
    snapshot = partial(
        snapshot_download, ref.id, revision=ref.revision or None, allow_patterns=_PATTERNS, ignore_patterns=_ELSEWHERE
    )
    try:
        total = _missing(partial(snapshot, dry_run=True), where)
        if not total:
            return Path(snapshot())
        with ThreadPoolExecutor(1) as thread:
            return _watched(thread.submit(snapshot), ref, total, progress)
    except GatedRepoError as error:
        raise ModelError(
            f"The model {where} is gated.", advice="Ask for access on its page, then run `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(f"The model {ref.id} has no revision {ref.revision}.", advice="Check the revision.") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelError(
            f"There is no model {where} on the Hugging Face hub.", advice="Check the spelling, or name a folder."
        ) from error
    except OSError as error:  # no network, disk full, hub down: all of them are OSErrors here
        raise ModelError(
            f"The model {where} is not in the local cache and could not be fetched: {_line(error)}.",
            advice="Check the network, or name a folder that holds it.",
        ) from error


def _missing(list_files: Callable[[], Any], where: str) -> int:
    """Bytes that are not in the cache yet; 0 also where the hub cannot be asked. Raises ModelError without room."""
    from huggingface_hub.errors import DryRunError

    try:
        files = list_files()
    except DryRunError:  # what is in the cache may do
        return 0
    total: int = sum(file.file_size or 0 for file in files if file.will_download)
    cache = _cache()
    free = shutil.disk_usage(next(folder for folder in (cache, *cache.parents) if folder.is_dir())).free
    if total + _ROOM > free:
        raise ModelError(
            f"The model {where} has {_gib(total)} to download, and {cache} has {_gib(free)} free.",
            advice="Nothing was fetched. Make room, or set HF_HOME to a folder on a larger disk.",
        )
    return total


def _watched(download: Future[str], ref: ModelRef, total: int, progress: Progress) -> Path:
    blobs = _cache() / f"models--{ref.id.replace('/', '--')}" / "blobs"
    before = _bytes_in(blobs)
    progress(0, total)
    while wait([download], _TELL_SECONDS).not_done:
        progress(min(_bytes_in(blobs) - before, total), total)
    return Path(download.result())


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


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
