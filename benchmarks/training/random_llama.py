"""A Llama of 7 billion random weights that takes no room on disk: its folder holds a configuration, a tokenizer of
bytes and a file of weights that is empty; each weight is drawn where it is used, when it is asked for, the same each
time."""

import zlib
from pathlib import Path
from typing import Any

from edge_client.training.weights import StoredTensor, stored_weights

SIZES: dict[str, dict[str, Any]] = {
    "llama-7b": {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 4096,
    }
}
_END = 256
_DEVIATION = 0.02


def write(name: str, out: Path) -> Path:
    """The folder ``out`` of the model called ``name``."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    config = LlamaConfig(**SIZES[name], bos_token_id=None, eos_token_id=_END, dtype=torch.bfloat16)
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(out)
    bytewise = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=bytewise, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(out)
    save_file({}, out / "model.safetensors", {"format": "pt"})
    return out


def drawn_weights(folder: Path) -> dict[str, StoredTensor]:
    """As :func:`.stored_weights`, of any folder; of one that :func:`write` made, weights that are drawn."""
    from edge_client.training.shell import empty_model

    stored = stored_weights(folder)
    return stored or {name: _Drawn(name, like.shape) for name, like in empty_model(folder).state_dict().items()}


class _Drawn(StoredTensor):
    """Normal values, on the card if there is one; ones for a norm."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        super().__init__(None, name)
        self._shape = shape

    def __getitem__(self, place: Any) -> Any:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        if len(self._shape) == 1:
            return torch.ones(self._shape, dtype=torch.bfloat16, device=device)[place]
        random = torch.Generator(device).manual_seed(zlib.crc32(self._name.encode()))
        values = torch.empty(self._shape, dtype=torch.bfloat16, device=device)
        return values.normal_(0.0, _DEVIATION, generator=random)[place]
