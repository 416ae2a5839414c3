"""An adapter version as a PEFT folder, for ``PeftModel.from_pretrained``, with its model card."""

from pathlib import Path

from fedit_shared import adapter
from fedit_shared.errors import UserError

from ..storage.kinds import Storage
from .publishing import read_version

CARD = "README.md"


def export(blobs: Storage, config: str, version: bytes, out: Path, card: str) -> None:
    """Write PEFT's ``config``, the adapter ``version`` and the model ``card`` into the new or empty folder ``out``.

    Raises UserError if the folder has files or cannot be written, CorruptError for a damaged version.
    """
    data = read_version(blobs, version)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise UserError(f"{out} is not empty.", advice="Name a new folder.")
        (out / adapter.CONFIG_NAME).write_text(config, encoding="utf-8")
        (out / adapter.FILE_NAME).write_bytes(data)
        (out / CARD).write_text(card, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}.") from error
