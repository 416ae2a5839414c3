"""What replicas share in PostgreSQL: who leads, who has claimed what, which numbers and links are used, one journal."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cohorts import SERVER
from postgres import Postgres
from simulated import Simulated
from sqlalchemy import update

from agg_server.errors import UnavailableError
from agg_server.ledger import Ledger, Proposal
from agg_server.rounds.events import Offered
from agg_server.rounds.report import report
from agg_server.store import Claims, Database, Invitation, Journal, People, SharedNonces, Versions, Watch
from agg_server.store.nonces import KEPT_SECONDS
from agg_server.store.tables import nonces
from fedit_shared.errors import UnauthorizedError, UserError

TOKEN = bytes(32)


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.database()


@pytest.fixture
def database(url: str) -> Database:
    database = Database(url)
    database.migrate()
    return database


def together(*works: Callable[[], object]) -> list[object]:
    """What they return or raise, begun at one moment in a thread each."""
    begin = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> object:
        begin.wait()
        try:
            return work()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def test_one_replica_leads_and_another_as_soon_as_it_is_gone(url: str, database: Database):
    here, there = Watch(database), Watch(Database(url))
    assert not database.is_led()
    assert here.look().leading
    assert not there.look().leading
    assert database.is_led()
    here.close()
    assert there.look().leading
    there.close()
    assert not database.is_led()


def test_a_leader_whose_session_the_database_has_ended_leads_no_more_and_is_replaced(url: str, postgres: Postgres):
    here, there = Watch(Database(url)), Watch(Database(url))
    assert here.look().leading
    with postgres.connect(url.rsplit("/", 1)[1]) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1")
    with pytest.raises(UnavailableError):
        here.look()
    while not there.look().leading:  # the database takes a moment to end it
        pass
    assert not here.look().leading


def test_a_replica_hears_of_what_others_record_and_not_of_its_own(url: str, database: Database):
    other = Database(url)
    watch = Watch(database)
    watch.look()
    for recorder, heard in ((other, True), (database, False)):
        with recorder.alone() as connection:
            recorder.announce(connection)
        assert watch.look().news is heard


def test_what_one_replica_has_claimed_no_other_gets_until_it_is_given_back_or_gone(url: str, database: Database):
    here, there = Claims(database), Claims(Database(url))
    assert here.take(b"a")
    assert not here.take(b"a"), "nor this one twice"
    assert not there.take(b"a")
    assert there.take(b"b")
    here.give_back(b"a")
    assert there.take(b"a")
    there.close()
    assert here.take(b"a")
    assert here.take(b"b")


def test_a_replica_whose_session_the_database_has_ended_claims_with_a_new_one(
    url: str, database: Database, postgres: Postgres
):
    claims = Claims(database)
    assert claims.take(b"a")
    claims.give_back(b"a")
    with postgres.connect(url.rsplit("/", 1)[1]) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid()"
        )
    assert claims.take(b"b")
    assert not Claims(Database(url)).take(b"b"), "it is held"


def test_a_number_that_one_replica_took_is_refused_by_all(url: str, database: Database):
    now = [1000.0]
    replicas = [SharedNonces(Database(url), lambda: now[0]) for _ in range(3)]
    outcomes = together(*(lambda replica=replica: replica.use(b"number", 0) for replica in replicas))
    assert [type(outcome) for outcome in outcomes if outcome] == [UnauthorizedError] * 2

    def refused() -> bool:
        replicas[0].tidy()
        try:
            replicas[1].use(b"number", 0)
        except UnauthorizedError:
            return True
        return False

    assert refused()
    now[0] += KEPT_SECONDS
    assert refused(), "by the database's clock it is of now"
    with database.begin() as connection:
        connection.execute(update(nonces).values(used=nonces.c.used - 2 * KEPT_SECONDS))  # its clock was set forth
    assert not refused()
    with database.begin() as connection:
        connection.execute(update(nonces).values(used=nonces.c.used - 2 * KEPT_SECONDS))
    replicas[0] = SharedNonces(Database(url), lambda: now[0])
    assert refused(), "whatever the clocks say, it has not been here for so long"
    now[0] += KEPT_SECONDS
    assert not refused()


def test_the_last_use_of_a_link_lets_one_device_in_wherever_two_ask_for_it(url: str, database: Database):
    made = Invitation(token_hash=TOKEN, created=0.0, expires=None, uses=1, used=0)
    with database.begin() as connection:
        People().invite(connection, [made])
    first = People()

    def enrol(device: int) -> bool:
        with Database(url).begin() as connection:
            entered.wait()
            return first.enrol(connection, bytes([device] * 32), TOKEN, 1.0)

    entered = threading.Barrier(4)
    outcomes = together(*(lambda device=device: enrol(device) for device in range(4)))
    assert outcomes.count(True) == 1
    assert sum(isinstance(outcome, UnauthorizedError) for outcome in outcomes) == 3
    with database.begin() as connection:
        assert len(first.devices(connection)) == 1


def test_replicas_that_start_together_on_a_new_database_make_its_tables_once(url: str):
    assert together(*(Database(url).migrate for _ in range(3))) == [None] * 3


def test_a_database_without_a_federation_is_named(database: Database):
    with database.begin() as connection, pytest.raises(UserError, match="not this federation's"):
        Versions().newest(connection)


class OnPostgres(Simulated):
    """The simulated federation in PostgreSQL."""

    def __init__(self, folder: Path, url: str, **options: object) -> None:
        self._url = url
        super().__init__(folder, **options)  # type: ignore[arg-type]

    def make_database(self, folder: Path) -> Database:
        return Database(self._url)


def test_events_that_replicas_record_at_once_are_one_order_for_all(url: str, tmp_path: Path):
    sim = OnPostgres(tmp_path, url, count=40, cohort_target=40)
    ledgers = [Ledger(Database(url), SERVER) for _ in range(4)]
    for ledger in ledgers:
        ledger.load()

    def record(number: int) -> list[object]:
        mine = [Offered(identity=device.identity) for device in sim.devices[number::3]]  # and some that others have
        return [ledgers[number].record([Proposal(1, event)], sim.now).outcomes for event in mine]

    for outcomes in together(*(lambda number=number: record(number) for number in range(4))):
        assert outcomes
        assert all(outcome == [None] for outcome in outcomes)  # type: ignore[union-attr]
    with sim.database.begin() as connection:
        offered = [r.event.identity for r in Journal().events_of(connection, 1) if isinstance(r.event, Offered)]
    assert sorted(offered) == sorted(device.identity for device in sim.devices), "each once"
    assert len({repr(report(ledger.current, sim.now)) for ledger in [*ledgers, sim.ledger]}) == 1


def test_a_round_in_postgresql_is_the_round_that_it_is_in_sqlite(url: str, tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    here, there = OnPostgres(tmp_path / "a", url, count=5), Simulated(tmp_path / "b", 5)
    for sim in (here, there):
        sim.muster(*sim.devices)
        sim.wait(sim.round.opened.rules.muster_window)
        sim.restart()
        for step in (sim.contribute, sim.report, sim.vote):
            step(*sim.devices)
            sim.restart()
        sim.answer(*sim.devices, settle=False)
        sim.restart()
    assert here.finished(1).outcome == "published"
    assert here.finished(1) == there.finished(1)
    assert here.round.opened == there.round.opened
