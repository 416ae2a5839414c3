"""What the rows need on disk: the model, records of one length, the adapter that both systems start from."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import msgspec

from benchmarks.demo.model import ensure_model
from benchmarks.demo.records import generate
from edge_client.data import DataSource
from edge_client.training import CreateJob, TrainJob, create_adapter
from fedit_shared import adapter as wire
from fedit_shared.messages import TaskSpec, TrainingSettings, read_model_file

from .scenario import LEARNING_RATE, RANK, RECORDS_PER_STEP, SEED, TARGETS, Row

_QUESTIONS_PER_RECORD = {256: 10, 512: 20, 2048: 80}
"""Enough for the length: what is longer is cut."""
_CATEGORIES = ("arithmetic", "sorting", "extraction", "spelling")

# Written shard by shard on whatever is there; the tokenizer, and so the vocabulary, is SmolLM2's.
_RANDOM_LLAMA = """
import json, shutil, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, LlamaConfig

source, out = map(Path, sys.argv[1:])
out.mkdir(parents=True)
given = AutoConfig.from_pretrained(source)
config = LlamaConfig(vocab_size=given.vocab_size, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
                     num_attention_heads=32, num_key_value_heads=32, max_position_embeddings=4096,
                     bos_token_id=given.bos_token_id, eos_token_id=given.eos_token_id, dtype=torch.bfloat16)
device = "cuda" if torch.cuda.is_available() else "cpu"
def random(*shape):
    return (torch.randn(*shape, device=device) * 0.02).to(torch.bfloat16).cpu()
index = {}
def save(number, tensors):
    name = f"model-{number:05d}.safetensors"
    save_file(tensors, out / name, {"format": "pt"})
    index.update(dict.fromkeys(tensors, name))
w, i = config.hidden_size, config.intermediate_size
for layer in range(config.num_hidden_layers):
    at = f"model.layers.{layer}."
    tensors = {f"{at}self_attn.{n}_proj.weight": random(w, w) for n in "qkvo"}
    tensors |= {f"{at}mlp.{n}_proj.weight": random(i, w) for n in ("gate", "up")}
    tensors[f"{at}mlp.down_proj.weight"] = random(w, i)
    tensors |= {f"{at}{n}.weight": torch.ones(w).bfloat16() for n in ("input_layernorm", "post_attention_layernorm")}
    save(layer, tensors)
save(99, {"model.embed_tokens.weight": random(config.vocab_size, w), "lm_head.weight": random(config.vocab_size, w),
          "model.norm.weight": torch.ones(w).bfloat16()})
(out / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
config.save_pretrained(out)
for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
    shutil.copy(source / name, out)
"""


class Stage:
    """Makes things once: models in ``cache``, to be kept, the rest in ``folder``. ``smollm2``: that model's folder, if
    it is not to be fetched."""

    def __init__(self, cache: Path, folder: Path, smollm2: Path | None) -> None:
        self._cache = cache
        self._folder = folder
        self._smollm2 = smollm2

    def model(self, name: str) -> Path:
        """The folder of the model called ``name``."""
        if self._smollm2 is None:
            self._smollm2 = ensure_model(self._cache, lambda line: print(line, file=sys.stderr))
        if name == "smollm2":
            return self._smollm2
        out = self._cache / name
        if not (out / "config.json").is_file():
            print("Writing a 7B-shaped Llama with random weights (13 GB, once)", file=sys.stderr)
            subprocess.run([sys.executable, "-c", _RANDOM_LLAMA, str(self._smollm2), str(out)], check=True)
        return out

    def records(self, row: Row) -> Path:
        """Enough records for every step, each at least of the row's length."""
        path = self._folder / f"records-{row.length}.jsonl"
        questions = _QUESTIONS_PER_RECORD[row.length]
        lines = []
        for number in range(row.steps * RECORDS_PER_STEP):
            asked = generate(_CATEGORIES[number % len(_CATEGORIES)], questions, SEED + number)
            first, *others = asked
            answer = "\n\n".join(
                [first["response"], *(f"{record['instruction']}\n{record['response']}" for record in others)]
            )
            lines.append(json.dumps({"instruction": first["instruction"], "context": "", "response": answer}))
        path.write_text("\n".join(lines) + "\n")
        return path

    def adapter(self, row: Row) -> Path:
        """A new adapter for the row's model."""
        out = self._folder / f"adapter-{row.model}"
        if not out.is_dir():
            job = CreateJob(
                model=str(self.model(row.model)), out=str(out), rank=RANK, target_modules=TARGETS, seed=SEED
            )
            asyncio.run(create_adapter(job))
        return out

    def job(self, row: Row) -> TrainJob:
        """The row as a job of the client's trainer; it holds all that the other system needs to know, too."""
        adapter = self.adapter(row)
        manifest, _ = wire.read_adapter((adapter / wire.FILE_NAME).read_bytes())
        model = read_model_file((adapter / "fedit.json").read_bytes())
        task = TaskSpec(
            name="benchmark",
            model=msgspec.structs.replace(model, files={}),
            adapter_config=(adapter / wire.CONFIG_NAME).read_text(),
            tensors=manifest,
            training=TrainingSettings(
                learning_rate=LEARNING_RATE,
                batch_size=RECORDS_PER_STEP,
                steps=row.steps,
                epochs=None,
                max_length=row.length,
                train_on_inputs=True,
                quantization=(row.quantization,),
            ),
        )
        return TrainJob(
            task=task,
            adapter=str(adapter / wire.FILE_NAME),
            data=DataSource(path=str(self.records(row))),
            work=str(self._folder / "work"),
            seed=SEED,
            model_folder=str(self.model(row.model)),
            memory_bytes=row.budget,
            device="cuda" if row.device == "cuda" else "cpu",
            checkpoint_seconds=3600.0,
        )
