"""One short tree of errors.

An error knows whose fault it is, what the person who meets it can do next, which HTTP status it becomes on the wire
and which exit status in a shell. A client that vanished is not an error but a value: see the outcomes of a round.
"""

from typing import ClassVar

from .text import shown

LONGEST = 2000
"""Characters of a message, and of an advice. What they quote may be somebody else's, and longer."""


class FeditError(Exception):
    """Base of all: a message in plain words, and advice: what to do next. Both can be shown on a terminal as they are,
    whatever they quote. ``usual``: what a participant does about an error of this kind that has no advice of its own;
    empty for a kind that always has."""

    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "internal"
    usual: ClassVar[str] = ""

    def __init__(self, message: str, *, advice: str = "") -> None:
        self.message = shown(message, LONGEST)
        self.advice = shown(advice, LONGEST)
        super().__init__(self.message)

    @property
    def next_step(self) -> str:
        """What a participant does next."""
        return self.advice or self.usual

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".strip()


class UserError(FeditError):
    """What a person gave us (a file, an option, a link) cannot be used."""

    http_status = 400
    exit_code = 2
    code = "usage"


class ProtocolError(FeditError):
    """The other side sent what the protocol does not allow. Nothing of it was kept."""

    http_status = 400
    exit_code = 4
    code = "malformed"
    usual = "Nothing is lost: start again. If it stays so, tell the operator of the federation, in these words."


class ForgedError(ProtocolError):
    """A signature, proof or token does not verify."""

    http_status = 403
    code = "forged"
    usual = "Nothing of it was accepted. Ask the operator, by another way than this server, whether it was replaced."


class UnauthorizedError(ProtocolError):
    """The request is not signed by a device of this federation, or its signature is too old."""

    http_status = 401
    code = "unauthorized"
    usual = "Ask the operator for a new join link, and join with it: your records and settings stay as they are."


class ConflictError(ProtocolError):
    """Valid in itself, but not now: another phase, another round, or unlike what was sent before."""

    http_status = 409
    code = "conflict"


class NotFoundError(ProtocolError):
    """There is no such cohort, adapter or page."""

    http_status = 404
    code = "not-found"


class TooLargeError(ProtocolError):
    """Larger than the protocol allows for this message."""

    http_status = 413
    code = "too-large"


class IncompatibleError(ProtocolError):
    """The two sides speak different versions."""

    http_status = 426
    code = "incompatible"
    usual = "Install the version of edge-client that the operator names."


class UnsafeError(ProtocolError):
    """What is asked would reveal more than a sum over enough people. The asked side keeps silent."""

    http_status = 409
    exit_code = 5
    code = "unsafe"
    usual = "Nothing was given away. Ask the operator why this is asked; the next round may do without."


class SumError(FeditError):
    """A sum could not be opened, or what came out cannot be a sum of valid updates. Nothing is published."""

    code = "sum"
    usual = "The next round goes on from the version before."


def refusal(code: str) -> type[ProtocolError]:
    """The class of ProtocolError that a wire ``code`` names; ProtocolError itself for one unknown here."""
    kinds: list[type[ProtocolError]] = [ProtocolError, *ProtocolError.__subclasses__()]
    return next((kind for kind in kinds if kind.code == code), ProtocolError)
