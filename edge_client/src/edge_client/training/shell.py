"""A model without its weights: its layers and their names, for nothing."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from edge_client.reasons import reason_of

from .failures import ModelError
from .shape import refuse_more_than_text


def empty_model(folder: Path) -> Any:
    """The causal language model in ``folder`` on the meta device. Raises ModelError."""
    try:
        with torch.device("meta"):
            known = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            refuse_more_than_text(known.to_dict())
            return AutoModelForCausalLM.from_config(known, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder} holds no causal language model: {reason_of(error)}.") from error
