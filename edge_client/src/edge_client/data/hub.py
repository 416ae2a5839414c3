"""Data sets of the Hugging Face hub, as ``hf:OWNER/NAME[@REVISION][:FILES]``: their own files, without their code."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from edge_client.hub import HubError, Progress, Repository
from fedit_shared.errors import UserError

from .source import HUB, DataSource

_NAME = re.compile(r"hf:(?P<id>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?(?::(?P<files>[^:]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
_METADATA = ("dataset_infos.json", "dataset_dict.json", "state.json", "README.json")
_TRAIN = re.compile(r"(?:^|[^a-z])train(?:ing)?(?:[^a-z]|$)", re.IGNORECASE)
_SHOWN = 6


@dataclass(frozen=True)
class _Wanted:
    repository: Repository
    files: str
    """A pattern of file names; "" where the choice is ours."""


def is_on_hub(path: str) -> bool:
    """Whether ``path`` names a data set of the hub, not a file."""
    return path.startswith(HUB)


def pin(source: DataSource, progress: Progress = lambda here, total: None) -> DataSource:
    """``source`` with the hub's current commit and the files chosen written out, and these files in the cache: what
    is trained on does not change under a federation. A source that is a file stays as it is. Raises UserError."""
    if not is_on_hub(source.path):
        return source
    wanted = _parse(source.path)
    listed = wanted.repository.list_files([wanted.files] if wanted.files else [f"*{suffix}" for suffix in _SUFFIXES])
    if listed is None:
        if not wanted.files or wanted.repository.cached([wanted.files]) is None:
            raise HubError(
                f"The {wanted.repository} cannot be asked for without a network.",
                advice="Check the network, or name a file.",
            )
        return source
    pattern = wanted.files or _choose(source.path, listed)
    _require_any(source.path, [file.filename for file in listed], lambda name: fnmatchcase(name, pattern))
    commit = str(listed[0].commit_hash)
    pinned = replace(source, path=f"{HUB}{wanted.repository.id}@{commit}:{pattern}")
    _parse(pinned.path).repository.download([pattern], None, progress)
    return pinned


def data_files(path: str, progress: Progress = lambda here, total: None) -> list[Path]:
    """The files of the data set ``path`` in their names' order, from the cache if it is pinned and there, else from
    the hub. Raises UserError."""
    wanted = _parse(path)
    pinned = _COMMIT.fullmatch(wanted.repository.revision) and wanted.files
    folder = wanted.repository.cached([wanted.files]) if pinned else None
    if folder is None or not _matching(folder, wanted.files):
        wanted = _parse(pin(DataSource(path=path), progress).path)
        folder = wanted.repository.cached([wanted.files])
    assert folder is not None, "it was fetched just now"
    return _matching(folder, wanted.files)


def _matching(folder: Path, pattern: str) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if fnmatchcase(path.relative_to(folder).as_posix(), pattern))


def _parse(path: str) -> _Wanted:
    match = _NAME.fullmatch(path)
    if match is None:
        raise UserError(
            f"{path!r} names no data set.",
            advice="Write hf:OWNER/NAME, with @REVISION or :FILES behind it where that is needed.",
        )
    repository = Repository(
        match["id"],
        match["revision"] or "",
        kind="dataset",
        noun="data set",
        error=UserError,
        otherwise="name a file that holds it",
    )
    return _Wanted(repository, match["files"] or "")


def _choose(path: str, listed: list[Any]) -> str:
    """The one pattern that takes the training split, or the only file. Raises UserError where that is a guess."""
    names = sorted(
        file.filename
        for file in listed
        if file.filename.endswith(_SUFFIXES)
        and not file.filename.startswith(".")
        and file.filename.rpartition("/")[2] not in _METADATA
    )
    _require_any(path, names, lambda name: True)
    for candidates in ([name for name in names if _TRAIN.search(name)], names):
        patterns = {re.sub(r"-?\d{4,}(?:-of-\d+)?(?:-[0-9a-f]{8,})?(?=\.\w+$)", "*", name) for name in candidates}
        if len(patterns) == 1:
            return patterns.pop()
        if candidates:
            break
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    raise UserError(
        f"{path} has several sets of files: {shown}.", advice=f"Name the ones to train on: {path}:{names[0]}."
    )


def _require_any(path: str, names: list[str], wanted: Callable[[str], bool]) -> None:
    if not any(map(wanted, names)):
        raise UserError(
            f"{path} has no such file in JSON lines, JSON, CSV or Parquet.",
            advice="Many data sets have Parquet files in another branch: write @refs/convert/parquet behind the name.",
        )
