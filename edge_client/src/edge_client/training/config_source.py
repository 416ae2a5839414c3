"""A model's ``config.json``, from a folder or the hub, and nothing else of it."""

from pathlib import Path
from typing import Any

from .failures import ModelError
from .model_files import read_config


def find_config(model: str, revision: str | None = None) -> dict[str, Any]:
    """The configuration of ``model``, a folder or a hub id. Raises ModelError."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return read_config(folder)
    if folder.is_absolute() or model.startswith("."):
        raise ModelError(f"There is no folder {model}.", advice="Name a folder that holds a model, or a hub id.")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        return read_config(Path(hf_hub_download(model, "config.json", revision=revision)).parent)
    except GatedRepoError as error:
        raise ModelError(f"The model {model} is gated.", advice="Ask for access on its page.") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelError(
            f"There is no model {model} on the Hugging Face hub.", advice="Check the spelling, or name a folder."
        ) from error
    except OSError as error:
        raise ModelError(
            f"The config.json of {model} is not in the local cache and could not be fetched.",
            advice="Check the network, or name a folder that holds the model.",
        ) from error
