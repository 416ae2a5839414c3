"""The journal: every accepted event, from which rounds are folded again after a restart.

Each has a digest, chained over its round: what is read again is what was written, or a CorruptError.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, Select, func, insert, select, update

from agg_server.errors import CorruptError
from agg_server.rounds.events import AnyEvent, Event
from agg_server.rounds.report import RoundReport
from fedit_shared.errors import UserError
from fedit_shared.messages import UNREADABLE
from fedit_shared.messages import Result as CohortResult

from .digests import chained
from .tables import events, results, rounds

_IDENTITY = 32


class Recorded(NamedTuple):
    """One event, its round, and when it was accepted (Unix seconds)."""

    round: int
    time: float
    event: AnyEvent


class Span(NamedTuple):
    """So many events, the first and the last at these times (Unix seconds)."""

    number: int
    first: float
    last: float


class Journal:
    """Rows about rounds; each method works in the caller's transaction."""

    def append(self, connection: Connection, recorded: Iterable[Recorded]) -> None:
        """Store events, in this order. Their rounds have been begun."""
        rows: list[dict[str, Any]] = []
        heads = _Heads(connection)
        for round, time, event in recorded:
            kind, body = type(event).__name__, msgspec.msgpack.encode(event)
            digest = chained(heads[round], round, time, kind, body)
            heads[round] = digest
            rows.append({"round": round, "time": time, "kind": kind, "body": body, "digest": digest})
        if rows:
            connection.execute(insert(events), rows)

    def begin_round(self, connection: Connection, report: RoundReport) -> None:
        """A new round."""
        values = {"round": report.round, "final": 0, "report": msgspec.msgpack.encode(report)}
        connection.execute(insert(rounds).values(**values))

    def keep_report(self, connection: Connection, report: RoundReport, *, final: bool) -> None:
        """What the round came to; ``final``: nothing more can happen in it."""
        values = {"final": int(final), "report": msgspec.msgpack.encode(report)}
        connection.execute(update(rounds).where(rounds.c.round == report.round).values(**values))

    def reports(self, connection: Connection) -> list[RoundReport]:
        """Of all rounds, oldest first. That of a round under way is as old as its opening: fold its events."""
        rows = connection.execute(select(rounds.c.report).order_by(rounds.c.round))
        return [_read(row.report, RoundReport) for row in rows]

    def recent_reports(self, connection: Connection, count: int, *, before: int | None = None) -> list[RoundReport]:
        """As :meth:`reports`, of the newest ``count`` rounds, of those whose number is below ``before``."""
        query = select(rounds.c.report).order_by(rounds.c.round.desc()).limit(count)
        rows = connection.execute(query if before is None else query.where(rounds.c.round < before))
        return [_read(row.report, RoundReport) for row in rows][::-1]

    def report_of(self, connection: Connection, round: int) -> RoundReport | None:
        """As :meth:`reports`, of one round; None if there is no such round."""
        body = connection.execute(select(rounds.c.report).where(rounds.c.round == round)).scalar()
        return None if body is None else _read(body, RoundReport)

    def last_round(self, connection: Connection) -> int:
        """The highest number given; 0 before the first."""
        return connection.execute(select(rounds.c.round).order_by(rounds.c.round.desc()).limit(1)).scalar() or 0

    def events_of(self, connection: Connection, round: int) -> list[Recorded]:
        """All events of one round, in order."""
        return _recorded(connection, select(events).where(events.c.round == round))

    def events_of_kinds(self, connection: Connection, round: int, kinds: Iterable[type[Event]]) -> list[Recorded]:
        """As :meth:`events_of`, of these kinds; their digests, which those of the others go into, are not checked."""
        names = [kind.__name__ for kind in kinds]
        query = select(events).where(events.c.round == round, events.c.kind.in_(names))
        return [_event(row) for row in connection.execute(query.order_by(events.c.seq))]

    def spans(self, connection: Connection, round: int) -> dict[str, Span]:
        """The kinds of this round's events: how many of each, when first and when last."""
        columns = events.c.kind, func.count().label("number"), func.min(events.c.time), func.max(events.c.time)
        rows = connection.execute(select(*columns).where(events.c.round == round).group_by(events.c.kind))
        return {row[0]: Span(*row[1:]) for row in rows}

    def open_events(self, connection: Connection) -> list[Recorded]:
        """All events of the rounds that are not final, in order."""
        query = select(events).join(rounds, rounds.c.round == events.c.round).where(rounds.c.final == 0)
        return _recorded(connection, query)

    def last_event(self, connection: Connection) -> int:
        """The place in the order of all events that the last one has; 0 before the first."""
        return connection.execute(select(func.max(events.c.seq))).scalar() or 0

    def events_between(self, connection: Connection, place: int, last: int) -> list[Recorded]:
        """All events after ``place``, up to ``last``, in order."""
        query = select(events).where(events.c.seq > place, events.c.seq <= last)
        return _recorded(connection, query, after=place)

    def keep_result(self, connection: Connection, result: CohortResult, members: Iterable[bytes]) -> None:
        """A cohort's signed result, to be asked for by its members for ever."""
        connection.execute(
            insert(results).values(
                cohort=result.cohort,
                round=result.round,
                members=b"".join(members),
                result=msgspec.msgpack.encode(result),
            )
        )

    def result_for(self, connection: Connection, round: int, identity: bytes) -> CohortResult | None:
        """The result of this device's cohort in this round."""
        for row in connection.execute(select(results).where(results.c.round == round)):
            if identity in _members(row.members):
                result: CohortResult = _read(row.result, CohortResult)
                return result
        return None

    def results_of(self, connection: Connection, round: int) -> list[CohortResult]:
        """The kept results of this round's cohorts."""
        rows = connection.execute(select(results.c.result).where(results.c.round == round))
        return [_read(row.result, CohortResult) for row in rows]

    def was_member(self, connection: Connection, cohort: bytes, identity: bytes) -> bool:
        """Whether a cohort that has ended had this device."""
        members = connection.execute(select(results.c.members).where(results.c.cohort == cohort)).scalar()
        return members is not None and identity in _members(members)


class _Heads(dict[int, bytes]):
    """round → the digest of its last event so far; ``after``: the last one at or before this place, None: of all."""

    def __init__(self, connection: Connection, after: int | None = None) -> None:
        self._connection = connection
        self._after = after

    def __missing__(self, round: int) -> bytes:
        query = select(events.c.digest).where(events.c.round == round)
        if self._after is not None:
            query = query.where(events.c.seq <= self._after)
        return self._connection.execute(query.order_by(events.c.seq.desc()).limit(1)).scalar() or b""


def _recorded(connection: Connection, query: Select[Any], *, after: int = 0) -> list[Recorded]:
    """Raises CorruptError for what is not as it was written."""
    heads, found = _Heads(connection, after), []
    for row in connection.execute(query.order_by(events.c.seq)).all():
        digest = chained(heads[row.round], row.round, row.time, row.kind, row.body)
        if digest != row.digest:
            raise CorruptError(
                f"The database is damaged: event {row.seq} of round {row.round} is not what was recorded.",
                advice="Put a backup back: `fedit-server restore`.",
            )
        heads[row.round] = digest
        found.append(_event(row))
    return found


def _event(row: Row[Any]) -> Recorded:
    return Recorded(row.round, row.time, _read(row.body, AnyEvent))


def _read(body: bytes, kind: Any) -> Any:
    """A stored row. Raises UserError if it is not of this release, or damaged."""
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except UNREADABLE as error:
        raise UserError(
            f"The database holds a row that this release cannot read: {error}.",
            advice="Serve it with the release that wrote it, or put it back from a backup.",
        ) from error


def _members(joined: bytes) -> list[bytes]:
    return [joined[i : i + _IDENTITY] for i in range(0, len(joined), _IDENTITY)]
