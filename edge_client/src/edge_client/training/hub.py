"""Fetches a model's files from the Hugging Face hub into its cache, once, and says beforehand how much that is."""

import re
from pathlib import Path

from edge_client.hub import Progress, Repository
from fedit_shared.messages import ModelRef

from .failures import ModelError

__all__ = ["Progress", "fetch", "repository"]

_PATTERNS = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
_ELSEWHERE = ["*/*", "consolidated*", "adapter_*"]
"""Other formats of the same weights, as some repositories keep them besides, and adapters, which are not the base."""
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def fetch(ref: ModelRef, progress: Progress) -> Path:
    """The folder in the hub's cache that holds ``ref``'s files; what is missing is downloaded now. Its name is the
    commit. Raises ModelError, before anything is fetched if the disk has no room for it."""
    if not _HUB_ID.fullmatch(ref.id):
        raise ModelError(
            f"{ref.id!r} is neither a folder nor a model's name.",
            advice="Check the spelling; a participant names the model's folder with --model-path.",
        )
    return repository(ref.id, ref.revision).download(_PATTERNS, _ELSEWHERE, progress)


def repository(model: str, revision: str) -> Repository:
    """``model`` on the hub; "" is the newest revision."""
    return Repository(
        model,
        revision,
        kind="model",
        noun="model",
        error=ModelError,
        otherwise="name a folder that holds it, which is --model-path where a federation names the model",
    )
