"""An adapter version as a PEFT folder, for ``PeftModel.from_pretrained``, with its model card."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from fedit_shared import adapter
from fedit_shared.errors import UserError

from ..storage.kinds import Storage
from .publishing import read_version

CARD = "README.md"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def contents(blobs: Storage, config: str, version: bytes, card: str) -> dict[str, bytes]:
    """The folder's files: PEFT's ``config``, the adapter ``version``, the model ``card``. Raises CorruptError for a
    damaged version."""
    data = read_version(blobs, version)
    return {adapter.CONFIG_NAME: config.encode(), adapter.FILE_NAME: data, CARD: card.encode()}


def zipped(files: Mapping[str, bytes], out: IO[bytes]) -> None:
    """The files as a zip archive: the same bytes for the same files. Weights hardly get smaller: packed only."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), data)


def export(blobs: Storage, config: str, version: bytes, out: Path, card: str) -> None:
    """Write PEFT's ``config``, the adapter ``version`` and the model ``card`` into the new or empty folder ``out``.

    Raises UserError if the folder has files or cannot be written, CorruptError for a damaged version.
    """
    files = contents(blobs, config, version, card)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise UserError(f"{out} is not empty.", advice="Name a new folder.")
        for name, data in files.items():
            (out / name).write_bytes(data)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}.") from error
