"""How a federation stands, read from its folder: also while another process serves it."""

import time

import msgspec

from .config import Config
from .layout import Layout
from .ledger import Ledger
from .lock import is_served
from .rounds.report import RoundReport, report
from .standing import Standing, standing
from .store import Database, Journal, People


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The federation at a glance. ``round``: the newest, None before the first; ``version``: the newest adapter's;
    ``next_from``: the version that the next round begins from, another one after a rollback; ``finished``: no round is
    open or will be."""

    name: str
    address: str
    served: bool
    version: int
    adapter: str
    next_from: int
    finished: bool
    devices: int
    round: RoundReport | None


def overview(layout: Layout, config: Config, database: Database) -> Overview:
    """The federation now."""
    ledger = _ledger(layout, database)
    with database.begin() as connection:
        stands = standing(connection, config.federation, ledger.current)
        statuses = People().statuses(connection)
    rounds = _rounds(ledger, database)
    return Overview(
        name=config.federation.name,
        address=config.server.address,
        served=database.is_led() if database.shared else is_served(layout),
        version=stands.newest.version,
        adapter=stands.newest.adapter.hex(),
        next_from=stands.current.version,
        finished=stands.finished,
        devices=sum(status == "active" for status in statuses.values()),
        round=rounds[-1] if rounds else None,
    )


def standing_of(layout: Layout, config: Config, database: Database) -> Standing:
    """Its versions, and whether it has finished."""
    last = _ledger(layout, database).current
    with database.begin() as connection:
        return standing(connection, config.federation, last)


def all_rounds(layout: Layout, config: Config, database: Database) -> list[RoundReport]:
    """All rounds, oldest first; those under way as they stand."""
    return _rounds(_ledger(layout, database), database)


def _ledger(layout: Layout, database: Database) -> Ledger:
    ledger = Ledger(database, layout.signing_key(), shared=False)  # as it is now, all of it at one moment
    ledger.load()
    return ledger


def _rounds(ledger: Ledger, database: Database) -> list[RoundReport]:
    with database.begin() as connection:
        kept = Journal().reports(connection)
    now = time.time()
    live = {old.round: ledger.live(old.round) for old in kept}
    return [old if (round := live[old.round]) is None else report(round, now) for old in kept]
