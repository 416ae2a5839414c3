"""A malicious server: the honest one's replies, twisted. It holds the server's key and sees all votes.

What it tries is to get shares for two lists, or for a list that is too short, or a second contribution under one round
key. An honest device must not go along, whatever it is shown. Rounds may hang then: that a server can always do.
"""

from hashlib import sha256
from random import Random

from fedit_shared.errors import ProtocolError
from fedit_shared.identity import SigningKey
from fedit_shared.messages import (
    Accepted,
    Certificate,
    ChunksHeld,
    Deal,
    Poll,
    Result,
    Roster,
    ServerMessage,
    Survivors,
    Vote,
    Wait,
    decode,
    encode,
)
from fedit_shared.secagg.bodies import RosterBody, encode_certificate

from .network import Reply, Request
from .watch_device import identity_of

TRICKS = ("other list", "short list", "uncertified", "second roster", "changing list", "late question")


class Evil:
    """``cheat`` picks the device and the trick; :meth:`twist` answers."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        self._tricks: dict[str, tuple[str, Random]] = {}
        self._votes: dict[bytes, dict[bytes, dict[bytes, bytes]]] = {}
        """cohort → hash of the list → identity → signature."""
        self._lists: dict[bytes, bytes] = {}
        self._cohorts: dict[str, list[bytes]] = {}
        """device → cohorts that it has dealt into, in order."""

    def cheat(self, device: str, seed: int) -> None:
        """From now on this device is lied to."""
        self._tricks[device] = TRICKS[seed % len(TRICKS)], Random(seed)

    def twist(self, request: Request, reply: Reply) -> Reply:
        """What is answered instead."""
        try:
            return self._twist(request, reply)
        except ProtocolError:  # the request was changed on its way
            return reply

    def _twist(self, request: Request, reply: Reply) -> Reply:
        if request.path == "/v1/vote":
            vote = decode(request.body, Vote)
            votes = self._votes.setdefault(vote.cohort, {}).setdefault(vote.survivors_hash, {})
            votes[identity_of(request)] = vote.signature
            return _with(reply, Accepted())  # the honest part has refused a vote for another list
        if request.path == "/v1/deal":
            cohorts, cohort = self._cohorts.setdefault(request.device, []), decode(request.body, Deal).cohort
            if cohort not in cohorts:
                cohorts.append(cohort)
        trick, random = self._tricks.get(request.device, ("", Random(0)))
        if not trick:
            return reply
        if request.path == "/v1/poll" and reply.status == 200:
            message: ServerMessage = decode(reply.body, ServerMessage)
            poll = decode(request.body, Poll)
            if trick == "late question":
                twisted = self._hold(request.device, poll, message)
            else:
                twisted = self._answer(trick, random, poll, message)
            return reply if twisted is None else _with(reply, twisted)
        if trick == "second roster" and reply.status == 404:  # the cohort that exists for this device alone
            return _with(reply, ChunksHeld(held=b"\0") if request.method == "GET" else Accepted())
        return reply

    def _hold(self, device: str, poll: Poll, message: ServerMessage) -> ServerMessage | None:
        """Nothing of a cohort that is given up until the device has dealt into the next one: only then the question."""
        given_up = isinstance(message, Survivors | Result) and not message.survivors
        if poll.after != "reported" or not given_up:
            return None
        cohorts = self._cohorts.get(device, [])
        later = poll.cohort in cohorts and cohorts[-1] != poll.cohort
        return Survivors(survivors=b"") if later else Wait(reason="Wait.", seconds=5.0)

    def _answer(self, trick: str, random: Random, poll: Poll, message: ServerMessage) -> ServerMessage | None:
        match message:
            case Roster() if trick == "second roster":
                return self._other_roster(random, message)
            case Survivors() if message.survivors:
                return Survivors(survivors=self._other_list(trick, random, message.survivors))
            case Certificate() if message.survivors:
                return self._other_certificate(trick, random, poll.cohort or b"", message)
        return None

    def _other_roster(self, random: Random, roster: Roster) -> Roster:
        """Another cohort of the same musters."""
        if random.random() < 0.5:
            return roster
        body = RosterBody.decode(roster.body)
        changed = RosterBody(
            body.federation,
            body.task_hash,
            body.round,
            random.randbytes(16),
            body.adapter,
            body.settings_hash,
            body.entries,
        )
        raw = changed.encode()
        return Roster(
            cohort=changed.cohort,
            body=raw,
            settings=roster.settings,
            signature=self._key.sign("roster", raw),
            contribute_until=roster.contribute_until,
        )

    def _other_list(self, trick: str, random: Random, survivors: bytes) -> bytes:
        lines = [survivors[at : at + 64] for at in range(0, len(survivors), 64)]
        if trick == "short list":
            other = b"".join(lines[:2])
        elif trick == "other list" or (trick == "changing list" and random.random() < 0.5):
            dropped = random.randrange(len(lines))
            other = b"".join(lines[:dropped] + lines[dropped + 1 :])
        else:
            other = survivors
        self._lists[sha256(other).digest()] = other
        return other

    def _other_certificate(self, trick: str, random: Random, cohort: bytes, real: Certificate) -> Certificate:
        """The list with most votes but the real one's, and all of them, or some votes twice the number."""
        others = [h for h in self._votes.get(cohort, {}) if h in self._lists and self._lists[h] != real.survivors]
        if trick == "uncertified" and real.certificate:
            lines = [real.survivors[at : at + 64] for at in range(0, len(real.survivors), 64)]
            return Certificate(survivors=b"".join(lines[1:]), certificate=real.certificate)
        if not others or random.random() < 0.3:
            return real
        best = max(others, key=lambda h: len(self._votes[cohort][h]))
        return Certificate(survivors=self._lists[best], certificate=encode_certificate(self._votes[cohort][best]))


def _with(reply: Reply, message: ServerMessage) -> Reply:
    return reply._replace(status=200, body=encode(message))
