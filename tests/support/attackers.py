"""A round in memory, and those who deviate from it: a malicious server, malicious dealers, lying members.

Whoever deviates uses the protocol's own code for everything else. A dealer's deal is made honestly and then spoiled:
its packets are opened with the members' keys, changed, sealed again and bound by a new receipt.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
from cohorts import Cohort, Device, Upload, deal_all, prepare_for
from numpy.typing import NDArray

from fedit_shared.messages import Prepare
from fedit_shared.parameters import DEGREE, LAYOUTS, MESSAGE_BITS
from fedit_shared.quantize import Mean, Quantized, read_mean
from fedit_shared.secagg import Aggregator, Contribution, Member, Session, VectorSum, merkle, split_packets
from fedit_shared.secagg.bodies import (
    AnswerBody,
    DealBody,
    Finding,
    ReportBody,
    Survivor,
    VoteBody,
    decode_report,
    decode_survivors,
    encode_certificate,
    encode_report,
    encode_survivors,
    receipt_hash,
)
from fedit_shared.secagg.masking import masked_rows
from fedit_shared.secagg.prg import key_from
from fedit_shared.secagg.sealing import OVERHEAD, RoundKey, seal

Words = NDArray[np.uint32]


class Round:
    """A cohort of ``size`` whose deals are all in, and what the honest do from there on."""

    def __init__(self, size: int = 5, seed: object = 0, **options: Any) -> None:
        self.cohort = Cohort(size, seed, **options)
        self.session = self.cohort.session()
        self.uploads = self.cohort.uploads(self.session)
        self.aggregator = Aggregator(self.session)
        deal_all(self.aggregator, self.uploads)
        self.devices = self.cohort.devices

    @property
    def identities(self) -> list[bytes]:
        return [device.identity for device in self.devices]

    def prepare(self, device: Device) -> Prepare:
        return prepare_for(self.aggregator, self.uploads, device.identity)

    def member(self, device: Device) -> Member:
        return self.cohort.member(self.session, device)

    def deal_instead(self, *spoilt: tuple[Device, Upload]) -> None:
        """These uploads arrived, and not what their devices would have sent; everything begins anew."""
        self.uploads |= {device.identity: upload for device, upload in spoilt}
        self.aggregator = Aggregator(self.session)
        deal_all(self.aggregator, self.uploads)

    def deals_of(self, devices: Iterable[Device]) -> None:
        """Only these uploads arrived; everything begins anew."""
        self.aggregator = Aggregator(self.session)
        deal_all(self.aggregator, {device.identity: self.uploads[device.identity] for device in devices})

    def split(self, device: Device, packets: bytes) -> list[bytes]:
        """What the server does with these packets beside the device's true receipt."""
        own = self.uploads[device.identity].contribution
        return split_packets(self.session, device.identity, own.deal, own.signature, packets)

    def report(self, devices: Iterable[Device] | None = None) -> None:
        for device in self.devices if devices is None else devices:
            self.aggregator.add_report(device.identity, *self.member(device).report(self.prepare(device)))

    def choose(self) -> bytes:
        """U, offered."""
        survivors = self.aggregator.choose_survivors()
        assert survivors
        self.aggregator.offer(survivors)
        return survivors

    def report_all(self) -> bytes:
        self.report()
        return self.choose()

    def vote_all(self, survivors: bytes, devices: Iterable[Device] | None = None) -> bytes:
        for device in self.devices if devices is None else devices:
            vote = self.member(device).vote(self.prepare(device), survivors)
            self.aggregator.add_vote(device.identity, sha256(survivors).digest(), vote)
        certificate = self.aggregator.certificate()
        assert certificate
        return certificate

    def answer_all(self, survivors: bytes, certificate: bytes, devices: Iterable[Device] | None = None) -> None:
        """Every honest answer; who cannot use a survivor's packet keeps silent."""
        for device in self.devices if devices is None else devices:
            answer = self.member(device).answer(self.prepare(device), survivors, certificate)
            if answer is not None:
                self.aggregator.add_answer(device.identity, sha256(survivors).digest(), *answer)

    def certify(self) -> tuple[bytes, bytes]:
        """Everybody reports and votes; the list and its certificate."""
        survivors = self.report_all()
        return survivors, self.vote_all(survivors)

    def run(self) -> None:
        """Everybody reports, votes, answers."""
        self.answer_all(*self.certify())

    def total(self) -> tuple[VectorSum, int]:
        """The sum of the certified survivors' uploads, and how many they are."""
        survivors = decode_survivors(self.aggregator.survivors or b"")
        total = VectorSum(self.session)
        for survivor in survivors:
            total.add(self.uploads[survivor.identity].vector)
        return total, len(survivors)

    def opened_with(self, key: Words) -> NDArray[np.unsignedinteger]:
        """The sums over the certified survivors, opened with ``key``."""
        total, count = self.total()
        return total.slots(key, count)

    def slots(self) -> NDArray[np.unsignedinteger]:
        """The opened sums. Raises SumError if the answers do not agree on a key, or no such key opens anything."""
        total, count = self.total()
        proved, slots = total.open(self.aggregator.open_key(), count)
        self.aggregator.blame(proved)
        return slots

    def publish(self) -> Mean:
        """What the server would publish, past all its checks."""
        slots, count = self.slots(), len(decode_survivors(self.aggregator.survivors or b""))
        return read_mean(self.session.quantizer, slots, count)

    def line(self, device: Device) -> Survivor:
        """The device's line in a list of survivors."""
        contribution = self.uploads[device.identity].contribution
        return Survivor(device.identity, receipt_hash(contribution.deal, contribution.signature))

    def listing(self, devices: Iterable[Device]) -> bytes:
        """U of these devices, encoded."""
        return encode_survivors(sorted((self.line(device) for device in devices), key=lambda line: line.identity))

    def chosen(self) -> list[bytes]:
        """Who would survive; empty if nobody can be chosen."""
        return [survivor.identity for survivor in decode_survivors(self.aggregator.choose_survivors() or b"")]


# Dealers.


def open_packets(round_: Round, dealer: Device) -> list[Words]:
    """The plaintext words of a dealer's packets, in order of the roster, to be changed."""
    session, packets = round_.session, round_.uploads[dealer.identity].contribution.packets
    size = 4 * session.parameters.packet_words + OVERHEAD
    opened = []
    for k, device in enumerate(round_.devices):
        plain = device.round_key.open(packets[k * size : (k + 1) * size], session.sid, dealer.identity, device.identity)
        assert plain is not None
        opened.append(np.frombuffer(plain, "<u4").copy())
    return opened


def seal_packets(
    session: Session, dealer: Device, plaintexts: Sequence[bytes], keys: dict[bytes, bytes] | None = None
) -> list[bytes]:
    """Sealed as a dealer does; ``keys``: identity → the round key to seal to in place of the roster's."""
    return [
        seal((keys or {}).get(entry.identity, entry.round_key), plain, session.sid, dealer.identity, entry.identity)
        for entry, plain in zip(session.roster.entries, plaintexts, strict=True)
    ]


def bound(session: Session, dealer: Device, vector: Words, packets: Sequence[bytes]) -> Upload:
    """An upload of any vector and packets, with a receipt that fits them."""
    root = merkle.root(merkle.leaves(session.identities, packets))
    deal = DealBody(session.sid, dealer.identity, sha256(vector.tobytes()).digest(), root).encode()
    contribution = Contribution(deal, dealer.key.sign("deal", deal), b"".join(packets), 0.0)
    return Upload(
        vector, contribution, split_packets(session, dealer.identity, deal, contribution.signature, b"".join(packets))
    )


def spoilt_shares(round_: Round, dealer: Device, spoil: Callable[[list[Words]], object]) -> Upload:
    """The dealer's upload with the words of its packets changed by ``spoil``."""
    words = open_packets(round_, dealer)
    spoil(words)
    packets = seal_packets(round_.session, dealer, [part.tobytes() for part in words])
    return bound(round_.session, dealer, round_.uploads[dealer.identity].vector, packets)


def sealed_to_strangers(round_: Round, dealer: Device, victims: Iterable[Device]) -> Upload:
    """The dealer's upload with the packets for ``victims`` sealed to a key that is not theirs."""
    stranger = RoundKey(bytes(96)).public
    plaintexts = [words.tobytes() for words in open_packets(round_, dealer)]
    packets = seal_packets(round_.session, dealer, plaintexts, {victim.identity: stranger for victim in victims})
    return bound(round_.session, dealer, round_.uploads[dealer.identity].vector, packets)


class ChosenSlots(Quantized):
    """Slots of a poisoner's choice in place of an update's, as messages modulo t: negative ones borrow and carry."""

    def __init__(self, session: Session, slots: Sequence[int]) -> None:
        bits, per = session.settings.slot_bits, LAYOUTS[session.settings.slot_bits]
        padded = np.zeros(session.rows * per * DEGREE, object)
        padded[: len(slots)] = [int(slot) for slot in slots]
        places = padded.reshape(session.rows, per, DEGREE)
        whole = sum(places[:, place] << (bits * place) for place in range(per))
        object.__setattr__(self, "quantizer", session.quantizer)
        object.__setattr__(self, "_messages", (whole % (1 << MESSAGE_BITS)).astype(np.uint64))

    def rows(self, first: int, words: Words, out: NDArray[np.uint64]) -> None:
        out[:] = self._messages[first : first + out.shape[0]]


def poisoned(round_: Round, dealer: Device, slots: Sequence[int]) -> Upload:
    """The dealer's upload with these slots under the mask, and shares that fit it."""
    session, upload = round_.session, round_.uploads[dealer.identity]
    secret = key_from(dealer.randomness, session.sid)
    batches: Iterator[Words] = masked_rows(
        ChosenSlots(session, slots), secret, session.rows, dealer.randomness, session.sid
    )
    vector = np.concatenate([batch.copy() for batch in batches])
    size = len(upload.contribution.packets) // len(round_.devices)
    packets = [upload.contribution.packets[at : at + size] for at in range(0, len(upload.contribution.packets), size)]
    return bound(session, dealer, vector, packets)


# Members.


def sign_report(session: Session, device: Device, report: bytes) -> tuple[bytes, bytes]:
    body = ReportBody(session.sid, device.identity, sha256(report).digest())
    return report, device.key.sign("report", body.encode())


def sign_vote(session: Session, device: Device, survivors: bytes) -> bytes:
    """A vote for any list, checked by nobody; as often as its device likes."""
    return device.key.sign("vote", VoteBody(session.sid, sha256(survivors).digest()).encode())


def sign_answer(session: Session, device: Device, survivors: bytes, words: bytes) -> tuple[bytes, bytes]:
    index = session.index(device.identity)
    body = AnswerBody(session.sid, sha256(survivors).digest(), index, sha256(words).digest())
    return words, device.key.sign("answer", body.encode())


def certificate_of(session: Session, survivors: bytes, voters: Iterable[Device]) -> bytes:
    return encode_certificate({voter.identity: sign_vote(session, voter, survivors) for voter in voters})


def false_edges(round_: Round, liar: Device, victims: Iterable[bytes]) -> tuple[bytes, bytes]:
    """A report that claims that the victims' packets do not open."""
    return _twisted(round_, liar, victims, lambda finding: replace(finding, checks=None))


def false_checks(round_: Round, liar: Device, victims: Iterable[bytes], word: int = 7) -> tuple[bytes, bytes]:
    """A report with one of the eight check values of each of the victims wrong."""

    def lie(finding: Finding) -> Finding:
        assert finding.checks is not None
        values = list(finding.checks)
        values[word] ^= 1
        return replace(finding, checks=tuple(values))

    return _twisted(round_, liar, victims, lie)


def wrong_answer(
    round_: Round, liar: Device, survivors: bytes, certificate: bytes, word: int = 0
) -> tuple[bytes, bytes]:
    """An answer with one word changed."""
    answer = round_.member(liar).answer(round_.prepare(liar), survivors, certificate)
    assert answer is not None
    words = np.frombuffer(answer[0], "<u4").copy()
    words[word] ^= 1
    return sign_answer(round_.session, liar, survivors, words.tobytes())


def _twisted(
    round_: Round, liar: Device, victims: Iterable[bytes], lie: Callable[[Finding], Finding]
) -> tuple[bytes, bytes]:
    named = set(victims)
    findings = decode_report(round_.member(liar).report(round_.prepare(liar))[0])
    lies = [lie(finding) if finding.dealer in named else finding for finding in findings]
    return sign_report(round_.session, liar, encode_report(lies))
