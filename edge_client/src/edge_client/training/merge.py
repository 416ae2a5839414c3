"""Makes one model of a base model and a LoRA adapter: W + s·B·A for each adapted layer (arXiv 2106.09685, section 4.1).

The base's files are copied, and the weights that change are written over, one after the other: a tensor and its change
in float32 are all that is ever held in memory, and everything else stays as it was, to the byte.
"""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from edge_client.disk import free_bytes, require_new, whole_folder
from edge_client.reasons import reason_of
from fedit_shared import adapter as wire
from fedit_shared.errors import ProtocolError, UserError
from fedit_shared.messages import ModelRef

from .failures import AdapterError, ModelError
from .hub import Progress
from .job import Merged, MergeJob
from .model_files import find_model, named_folder
from .plain_lora import lora_config
from .shell import empty_model
from .sizes import gib
from .weights import weight_files

_PREFIX = "base_model.model."
_ENDS = (".lora_A.weight", ".lora_B.weight")
_BESIDE = ("*.json", "*.jinja", "*.model", "*.txt")
"""What a model's folder has besides its weights: configuration, tokenizer, chat template."""
_WIDTHS = {torch.float32: 4, torch.bfloat16: 2, torch.float16: 2}
_ADVICE = "Merge it with PEFT: PeftModel.from_pretrained(…).merge_and_unload()."


class Change(NamedTuple):
    """A layer's A [r, in] and B [out, r], float32, and s; ``transposed``: its weight is stored as [in, out]."""

    a: Tensor
    b: Tensor
    scale: float
    transposed: bool

    def added_to(self, weight: Tensor) -> Tensor:
        """W + s·B·A in ``weight``'s dtype. Raises AdapterError if they do not fit."""
        product = self.b @ self.a
        product = product.t() if self.transposed else product
        if weight.dtype not in _WIDTHS:
            raise AdapterError(f"The model's weights are stored as {weight.dtype}.", advice="Use an unquantized model.")
        if product.shape != weight.shape:
            shapes = f"{list(product.shape)}, and the model's weight {list(weight.shape)}"
            raise AdapterError(f"The adapter's change is of shape {shapes}.", advice="It was made for another model.")
        return product.mul_(self.scale).add_(weight.float()).to(weight.dtype).contiguous()


def merge(job: MergeJob, progress: Progress) -> Merged:
    """Do ``job``; ``progress`` is told of a model that has to be fetched. Raises UserError, DiskError."""
    out, named = Path(job.out), named_folder(job.model)
    require_new(out)
    ref = ModelRef(id=job.model, revision=job.revision or "")
    folder = find_model(ref, None if named is None else str(named), progress)
    try:
        files = weight_files(folder)
        total = sum(file.stat().st_size for file in files)
    except (OSError, ValueError) as error:
        raise ModelError(f"The weights in {folder} cannot be found: {reason_of(error)}.") from error
    changes = _stored(files, _changes(Path(job.adapter), empty_model(folder)))
    with whole_folder(out) as beside:
        if total > (free := free_bytes(out.parent)):
            raise UserError(f"{out.parent} has {gib(free)} free, and {gib(total)} are needed.", advice="Make room.")
        for file in files:
            _write(file, beside / file.name, changes[file])
        for path in (path for pattern in _BESIDE for path in folder.glob(pattern) if path.is_file()):
            shutil.copyfile(path, beside / path.name)
    return Merged(out=str(out), tensors=sum(map(len, changes.values())), bytes=total)


def _changes(folder: Path, shell: Any) -> dict[str, Change]:
    """What the adapter in ``folder`` changes, by the names of the weights in a file of the model ``shell``."""
    try:
        text = wire.read_config((folder / wire.CONFIG_NAME).read_bytes())
        manifest, vector = wire.read_adapter((folder / wire.FILE_NAME).read_bytes())
    except (OSError, ProtocolError) as error:
        raise AdapterError(f"{folder} holds no adapter: {reason_of(error)}.", advice="Name a PEFT folder.") from error
    lora_config(text)
    config = json.loads(text)
    if config.get("alpha_pattern"):
        raise AdapterError("The adapter has an alpha_pattern, which is not merged here.", advice=_ADVICE)
    tensors, start = {}, 0
    for tensor in manifest:
        tensors[tensor.name] = torch.from_numpy(vector[start : start + tensor.size]).view(tensor.shape)
        start += tensor.size
    odd = [name for name in tensors if not name.startswith(_PREFIX) or not name.endswith(_ENDS)]
    if odd:
        raise AdapterError(f"{odd[0]} belongs to no linear layer, and is not merged here.", advice=_ADVICE)
    layers = sorted({name[len(_PREFIX) : -len(_ENDS[0])] for name in tensors})
    return {layer: _change(layer, tensors, config, shell) for layer in layers}


def _change(layer: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any], shell: Any) -> Change:
    try:
        a, b = (tensors[f"{_PREFIX}{layer}{end}"] for end in _ENDS)
        module = shell.get_submodule(layer)
    except (KeyError, AttributeError) as error:
        raise AdapterError(f"The adapter does not fit the model at {layer}.", advice="Check both.") from error
    if module is shell.get_output_embeddings() and shell.config.get_text_config().tie_word_embeddings:
        raise AdapterError(f"{layer} shares its weight with the embedding, and is not merged here.", advice=_ADVICE)
    rank = a.shape[0]
    if a.ndim != 2 or b.ndim != 2 or b.shape[1] != rank:
        raise AdapterError(f"The two factors of {layer} do not fit each other.")
    scale = config.get("lora_alpha", 8) / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return Change(a, b, scale, isinstance(module, Conv1D))


def _stored(files: list[Path], changes: Mapping[str, Change]) -> dict[Path, dict[str, Change]]:
    """The changes by file and by the name that each weight has there. Raises AdapterError for one that is not there."""
    left: dict[str, Change] = dict(changes)
    found: dict[Path, dict[str, Change]] = {}
    for file in files:
        names = _header(file).keys()
        found[file] = {}
        for layer in list(left):
            # Some models are stored without their trunk's name: h.0 for what transformers calls transformer.h.0
            for name in (f"{layer}.weight", f"{layer.partition('.')[2]}.weight"):
                if layer in left and name in names:
                    found[file][name] = left.pop(layer)
    if left:
        raise AdapterError(f"The model's files have no weight of the name {next(iter(left))}.", advice=_ADVICE)
    return found


def _write(file: Path, out: Path, changes: Mapping[str, Change]) -> None:
    """``file`` at ``out``, with ``changes`` made."""
    shutil.copyfile(file, out)
    start = 8 + int.from_bytes(_first(file, 8), "little")
    header = _header(file)
    with safe_open(file, framework="pt", device="cpu", backend="pread") as stored, out.open("r+b") as stream:
        for name, change in changes.items():
            merged = change.added_to(stored.get_tensor(name))
            begin, end = header[name]["data_offsets"]
            data = merged.view(torch.uint8).numpy().data
            assert data.nbytes == end - begin, "dtype and shape stay as they are"
            stream.seek(start + begin)
            stream.write(data)


def _header(file: Path) -> dict[str, Any]:
    """The names in a safetensors file and where each lies. Raises ModelError."""
    try:
        with safe_open(file, framework="pt"):  # checks it
            pass
        size = int.from_bytes(_first(file, 8), "little")
        header: dict[str, Any] = json.loads(_first(file, 8 + size)[8:])
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{file} cannot be read: {reason_of(error)}.") from error
    return header


def _first(file: Path, count: int) -> bytes:
    with file.open("rb") as stream:
        return stream.read(count)
