"""What arms ask of workers, and what comes back: messages that are small but for one vector, so that a worker can be
this process, another one or another machine."""

import hashlib
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from .journal import Judged
from .worker import Work


class Train(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """All of a client's local work, from the adapter ``version`` (SHA-256 of its file) on."""

    version: bytes
    client: int
    work: Work


class Advance(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The work of one who learns alone, begun from ``version``, up to step ``until``."""

    version: bytes
    client: int
    work: Work
    until: int


class Judge(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The evaluation's records ``first`` to ``last - 1``, each cut to ``max_length`` tokens, under a version, or under
    the base model alone."""

    version: bytes | None
    first: int
    last: int
    max_length: int


class Trained(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Of :class:`Train`. ``delta``, of what the round sums, and ``private``, what the client has of its own: float32,
    little-endian, in the order of the task's tensors; ``seconds``: of training, over all runs."""

    delta: bytes
    private: bytes
    examples: int
    loss: float
    seconds: float
    conditions: str = ""
    """See :attr:`.journal.Entry.conditions`."""


class Advanced(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Of :class:`Advance`. ``adapter``: as Trained's ``delta``; ``loss``: mean over the tokens learned since the work
    began, in nats; ``seconds``: since then."""

    adapter: bytes
    loss: float
    seconds: float
    conditions: str = ""


class Scored(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Of :class:`Judge`."""

    judged: Judged


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """In place of a reply: what a person has to mend. Trying again would not help."""

    message: str
    advice: str


Job = Train | Advance | Judge
Reply = Trained | Advanced | Scored


class Order(NamedTuple):
    """A job of an arm's round. ``what``: it in words; ``steps``: how many it has; ``before``: steps of the same work
    that came before it."""

    arm: str
    round: int
    job: Job
    what: str
    steps: int = 0
    before: int = 0


def vector_of(data: bytes) -> NDArray[np.float32]:
    """The values in a reply."""
    return np.frombuffer(data, "<f4").astype(np.float32)


DECODE_JOB: msgspec.msgpack.Decoder[Job] = msgspec.msgpack.Decoder(Job)
DECODE_REPLY: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)
DECODE_ANSWER: msgspec.msgpack.Decoder[Reply | Failed] = msgspec.msgpack.Decoder(Reply | Failed)


def name_of(job: Job) -> str:
    """SHA-256, in hex: the same for the same job only."""
    return hashlib.sha256(msgspec.msgpack.encode(job)).hexdigest()
