"""Loads a model's tokenizer, and nothing else of the model."""

from pathlib import Path
from typing import Any

from edge_client.reasons import reason_of

from .failures import ModelError
from .hub import repository

_FILES = ["*.json", "*.jinja", "*.model", "*.txt"]
_LOAD_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError)


def load_tokenizer(model: Path | str) -> Any:
    """The tokenizer in a model's folder, or of a model on the Hugging Face hub, of which only the tokenizer's few
    files are fetched. Raises ModelError."""
    from transformers import AutoTokenizer

    # Fetched by transformers, they would come with a word about this session and torch's version.
    if isinstance(model, str):
        model = repository(model, "").download(_FILES, ["*/*"], lambda here, total: None)
    try:
        return AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    except _LOAD_ERRORS as error:
        raise ModelError(f"The tokenizer in {model} cannot be loaded: {reason_of(error)}.") from error
