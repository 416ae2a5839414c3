"""Decoders of files that both sides read: adapters, what lies beside them, vectors."""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from fedit_shared import adapter
from fedit_shared.conformance import check
from fedit_shared.messages import ModelRef, TaskSpec, TensorSpec, TrainingSettings, decode_task, encode
from fedit_shared.messages.model_file import read_model_file, write_model_file

from .forms import JSON, SAFETENSORS
from .samples import VECTORS, cases
from .target import Read, Target, stable, taken

_TENSORS = (TensorSpec(name="a.lora_A.weight", shape=(2, 3)), TensorSpec(name="a.lora_B.weight", shape=(4, 2)))


def _adapter() -> tuple[Read, Sequence[bytes]]:
    """What is read can be written, read again, and offered in a task."""

    def read(data: bytes) -> None:
        tensors, vector = adapter.read_adapter(data)
        with taken():
            offered(tensors, vector)

    def offered(tensors: adapter.Manifest, vector: NDArray[np.float32]) -> None:
        written = adapter.write_adapter(tensors, vector)
        assert len(written) == adapter.file_size(tensors)
        again, values = adapter.read_adapter(written)
        assert (again, values.tobytes()) == (tensors, vector.tobytes())
        task = TaskSpec(
            name="t", model=ModelRef(id="m"), adapter_config="{}", tensors=tensors, training=TrainingSettings()
        )
        assert decode_task(encode(task)) == task

    good = adapter.write_adapter(_TENSORS, np.arange(14, dtype=np.float32))
    half = b'{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},'
    half += b'"b":{"dtype":"BF16","shape":[1,2],"data_offsets":[4,8]}}'
    return read, [good, len(half).to_bytes(8, "little") + half + bytes(8)]


def _config() -> tuple[Read, Sequence[bytes]]:
    def read(data: bytes) -> None:
        assert adapter.read_config(data).encode() == data

    return read, [
        b'{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]}',
        b'{"peft_type": "LORA", "target_modules": "all-linear", "rank_pattern": {"q_proj": 4}}',
    ]


def _model_file() -> tuple[Read, Sequence[bytes]]:
    def read(data: bytes) -> None:
        stable(data, read_model_file, write_model_file)

    return read, [write_model_file(ModelRef(id="owner/name", revision="1", files={"config.json": bytes(32)}))]


def _vectors() -> tuple[Read, Sequence[bytes]]:
    def read(data: bytes) -> None:
        for outcome in check(data):
            assert outcome.passed or outcome.difference

    def file(case: object) -> bytes:
        return msgspec.json.encode({"format": "fedit-vectors-1", "about": "", "given": {}, "cases": [case]})

    small = [file(case) for name in ("bodies", "keys", "wire") for case in cases(name)]
    head = (VECTORS / "bodies.json").read_bytes()[:200]
    return read, [head, *sorted({data for data in small if len(data) < 3000})[::3]]


TARGETS = [
    Target("adapter", _adapter, SAFETENSORS),
    Target("adapter-config", _config, JSON),
    Target("model-file", _model_file, JSON),
    Target("vector-file", _vectors, JSON),
]
