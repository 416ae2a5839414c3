"""An adapter's file and its vector are two forms of one thing; a file that lies about itself is refused."""

import json
import struct
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from fedit_shared import adapter
from fedit_shared.errors import ProtocolError
from fedit_shared.messages import TensorSpec

MANIFEST = (
    TensorSpec(name="a.lora_A.weight", shape=(2, 3)),
    TensorSpec(name="a.lora_B.weight", shape=(4, 2)),
    TensorSpec(name="b.lora_A.weight", shape=(2, 5)),
)
VECTOR = np.arange(-12, 12, dtype=np.float32) / 8


def raw_file(header: dict[str, Any] | bytes, body: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(dtype: str, shape: list[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_what_is_written_is_read_back_bit_for_bit() -> None:
    manifest, vector = adapter.read_adapter(adapter.write_adapter(MANIFEST, VECTOR))
    assert manifest == MANIFEST
    assert vector.dtype == np.float32
    assert vector.tobytes() == VECTOR.tobytes()


def test_the_same_values_always_give_the_same_bytes_and_version() -> None:
    once = adapter.write_adapter(MANIFEST, VECTOR)
    assert once == adapter.write_adapter(list(MANIFEST), np.repeat(VECTOR, 2)[::2])
    assert adapter.version(once).hex() == "3de277818b25a6bb55d56f4d9e36fc77c62669f38bfcec82f566c3e0abc6f935"


def test_the_safetensors_library_reads_what_is_written() -> None:
    data = adapter.write_adapter(MANIFEST, VECTOR)
    read = safetensors.numpy.load(data)
    assert {name: value.shape for name, value in read.items()} == {t.name: t.shape for t in MANIFEST}
    assert b'"__metadata__":{"format":"pt"}' in data
    np.testing.assert_array_equal(np.concatenate([read[tensor.name].ravel() for tensor in MANIFEST]), VECTOR)


def test_tensors_come_sorted_by_name_however_the_file_has_them() -> None:
    body = np.arange(3, dtype="<f4").tobytes()
    data = raw_file({"z": entry("F32", [1], 0, 4), "a": entry("F32", [2], 4, 12)}, body)
    manifest, vector = adapter.read_adapter(data)
    assert [tensor.name for tensor in manifest] == ["a", "z"]
    assert vector.tolist() == [1.0, 2.0, 0.0]


def test_half_precision_is_widened_exactly() -> None:
    halves = np.array([1.0, -2.5, 6e-8, 65504.0], dtype="<f2")
    _, vector = adapter.read_adapter(raw_file({"x": entry("F16", [4], 0, 8)}, halves.tobytes()))
    assert vector.tolist() == [float(value) for value in halves]
    brain = np.array([0x3F80, 0xC049, 0x0001, 0x7F7F], dtype="<u2")  # 1, -3.140625, smallest, largest
    _, vector = adapter.read_adapter(raw_file({"x": entry("BF16", [4], 0, 8)}, brain.tobytes()))
    assert vector.tolist() == [1.0, -3.140625, 2.0**-133, (2 - 2**-7) * 2.0**127]


LIES: dict[str, bytes] = {
    "nothing": b"",
    "a header longer than the file": struct.pack("<Q", 2**62) + b"{}",
    "no JSON": raw_file(b"nonsense", b""),
    "a header that is no object": raw_file(b"[]", b""),
    "a header nested without end": raw_file(b"[" * 100_000, b""),
    "no tensors": raw_file({}, b""),
    "a name twice": raw_file(b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"x":0}', bytes(4)),
    "integers": raw_file({"x": entry("I64", [1], 0, 8)}, bytes(8)),
    "no shape": raw_file({"x": entry("F32", [], 0, 4)}, bytes(4)),
    "an empty tensor": raw_file({"x": entry("F32", [0], 0, 0)}, b""),
    "a shape far beyond the file": raw_file({"x": entry("F32", [2**31, 2**31], 0, 4)}, bytes(4)),
    "a negative offset": raw_file({"x": entry("F32", [1], -4, 0)}, bytes(4)),
    "an offset that is no number": raw_file({"x": {"dtype": "F32", "shape": [1], "data_offsets": ["0", 4]}}, bytes(4)),
    "trailing bytes": raw_file({"x": entry("F32", [1], 0, 4)}, bytes(5)),
    "a gap": raw_file({"x": entry("F32", [1], 0, 4), "y": entry("F32", [1], 8, 12)}, bytes(12)),
    "an overlap": raw_file({"x": entry("F32", [2], 0, 8), "y": entry("F32", [1], 4, 8)}, bytes(8)),
    "infinity": raw_file({"x": entry("F32", [1], 0, 4)}, np.float32("inf").tobytes()),
    "no number": raw_file({"x": entry("BF16", [1], 0, 2)}, b"\xff\xff"),
    "a name too long": raw_file({"x" * 401: entry("F32", [1], 0, 4)}, bytes(4)),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_refused_with_advice(lie: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        adapter.read_adapter(LIES[lie])
    assert caught.value.advice


@pytest.mark.parametrize("length", [0, 7, 8, 60, -1])
def test_a_file_that_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(ProtocolError):
        adapter.read_adapter(adapter.write_adapter(MANIFEST, VECTOR)[:length])


@given(st.integers(0, 500), st.integers(1, 255))
def test_whatever_byte_is_changed_it_is_read_or_refused(place: int, change: int) -> None:
    data = bytearray(adapter.write_adapter(MANIFEST, VECTOR))
    data[place % len(data)] ^= change
    try:
        manifest, vector = adapter.read_adapter(bytes(data))
    except ProtocolError:
        return
    assert vector.size == adapter.size(manifest) == 24


def named(*names: str) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=name, shape=(1,)) for name in names)


@pytest.mark.parametrize(
    ("found", "first"),
    [
        (named("a", "c"), "no tensor b"),
        (named("a"), "no tensor b"),
        (named("a", "b", "bb", "c"), "tensor bb that was not expected"),
        (named("a", "b", "c", "d"), "tensor d that was not expected"),
        ((*named("a", "b"), TensorSpec(name="c", shape=(2,))), r"c is of shape \[2\], not \[1\]"),
    ],
)
def test_an_adapter_that_does_not_fit_is_told_the_first_difference(found: tuple[TensorSpec, ...], first: str) -> None:
    adapter.check_fits(named("a", "b", "c"), named("a", "b", "c"))
    with pytest.raises(ProtocolError, match=first):
        adapter.check_fits(named("a", "b", "c"), found)


def test_the_size_of_a_file_follows_from_its_tensors() -> None:
    assert adapter.file_size(MANIFEST) == len(adapter.write_adapter(MANIFEST, VECTOR))


def test_a_vector_of_another_size_is_not_written() -> None:
    with pytest.raises(ProtocolError):
        adapter.write_adapter(MANIFEST, VECTOR[1:])


@pytest.mark.parametrize("text", [b"", b"[]", b'{"peft_type": "LOHA"}', b"\xff", b" " * 2**17])
def test_a_configuration_of_anything_but_a_lora_is_refused(text: bytes) -> None:
    assert adapter.read_config(b'{"peft_type": "LORA", "r": 8}') == '{"peft_type": "LORA", "r": 8}'
    with pytest.raises(ProtocolError):
        adapter.read_config(text)


@pytest.mark.parametrize(
    "field", ["target_modules", "exclude_modules", "layers_pattern", "rank_pattern", "alpha_pattern"]
)
def test_a_configuration_names_its_layers_and_gives_no_pattern_that_may_never_end(field: str) -> None:
    endless = "(.*.*)*.*(.*.*)*x"
    for value in (endless, [endless], {endless: 1}, ["q_proj", 3], 7):
        with pytest.raises(ProtocolError, match=f"{field} that is no list of names"):
            adapter.read_config(json.dumps({"peft_type": "LORA", field: value}).encode())
    for value in (None, [], "all-linear", ["q_proj", "layers.0.self_attn.v_proj"], {"q_proj": 4}):
        adapter.read_config(json.dumps({"peft_type": "LORA", field: value}).encode())
