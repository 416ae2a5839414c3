"""Every message survives its way over the wire, and nothing else is read as one."""

import math
import unicodedata
from typing import Any, get_args

import msgspec
import pytest

from fedit_shared.errors import ProtocolError
from fedit_shared.messages import (
    PIECE_SIZE,
    ROUTES,
    Accepted,
    Answer,
    Certificate,
    CheckIn,
    ChunksHeld,
    ClientMessage,
    Closed,
    Deal,
    Enrol,
    Enrolled,
    Leave,
    ModelRef,
    Muster,
    Offer,
    Poll,
    Prepare,
    Receipt,
    Refused,
    Report,
    Result,
    Roster,
    RoundSettings,
    ServerMessage,
    Survivors,
    TaskSpec,
    TensorSpec,
    TrainingSettings,
    Vote,
    Wait,
    decode,
    decode_settings,
    decode_task,
    encode,
)
from fedit_shared.messages.task import MAX_VALUES
from fedit_shared.parameters import COHORT_MAX, COHORT_MIN, CohortParameters, upload_size
from fedit_shared.secagg import merkle, most_beside
from fedit_shared.secagg.bodies import Finding, RosterBody, RosterEntry
from fedit_shared.secagg.sealing import OVERHEAD

COHORT, HASH, SIGNATURE = bytes(range(16)), bytes(range(32)), bytes(range(64))
DIRECTING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""Unicode's classes of characters that turn the direction of writing."""
RECEIPT = Receipt(identity=HASH, body=bytes(128), signature=SIGNATURE)
CLIENT: list[Any] = [
    Enrol(identity=HASH, token=bytes(16), time=1_900_000_000, signature=SIGNATURE),
    CheckIn(client_version="0.1.0", accelerator="cuda", memory_gib=24, wait=60),
    Muster(body=bytes(146), round_key=bytes(1216), signature=SIGNATURE),
    Poll(round=3, cohort=None, after="mustered"),
    Poll(round=3, cohort=COHORT, after="answered", wait=30),
    Deal(cohort=COHORT, body=bytes(128), signature=SIGNATURE, packets=bytes(5000)),
    Report(cohort=COHORT, report=bytes(97), signature=SIGNATURE),
    Vote(cohort=COHORT, survivors_hash=HASH, signature=SIGNATURE),
    Answer(cohort=COHORT, survivors_hash=HASH, words=bytes(4096), signature=SIGNATURE),
    Leave(),
]
SERVER: list[Any] = [
    Enrolled(server_key=HASH, federation_name="Überlandwerk"),
    Accepted(),
    Wait(reason="Others are still training.", seconds=2.5, present=3, expected=5, until=1_900_000_000),
    Closed(reason="The round went on without this device."),
    Offer(
        task=b"task",
        round=1,
        adapter=HASH,
        adapter_size=2**33,
        train_until=1_900_000_000,
        not_after=1_900_086_400,
        signature=SIGNATURE,
    ),
    Roster(cohort=COHORT, body=b"roster", settings=b"settings", signature=SIGNATURE, contribute_until=1_900_000_000),
    Prepare(receipts=[RECEIPT], packets=[bytes(100)]),
    Survivors(survivors=b""),
    Certificate(survivors=bytes(64), certificate=bytes(96)),
    Result(
        cohort=COHORT,
        round=1,
        outcome="published",
        survivors=bytes(64),
        certificate=bytes(96),
        adapter=HASH,
        total_weight=80,
        mean_loss=None,
        signature=SIGNATURE,
    ),
    ChunksHeld(held=b"\x05"),
    Refused(code="conflict", message="Not now.", advice="Wait.", server_time=1_900_000_000),
]
BOTH = [(message, ClientMessage) for message in CLIENT] + [(message, ServerMessage) for message in SERVER]
TASK = TaskSpec(
    name="test",
    model=ModelRef(id="tiny"),
    adapter_config="{}",
    tensors=(TensorSpec(name="a", shape=(2, 3)),),
    training=TrainingSettings(),
)
SETTINGS = RoundSettings(model="tiny", clip=(0.01,), not_after=1_900_000_000)


def name(value: Any) -> str:
    return type(value).__name__ if isinstance(value, msgspec.Struct) else ""


def test_the_samples_are_of_every_message() -> None:
    assert {type(message) for message in CLIENT} == set(get_args(ClientMessage)) == set(ROUTES)
    assert {type(message) for message in SERVER} == set(get_args(ServerMessage))


@pytest.mark.parametrize(("message", "side"), BOTH, ids=name)
def test_a_message_comes_back_as_it_went(message: Any, side: Any) -> None:
    assert decode(encode(message), side) == message
    assert decode(encode(message), type(message)) == message


@pytest.mark.parametrize(("message", "side"), BOTH, ids=name)
def test_a_message_with_one_byte_too_many_or_too_few_is_refused(message: Any, side: Any) -> None:
    for wrong in (encode(message) + b"\0", encode(message)[:-1], b""):
        with pytest.raises(ProtocolError):
            decode(wrong, side)


@pytest.mark.parametrize(("message", "side"), BOTH, ids=name)
def test_a_message_with_a_field_too_many_or_a_wrong_tag_is_refused(message: Any, side: Any) -> None:
    fields = msgspec.msgpack.decode(encode(message))
    for wrong in (fields | {"extra": 1}, fields | {"type": "other"}, [fields], 7):
        with pytest.raises(ProtocolError):
            decode(msgspec.msgpack.encode(wrong), side)


@pytest.mark.parametrize(("message", "side"), BOTH, ids=name)
def test_a_message_whose_field_is_absent_of_another_type_or_too_long_is_refused(message: Any, side: Any) -> None:
    fields = msgspec.msgpack.decode(encode(message))
    optional = {field.name for field in msgspec.structs.fields(type(message)) if not field.required}
    for key, value in fields.items():
        wrong: list[Any] = [fields | {key: {"a": 1}}]
        if key not in optional | {"type"}:
            wrong.append({k: v for k, v in fields.items() if k != key})
        if isinstance(value, bytes):
            wrong.append(fields | {key: bytes(2**23)})
        if isinstance(value, str):
            wrong.append(fields | {key: "x" * 401})
        if isinstance(value, int) and not isinstance(value, bool):
            wrong += [fields | {key: -1}, fields | {key: 2**41}]
        for case in wrong:
            with pytest.raises(ProtocolError):
                decode(msgspec.msgpack.encode(case), side)


def test_what_one_side_says_is_not_read_from_the_other() -> None:
    for messages, other in ((CLIENT, ServerMessage), (SERVER, ClientMessage)):
        for message in messages:
            with pytest.raises(ProtocolError):
                decode(encode(message), other)


def test_a_message_that_is_nested_without_end_is_refused() -> None:
    for deep in (b"\x91" * 100_000, b"\x81\xa1a" * 100_000):
        with pytest.raises(ProtocolError):
            decode(deep, ClientMessage)


@pytest.mark.parametrize("members", range(COHORT_MIN, COHORT_MAX + 1))
def test_what_a_cohort_of_any_size_has_to_say_fits_its_message_and_route(members: int) -> None:
    sizes = CohortParameters(members)
    packet, words = bytes(4 * sizes.packet_words + OVERHEAD), bytes(4 * sizes.words)
    proof = bytes(max(merkle.proof_size(k, members) for k in range(1, members + 1)))
    whole: list[Any] = [
        Deal(cohort=COHORT, body=bytes(128), signature=SIGNATURE, packets=packet * members),
        Report(cohort=COHORT, report=bytes(Finding.LAYOUT.size * (members - 1)), signature=SIGNATURE),
        Answer(cohort=COHORT, survivors_hash=HASH, words=words, signature=SIGNATURE),
    ]
    for message in whole:
        assert decode(encode(message), ClientMessage) == message
        assert len(encode(message)) <= ROUTES[type(message)].limit
    whole += [
        Muster(body=bytes(146), round_key=bytes(1216), signature=SIGNATURE),
        Vote(cohort=COHORT, survivors_hash=HASH, signature=SIGNATURE),
    ]
    assert sum(len(encode(message)) for message in whole) <= most_beside()
    survivors, certificate = bytes(64 * members), bytes(96 * members)
    roster = bytes(RosterBody.HEAD.size + RosterEntry.LAYOUT.size * members)
    answers: list[Any] = [
        Prepare(receipts=[RECEIPT] * members, packets=[packet + proof] * members),
        Survivors(survivors=survivors),
        Certificate(survivors=survivors, certificate=certificate),
        Roster(cohort=COHORT, body=roster, settings=b"", signature=SIGNATURE, contribute_until=0),
    ]
    for message in answers:
        assert decode(encode(message), ServerMessage) == message


def test_the_small_messages_fit_their_routes_at_their_largest() -> None:
    largest: list[Any] = [
        Enrol(identity=HASH, token=bytes(16), time=2**40, signature=SIGNATURE),
        CheckIn(client_version="x" * 400, accelerator="cuda", memory_gib=2**31, wait=60),
        Muster(body=bytes(146), round_key=bytes(1216), signature=SIGNATURE),
        Poll(round=2**31, cohort=COHORT, after="contributed", wait=60),
        Vote(cohort=COHORT, survivors_hash=HASH, signature=SIGNATURE),
        Leave(),
    ]
    for message in largest:
        assert len(encode(message)) <= ROUTES[type(message)].limit


def test_the_largest_adapter_that_is_read_can_be_offered_and_its_upload_listed() -> None:
    offer = msgspec.structs.replace(SERVER[4], adapter_size=4 * MAX_VALUES + 2**24)
    assert decode(encode(offer), ServerMessage) == offer
    pieces = -(-upload_size(MAX_VALUES, 24) // PIECE_SIZE)
    held = ChunksHeld(held=bytes(-(-pieces // 8)))
    assert decode(encode(held), ServerMessage) == held


def test_a_task_sets_exactly_one_measure_of_local_work() -> None:
    assert decode_task(encode(TASK)) == TASK
    for measures in ({"epochs": None}, {"steps": 3}, {"minutes": 2.0}, {"steps": 3, "minutes": 2.0, "epochs": None}):
        task = msgspec.to_builtins(TASK)
        task["training"] |= measures
        with pytest.raises(ProtocolError, match="exactly one"):
            decode_task(msgspec.msgpack.encode(task))


def test_a_task_of_more_values_than_any_adapter_has_is_refused() -> None:
    task = msgspec.to_builtins(TASK) | {"tensors": [{"name": "a", "shape": [2**30]}, {"name": "b", "shape": [2**30]}]}
    assert sum(tensor.size for tensor in decode_task(msgspec.msgpack.encode(task)).tensors) == MAX_VALUES
    task["tensors"].append({"name": "c", "shape": [1]})
    with pytest.raises(ProtocolError, match=f"{MAX_VALUES} are allowed"):
        decode_task(msgspec.msgpack.encode(task))


def twice(packed: bytes, name: str, value: Any) -> bytes:
    """msgpack of a short map, in which this name stands once more."""
    assert packed[0] >> 4 == 8, "a short map"
    return bytes([packed[0] + 1]) + packed[1:] + msgspec.msgpack.encode(name) + msgspec.msgpack.encode(value)


@pytest.mark.parametrize(("message", "side"), BOTH, ids=name)
def test_a_message_that_names_a_field_twice_is_refused(message: Any, side: Any) -> None:
    for field in ("type", *message.__struct_fields__):
        value = message.__struct_config__.tag if field == "type" else getattr(message, field)
        wrong = twice(encode(message), field, value)
        with pytest.raises(ProtocolError, match="twice"):
            decode(wrong, side)


@pytest.mark.parametrize("size", [2, 4])
def test_a_name_is_found_twice_however_the_count_of_a_map_or_list_is_written(size: int) -> None:
    long_map, long_list = ({2: b"\xde", 4: b"\xdf"}[size], {2: b"\xdc", 4: b"\xdd"}[size])
    files = twice(msgspec.msgpack.encode({"a": bytes(32)}), "a", bytes(32))
    model = msgspec.msgpack.encode({"id": "tiny"})
    model = long_map + (2).to_bytes(size, "big") + model[1:] + msgspec.msgpack.encode("files") + files
    with pytest.raises(ProtocolError, match="twice"):
        decode(model, ModelRef)
    longer = long_map + (2).to_bytes(size, "big") + files[1:]
    for inside in (files, longer):
        with pytest.raises(ProtocolError, match="twice"):
            decode(inside, dict)
        with pytest.raises(ProtocolError, match="twice"):
            decode(long_list + (1).to_bytes(size, "big") + inside, list)
        with pytest.raises(ProtocolError, match="twice"):
            decode(b"\x91" + inside, list)


def test_a_task_in_which_two_tensors_have_one_name_is_refused() -> None:
    tensor = {"name": "a", "shape": [2]}
    task = msgspec.to_builtins(TASK) | {"tensors": [tensor, {"name": "b", "shape": [2]}, tensor]}
    with pytest.raises(ProtocolError, match="same name"):
        decode_task(msgspec.msgpack.encode(task))


def test_an_adapter_config_is_counted_in_bytes_and_may_have_lines() -> None:
    task = msgspec.to_builtins(TASK)
    for fits in ("{\n}", "é" * 2**15, "x" * 2**16):
        assert decode_task(msgspec.msgpack.encode(task | {"adapter_config": fits})).adapter_config == fits
    for longer in ("é" * 2**15 + "x", "x" * (2**16 + 1)):
        with pytest.raises(ProtocolError):
            decode_task(msgspec.msgpack.encode(task | {"adapter_config": longer}))


def test_devices_count_the_same_unless_the_task_says_otherwise() -> None:
    assert (decode_task(encode(TASK)).max_weight, decode_settings(encode(SETTINGS), TASK).max_weight) == (1, 1)
    assert b"max_weight" not in encode(TASK), "a task that does not weigh has the bytes that it had"


@pytest.mark.parametrize("change", [{"clip": (0.1, 0.1)}, {"model": "another"}])
def test_settings_of_another_task_are_refused(change: dict[str, Any]) -> None:
    assert decode_settings(encode(SETTINGS), TASK) == SETTINGS
    with pytest.raises(ProtocolError, match="do not belong"):
        decode_settings(encode(msgspec.structs.replace(SETTINGS, **change)), TASK)


@pytest.mark.parametrize("clip", [0.0, -1.0, math.nan, math.inf, 5e-324, 1e301])
def test_a_clip_range_that_no_quantization_can_use_is_refused(clip: float) -> None:
    with pytest.raises(ProtocolError):
        decode_settings(encode(msgspec.structs.replace(SETTINGS, clip=(clip,))), TASK)


@pytest.mark.parametrize("change", [{"slot_bits": 20}, {"max_weight": 0}, {"max_weight": 4097}, {"clip": ()}])
def test_settings_out_of_bounds_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        decode(encode(msgspec.structs.replace(SETTINGS, **change)), RoundSettings)


def _wait(reason: str) -> bytes:
    return msgspec.msgpack.encode({"type": "wait", "reason": reason, "seconds": 1.0})


@pytest.mark.parametrize("text", ["\x1b[2J", "two\nlines", "\x7f", "\x9b31m", "\u2028", "\u2029"])
def test_a_text_that_could_move_a_terminals_cursor_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode(_wait(f"evil {text}"), ServerMessage)


def test_a_text_that_could_change_the_order_of_what_is_read_is_refused_and_any_language_is_not() -> None:
    directing = [chr(code) for code in range(0x110000) if unicodedata.bidirectional(chr(code)) in DIRECTING]
    for text in [*directing, "\u200e", "\u200f", "\u061c"]:
        with pytest.raises(ProtocolError):
            decode(_wait(f"evil {text}"), ServerMessage)
    for text in ("Über 3 °C – „ja“", "等待下一轮", "انتظار", "می‌خواهم", "नमस्ते", "👩‍🔬"):
        assert decode(_wait(text), ServerMessage).reason == text
