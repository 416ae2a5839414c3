"""Would the simulator notice? Breaks client and server on purpose, one way at a time, and counts the schedules.

    python tests/simulation/mutants.py [--only TEXT] [--limit 300]

Every mutant leaves out or turns round one thing that crashes, faults or a malicious server make necessary. It is put
in place over the running code, never into the working tree. The result is kept in ``mutants.json``; exit status 1 if a
mutant is not found.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec

ROOT = Path(__file__).resolve().parents[2]
RESULT = Path(__file__).with_name("mutants.json")
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT)]

import numpy as np  # noqa: E402
from simulation.draw import draw  # noqa: E402
from simulation.runner import Runner, runner  # noqa: E402

from agg_server import ledger  # noqa: E402
from agg_server.adapters import publishing  # noqa: E402
from agg_server.driver import driver, work, writer  # noqa: E402
from agg_server.rounds import views  # noqa: E402
from agg_server.rounds.events import SurvivorsOffered  # noqa: E402
from agg_server.rounds.state import Phase  # noqa: E402
from agg_server.storage import blobs, folders, uploads  # noqa: E402
from agg_server.store import Journal  # noqa: E402
from edge_client import disk  # noqa: E402
from edge_client.client import seat  # noqa: E402
from edge_client.client.participation import Participation  # noqa: E402
from edge_client.client.worker import Worker  # noqa: E402
from edge_client.rounds import Verdict  # noqa: E402
from edge_client.state import Attempt, FederationState  # noqa: E402
from edge_client.state.update import UpdateFolder  # noqa: E402
from fedit_shared.secagg import member  # noqa: E402
from fedit_shared.secagg.aggregator import Aggregator  # noqa: E402
from fedit_shared.secagg.bodies import decode_survivors  # noqa: E402

Mutate = Callable[[], Any]


class Mutant(NamedTuple):
    """``honest``: whether the server of the schedules follows the protocol."""

    what: str
    mutate: Mutate
    honest: bool = True


class Found(msgspec.Struct, kw_only=True):
    """A line of the result. ``schedules``: run until it was found; ``rule``: the one that broke; ``operations``: of the
    shortest schedule that does."""

    what: str
    server: str
    schedules: int
    rule: str | None
    operations: int | None


def nothing(*args: object, **options: object) -> None:
    """Instead of something."""


def unsynced(name: str) -> Mutate:
    """The client's file ``name`` is written, but neither it nor its folder is synced."""

    @contextmanager
    def mutate() -> Iterator[None]:
        write = disk.Disk.write

        def loose(self: disk.Disk, path: Path, data: bytes) -> None:
            if path.name != name:
                return write(self, path, data)
            with open(path.with_name(path.name + disk.TEMPORARY), "wb") as file:
                file.write(data)
            os.replace(path.with_name(path.name + disk.TEMPORARY), path)
            return None

        with patch.object(disk.Disk, "write", loose):
            yield

    return mutate


def client_syncs_nothing() -> Any:
    return patch.multiple(disk, _sync=nothing, _sync_folder=nothing)


def client_syncs_no_folder() -> Any:
    return patch.object(disk, "_sync_folder", nothing)


def delta_is_not_marked_spent() -> Any:
    return patch.object(seat.Seat, "spend", nothing)


def delta_is_marked_spent_afterwards() -> Any:
    spend, passed = seat.Seat.spend, Participation._passed

    async def late(self: Participation, step: str, *args: Any, **options: Any) -> bool:
        done = await passed(self, step, *args, **options)  # type: ignore[arg-type]
        if step == "contributed" and not options.get("late"):
            spend(self._taken_seat)
        return done

    return patch.multiple(seat.Seat, spend=nothing), patch.object(Participation, "_passed", late)


def delta_is_given_back_without_proof() -> Any:
    real = seat.check_result

    def trusting(*args: Any, **options: Any) -> Verdict:
        verdict = real(*args, **options)
        return Verdict(verdict.survivors, verdict.counted, not verdict.counted)

    return patch.object(seat, "check_result", trusting)


def spent_delta_is_used() -> Any:
    return patch.object(UpdateFolder, "spent_by", None)


def roster_and_deal_do_not_outlive_a_restart() -> Any:
    real = FederationState._tidy

    def forget(self: FederationState) -> None:
        for attempt in self.attempts:
            if attempt.begun and attempt.past is not None and attempt.past.step == "mustered":
                for name in ("roster", "vector", "deal"):
                    self.disk.remove(attempt.folder / name)
        real(self)

    return patch.object(FederationState, "_tidy", forget)


def earlier_key_outlives_new_contribution() -> Any:
    async def keep(self: Worker, attempt: Attempt) -> None:
        """The earlier attempts go on."""

    return patch.object(Worker, "_supersede", keep)


def certificate_is_not_checked() -> Any:
    return patch.object(member, "check_certificate", nothing)


def floor_is_not_checked() -> Any:
    def loose(self: member.Member, prepare: Any, survivors: bytes) -> Any:
        self._check_prepare(prepare)
        return decode_survivors(survivors)

    return patch.object(member.Member, "_check_survivors", loose)


def randomness_is_used_again() -> Any:
    class Constant:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        @staticmethod
        def urandom(size: int) -> bytes:
            return bytes(size)

    return patch.object(seat, "os", Constant())


def server_acknowledges_before_it_commits() -> Any:
    async def hasty(self: writer.Writer, proposal: Any) -> None:
        done = asyncio.get_running_loop().create_future()
        done.add_done_callback(lambda future: future.cancelled() or future.exception())
        self._queue.put_nowait(writer._Entry(proposal, done))

    return patch.object(writer.Writer, "submit", hasty)


def server_keeps_what_the_disk_refused() -> Any:
    real = ledger.Ledger.load

    def once(self: ledger.Ledger) -> None:
        if self._current is None:
            real(self)
        self._ahead = False

    return patch.object(ledger.Ledger, "load", once)


def list_of_survivors_is_not_kept() -> Any:
    append = Journal.append

    def forgetful(self: Journal, connection: Any, recorded: Any) -> None:
        append(self, connection, [r for r in recorded if not isinstance(r.event, SurvivorsOffered)])

    return patch.object(Journal, "append", forgetful)


def list_is_chosen_anew_after_a_restart() -> Any:
    load, choose = ledger.Ledger.load, Aggregator.choose_survivors

    def forgetful(self: ledger.Ledger) -> None:
        load(self)
        for round in self._rounds.values():
            for cohort in round.cohorts.values():
                if cohort.phase is Phase.VOTE:
                    cohort.phase, cohort.aggregator.survivors = Phase.PREPARE, None

    def other(self: Aggregator) -> bytes | None:
        chosen = choose(self)
        again = self._offered and len(chosen or b"") // 64 > self.session.floor
        return chosen[64:] if chosen and again else chosen

    return patch.object(ledger.Ledger, "load", forgetful), patch.object(Aggregator, "choose_survivors", other)


def blobs_are_not_synced() -> Any:
    class Loose:
        def __getattr__(self, name: str) -> Any:
            return nothing if name == "fsync" else getattr(os, name)

    return patch.multiple(blobs, os=Loose(), sync_folder=nothing), patch.object(folders, "sync_folder", nothing)


def chunks_are_not_synced() -> Any:
    return patch.object(uploads, "_sync", nothing)


def result_comes_before_the_adapter() -> Any:
    def early(round: Any, cohort: Any) -> bool:
        return cohort.ended is not None or cohort.opened is not None

    return patch.multiple(views, has_result=early)


def cohorts_count_alike_whatever_their_weight() -> Any:
    def plain(means: Any, dimension: int, total_weight: int) -> Any:
        return np.mean([mean.delta for mean in means], axis=0).astype(np.float64)

    return patch.object(publishing, "combine", plain)


def some_uploads_are_left_out() -> Any:
    real = work._open_sum

    def gone(tools: Any, aggregator: Any, effect: Any) -> Any:
        keep = work.summing.open_slots

        def without(aggregator: Any, upload: Any) -> Any:
            return keep(aggregator, lambda identity: upload(identity) * np.uint32(identity[0] % 8 != 0))

        with patch.object(work.summing, "open_slots", without):
            return real(tools, aggregator, effect)

    return patch.object(work, "_open_sum", gone)


def failed_work_is_not_done_again() -> Any:
    async def once(self: driver.Driver, due: Any) -> None:
        job = await self.on_ledger(lambda: self._job(due))
        try:
            event = await self.on_pool(job) if job is not None else None
            if event is not None:
                await self.submit(driver.Proposal(due.round, event))
        except driver.FeditError:
            return
        finally:
            self._lanes.discard(driver.lane(due))

    return patch.object(driver.Driver, "_perform", once)


def events_are_committed_one_behind() -> Any:
    append = Journal.append
    held: list[Any] = []

    def late(self: Journal, connection: Any, recorded: Any) -> None:
        ready, held[:] = [*held, *list(recorded)[:-1]], list(recorded)[-1:]
        append(self, connection, ready)

    return patch.object(Journal, "append", late)


MUTANTS = [
    Mutant("client: nothing is synced before it is sent", client_syncs_nothing),
    Mutant("client: files are synced, their folders are not", client_syncs_no_folder),
    Mutant("client: the deal is not synced before the upload", unsynced("deal")),
    Mutant("client: the vote is not synced before it is sent", unsynced("vote"), honest=False),
    Mutant("client: a delta is not marked as spent", delta_is_not_marked_spent),
    Mutant("client: a delta is marked as spent after its receipt has left", delta_is_marked_spent_afterwards),
    Mutant("client: a delta is given back without proof", delta_is_given_back_without_proof),
    Mutant("client: a spent delta is used again", spent_delta_is_used),
    Mutant("client: roster and deal do not outlive a restart", roster_and_deal_do_not_outlive_a_restart),
    Mutant(
        "client: an earlier round key outlives a new contribution",
        earlier_key_outlives_new_contribution,
        honest=False,
    ),
    Mutant("client: the certificate is not checked", certificate_is_not_checked, honest=False),
    Mutant("client: the floor is not checked", floor_is_not_checked, honest=False),
    Mutant("client: two contributions use the same random bytes", randomness_is_used_again),
    Mutant("server: it acknowledges before it commits", server_acknowledges_before_it_commits),
    Mutant("server: events are committed one behind", events_are_committed_one_behind),
    Mutant("server: memory keeps what the disk refused", server_keeps_what_the_disk_refused),
    Mutant("server: the list of survivors is not in the journal", list_of_survivors_is_not_kept),
    Mutant("server: after a restart the list of survivors is chosen anew", list_is_chosen_anew_after_a_restart),
    Mutant("server: packets, sums and adapters are not synced", blobs_are_not_synced),
    Mutant("server: chunks of an upload are not synced", chunks_are_not_synced),
    Mutant("server: a result is told before its adapter is stored", result_comes_before_the_adapter),
    Mutant("server: cohorts count alike, whatever their weight", cohorts_count_alike_whatever_their_weight),
    Mutant("server: some survivors' uploads are left out of the sum", some_uploads_are_left_out),
    Mutant("server: work that failed is not done again", failed_work_is_not_done_again),
]


@contextmanager
def broken(mutant: Mutant) -> Iterator[None]:
    """With this mutant in place."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        patches = mutant.mutate()
        for one in patches if isinstance(patches, tuple) else (patches,):
            stack.enter_context(one)
        yield


def hunt(mutant: Mutant, runner: Runner, limit: int) -> Found:
    """Run schedules until one notices."""
    server = "honest" if mutant.honest else "malicious"
    for number in range(1, limit + 1):
        schedule = draw(number, honest=mutant.honest)
        with broken(mutant):
            failure = runner.run(schedule).failure
        if failure is not None:
            with broken(mutant):
                shortest = runner.shorten(schedule, failure.rule)
            return Found(
                what=mutant.what,
                server=server,
                schedules=number,
                rule=failure.rule,
                operations=len(shortest.ops),
            )
    return Found(what=mutant.what, server=server, schedules=limit, rule=None, operations=None)


def main() -> int:
    parser = argparse.ArgumentParser(description="Breaks the code on purpose and counts the schedules until it shows.")
    parser.add_argument("--only", default="")
    parser.add_argument("--limit", type=int, default=300)
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    found = []
    with runner() as run:
        for mutant in MUTANTS:
            if options.only in mutant.what:
                begun = time.monotonic()
                found.append(hunt(mutant, run, options.limit))
                last = found[-1]
                print(
                    f"{last.schedules:4} {last.rule or 'NOT FOUND':20} {last.what}  ({time.monotonic() - begun:.0f} s)"
                )
                sys.stdout.flush()
    if not options.only:
        RESULT.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    return int(any(line.rule is None for line in found))


if __name__ == "__main__":
    sys.exit(main())
