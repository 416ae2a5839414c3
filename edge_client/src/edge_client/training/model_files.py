"""Finds the base model's files and checks that they are the federation's."""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from fedit_shared.messages import UNREADABLE, ModelRef

from . import hub
from .failures import ModelError

_DECISIVE = ("config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*", "special_tokens_map.json")
_ALSO_DECISIVE = ("added_tokens.json", "vocab.*", "merges.txt", "*.jinja", "spiece.model", "sentencepiece*.model")


def named_folder(model: str) -> Path | None:
    """The folder that a person names with ``model``; None for what may be a hub id. Raises ModelError for a path where
    there is none."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or model.startswith("."):
        raise ModelError(f"There is no folder {model}.", advice="Name a folder that holds a model, or a hub id.")
    return None


def find_model(ref: ModelRef, folder: str | None, progress: hub.Progress = lambda here, total: None) -> Path:
    """The folder with the model's files: ``folder``, which only this machine's owner names, or the hub's cache, filled
    now. ``ref.id`` comes from the server and is never taken for a path. Raises ModelError."""
    path = hub.fetch(ref, progress) if folder is None else Path(folder)
    if not path.is_dir():
        raise ModelError(f"There is no folder {path}.", advice="Name the folder that holds the model's config.json.")
    if not (path / "config.json").is_file():
        raise ModelError(f"{path} holds no model: it has no config.json.", advice="Name one in transformers' format.")
    if (path / "adapter_config.json").exists():
        raise ModelError(
            f"{path} holds an adapter beside the model, which transformers would load in its place.",
            advice="Name a folder with the base model alone.",
        )
    if not any(path.glob("*.safetensors")):
        raise ModelError(
            f"{path} has no weights in safetensors format.",
            advice="Other formats can carry code and are never opened; convert the model first.",
        )
    return path


def checked_model(
    ref: ModelRef,
    folder: str | None,
    notify: Callable[[str], None] = warnings.warn,
    progress: hub.Progress = lambda here, total: None,
) -> Path:
    """The folder with the files of a task's base model, for ``from_pretrained``; each that the federation names has
    its SHA-256. ``folder``: where this machine's owner has them; None: the hub's cache, filled now with the task's
    revision. ``ref.id``, which comes from the server, is never taken for a path. It may take minutes: call it in a
    thread.

    ``notify`` is told if there is nothing to check against, ``progress`` the bytes that are here, and those in all.
    Raises ModelError, and HubError where the hub cannot be reached.
    """
    path = find_model(ref, folder, progress)
    if ref.files:
        check_files(path, ref)
    else:
        notify("The federation names no file hashes: whether this is its model was not checked.")
    return path


def check_files(folder: Path, ref: ModelRef) -> None:
    """Raises ModelError unless every file that ``ref`` names has the SHA-256 it names."""
    for name, expected in sorted(ref.files.items()):
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise ModelError(f"{folder} lacks {name}, which the federation's model has.", advice=_other(ref))
        if sha256_file(path) != expected:
            raise ModelError(f"{path} is not the file that the federation trains on.", advice=_other(ref))


def describe_files(folder: Path, model_id: str, revision: str) -> ModelRef:
    """The ModelRef that pins what decides what the model in ``folder`` computes and how text is shown to it."""
    names = {path.name for pattern in _DECISIVE + _ALSO_DECISIVE for path in folder.glob(pattern) if path.is_file()}
    return ModelRef(id=model_id, revision=revision, files={name: sha256_file(folder / name) for name in sorted(names)})


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` as it stands. Raises ModelError."""
    path = folder / "config.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UNREADABLE as error:
        raise ModelError(f"{path} is no JSON object: {error}.") from error


def sha256_file(path: Path) -> bytes:
    """SHA-256 of a file of any size."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _other(ref: ModelRef) -> str:
    at = f" at revision {ref.revision}" if ref.revision else ""
    return f"The federation trains {ref.id}{at}: use that one."
