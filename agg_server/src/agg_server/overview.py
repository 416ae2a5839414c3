"""How a federation stands, read from its folder: also while another process serves it."""

import time

import msgspec

from .config import Config
from .layout import Layout
from .ledger import Ledger
from .lock import is_served
from .rounds.report import RoundReport, report
from .store import Database, Journal, People, Versions


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The federation at a glance. ``round``: the newest, None before the first; ``version``: the newest adapter's."""

    name: str
    address: str
    served: bool
    version: int
    adapter: str
    devices: int
    round: RoundReport | None


def overview(layout: Layout, config: Config, database: Database) -> Overview:
    """The federation now."""
    with database.begin() as connection:
        newest = Versions().newest(connection)
        statuses = People().statuses(connection)
    rounds = all_rounds(layout, config, database)
    return Overview(
        name=config.federation.name,
        address=config.server.address,
        served=is_served(layout),
        version=newest.version,
        adapter=newest.adapter.hex(),
        devices=sum(status == "active" for status in statuses.values()),
        round=rounds[-1] if rounds else None,
    )


def all_rounds(layout: Layout, config: Config, database: Database) -> list[RoundReport]:
    """All rounds, oldest first; those under way as they stand."""
    ledger = Ledger(database, layout.signing_key())
    ledger.load()
    with database.begin() as connection:
        kept = Journal().reports(connection)
    now = time.time()
    live = {old.round: ledger.live(old.round) for old in kept}
    return [old if (round := live[old.round]) is None else report(round, now) for old in kept]
