"""What an operator may let go: files of old adapter versions, and sums and events of rounds that are over."""

from typing import NamedTuple

from fedit_shared.errors import UserError
from fedit_shared.strategies import STRATEGIES

from ..adapters.optimizer import OPTIMIZERS
from ..adapters.publishing import adapter_key, state_key
from ..config import Config
from ..errors import UnavailableError
from ..layout import Layout
from ..ledger import Ledger
from ..standing import standing
from ..storage.kinds import Storage
from ..storage.rooms import sum_key
from ..store import AdapterVersion, Database, Journal, Pruned, Retention, Versions
from . import ballast


class Plan(NamedTuple):
    """What goes: ``files`` (blobs) of ``versions``; events, and ``sums`` (blobs), of ``rounds``. Reports and results
    stay."""

    versions: list[AdapterVersion]
    rounds: list[int]
    files: list[str]
    sums: list[str]


def prune(layout: Layout, config: Config, database: Database, keep: int, *, really: bool) -> Plan:
    """Let go of all but the newest ``keep`` versions (at least 1), and of the rounds before them.

    Kept as well: the first version, what the next round begins from, what rounds that are not final work on, and the
    newest round. It is noted in the database before the first file goes, in one transaction with what is decided from,
    so that no other command begins to need what is about to go; what that takes of a full disk is the ballast. Events,
    of which there may be many, go when there is room again. ``really`` False: only say what would go.
    """
    if not really:
        return _plan(layout, config, database, keep, really=False)
    try:
        try:
            plan = _plan(layout, config, database, keep, really=True)
        except UnavailableError:
            if not ballast.give_up(layout, config):
                raise
            plan = _plan(layout, config, database, keep, really=True)
        blobs = layout.blobs(config)
        for key in (*plan.files, *plan.sums):
            blobs.delete(key)
        with database.begin() as connection:
            Retention().drop_events(connection, plan.rounds)
    finally:
        ballast.lay(layout, config)
    return plan


def _plan(layout: Layout, config: Config, database: Database, keep: int, *, really: bool) -> Plan:
    """What goes; noted, if ``really``."""
    ledger = Ledger(database, layout.signing_key())
    ledger.load()
    with database.begin() as connection:
        versions, reports = Versions().all(connection), Journal().reports(connection)
        live = [round for kept in reports if (round := ledger.live(kept.round)) is not None]
        needed = {0, standing(connection, config.federation, ledger.current).current.version}
        needed |= {round.opened.version for round in live}
        before = Retention().pruned(connection)
        last = max(before.versions, versions[-1].version - keep)
        gone = [v for v in versions if before.versions < v.version <= last and v.version not in needed]
        staying = {v.adapter for v in versions if v.version > last or v.version in needed}
        first_kept = min((v.round for v in versions if v.version > last and v.round is not None), default=0)
        bound = min([first_kept, *(round.number for round in live), reports[-1].round if reports else 0])
        over = [kept for kept in reports if before.rounds < kept.round < bound]
        plan = Plan(
            gone,
            Retention().with_events(connection, bound),
            [key for v in gone if v.adapter not in staying for key in _files(v)],
            [sum_key(bytes.fromhex(c.cohort)) for kept in over for c in kept.cohorts if c.loss is not None],
        )
        if really:
            Retention().note(connection, Pruned(last, max(before.rounds, bound - 1)))
    return plan


def require_kept(blobs: Storage, version: AdapterVersion, pruned: Pruned) -> None:
    """Raise UserError for a version whose file was let go."""
    if version.version <= pruned.versions:
        try:
            blobs.read(adapter_key(version.adapter))
        except FileNotFoundError:
            raise UserError(
                f"Adapter version {version.version} was pruned.", advice="An older backup may have its file."
            ) from None


def _files(version: AdapterVersion) -> list[str]:
    """Its blobs; two versions whose step was 0 have the same."""
    states = [state_key(version.adapter, optimizer, strategy) for optimizer in OPTIMIZERS for strategy in STRATEGIES]
    return [*states, adapter_key(version.adapter)]
