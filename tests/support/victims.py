"""A device whose machine the client's own code keeps, in a cohort that a test plays."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from attackers import Round, certificate_of
from cohorts import NOT_AFTER, SERVER, Device, prepare_for, seeded

from edge_client.client.seat import Seat
from edge_client.state import Attempt, FederationState, Mustered, UpdateFolder
from fedit_shared.messages import Deal, Muster, Prepare, Result, Roster, encode
from fedit_shared.secagg import Contribution, Contributor, Session, Update, split_packets
from fedit_shared.secagg.bodies import OUTCOMES, Outcome, ResultBody


@dataclass
class Victim:
    """A device whose machine the client's own code keeps, as one of ``round``'s cohort."""

    round: Round
    device: Device
    folder: Path

    @classmethod
    def in_cohort(cls, folder: Path, number: int = 1, strategy: str = "fedavg") -> "Victim":
        """Its identity lies in ``folder``; it is among the devices of a cohort of five."""
        round_ = Round(5, round_=number, strategy=strategy)
        return cls(round_, round_.devices[2], folder)

    def state(self) -> FederationState:
        """Opened anew, as after a restart."""
        (self.folder / "identity").parent.mkdir(exist_ok=True)
        (self.folder / "identity").write_bytes(self.device.key.seed())
        return FederationState(self.folder)

    def train(self, state: FederationState) -> UpdateFolder:
        state.keep_task(self.round.cohort.task)
        update = state.new_update(self.round.cohort.adapter, sha256(self.round.cohort.task).digest())
        (update.work / "out").write_bytes(self.device.update.delta.tobytes())
        update.finish(update.work / "out", examples=100, loss=1.0)
        return update

    def muster(self, state: FederationState, update: UpdateFolder) -> Attempt:
        body = self.round.cohort.muster(self.device)
        muster = Muster(
            body=body.encode(),
            round_key=self.device.round_key.public,
            signature=self.device.key.sign("muster", body.encode()),
        )
        number = self.round.session.roster.round
        secret = seeded("round key", 0, self._seed(), size=96)
        mustered = Mustered(
            round=number,
            adapter=self.round.cohort.adapter,
            task_hash=sha256(self.round.cohort.task).digest(),
            update=update.name,
            not_after=NOT_AFTER,
            muster=encode(muster),
        )
        return state.new_attempt(mustered, secret)

    def _seed(self) -> int:
        return next(i for i in range(5) if seeded("identity", 0, i) == self.device.key.seed())

    def roster(self) -> Roster:
        body = self.round.cohort.roster().encode()
        return Roster(
            cohort=self.round.cohort.cohort,
            body=body,
            settings=self.round.cohort.settings,
            signature=SERVER.sign("roster", body),
            contribute_until=NOT_AFTER,
        )

    def seat(self, state: FederationState, attempt: Attempt) -> Seat:
        return Seat(state, attempt, self.roster(), SERVER.public)

    def take(self, deal: Deal) -> None:
        """The victim's deal in place of the one that the harness had made for it."""
        upload = self.round.uploads[self.device.identity]
        upload.contribution = Contribution(deal.body, deal.signature, deal.packets, 0.0)
        upload.prepared = split_packets(
            self.round.session, self.device.identity, deal.body, deal.signature, deal.packets
        )
        self.round.deals_of(self.round.devices)

    def contribute(
        self, session: Session, update: Update, randomness: bytes, sink: Callable[[memoryview], object]
    ) -> Contribution:
        """What the client does."""
        return Contributor(session, self.device.key).contribute(update, randomness, sink)

    def prepare(self) -> Prepare:
        return prepare_for(self.round.aggregator, self.round.uploads, self.device.identity)

    def result(self, survivors: bytes, voters: list[Device], outcome: Outcome) -> Result:
        votes = certificate_of(self.round.session, survivors, voters) if voters else b""
        number = self.round.session.roster.round
        body = ResultBody(
            self.round.session.sid, number, OUTCOMES.index(outcome), sha256(survivors).digest(), bytes(32), 9
        )
        return Result(
            cohort=self.round.cohort.cohort,
            round=number,
            outcome=outcome,
            survivors=survivors,
            certificate=votes,
            adapter=bytes(32),
            total_weight=9,
            mean_loss=None,
            signature=SERVER.sign("result", body.encode()),
        )


def contributed(folder: Path) -> tuple[Victim, Attempt]:
    """A victim that has sent its vector and its deal, and was then shown everybody's packets."""
    victim = Victim.in_cohort(folder)
    with victim.state() as state:
        attempt = victim.muster(state, victim.train(state))
        seat = victim.seat(state, attempt)
        seat.seal(victim.contribute)
        seat.spend()
        deal = attempt.deal()
        assert deal is not None
        victim.take(deal)
        attempt.keep_prepare(victim.prepare())
    return victim, attempt
