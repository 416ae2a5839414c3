"""The code agrees with a slow reference in plain integers that was written from docs/protocol.md alone."""

import ast
import math
import random
import struct
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from cohorts import NOT_AFTER, Cohort, deal_all, prepare_for
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference import bodies, quantization, ring, sharing
from reference.ring import N, P

from fedit_shared.parameters import LAYOUTS, CohortParameters, levels
from fedit_shared.quantize import Quantizer, read_mean
from fedit_shared.secagg import Aggregator, Session, VectorSum, merkle
from fedit_shared.secagg.checks import check_values
from fedit_shared.secagg.opening import open_sum
from fedit_shared.secagg.prg import Stream
from fedit_shared.secagg.sharing import evaluate

FOLDER = Path(__file__).parents[1] / "support" / "reference"
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def words(values: list[int]) -> np.ndarray:
    return np.array(values, np.uint32)


def test_the_reference_imports_nothing_that_it_is_to_check() -> None:
    for path in FOLDER.glob("*.py"):
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names = [node.module or "" for node in tree if isinstance(node, ast.ImportFrom)]
        names += [alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names]
        assert not {name.split(".")[0] for name in names} & {"fedit_shared", "numpy", "numba"}


@pytest.mark.parametrize("prime", [0, 1])
def test_the_references_transform_is_evaluation_at_the_odd_powers_of_psi(prime: int) -> None:
    p, psi = P[prime], ring.psi(prime)
    values = [random.Random(prime).randrange(p) for _ in range(N)]
    transformed = ring.to_ntt(values, prime)
    assert pow(psi, N, p) == p - 1
    for place in (0, 1, 2, 2047, N - 1):
        x, total = pow(psi, 2 * place + 1, p), 0
        for coefficient in reversed(values):
            total = (total * x + coefficient) % p
        assert transformed[place] == total
    assert ring.from_ntt(transformed, prime) == values


def test_the_references_product_is_that_of_polynomials_mod_x_to_the_n_plus_one() -> None:
    left, right = ({0: 3, 1: 5, N - 1: 7}, {0: 2, 2: 11, N - 1: 13})
    for prime in (0, 1):
        expected = [0] * N
        for i, a in left.items():
            for j, b in right.items():
                sign = 1 if i + j < N else -1
                expected[(i + j) % N] = (expected[(i + j) % N] + sign * a * b) % P[prime]
        a, b = ([poly.get(i, 0) for i in range(N)] for poly in (left, right))
        pair = (ring.to_ntt(a, prime), ring.to_ntt(b, prime))
        assert ring.from_ntt([x * y % P[prime] for x, y in zip(*pair, strict=True)], prime) == expected


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=16, max_size=16), st.sampled_from([0, 1]), st.integers(0, 2**32 - 1), st.integers(1, 5000))
def test_uniform_words_agree(key: bytes, prime: int, row: int, count: int) -> None:
    out = np.empty(count, np.uint32)
    Stream(key).uniform(out, prime, row)
    assert out.tolist() == ring.uniform(key, prime, row, count)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(FLOATS, min_size=1, max_size=40) | st.lists(FLOATS, min_size=99, max_size=201),
    clip=st.floats(1e-6, 1e6),
    loss=st.floats(-1, 40),
    examples=st.integers(1, 10**6),
    layout=st.sampled_from([(12, 4), (16, 3), (24, 2)]),
    members=st.integers(3, 20),
    weight=st.integers(1, 64),
    seed=st.integers(0, 2**32),
)
@example([struct.unpack("<f", struct.pack("<f", 0.1))[0]], 0.1, 16.0, 1, (16, 3), 5, 16, 0)
@example([3.4028234663852886e38, -3.4028234663852886e38, 1e-45], 1e-6, 0.0, 10**6, (24, 2), 3, 64, 1)
def test_slots_agree_for_any_vector(values, clip, loss, examples, layout, members, weight, seed) -> None:
    bits, per = layout
    weight = min(weight, ((1 << bits) - 1) // (2 * members))
    step = levels(members, bits, weight)
    assert step == quantization.levels(bits, members, weight)
    quantizer = Quantizer((len(values),), (clip,), bits, step, weight)
    rounding = np.random.default_rng(seed).integers(0, 2**32, N * per, np.uint32)
    rounding[0::3], rounding[1::3] = 2**32 - 1, 0
    packed = np.empty((1, N), np.uint64)
    quantizer.prepare(np.array(values, np.float32), examples, loss).rows(0, rounding.reshape(1, -1), packed)
    own = quantization.weight(examples, weight)
    slots = quantization.slots(values, [(len(values), clip)], loss, own, step, rounding.tolist())
    assert packed.tolist() == quantization.pack(slots, bits, per)
    assert max(slots[: len(values)] + slots[-2:]) <= 2 * own * step


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from([(12, 4), (16, 3), (24, 2)]), st.integers(3, 12), st.floats(1e-6, 1e6))
def test_means_agree_to_the_last_bit(data: st.DataObject, layout: tuple[int, int], members: int, clip: float) -> None:
    bits, weight = layout[0], data.draw(st.integers(1, 64))
    weight = min(weight, ((1 << bits) - 1) // (2 * members))
    step = levels(members, bits, weight)
    survivors = data.draw(st.integers(2, members))
    total = data.draw(st.integers(survivors, survivors * weight))
    sums = data.draw(st.lists(st.integers(0, 2 * step * total), min_size=12, max_size=12))
    sums[-3] = total
    quantizer = Quantizer((9,), (clip,), bits, step, weight)
    found = read_mean(quantizer, np.array(sums, np.uint32), survivors)
    expected = quantization.mean(sums, [clip] * 9, step, survivors, weight)
    assert found.delta.tobytes() == struct.pack("<9f", *expected)
    assert max(map(abs, expected)) <= clip * (1 + 1e-12)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 9, 63, 64, 65, 255])
def test_merkle_trees_agree(count: int) -> None:
    members = [sha256(bytes([k])).digest() for k in range(count)]
    packets = [bytes([k]) * k for k in range(count)]
    leaves = merkle.leaves(members, packets)
    assert leaves == [sharing.leaf(k + 1, members[k], packets[k]) for k in range(count)]
    assert merkle.root(leaves) == sharing.tree(leaves)[-1][0]
    assert merkle.proofs(leaves) == [sharing.proof(leaves, k + 1) for k in range(count)]
    for k, proof in enumerate(merkle.proofs(leaves), start=1):
        assert len(proof) == merkle.proof_size(k, count)
        assert merkle.root_from(k, count, leaves[k - 1], proof) == merkle.root(leaves)


@settings(max_examples=10, deadline=None)
@given(st.integers(3, 40), st.integers(0, 2**32), st.binary(min_size=128, max_size=128))
def test_check_values_agree_for_any_packet(members: int, seed: int, deal: bytes) -> None:
    sizes, draw = CohortParameters(members), random.Random(seed)
    half = [[draw.randrange(p) for _ in range(sizes.blocks)] for p in P]
    own = [[draw.randrange(p) for _ in range(4)] for p in P]
    packet = [*half[0], *half[1], *own[0], *own[1]]
    assert list(check_values(sizes, deal, words(packet))) == sharing.check_values(packet, deal)


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 255), st.sampled_from([0, 1]), st.integers(0, 2**32))
def test_sharing_agrees_for_every_size_of_cohort(members: int, prime: int, seed: int) -> None:
    r, t, width, blocks = sharing.sizes(members)
    sizes, draw = CohortParameters(members), random.Random(seed)
    assert (sizes.threshold, sizes.corrupt, sizes.packing, sizes.blocks) == (r, t, width, blocks)
    assert sizes.floor == bodies.floor(members, [])
    known = [draw.randrange(P[prime]) for _ in range(r)]
    points, places = [-x for x in range(1, r + 1)], draw.sample(range(1, members + 1), r)
    shares = evaluate(tuple(points), words([[value] for value in known]), tuple(places), prime)
    for place, share in zip(places[:5], shares[:5, 0].tolist(), strict=False):
        factors = sharing.lagrange(points, place, P[prime])
        assert share == sum(f * v for f, v in zip(factors, known, strict=True)) % P[prime]
    back = evaluate(tuple(places), shares, tuple(points), prime)
    assert back[:, 0].tolist() == known


class Told:
    """A cohort of the code's, told again by the reference."""

    def __init__(self, cohort: Cohort) -> None:
        self.cohort, self.session = cohort, cohort.session()
        self.members = len(cohort.devices)
        self.round = bodies.Round(
            cohort.federation, cohort.task, cohort.round, cohort.cohort, b"adapter", cohort.settings
        )
        self.roster = self.round.roster([self.entry(device) for device in cohort.devices])
        self.sid = self.round.sid(self.roster)
        per, heaviest = LAYOUTS[self.session.settings.slot_bits], self.session.settings.max_weight
        sizes, clip = self.session.quantizer.sizes, self.session.settings.clip
        self.ranges = list(zip(sizes, clip, strict=True))
        self.clips = quantization.spread(self.ranges)
        self.step = quantization.levels(self.session.settings.slot_bits, self.members, heaviest)
        self.slots, self.uploads, self.plaintexts = [], [], []
        for device in cohort.devices:
            rows = range(quantization.row_count(len(self.clips), per))
            rounding = [w for row in rows for w in ring.rounding_words(device.randomness, self.sid, row, per)]
            values, own = device.update.delta.tolist(), quantization.weight(device.update.examples, heaviest)
            slots = quantization.slots(values, self.ranges, device.update.loss, own, self.step, rounding)
            self.slots.append(slots)
            packed = quantization.pack(slots, self.session.settings.slot_bits, per)
            self.uploads.append(ring.mask(device.randomness, self.sid, packed))
            self.plaintexts.append(sharing.plaintexts(device.randomness, self.sid, self.members))

    def entry(self, device) -> bodies.Entry:
        key = device.round_key.public
        signature = bodies.sign(device.key.seed(), "muster", self.round.muster(key, device.floor, NOT_AFTER))
        return bodies.Entry(device.identity, key, device.floor, NOT_AFTER, signature)

    def deal(self, place: int, upload) -> bytes:
        """The deal on the packets that the code sealed."""
        cohort, size = self.cohort, len(upload.contribution.packets) // self.members
        packets = [upload.contribution.packets[i * size : (i + 1) * size] for i in range(self.members)]
        for k, (device, packet) in enumerate(zip(cohort.devices, packets, strict=True)):
            info = bodies.packet_info(self.sid, cohort.devices[place].identity, device.identity)
            assert bodies.unseal(packet, device.round_key._key, info) == self.plaintexts[place][k]
        leaves = [
            sharing.leaf(k, d.identity, p) for k, (d, p) in enumerate(zip(cohort.devices, packets, strict=True), 1)
        ]
        return bodies.deal(self.sid, cohort.devices[place].identity, self.uploads[place], sharing.tree(leaves)[-1][0])


@settings(max_examples=6, deadline=None)
@given(
    size=st.integers(3, 11),
    seed=st.integers(0, 2**32),
    layout=st.sampled_from([(12, 4), (16, 16), (24, 16)]),
    dimension=st.sampled_from([3, 500, 9000]),
    data=st.data(),
)
def test_a_random_cohort_agrees_byte_for_byte_from_roster_to_mean(size, seed, layout, dimension, data) -> None:
    cohort = Cohort(size, seed, dimension=dimension, slot_bits=layout[0], max_weight=layout[1])
    told = Told(cohort)
    session = told.session
    assert cohort.roster().encode() == told.roster
    assert session.sid == told.sid
    uploads = cohort.uploads(session)
    aggregator, receipts = Aggregator(session), {}
    for place, device in enumerate(cohort.devices):
        upload = uploads[device.identity]
        assert upload.vector.tobytes() == told.uploads[place]
        deal = told.deal(place, upload)
        receipts[device.identity] = deal + bodies.sign(device.key.seed(), "deal", deal)
        assert upload.contribution.deal + upload.contribution.signature == receipts[device.identity]
    deal_all(aggregator, uploads)
    _agree_on_what_members_say(told, aggregator, uploads, receipts, data)


def _agree_on_what_members_say(told: Told, aggregator: Aggregator, uploads, receipts, data: st.DataObject) -> None:
    cohort, session = told.cohort, told.session
    places = list(range(len(cohort.devices)))
    prepares = {device.identity: prepare_for(aggregator, uploads, device.identity) for device in cohort.devices}
    for k, device in enumerate(cohort.devices):
        said = {
            dealer.identity: (
                receipts[dealer.identity],
                sharing.check_values(ring.split4(told.plaintexts[i][k]), receipts[dealer.identity][:128]),
            )
            for i, dealer in enumerate(cohort.devices)
            if i != k
        }
        report = bodies.report(said)
        signature = bodies.sign(device.key.seed(), "report", bodies.report_body(told.sid, device.identity, report))
        assert cohort.member(session, device).report(prepares[device.identity]) == (report, signature)
        aggregator.add_report(device.identity, report, signature)
    assert aggregator.choose_survivors() == bodies.survivors(receipts)
    chosen = sorted(data.draw(st.sets(st.sampled_from(places), min_size=session.floor), label="survivors"))
    answering = sorted(
        data.draw(st.sets(st.sampled_from(places), min_size=session.parameters.threshold), label="answering")
    )
    survivors = bodies.survivors({cohort.devices[i].identity: receipts[cohort.devices[i].identity] for i in chosen})
    aggregator.offer(survivors)
    votes = {}
    for k in answering:
        device = cohort.devices[k]
        votes[device.identity] = bodies.sign(device.key.seed(), "vote", bodies.vote(told.sid, survivors))
        vote = cohort.member(session, device).vote(prepares[device.identity], survivors)
        assert vote == votes[device.identity]
        aggregator.add_vote(device.identity, sha256(survivors).digest(), vote)
    assert aggregator.certificate() == bodies.certificate(votes)
    answers = {}
    for k in answering:
        device = cohort.devices[k]
        answers[k + 1] = sharing.answer_words([ring.split4(told.plaintexts[i][k]) for i in chosen], told.members)
        body = bodies.answer(told.sid, survivors, k + 1, answers[k + 1])
        expected = ring.words4(answers[k + 1]), bodies.sign(device.key.seed(), "answer", body)
        made = cohort.member(session, device).answer(prepares[device.identity], survivors, bodies.certificate(votes))
        assert made == expected
        aggregator.add_answer(device.identity, sha256(survivors).digest(), *expected)
    _agree_on_the_sum(told, session, aggregator, chosen, answers)


def _agree_on_the_sum(told: Told, session: Session, aggregator: Aggregator, chosen: list[int], answers) -> None:
    count = session.parameters.threshold
    opened = sharing.interpolate(dict(sorted(answers.items())[:count]), told.members)
    assert sharing.interpolate(dict(sorted(answers.items())[-count:]), told.members) == opened
    (key,) = (opened.key for opened in aggregator.open_key())
    assert key.tolist() == list(opened)
    assert open_sum(session.parameters, {k: words(v) for k, v in answers.items()}).liars == frozenset()
    bits, per = session.settings.slot_bits, LAYOUTS[session.settings.slot_bits]
    sums = quantization.unpack(ring.unmask(told.sid, [told.uploads[i] for i in chosen], opened), bits, per)
    d = len(told.clips)
    assert sums[: d + 3] == [sum(column) for column in zip(*(told.slots[i] for i in chosen), strict=True)]
    total = VectorSum(session)
    for i in chosen:
        total.add(np.frombuffer(told.uploads[i], "<u4").reshape(session.rows, 2, N))
    slots = total.slots(key, len(chosen))
    assert slots.tolist() == sums[: d + 3]
    mean = read_mean(session.quantizer, slots, len(chosen))
    expected = quantization.mean(sums, told.clips, told.step, len(chosen), session.settings.max_weight)
    assert mean.delta.tobytes() == struct.pack(f"<{d}f", *expected)
    assert math.isclose(mean.loss, 16 * sums[d + 1] / (2 * told.step * sums[d]))
