"""How a device becomes, and stays, a member of a federation."""

from collections.abc import Callable
from hashlib import sha256

import msgspec

from edge_client.rounds import require_agreed
from edge_client.state import FederationState, Membership
from edge_client.transport import ClockError, Server, Transport
from fedit_shared.errors import ForgedError, ProtocolError, UnauthorizedError, UserError
from fedit_shared.identity import JoinLink, federation_id
from fedit_shared.messages import Enrol, Enrolled, Leave, TaskSpec
from fedit_shared.parameters import LAYOUTS, upload_size
from fedit_shared.secagg import most_beside
from fedit_shared.secagg.bodies import EnrolBody

from . import events
from .threads import in_thread


class Enrolment:
    """This device's membership. ``link``: the invitation, None where the state alone is to go on."""

    def __init__(
        self, state: FederationState, link: JoinLink | None, *, accept_new_task: bool, ask: bool = False
    ) -> None:
        """``ask``: the first task, too, has to be agreed to. Raises UserError if the folder is of another federation,
        or there is neither link nor membership."""
        membership = state.membership
        if link is None and membership is None:
            raise UserError(
                f"{state.folder} has joined no federation.", advice="Join one with `fedit-client join LINK`."
            )
        if link is not None:
            if membership is not None and membership.federation != link.federation:
                raise UserError(
                    f"{state.folder} belongs to another federation.",
                    advice="Name another folder with --state, or none: each federation has its own.",
                )
            invited = _with_link(membership, link)
            if invited != membership:
                state.membership = invited
            membership = invited
        assert membership is not None, "there is a link or a membership"
        self._state = state
        self._membership = membership
        self._link = link
        self._accept_new_task = accept_new_task
        self._ask = ask

    @property
    def federation(self) -> bytes:
        """The federation's 32 bytes."""
        return self._membership.federation

    @property
    def server(self) -> Server:
        """Where it is reached."""
        membership = self._membership
        return Server(membership.address, membership.pin, membership.federation)

    @property
    def left(self) -> bool:
        """Whether this device has left it."""
        return self._membership.left

    def require_agreed(self, task: bytes) -> None:
        """Raise UnagreedError for a task that the owner has not agreed to."""
        if not self._accept_new_task:
            require_agreed(task, self._membership.task_hash, ask=self._ask)

    def agree(self, task: bytes) -> bool:
        """Keep the task: from here on, this one is agreed to and no other. Whether it was not before."""
        self._accept_new_task = False
        if self._membership.task_hash == sha256(task).digest():
            return False
        self._change(task_hash=self._state.keep_task(task))
        return True

    def note_finish(self, reason: str | None) -> None:
        """Keep that the federation is over, and in which words that was said; None: it is not, or goes on."""
        if reason != self._membership.finished:
            self._change(finished=reason)

    async def join(
        self, transport: Transport, emit: Callable[[events.Event], None], clock: Callable[[], float]
    ) -> bytes:
        """The server's Ed25519 key, after enrolling if need be. Raises what the server refuses the invitation with."""
        self._transport, self._emit, self._clock = transport, emit, clock
        if self._membership.server_key is None:
            await self._enrol()
        else:
            self._tell(new=False)
        assert self._membership.server_key is not None, "enrolled"
        return self._membership.server_key

    async def renew(self) -> bool:
        """Enrol again with the link at hand, once, where the server does not know this device (any more)."""
        if self._link is None:
            return False
        await self._enrol()
        self._link = None
        return True

    async def leave(self, transport: Transport) -> None:
        """Tell the server that this device wants no more work. One that it does not know (any more) is out already:
        perhaps only the answer to an earlier try was lost."""
        if self._membership.server_key is not None and not self._membership.left:
            try:
                await transport.send(Leave())
            except ClockError:
                raise
            except UnauthorizedError:
                pass
        await in_thread(self._change, left=True)

    async def _enrol(self) -> None:
        if self._link is None:
            raise UserError(
                "This device's joining was not finished.",
                advice="Run `fedit-client join` with the link, and the same --state, once more.",
            )
        identity, time = self._state.identity, int(self._clock())
        body = EnrolBody(self.federation, identity.public, sha256(self._link.token).digest(), time).encode()
        reply = await self._transport.send(
            Enrol(identity=identity.public, token=self._link.token, time=time, signature=identity.sign("enrol", body))
        )
        if not isinstance(reply, Enrolled):
            raise ProtocolError(f"The server answered an enrolment with a {type(reply).__name__}.")
        if federation_id(reply.server_key) != self.federation:
            raise ForgedError(
                "The server is not of the federation that the link names.", advice="Ask the operator for a new link."
            )
        await in_thread(self._change, server_key=reply.server_key, name=reply.federation_name, left=False)
        self._tell(new=True)

    def _change(self, **fields: object) -> None:
        self._membership = msgspec.structs.replace(self._membership, **fields)
        self._state.membership = self._membership

    def _tell(self, *, new: bool) -> None:
        membership = self._membership
        self._emit(events.Joined(membership.name, membership.address, self._state.identity.public, new))


def agreement(task: TaskSpec) -> events.Agreed:
    """What an owner agrees to with ``task``."""
    return events.Agreed(task, upload_size(task.most_summed, max(LAYOUTS)), most_beside())


def _with_link(membership: Membership | None, link: JoinLink) -> Membership:
    """The server may have moved: the link says where it is, the federation's key says that it is the same one. Who
    left and has a link again is enrolled anew."""
    if membership is None:
        return Membership(federation=link.federation, address=link.address, pin=link.pin)
    known = None if membership.left else membership.server_key
    return msgspec.structs.replace(membership, address=link.address, pin=link.pin, server_key=known, left=False)
