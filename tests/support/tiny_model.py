"""A language model that fits into a test (two layers of a Llama, random but for its seed; every byte a token), and
what a training job needs besides."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edge_client.data import DataSource
from edge_client.training import TrainJob
from fedit_shared import adapter as wire
from fedit_shared.messages import TaskSpec, TrainingSettings, read_model_file

CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def make_tokenizer(*, chat: bool = True) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    if chat:
        fast.chat_template = CHAT_TEMPLATE
    return fast


def save_model(folder: Path, kind: str = "Llama", **changes: object) -> Path:
    """A random model of ``kind`` (``Llama``, ``Gemma2`` …) with its tokenizer."""
    import torch
    import transformers

    settings: dict[str, object] = {
        "vocab_size": 264,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "bos_token_id": None,
        "eos_token_id": 256,
        "pad_token_id": None,
    }
    torch.manual_seed(7)
    config = getattr(transformers, f"{kind}Config")(**settings | changes)
    name = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}.get(kind, f"{kind}ForCausalLM")
    getattr(transformers, name)(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def make_records(count: int) -> list[dict[str, str]]:
    """Records of differing lengths, up to 130 tokens."""
    return [
        {
            "instruction": f"Say {number} " + "again " * (number % 5),
            "context": "aloud" if number % 3 == 0 else "",
            "response": "one " * (1 + number % 7) + str(number),
            "category": "odd" if number % 2 else "even",
        }
        for number in range(count)
    ]


def write_records(path: Path, values: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def new_adapter(model: Path, out: Path, *modules: str) -> Path:
    """``out``, a new adapter for ``model``, by default on q_proj and v_proj."""
    from edge_client.training.create import create
    from edge_client.training.job import CreateJob

    target_modules = modules or ("q_proj", "v_proj")
    create(CreateJob(model=str(model), out=str(out), rank=4, target_modules=target_modules, seed=1))
    return out


@dataclass(frozen=True)
class Workshop:
    """A folder of a test's own, a model and a new adapter for it."""

    folder: Path
    model: Path
    adapter: Path

    def task(self, **settings: Any) -> TaskSpec:
        chosen = {"batch_size": 4, "epochs": None, "steps": 3, "max_length": 200, "learning_rate": 0.01} | settings
        manifest, _ = wire.read_adapter((self.adapter / wire.FILE_NAME).read_bytes())
        return TaskSpec(
            name="test",
            model=read_model_file((self.adapter / "fedit.json").read_bytes()),
            adapter_config=(self.adapter / wire.CONFIG_NAME).read_text(),
            tensors=manifest,
            training=TrainingSettings(**chosen),
        )

    def job(self, *, count: int = 10, **changes: Any) -> TrainJob:
        data = write_records(self.folder / f"data-{count}.jsonl", make_records(count))
        job = TrainJob(
            task=self.task(),
            adapter=str(self.adapter / wire.FILE_NAME),
            data=DataSource(path=str(data)),
            work=str(self.folder / "work"),
            seed=5,
            model_folder=str(self.model),
            device="cpu",
            threads=1,
        )
        return msgspec.structs.replace(job, **changes)


def tuned_adapter(workshop: Workshop, folder: Path, *, scale: float) -> Path:
    """A new PEFT folder whose adapter, normal values times ``scale``, changes what the model says."""
    manifest, _ = wire.read_adapter((workshop.adapter / wire.FILE_NAME).read_bytes())
    vector = np.random.default_rng(1).normal(scale=scale, size=wire.size(manifest)).astype(np.float32)
    folder.mkdir()
    (folder / wire.CONFIG_NAME).write_bytes((workshop.adapter / wire.CONFIG_NAME).read_bytes())
    (folder / wire.FILE_NAME).write_bytes(wire.write_adapter(manifest, vector))
    return folder
