"""Makes a new adapter: the start state of a federation. The model's weights are hashed but never loaded."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict

from edge_client.disk import require_new, whole_folder
from edge_client.reasons import reason_of
from fedit_shared import adapter as wire
from fedit_shared.messages import MODEL_FILE, ModelRef, TensorSpec, write_model_file

from .failures import AdapterError
from .hub import Progress
from .job import Created, CreateJob
from .model_files import describe_files, find_model, named_folder
from .shell import empty_model
from .tokenizer import load_tokenizer


def create(job: CreateJob, progress: Progress = lambda here, total: None) -> Created:
    """Do ``job``; ``progress`` is told of a model that has to be fetched. Raises ModelError, AdapterError, and
    UserError for an ``out`` that is taken."""
    out = Path(job.out)
    require_new(out)
    folder, model_id, revision = _find(job, progress)
    load_tokenizer(folder)
    config, manifest = _attach(folder, job)
    config |= {"base_model_name_or_path": model_id, "revision": revision or None, "inference_mode": True}
    files = {
        wire.CONFIG_NAME: json.dumps(config, indent=2, sort_keys=True).encode() + b"\n",
        wire.FILE_NAME: wire.write_adapter(manifest, _start_values(manifest, job.seed)),
        MODEL_FILE: write_model_file(describe_files(folder, model_id, revision)),
    }
    _write(out, files)
    return Created(
        out=str(out),
        model_id=model_id,
        revision=revision,
        tensors=len(manifest),
        parameters=wire.size(manifest),
        target_modules=tuple(config["target_modules"]),
    )


def _find(job: CreateJob, progress: Progress) -> tuple[Path, str, str]:
    """The model's folder, the name that participants will know it by, and its commit."""
    path = named_folder(job.model)
    if path is not None:
        return find_model(ModelRef(id=""), str(path)), path.resolve().name, ""
    folder = find_model(ModelRef(id=job.model, revision=job.revision or ""), None, progress)
    return folder, job.model, folder.name  # the cache keeps one folder a commit, named by it


def _attach(folder: Path, job: CreateJob) -> tuple[dict[str, Any], wire.Manifest]:
    """adapter_config.json's content and the manifest: the adapter is put onto the model's empty shell."""
    targets = None if job.target_modules is None else list(job.target_modules)
    model = empty_model(folder)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=job.rank,
        lora_alpha=2 * job.rank if job.alpha is None else job.alpha,
        lora_dropout=job.dropout,
        target_modules="all-linear" if targets == ["all-linear"] else targets,
    )
    try:
        shell = get_peft_model(model, config, low_cpu_mem_usage=True)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise AdapterError(
            f"No adapter can be made for this model: {reason_of(error)}.",
            advice="Name linear layers of the model with --target-modules, for instance q_proj,k_proj,v_proj,o_proj.",
        ) from error
    state = get_peft_model_state_dict(shell, save_embedding_layers=False)
    for name in state:
        if not name.endswith((".lora_A.weight", ".lora_B.weight")):
            raise AdapterError(f"{name} belongs to no linear layer.", advice="Name linear layers only.")
    values = shell.peft_config["default"].to_dict()
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in values.items()}
    return plain, tuple(TensorSpec(name=name, shape=tuple(state[name].shape)) for name in sorted(state))


def _start_values(manifest: wire.Manifest, seed: int) -> NDArray[np.float32]:
    """B = 0, A uniform in ±1/√in, as PEFT draws it: the adapter's product is zero (LoRA, arXiv:2106.09685, 4.1)."""
    random = np.random.Generator(np.random.PCG64(seed))
    parts = []
    for tensor in manifest:
        size = math.prod(tensor.shape)
        bound = 1 / math.sqrt(tensor.shape[1])
        drawn = random.uniform(-bound, bound, size) if ".lora_A." in tensor.name else np.zeros(size)
        parts.append(drawn.astype(np.float32))
    return np.concatenate(parts)


def _write(out: Path, files: dict[str, bytes]) -> None:
    """All of ``files`` or none."""
    with whole_folder(out) as beside:
        for name, data in files.items():
            (beside / name).write_bytes(data)
