"""Finds the base model's files, fetches them where they are on the hub, and checks that they are the federation's."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from fedit_shared.messages import ModelRef

from .failures import ModelError

_PATTERNS = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
_ELSEWHERE = ["*/*", "consolidated*", "adapter_*"]
"""Other formats of the same weights, as some repositories keep them besides, and adapters, which are not the base."""
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_DECISIVE = ("config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*", "special_tokens_map.json")
_ALSO_DECISIVE = ("added_tokens.json", "vocab.*", "merges.txt", "*.jinja", "spiece.model", "sentencepiece*.model")


def find_model(ref: ModelRef, folder: str | None) -> Path:
    """The folder with the model's files: ``folder``, which only this machine's owner names, or the hub's cache, filled
    now. ``ref.id`` comes from the server and is never taken for a path. Raises ModelError."""
    path = _fetch(ref) if folder is None else Path(folder)
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


def checked_model(ref: ModelRef, folder: str | None, notify: Callable[[str], None]) -> Path:
    """:func:`find_model` and :func:`check_files` in one; ``notify`` is told if there is nothing to check against."""
    path = find_model(ref, folder)
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


def fetch(model_id: str, revision: str | None) -> tuple[Path, str]:
    """The hub's model in the local cache, and the commit it is. Raises ModelError."""
    path = _fetch(ModelRef(id=model_id, revision=revision or ""))
    return path, path.name  # the cache keeps one folder a commit, named by it


def sha256_file(path: Path) -> bytes:
    """SHA-256 of a file of any size."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _fetch(ref: ModelRef) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    where = f"{ref.id}@{ref.revision}" if ref.revision else ref.id
    if not _HUB_ID.fullmatch(ref.id):
        raise ModelError(
            f"{ref.id!r} is neither a folder nor a model's name.",
            advice="Check the spelling; a participant names the model's folder with --model-path.",
        )
    try:
        return Path(
            snapshot_download(
                ref.id, revision=ref.revision or None, allow_patterns=_PATTERNS, ignore_patterns=_ELSEWHERE
            )
        )
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


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def _other(ref: ModelRef) -> str:
    at = f" at revision {ref.revision}" if ref.revision else ""
    return f"The federation trains {ref.id}{at}: use that one."
