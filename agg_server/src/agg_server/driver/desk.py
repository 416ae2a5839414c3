"""What devices ask and what they are told: reads of the ledger, on its thread."""

from typing import NamedTuple

from agg_server.cohort import Draw
from agg_server.config import Config
from agg_server.ledger import Ledger
from agg_server.rounds import views
from agg_server.rounds.state import Phase, Round
from agg_server.rounds.transitions import STALE
from fedit_shared.errors import ConflictError
from fedit_shared.identity import SigningKey
from fedit_shared.messages import Closed, Offer, Poll, Receipt, Result, ServerMessage, Wait
from fedit_shared.secagg import Session


class Packets(NamedTuple):
    """A Prepare whose packets are still on disk. ``member``: the device's 0-based place in the roster."""

    session: Session
    receipts: list[Receipt]
    member: int


class Desk:
    """Answers from the state. ``active``: the devices that may take part."""

    def __init__(self, ledger: Ledger, key: SigningKey, config: Config) -> None:
        self._ledger = ledger
        self._key = key
        self._config = config
        self._draw: tuple[int, Draw] | None = None
        self.active: set[bytes] = set()

    def joined(self, identity: bytes) -> None:
        """A device may take part from now on."""
        if identity not in self.active:
            self.active.add(identity)
            if self._draw is not None:
                self._draw[1].add(identity)

    def left(self, identity: bytes) -> None:
        """A device may take part no more."""
        self.replace(self.active - {identity})

    def replace(self, active: set[bytes]) -> None:
        """Other devices may take part than before."""
        if active != self.active:
            self.active = active
            self._draw = None

    def mustered(self) -> tuple[int, list[bytes]]:
        """The round that musters, and who stands in for a cohort of it; 0 and nobody while none does."""
        round = self._ledger.current
        return (round.number, list(round.musters)) if round is not None and round.phase is Phase.MUSTER else (0, [])

    def check_in(self, identity: bytes, now: float) -> Wait | Closed | Round:
        """The round that is to be offered to this device, why it waits, or that there is no more to come."""
        round = self._ledger.current
        if round is None or round.phase is Phase.OVER:
            return self._between_rounds(round)
        widenings = int((now - round.opened_at) // round.opened.rules.train_window)
        return views.check_in(round, identity, self._drawing(round).includes(identity, widenings)) or round

    def offer(self, round: Round, identity: bytes, now: float) -> Offer:
        """The offer of this round."""
        return views.make_offer(round, identity, now, self._key)

    def poll(self, identity: bytes, message: Poll, now: float) -> ServerMessage | Packets:
        """What comes next for this device."""
        round = self._ledger.live(message.round)
        if round is None:
            return self._past(identity, message)
        if message.after == "mustered":
            view = views.after_muster(round, identity, now)
        elif message.cohort is None:
            raise ConflictError("A poll after the muster has to name the cohort.")
        else:
            view = views.in_cohort(round, message.cohort, identity, message.after)
        match view:
            case views.PacketsFor(cohort, member):
                receipts = cohort.aggregator.receipts
                return Packets(cohort.session, [receipts[identity] for identity in sorted(receipts)], member)
            case views.ResultOf(cohort):
                return views.make_result(round, cohort, self._key)
        return view

    def _past(self, identity: bytes, message: Poll) -> Result | Closed:
        current = self._ledger.current
        if current is None or message.round > current.number:
            raise ConflictError(f"There is no round {message.round} yet.", advice=STALE)
        result = self._ledger.result_for(message.round, identity)
        return result or Closed(reason=f"Round {message.round} has ended without this device.")

    def _drawing(self, round: Round) -> Draw:
        if self._draw is None or self._draw[0] != round.number:
            rules = round.opened.rules
            self._draw = round.number, Draw(round.opened.seed, rules.fraction, rules.cohort_min, self.active)
        return self._draw[1]

    def _between_rounds(self, round: Round | None) -> Wait | Closed:
        federation = self._config.federation
        if round is not None and federation.finished(self._ledger.newest_version):
            return Closed(reason=federation.finish)
        return Wait(reason="The next round is about to open.", seconds=views.POLL_SECONDS)
