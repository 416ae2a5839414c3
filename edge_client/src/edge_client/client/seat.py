"""A device's place in one cohort: computes what it says there, and has it on disk before it can be sent.

Everything here blocks (cryptography, disk): it is called in a thread.
"""

import os
from collections.abc import Callable
from hashlib import sha256
from typing import Protocol

import numpy as np

from edge_client.rounds import Verdict, check_result, check_roster, require_floor
from edge_client.state import Attempt, CorruptStateError, FederationState, SpentError
from fedit_shared.errors import UserError
from fedit_shared.messages import Answer, Certificate, Deal, Report, Result, Roster, Survivors, Vote
from fedit_shared.secagg import Contribution, Member, Session, Update
from fedit_shared.secagg.bodies import decode_survivors


class Contribute(Protocol):
    """Masks an update: :meth:`edge_client.client.Client.contribute`."""

    def __call__(
        self, session: Session, update: Update, randomness: bytes, sink: Callable[[memoryview], object]
    ) -> Contribution: ...


class Seat:
    """``roster``, checked, and this device in it as it mustered in ``attempt``.

    Raises as :func:`edge_client.rounds.check_roster`; then nothing was kept, else the attempt is bound to the roster.
    """

    def __init__(self, state: FederationState, attempt: Attempt, roster: Roster, server_key: bytes) -> None:
        self._state = state
        self._attempt = attempt
        self._server_key = server_key
        key, task = state.identity, state.task(attempt.mustered.task_hash)
        self.session = check_roster(roster, attempt.muster(), task, identity=key.public, server_key=server_key)
        self._member = Member(self.session, key, attempt.round_key())
        attempt.bind(roster)

    @property
    def _floor(self) -> int:
        """What the owner wants now; what was wanted at the muster is in the session's floor."""
        preferences = self._state.preferences
        return 0 if preferences is None else preferences.min_survivors

    def seal(self, contribute: Contribute) -> Contribution:
        """Mask the trained update and deal its key. Raises SpentError or CorruptStateError for an update that cannot
        be used, UserError for one that is not finite or does not fit; the latter two are forgotten. UnsafeError for a
        cohort smaller than this machine's owner wants."""
        require_floor(self.session.parameters.members, self._floor)
        update = self._state.update(self._attempt.mustered.update)
        trained = update.trained() if update else None
        if update is None or trained is None:
            raise SpentError("The trained update is no longer on this machine.")
        try:
            delta = np.frombuffer(update.delta(), "<f4").astype(np.float32, copy=False)
            mine = Update(delta, trained.examples, trained.loss)
            with self._attempt.sealing() as file:
                made = contribute(self.session, mine, os.urandom(32), file.write)
        except (UserError, CorruptStateError):
            update.drop()
            raise
        cohort = self.session.roster.cohort
        self._attempt.seal(Deal(cohort=cohort, body=made.deal, signature=made.signature, packets=made.packets))
        return made

    def spend(self) -> None:
        """Mark the update as spent, before its receipt leaves."""
        if update := self._state.update(self._attempt.mustered.update):
            update.spend(self._attempt.name)

    def report(self) -> Report:
        """What to say of the packets that were kept."""
        report, signature = self._member.report(self._attempt.prepare())
        return Report(cohort=self.session.roster.cohort, report=report, signature=signature)

    def vote(self, offered: Survivors) -> None:
        """Cast the one vote, if every check allows it."""
        require_floor(len(decode_survivors(offered.survivors)), self._floor)
        signature = self._member.vote(self._attempt.prepare(), offered.survivors)
        digest = sha256(offered.survivors).digest()
        self._attempt.cast(Vote(cohort=self.session.roster.cohort, survivors_hash=digest, signature=signature))

    def answer(self, certified: Certificate) -> bool:
        """Keep the answer to a certified list, if every check allows it. False: a survivor's packet is unusable."""
        require_floor(len(decode_survivors(certified.survivors)), self._floor)
        given = self._member.answer(self._attempt.prepare(), certified.survivors, certified.certificate)
        if given is None:
            return False
        words, signature = given
        digest = sha256(certified.survivors).digest()
        cohort = self.session.roster.cohort
        self._attempt.keep_answer(Answer(cohort=cohort, survivors_hash=digest, words=words, signature=signature))
        return True

    def judge(self, result: Result) -> Verdict:
        """What the result proves. An update shown to be in no sum may be mustered again from here on."""
        deal = self._attempt.deal()
        verdict = check_result(
            result,
            self.session,
            (deal.body, deal.signature) if deal else None,
            identity=self._state.identity.public,
            server_key=self._server_key,
        )
        update = self._state.update(self._attempt.mustered.update)
        if verdict.reusable and update is not None and update.spent_by == self._attempt.name:
            update.restore()
        return verdict
