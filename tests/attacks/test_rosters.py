"""The server lies about who takes part, in what, or with which keys: no device masks a byte for such a roster."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import msgspec
import pytest
from cohorts import NOT_AFTER, SERVER, Cohort, Device
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from simulated import Simulated

from agg_server.rounds.events import Offered
from fedit_shared.errors import FeditError, ForgedError, ProtocolError, UnsafeError
from fedit_shared.identity import SigningKey
from fedit_shared.messages import RoundSettings, TaskSpec, decode, encode
from fedit_shared.parameters import CohortParameters
from fedit_shared.secagg import RoundKey, open_session, require_own_entry
from fedit_shared.secagg.bodies import RosterBody, RosterEntry
from fedit_shared.secagg.sealing import check_round_key, seal
from fedit_shared.secagg.session import compute_sid

BASE_POINT = bytes([0x58]) + bytes([0x66]) * 31
UNIVERSAL = BASE_POINT + (1).to_bytes(32, "little")
"""A signature (R = B, s = 1): under the neutral point as key it holds for every message."""
NEUTRAL = (1).to_bytes(32, "little")

CURVE_PRIME = 2**255 - 19
LOW_ORDER_X25519 = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    CURVE_PRIME - 1,
    CURVE_PRIME,
    CURVE_PRIME + 1,
]


def signed(cohort: Cohort, body: bytes, key: SigningKey = SERVER, **changed: bytes) -> None:
    """What a device does with this roster."""
    settings, task = changed.get("settings", cohort.settings), changed.get("task", cohort.task)
    open_session(body, key.sign("roster", body), settings, task, server_key=SERVER.public)


def test_a_roster_that_the_server_did_not_sign_is_refused():
    cohort = Cohort(3)
    body = cohort.roster().encode()
    signed(cohort, body)
    with pytest.raises(ForgedError):
        signed(cohort, body, SigningKey(bytes(32)))


@pytest.mark.parametrize("field", ["round", "adapter", "task_hash", "settings_hash", "federation"])
def test_a_roster_for_something_that_nobody_mustered_for_is_refused(field):
    cohort = Cohort(3)
    other = 2 if field == "round" else sha256(b"another").digest()
    with pytest.raises(ForgedError):
        signed(cohort, replace(cohort.roster(), **{field: other}).encode())


def test_a_roster_of_another_federation_is_refused_even_if_all_musters_are_of_that_one():
    cohort = Cohort(3)
    cohort.federation = sha256(b"another").digest()
    with pytest.raises(ForgedError, match="another federation"):
        signed(cohort, cohort.roster().encode())


@pytest.mark.parametrize("what", ["task", "settings"])
def test_other_settings_or_another_task_than_the_rosters_are_refused(what):
    cohort = Cohort(3)
    body = cohort.roster().encode()
    if what == "task":
        other = encode(msgspec.structs.replace(decode(cohort.task, TaskSpec), name="other"))
    else:
        other = encode(msgspec.structs.replace(decode(cohort.settings, RoundSettings), clip=(1.0, 1.0)))
    with pytest.raises(ForgedError, match="another task or other settings"):
        signed(cohort, body, **{what: other})


@pytest.mark.parametrize("how", ["a name twice", "two tensors of one name"])
def test_a_task_that_two_implementations_could_read_differently_is_refused(how):
    cohort = Cohort(3)
    cohort.session()
    if how == "a name twice":
        named = msgspec.msgpack.encode("name")
        cohort.task = bytes([cohort.task[0] + 1]) + cohort.task[1:] + named + msgspec.msgpack.encode("other")
    else:
        task = msgspec.msgpack.decode(cohort.task)
        cohort.task = msgspec.msgpack.encode(task | {"tensors": [task["tensors"][0]] * 2})
    with pytest.raises(ProtocolError, match=r"twice|same name"):
        cohort.session()


def test_settings_for_another_model_are_refused():
    cohort = Cohort(3)
    cohort.settings = encode(msgspec.structs.replace(decode(cohort.settings, RoundSettings), model="another"))
    with pytest.raises(ProtocolError, match="do not belong"):
        cohort.session()


def test_a_phantom_member_without_a_signed_muster_is_refused():
    cohort = Cohort(4)
    phantom = cohort.entry(cohort.devices[0])
    stolen = replace(cohort.entry(cohort.devices[1]), signature=phantom.signature)
    entries = (phantom, stolen, *[cohort.entry(d) for d in cohort.devices[2:]])
    with pytest.raises(ForgedError):
        cohort.session(replace(cohort.roster(), entries=entries))


@pytest.mark.parametrize("change", [{"round": 2}, {"adapter": bytes(32)}, {"federation": bytes(32)}])
def test_a_muster_for_another_round_adapter_or_federation_is_refused(change):
    cohort = Cohort(4)
    device = cohort.devices[2]
    replayed = device.key.sign("muster", replace(cohort.muster(device), **change).encode())
    entries = tuple(
        replace(entry, signature=replayed) if entry.identity == device.identity else entry
        for entry in cohort.roster().entries
    )
    with pytest.raises(ForgedError):
        cohort.session(replace(cohort.roster(), entries=entries))


def test_a_phantom_under_a_key_of_small_order_is_refused_although_its_signature_holds():
    cohort = Cohort(4)
    Ed25519PublicKey.from_public_bytes(NEUTRAL).verify(UNIVERSAL, b"whatever")
    phantom = RosterEntry(NEUTRAL, cohort.devices[0].round_key.public, 3, NOT_AFTER, UNIVERSAL)
    entries = sorted((*cohort.roster().entries, phantom), key=lambda entry: entry.identity)
    with pytest.raises(ProtocolError, match="not a usable Ed25519"):
        cohort.session(replace(cohort.roster(), entries=tuple(entries)))


def test_a_server_under_a_key_of_small_order_is_refused_although_its_signature_holds():
    cohort = Cohort(3)
    body = cohort.roster().encode()
    with pytest.raises(ProtocolError, match="not a usable Ed25519"):
        open_session(body, UNIVERSAL, cohort.settings, cohort.task, server_key=NEUTRAL)


def test_a_roster_with_a_member_twice_or_out_of_order_is_refused():
    cohort = Cohort(4)
    entries = cohort.roster().entries
    for wrong in ((entries[0], entries[0], *entries[2:]), (entries[1], entries[0], *entries[2:])):
        with pytest.raises(ProtocolError, match="strictly rising"):
            cohort.session(replace(cohort.roster(), entries=wrong))


@pytest.mark.parametrize("members", [0, 1, 2, 256])
def test_a_cohort_too_small_to_hide_in_or_too_large_is_refused(members):
    cohort = Cohort(3)
    entry = cohort.entry(cohort.devices[0])
    entries = tuple(replace(entry, identity=k.to_bytes(32, "big")) for k in range(1, members + 1))
    with pytest.raises(ProtocolError, match="cannot have"):
        RosterBody.decode(replace(cohort.roster(), entries=entries).encode())


def test_a_roster_whose_count_and_length_differ_is_refused():
    body = Cohort(4).roster().encode()
    for wrong in (body[:-1], body + b"\0", body[: -len(body) // 4], body[:40]):
        with pytest.raises(ProtocolError, match=r"cannot have|cut off"):
            RosterBody.decode(wrong)


def lower_floor(entry: RosterEntry, device: Device, cohort: Cohort) -> RosterEntry:
    device.floor = 3
    return cohort.entry(device)


def other_key(entry: RosterEntry, device: Device, cohort: Cohort) -> RosterEntry:
    device.round_key = RoundKey(sha256(b"key of the server").digest() * 3)
    return cohort.entry(device)


def later(entry: RosterEntry, device: Device, cohort: Cohort) -> RosterEntry:
    muster = replace(cohort.muster(device), not_after=NOT_AFTER + 1)
    return replace(entry, not_after=NOT_AFTER + 1, signature=device.key.sign("muster", muster.encode()))


@pytest.mark.parametrize("change", [lower_floor, other_key, later])
def test_a_device_whose_own_line_is_not_what_it_mustered_last_keeps_out(
    change: Callable[[RosterEntry, Device, Cohort], RosterEntry],
):
    cohort = Cohort(5)
    device = cohort.devices[2]
    device.floor = 5
    wanted, entries = cohort.muster(device), list(cohort.roster().entries)
    require_own_entry(cohort.session(), wanted, device.identity)
    entries[2] = change(entries[2], device, cohort)
    session = cohort.session(replace(cohort.roster(), entries=tuple(entries)))
    with pytest.raises(UnsafeError):
        require_own_entry(session, wanted, device.identity)


@pytest.mark.parametrize("change", [{"adapter": bytes(32)}, {"round": 7}])
def test_a_device_among_accomplices_who_mustered_for_another_adapter_or_round_keeps_out(change):
    cohort = Cohort(5)
    device = cohort.devices[2]
    wanted = cohort.muster(device)
    cohort.adapter, cohort.round = change.get("adapter", cohort.adapter), change.get("round", cohort.round)
    with pytest.raises(UnsafeError):
        require_own_entry(cohort.session(), wanted, device.identity)


def test_a_device_that_is_not_in_the_roster_keeps_out():
    cohort = Cohort(5)
    device = cohort.devices[2]
    entries = tuple(entry for entry in cohort.roster().entries if entry.identity != device.identity)
    with pytest.raises(FeditError, match="not in the cohort"):
        require_own_entry(
            cohort.session(replace(cohort.roster(), entries=entries)), cohort.muster(device), device.identity
        )


def test_a_cohort_that_cannot_meet_a_floor_is_refused():
    cohort = Cohort(4)
    cohort.devices[1].floor = 5
    with pytest.raises(UnsafeError):
        cohort.session()


def test_settings_that_reach_beyond_a_members_promise_are_refused():
    cohort = Cohort(3)
    cohort.settings = encode(msgspec.structs.replace(decode(cohort.settings, RoundSettings), not_after=NOT_AFTER + 1))
    with pytest.raises(UnsafeError):
        cohort.session()


def test_settings_that_weigh_a_device_by_more_than_the_task_it_agreed_to_are_refused():
    cohort = Cohort(3, max_weight=4)
    for weight in (1, 4, 5):
        cohort.settings = encode(msgspec.structs.replace(decode(cohort.settings, RoundSettings), max_weight=weight))
        if weight <= 4:
            assert cohort.session().settings.max_weight == weight
        else:
            with pytest.raises(UnsafeError, match="number of records"):
                cohort.session()


def test_a_promise_later_than_any_message_may_name_is_taken_neither_at_the_muster_nor_in_a_roster(tmp_path):
    sim = Simulated(tmp_path, count=3)
    sim.record(Offered(identity=sim.devices[0].identity))
    with pytest.raises(ProtocolError, match="A time is at most"):
        sim.record(sim.make_muster(sim.devices[0], not_after=2**64 - 1))
    assert not sim.round.musters
    cohort = Cohort(3)
    late = replace(cohort.muster(cohort.devices[0]), not_after=2**40 + 1)
    entry = replace(
        cohort.entry(cohort.devices[0]),
        not_after=late.not_after,
        signature=cohort.devices[0].key.sign("muster", late.encode()),
    )
    others = cohort.roster().entries[1:]
    assert cohort.roster().entries[0].identity == entry.identity
    with pytest.raises(ProtocolError, match="A time is at most"):
        cohort.session(replace(cohort.roster(), entries=(entry, *others)))


def test_slots_too_small_for_the_cohort_are_refused():
    with pytest.raises(ProtocolError, match="too small"):
        Cohort(64, slot_bits=12, max_weight=64).session()


@pytest.mark.parametrize("point", LOW_ORDER_X25519)
def test_a_round_key_with_a_point_of_small_order_is_refused(point):
    refuse_round_key(lambda public: public[:-32] + point.to_bytes(32, "little"))


@pytest.mark.parametrize("spoil", [lambda public: b"\xff" * 1216, lambda public: b"\xff" * 384 + public[384:]])
def test_a_round_key_whose_ml_kem_part_is_out_of_range_is_refused(spoil):
    refuse_round_key(spoil)


def refuse_round_key(spoil: Callable[[bytes], bytes]) -> None:
    cohort = Cohort(3)
    device = cohort.devices[0]
    device.round_key = RoundKey(bytes(96))
    device.round_key.public = spoil(device.round_key.public)
    with pytest.raises(ProtocolError, match="round key"):
        cohort.session()


def test_a_round_key_of_any_other_length_is_refused_in_the_protocols_words():
    """Whoever asks: a roster's check, a dealer that seals, another program."""
    good = RoundKey(bytes(96)).public
    for size in [*range(len(good)), *range(len(good) + 1, len(good) + 40)]:
        with pytest.raises(ProtocolError, match="can be sealed"):
            check_round_key((good + good)[:size])
        with pytest.raises(ProtocolError, match="can be sealed"):
            seal((good + good)[:size], b"words", bytes(32), bytes(32), bytes(32))


def test_what_is_no_packet_for_this_key_is_none_and_breaks_nothing():
    """Cut off anywhere, changed anywhere, or with a point of small order as its encapsulation."""
    key = RoundKey(bytes(96))
    packet = seal(key.public, b"words", bytes(32), bytes(32), bytes(32))
    changed = [packet[:at] + bytes([packet[at] ^ 1]) + packet[at + 1 :] for at in range(0, len(packet), 5)]
    small = [packet[:1088] + y.to_bytes(32, "little") + packet[1120:] for y in (0, 1, 2**255 - 20)]
    for wrong in (*(packet[:size] for size in range(len(packet))), packet + b"\0", *changed, *small):
        assert key.open(wrong, bytes(32), bytes(32), bytes(32)) is None
    assert key.open(packet, bytes(32), bytes(32), bytes(32)) == b"words"


def test_a_round_key_copied_from_another_member_lets_nobody_read_that_members_packets():
    """A muster proves no possession of its round key. It need not: packets are bound to whom they are for."""
    cohort = Cohort(4)
    thief, owner = cohort.devices[:2]
    thief.round_key, own = owner.round_key, thief.round_key
    session = cohort.session()
    for upload in cohort.uploads(session).values():
        size = len(upload.contribution.packets) // 4
        for_owner = upload.contribution.packets[size : 2 * size]
        dealer = upload.contribution.deal[32:64]
        assert owner.round_key.open(for_owner, session.sid, dealer, owner.identity) is not None
        assert owner.round_key.open(for_owner, session.sid, dealer, thief.identity) is None
        assert own.open(for_owner, session.sid, dealer, owner.identity) is None


def test_a_round_key_is_made_of_96_bytes():
    for size in (0, 95, 97):
        with pytest.raises(ProtocolError, match="96 bytes"):
            RoundKey(bytes(size))


def test_the_numbers_exist_for_cohorts_of_3_to_255_alone():
    for members in (2, 256):
        with pytest.raises(ProtocolError, match="3 to 255"):
            CohortParameters(members)
    assert [CohortParameters(members).threshold for members in (3, 255)] == [3, 171]


@pytest.mark.parametrize("members", [3, 255])
def test_rosters_of_the_smallest_and_the_largest_cohort_are_read(members):
    cohort = Cohort(3)
    entry = cohort.entry(cohort.devices[0])
    entries = tuple(replace(entry, identity=k.to_bytes(32, "big")) for k in range(members))
    roster = replace(cohort.roster(), entries=entries)
    assert RosterBody.decode(roster.encode()) == roster


def test_a_sid_names_everything_that_a_cohort_agreed_on():
    roster = Cohort(3).roster()
    body = roster.encode()
    other = sha256(b"another").digest()
    sids = {compute_sid(body, roster), compute_sid(body + b"another", roster)}
    for change in (
        {"federation": other},
        {"task_hash": other},
        {"round": 2},
        {"cohort": other[:16]},
        {"adapter": other},
        {"settings_hash": other},
    ):
        sids.add(compute_sid(body, replace(roster, **change)))
    assert len(sids) == 8
