"""A row as Shepherd trains (github.com/JayZhang42/FederatedGPT-Shepherd, main.py and fed_utils/client.py): Trainer of
transformers, PEFT, ``prepare_model_for_kbit_training``, bitsandbytes in 8 bits, all logits.

``python -m benchmarks.training.shepherd`` reads a row and its job from stdin and prints one line of JSON. Records,
their order, the adapter's start values and the learning rate are those of the client's trainer.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.resident import status_bytes
from edge_client.training import TrainJob

from .scenario import RECORDS_PER_STEP, TOO_LATE, Result, Row


def measure(row: Row, job: TrainJob, seconds: float) -> Result:
    """Train in a new process, which may well be killed for its memory, and is after ``seconds``."""
    request = json.dumps({"row": asdict(row), "job": msgspec.json.encode(job).decode()})
    command = [sys.executable, "-m", "benchmarks.training.shepherd"]
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
    try:
        done = subprocess.run(command, input=request, capture_output=True, text=True, env=environment, timeout=seconds)
    except subprocess.TimeoutExpired:
        return Result(row, TOO_LATE)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return Result(row, last[:300])
    return Result(row, "done", **json.loads(done.stdout.strip().splitlines()[-1]))


def train(row: Row, job: TrainJob) -> dict[str, Any]:
    """The figures of a :class:`Result`."""
    import torch
    from peft import PeftModel, prepare_model_for_kbit_training
    from transformers import BitsAndBytesConfig, Trainer, TrainerCallback, TrainingArguments

    times: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.monotonic())

    class InOrder(Trainer):  # type: ignore[misc]
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    if row.budget is not None and row.device == "cuda":
        torch.cuda.set_per_process_memory_fraction(row.budget / torch.cuda.get_device_properties(0).total_memory)
    four = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    four["bnb_4bit_compute_dtype"] = torch.bfloat16
    assert job.model_folder is not None
    model = _load(
        Path(job.model_folder),
        dtype=torch.float16,
        device_map={"": row.device},
        quantization_config=BitsAndBytesConfig(**({"load_in_8bit": True} if row.quantization == "int8" else four)),
    )
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    model = PeftModel.from_pretrained(model, Path(job.adapter).parent, is_trainable=True)
    trainer = InOrder(
        model=model,
        train_dataset=_examples(job),
        args=TrainingArguments(
            output_dir=job.work,
            per_device_train_batch_size=row.micro_batch,
            gradient_accumulation_steps=RECORDS_PER_STEP // row.micro_batch,
            max_steps=row.steps,
            learning_rate=job.task.training.learning_rate,
            lr_scheduler_type="constant",
            fp16=row.device == "cuda",
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=row.device == "cpu",
            disable_tqdm=True,
        ),
        callbacks=[Clock()],
    )
    model.config.use_cache = False
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    rate = (len(times) - 1) * RECORDS_PER_STEP * row.length / (times[-1] - times[0]) if len(times) > 1 else None
    return {"tokens_per_s": rate, "peak": _peak(row), "losses": losses}


def _load(folder: Path, **options: Any) -> Any:
    """transformers' model of the files in ``folder``, or, where there are no weights, of some that are drawn."""
    from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM

    from edge_client.training.weights import stored_weights

    from .random_llama import drawn_weights

    if stored_weights(folder):
        return AutoModelForCausalLM.from_pretrained(folder, **options)
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    return LlamaForCausalLM.from_pretrained(None, config=config, state_dict=drawn_weights(folder), **options)


def _examples(job: TrainJob) -> list[dict[str, Any]]:
    """What the client's trainer would see, in its order."""
    from edge_client.data import Template, load_records
    from edge_client.training.batches import Schedule
    from edge_client.training.tokenizer import load_tokenizer

    settings = job.task.training
    template = Template(load_tokenizer(Path(job.model_folder or "")))
    records = load_records(job.data).records
    made = [
        template.example(record, place, settings.max_length, train_on_inputs=True)
        for place, record in enumerate(records)
    ]
    examples = [example for example in made if example is not None]
    assert settings.steps is not None
    schedule = Schedule(examples, settings.batch_size, settings.steps * settings.batch_size, job.seed)
    ordered = [example for step in range(settings.steps) for example in schedule.step(step)]
    return [
        {"input_ids": list(e.tokens), "attention_mask": [1] * len(e.tokens), "labels": list(e.tokens)} for e in ordered
    ]


def _peak(row: Row) -> int:
    import torch

    if row.device == "cuda":
        return torch.cuda.max_memory_reserved()
    return status_bytes("VmHWM")


def main() -> None:
    """Entry point of the process."""
    given = json.load(sys.stdin)
    figures = train(Row(**given["row"]), msgspec.json.decode(given["job"], type=TrainJob))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
