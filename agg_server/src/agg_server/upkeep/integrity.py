"""Whether everything that a federation keeps is whole: keys, database, signatures, blobs. Changes nothing, and may run
beside the server. Blocks for as long as it takes to read all of it."""

import datetime
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from fedit_shared.errors import FeditError, NotFoundError, ProtocolError
from fedit_shared.identity import PublicKey, verify
from fedit_shared.messages import Result
from fedit_shared.secagg.bodies import OUTCOMES, DealBody, ResultBody, RosterBody
from fedit_shared.secagg.session import compute_sid

from .. import rounds, tls
from ..config import Config
from ..errors import CorruptError
from ..layout import Layout
from ..ledger import Ledger
from ..rounds.events import CohortsFormed, RoundOpened
from ..rounds.report import RoundReport, report
from ..rounds.state import FINAL, Cohort, Round
from ..standing import standing
from ..storage.rooms import Rooms
from ..store import AdapterVersion, Database, Journal, Recorded, Versions
from ..task import make_task
from .contents import read_whole, wanted

_PUT_BACK = "Put a backup back: `fedit-server restore`."


class Findings(NamedTuple):
    """``damage``: a line for each thing that is not whole, with what to do. The others: how many were looked at."""

    damage: list[str]
    rounds: int = 0
    results: int = 0
    blobs: int = 0
    uploads: int = 0


def examine(layout: Layout, config: Config, database: Database) -> Findings:
    """Look at everything."""
    damage = list(_keys(layout, config))
    try:
        damage += _pages(database)
        key = layout.signing_key()
        ledger = Ledger(database, key)
        ledger.load()
        with database.begin() as connection:
            numbers = [report.round for report in Journal().reports(connection)]
            live = [round for number in numbers if (round := ledger.live(number)) is not None]
            current = standing(connection, config.federation, ledger.current).current.version
            blobs = wanted(connection, {current, *(round.opened.version for round in live)})
        broken, results = _signatures(database, numbers, key.public)
    except FeditError as error:
        return Findings([*damage, str(error)])
    store = layout.blobs(config)
    found = 0
    for blob in blobs:
        try:
            found += read_whole(store, blob) is not None
        except CorruptError as error:
            broken.append(str(error))
    cohorts = [cohort for round in live for cohort in round.cohorts.values() if cohort.phase not in FINAL]
    broken += [line for cohort in cohorts for line in _uploads(Rooms(store), ledger, cohort)]
    uploads = sum(len(cohort.aggregator.receipts) for cohort in cohorts)
    return Findings(damage + broken, len(numbers), results, found, uploads)


def require_whole(database: Database) -> None:
    """Raise CorruptError if the database's pages are damaged: a quick look, for the start of a server."""
    with database.reading() as connection:
        if connection.dialect.name == "sqlite":
            told = _line(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
            if told != "ok":
                raise CorruptError(f"The database is damaged: {told}.", advice=_PUT_BACK)


def _pages(database: Database) -> list[str]:
    with database.reading() as connection:
        if connection.dialect.name != "sqlite":
            return []
        told = [_line(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check(20)")]
    return [] if told == ["ok"] else [f"The database is damaged: {line}. {_PUT_BACK}" for line in told]


def _line(told: object) -> str:
    return " ".join(str(told).split())


def _keys(layout: Layout, config: Config) -> Iterator[str]:
    certificate = layout.path(config.server.certificate)
    try:
        layout.signing_key()
        tls.server_context(certificate, layout.path(config.server.key))
        tls.require_pinned(certificate, layout.pinned)
        if tls.expiry(certificate) < datetime.datetime.now(datetime.UTC):
            yield f"{certificate} has expired. Renew it, with the same key."
        make_task(config, layout.adapter)
    except FeditError as error:
        yield str(error)


def _signatures(database: Database, numbers: list[int], key: PublicKey) -> tuple[list[str], int]:
    """Fold every round again, as far as its events are kept, and check the signed results of its cohorts."""
    broken, results = [], 0
    for number in numbers:
        try:
            with database.begin() as connection:
                recorded = Journal().events_of(connection, number)
                kept = Journal().results_of(connection, number)
                told = next(report for report in Journal().reports(connection) if report.round == number)
                versions = [version for version in Versions().all(connection) if version.round == number]
            results += len(kept)
            folded = _fold(recorded)
        except CorruptError as error:
            broken.append(str(error))
            continue
        except (FeditError, KeyError) as error:
            broken.append(f"What is kept of round {number} does not fit together: {error} {_PUT_BACK}")
            continue
        if folded is not None:
            broken += _rows(folded, told, versions)
        sids = dict(_sids(recorded))
        for result in kept:
            if recorded and not _is_signed(result, sids.get(result.cohort, b""), key):
                name = result.cohort.hex()[:16]
                broken.append(f"The signed result of cohort {name} (round {number}) is damaged. {_PUT_BACK}")
    return broken, results


def _fold(recorded: list[Recorded]) -> Round | None:
    """One round; None once its events are pruned."""
    folded: dict[int, Round] = {}
    for number, time, event in recorded:
        if isinstance(event, RoundOpened):
            folded[number] = rounds.open_round(event, time)
        else:
            rounds.apply(folded[number], event, time)
    return next(iter(folded.values()), None)


def _rows(folded: Round, told: RoundReport, versions: list[AdapterVersion]) -> Iterator[str]:
    """What other rows say of a round, held against its events."""
    ended = folded.ended
    if folded.final and _facts(told) != _facts(report(folded, told.ended or 0.0)):
        yield f"The report of round {folded.number} is damaged: its events say otherwise. {_PUT_BACK}"
    if ended is not None and ended.outcome == "published":
        wanted = [(ended.version, ended.adapter, folded.opened.version, ended.adapter_size, ended.clip)]
    else:
        wanted = []
    if [(row.version, row.adapter, row.parent, row.size, row.clip) for row in versions] != wanted:
        yield f"The row of the version that round {folded.number} made is damaged. {_PUT_BACK}"


def _facts(told: RoundReport) -> tuple[object, ...]:
    """What every release says alike."""
    of_cohorts = [
        (cohort.cohort, cohort.outcome, cohort.roster, cohort.survivors, cohort.total_weight, cohort.loss)
        for cohort in told.cohorts
    ]
    return told.opened, told.ended, told.outcome, told.version, told.adapter_before, told.adapter_after, of_cohorts


def _sids(recorded: list[Recorded]) -> Iterator[tuple[bytes, bytes]]:
    for _, _, event in recorded:
        if isinstance(event, CohortsFormed):
            for formed in event.cohorts:
                yield formed.cohort, compute_sid(formed.roster, RosterBody.decode(formed.roster))


def _is_signed(result: Result, sid: bytes, key: PublicKey) -> bool:
    outcome, survivors = OUTCOMES.index(result.outcome), sha256(result.survivors).digest()
    try:
        body = ResultBody(sid, result.round, outcome, survivors, result.adapter, result.total_weight)
        verify(key, "result", body.encode(), result.signature)
    except ProtocolError:
        return False
    return True


def _uploads(rooms: Rooms, ledger: Ledger, cohort: Cohort) -> Iterator[str]:
    """Of a cohort that is not final. A server at work deletes them at its end: then nothing is amiss."""
    for identity, receipt in cohort.aggregator.receipts.items():
        try:
            whole = rooms.upload(cohort.session, identity).digest() == DealBody.decode(receipt.body).vector_hash
        except OSError:
            whole = False
        if not whole and _is_live(ledger, cohort):
            name = f"device {identity.hex()[:16]}, cohort {cohort.id.hex()[:16]}"
            yield f"An upload is damaged or missing ({name}). The cohort will fail by itself; nothing else is harmed."


def _is_live(ledger: Ledger, cohort: Cohort) -> bool:
    ledger.load()
    try:
        return ledger.cohort(cohort.id)[1].phase not in FINAL
    except NotFoundError:
        return False
