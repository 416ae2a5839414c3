"""Decoders that only a client has: its owner's data, its own records, models, judges."""

import json
from collections.abc import Sequence
from functools import partial
from inspect import isclass
from typing import Any
from unittest.mock import patch

import msgspec

from edge_client.data import DataSource, Record, Template, Turn, limits, load_records
from edge_client.evaluation import kept, lines, pairwise
from edge_client.evaluation.endpoint import Endpoint
from edge_client.evaluation.judging import Judgement
from edge_client.state import attempt, private, records, update
from edge_client.training import model_files
from edge_client.training.footprint import make_adapter
from edge_client.training.shape import read_positions, read_shape
from edge_client.training.weights import weight_files
from edge_client.training.work_folder import WorkFolder
from edge_client.transport.patience import LONGEST_RETRY_AFTER, retry_after
from fedit_shared.errors import FeditError

from .forms import BYTES, JSON, JSON_LINES, MSGPACK, SAFETENSORS, TEXT, Form
from .samples import samples
from .target import Read, Target, require_shown, scratch, stable

_DOLLY = {"instruction": "Add", "context": "1 1", "response": "2", "category": "sums"}
_CHAT = {"messages": [{"role": r, "content": c} for r, c in (("system", "s"), ("user", "u"), ("assistant", "a"))]}
_SHARED = {"conversations": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}], "category": 3}


def _records(name: str, seeds: Sequence[bytes]) -> tuple[Read, Sequence[bytes]]:
    """A file of records; what is read can be kept as records again."""
    file = scratch() / name

    def read(data: bytes) -> None:
        file.write_bytes(data)
        found = load_records(DataSource(path=str(file), bad="skip"))
        assert found.records
        for record in found.records:
            assert record.response.strip()
            assert stable(msgspec.json.encode(record), partial(msgspec.json.decode, type=Record), msgspec.json.encode)

    return read, seeds


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def _rows() -> tuple[Read, Sequence[bytes]]:
    return _records("data.parquet", [_parquet([_DOLLY]), _parquet([_CHAT]), _parquet([_SHARED] * 3)])


def _of(*modules: Any) -> list[type]:
    """The records that these modules define."""
    return [
        kind
        for module in modules
        for kind in vars(module).values()
        if isclass(kind) and issubclass(kind, msgspec.Struct) and kind.__module__ == module.__name__
    ]


def _state() -> tuple[Read, Sequence[bytes]]:
    """Every kind of record in the state's folder, whichever file it stands in."""
    kinds = _of(records, attempt, update, private)

    def read(data: bytes) -> None:
        refused: list[FeditError] = []
        for kind in kinds:
            try:
                stable(data, partial(records.unpack, kind=kind, where="file"), records.pack)
            except FeditError as error:
                refused.append(error)
        if len(refused) == len(kinds):
            raise refused[0]

    return read, [records.pack(sample) for sample in samples(*kinds)]


def _checkpoint() -> tuple[Read, Sequence[bytes]]:
    """A damaged checkpoint counts as none."""
    folder = scratch()
    work = WorkFolder(str(folder), bytes(32))

    def read(data: bytes) -> None:
        (folder / "checkpoint.safetensors").write_bytes(data)
        found = work.checkpoint(2)
        assert found is None or found.vectors["adapter"].size == 2

    header = {
        "__metadata__": {"key": "00" * 32, "position": '{"step":1}'},
        **{
            name: {"dtype": "F32", "shape": [2], "data_offsets": [8 * i, 8 * i + 8]}
            for i, name in enumerate(("adapter", "gradient", "mean", "square"))
        },
    }
    return read, [SAFETENSORS.close([header, bytes(32)])]


def _finished() -> tuple[Read, Sequence[bytes]]:
    from edge_client.training import work_folder

    folder = scratch()
    work = WorkFolder(str(folder), bytes(32))

    def read(data: bytes) -> None:
        (folder / "result.msgpack").write_bytes(data)
        work.result()

    return read, [msgspec.msgpack.encode(sample) for sample in samples(work_folder._Result)]


def _header() -> tuple[Read, Sequence[bytes]]:
    folder = scratch()

    def read(data: bytes) -> None:
        (folder / "evaluation.json").write_bytes(data)
        assert kept.read_header(folder) is not None

    return read, [msgspec.json.encode(sample) for sample in samples(kept.Header)]


def _lines(kind: Any) -> tuple[Read, Sequence[bytes]]:
    file = scratch() / "lines.jsonl"

    def read(data: bytes) -> None:
        file.write_bytes(data)
        values = lines.Lines(file, kind).values
        file.write_bytes(b"".join(msgspec.json.encode(value) + b"\n" for value in values))
        assert len(lines.Lines(file, kind).values) == len(values)

    return read, [b"".join(msgspec.json.encode(sample) + b"\n" for sample in samples(kind))]


def _judge() -> tuple[Read, Sequence[bytes]]:
    endpoint = Endpoint("https://judge.example/v1", "m", None, temperature=None, timeout=1.0, tell=lambda news: None)

    def read(data: bytes) -> None:
        for score in pairwise.scores(endpoint._read(data).text) or ():
            assert 1 <= score <= 10

    said = {"choices": [{"message": {"content": "<think>so</think>\n8 7.5\nWhy."}}], "usage": {"prompt_tokens": 3}}
    return read, [json.dumps(said).encode()]


def _refused() -> tuple[Read, Sequence[bytes]]:
    """What a judge's endpoint says with an error."""
    endpoint = Endpoint("https://judge.example/v1", "m", None, temperature=None, timeout=1.0, tell=lambda news: None)

    def read(data: bytes) -> None:
        refusal = endpoint._refusal(400, None, data)
        assert isinstance(refusal, FeditError)
        require_shown(refusal)

    return read, [b'{"error": "no such model"}']


def _later() -> tuple[Read, Sequence[bytes]]:
    def read(data: bytes) -> None:
        assert 0 <= retry_after(data.decode("utf-8", "surrogateescape"), 0.0) <= LONGEST_RETRY_AFTER

    return read, [b"120", b"Wed, 21 Oct 2015 07:28:00 GMT", b"Thu, 01 Jan 9999 00:00:00 -2359"]


def _config() -> tuple[Read, Sequence[bytes]]:
    folder = scratch()

    def read(data: bytes) -> None:
        (folder / "config.json").write_bytes(data)
        config = model_files.read_config(folder)
        read_positions(config)
        shape = read_shape(config)
        assert 0 < shape.quantized < 2**80
        assert make_adapter(shape, 8, ["q_proj"]).parameters >= 0

    small = {"vocab_size": 264, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    llama = small | {"model_type": "llama", "intermediate_size": 128, "num_key_value_heads": 2}
    others = [small | {"model_type": kind} for kind in ("falcon", "phi", "gemma", "mixtral", "opt")]
    gpt = {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 264, "n_positions": 128}
    several = [llama, {"text_config": llama, "model_type": "gemma3"}, gpt, *others, llama | {"num_local_experts": 4}]
    return read, [json.dumps(config).encode() for config in several]


def _index() -> tuple[Read, Sequence[bytes]]:
    """Which files a model's weights are in: none outside its folder, or one of the errors that are told."""
    folder = scratch()

    def read(data: bytes) -> None:
        (folder / "model.safetensors.index.json").write_bytes(data)
        try:
            found = weight_files(folder)
        except (OSError, ValueError, KeyError):
            return
        assert all(path.parent == folder for path in found)

    return read, [b'{"weight_map": {"a": "model-1.safetensors", "b": "../model-2.safetensors"}}']


def _template() -> tuple[Read, Sequence[bytes]]:
    """A model's chat template, a program that may not take more than its share; that is less here."""
    from tiny_model import CHAT_TEMPLATE, make_tokenizer

    tokenizer = make_tokenizer()
    record = Record(instruction="Add", response="2", earlier=(Turn("system", "Be brief."),))

    def read(data: bytes) -> None:
        tokenizer.chat_template = data.decode("utf-8", "replace")
        with patch.object(limits, "SECONDS", 0.2), patch.object(limits, "ROOM", 2**28):
            Template(tokenizer).parts(record)

    return read, [
        CHAT_TEMPLATE.encode(),
        b"{% set a = namespace(n=0) %}{% for m in messages %}{{ m.content | trim | upper }}{% endfor %}{{ eos_token }}",
        b"{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}{{ 'x' * 999 }}",
    ]


def _lora() -> tuple[Read, Sequence[bytes]]:
    """The server's adapter_config.json, as PEFT gets to see it."""
    from edge_client.training.plain_lora import lora_config

    def read(data: bytes) -> None:
        lora_config(data.decode("utf-8", "replace"))

    return read, [
        b'{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "lora_dropout": 0.1}',
        b'{"peft_type": "LORA", "r": 8, "target_modules": "all-linear", "bias": "none", "use_rslora": true}',
        b'{"peft_type": "LORA", "rank_pattern": {"q": 4}, "layers_to_transform": [0, 1], "layers_pattern": ["layers"]}',
    ]


def _text(rows: Sequence[dict[str, Any]], form: Form) -> bytes:
    return form.close(list(rows))


_CSV = [b'instruction,response\nAdd,"2,\n3"\n', b"instruction;context;response\na;b;c\n", b"a\tb\n1\t2\n"]

TARGETS = [
    Target(
        "data-jsonl",
        lambda: _records("data.jsonl", [_text([_DOLLY, _DOLLY], JSON_LINES), _text([_CHAT, _SHARED], JSON_LINES)]),
        JSON_LINES,
    ),
    Target("data-json", lambda: _records("data.json", [_text([_DOLLY, _CHAT], JSON), _text([_SHARED], JSON)]), JSON),
    Target("data-csv", lambda: _records("data.csv", _CSV), TEXT),
    Target("data-parquet", _rows, BYTES, longest=8192),
    Target("state-records", _state, MSGPACK),
    Target("checkpoint", _checkpoint, SAFETENSORS),
    Target("training-result", _finished, MSGPACK),
    Target("evaluation-header", _header, JSON),
    *(
        Target(f"evaluation-{kind.__name__.lower()}", partial(_lines, kind), JSON_LINES, cases=60)
        for kind in (kept.Loss, kept.Answer, kept.Done, Judgement)
    ),
    Target("judge-reply", _judge, JSON),
    Target("judge-refusal", _refused, JSON, cases=40),
    Target("retry-after", _later, TEXT, longest=200),
    Target("model-config", _config, JSON),
    Target("weights-index", _index, JSON, cases=60),
    Target("chat-template", _template, TEXT, cases=40),
    Target("lora-config", _lora, JSON),
]
