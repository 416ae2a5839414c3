"""A model's ``config.json``, from a folder or the hub, and nothing else of it."""

from pathlib import Path
from typing import Any

from edge_client.hub import library

from .hub import repository
from .model_files import named_folder, read_config


def find_config(model: str, revision: str | None = None) -> dict[str, Any]:
    """The configuration of ``model``, a folder or a hub id. Raises ModelError."""
    folder = named_folder(model)
    if folder is not None:
        return read_config(folder)
    with repository(model, revision or "").errors():
        file = library().hf_hub_download(model, "config.json", revision=revision)
    return read_config(Path(file).parent)
