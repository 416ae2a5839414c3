"""What an operator sees of a server at work: its log, its metrics, whether it is ready."""

import asyncio
import base64
import json
import logging
import re
import sqlite3
import ssl
import urllib.request
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from peers import Peer, Seat, until
from prometheus_client.parser import text_string_to_metric_families
from served import assert_exact, enrolled
from server_process import ServerProcess, command

from agg_server.rounds import causes
from agg_server.rounds.drops import Drop
from agg_server.rounds.report import RoundReport
from agg_server.rounds.state import Phase
from agg_server.watching import logs
from agg_server.watching.metrics import Metrics
from agg_server.watching.phases import PhaseClock
from fedit_shared.errors import FeditError, ProtocolError

PEERS = 3
Page = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Story:
    """A round in which the blobs' folder was away for a while, and what the server said of it."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.peers: list[Peer] = []
        self.seats: list[Seat] = []
        self.ready: list[tuple[int, str]] = []
        self.page: Page = {}
        self.tokens: list[bytes] = []

    async def happen(self) -> None:
        async with AsyncExitStack() as stack:
            self.peers = peers = await enrolled(stack, self.server, PEERS)
            self.tokens = [peer.link.token for peer in peers]
            self.seats = [await peer.muster() for peer in peers]
            there = list(zip(peers, self.seats, strict=True))
            for peer, seat in there:
                await peer.take_seat(seat)
            blobs = self.server.folder / "blobs"
            await self._look(peers[0], 200)
            aside = blobs.rename(blobs.with_name("aside"))
            blobs.touch()
            await self._look(peers[0], 503)
            with pytest.raises(FeditError, match="cannot write to its disk"):
                await peers[0].put_chunk(self.seats[0], 0)
            blobs.unlink()
            aside.rename(blobs)
            await self._look(peers[0], 200)
            with pytest.raises(ProtocolError):
                await peers[0].send(there[1][1].deal)  # another one's
            for peer, seat in there:
                await peer.contribute(seat)
            await asyncio.gather(*(peer.finish(seat) for peer, seat in there))
            await self._say(b"GET / HTTP/1.1\r\nno header\r\n\r\n")
            await peers[0].offer(after=1)
            await peers[0].adapter(self.seats[0].offer.adapter)
            self.page = await asyncio.to_thread(self.metrics)

    async def _look(self, peer: Peer, awaited: int) -> None:
        """What it says once it has this status: what it found before counts for a moment."""

        async def ask() -> tuple[int, str]:
            await asyncio.sleep(0.6)  # one address may ask twice a second
            async with peer.http.get(peer.link.address + "/readyz") as response:
                return response.status, (await response.text()).strip()

        self.ready.append(await until(ask, lambda answer: answer[0] == awaited))

    async def _say(self, what: bytes) -> None:
        """Bytes to its port, until it hangs up."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port, ssl=context)
        writer.write(what)
        assert b"400 Bad Request" in await reader.read()
        writer.close()

    def metrics(self) -> Page:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.server.port + 1}/metrics") as response:
            return parsed(response.read().decode())

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.server.log.read_text().splitlines()]


def parsed(page: str) -> Page:
    samples = (sample for family in text_string_to_metric_families(page) for sample in family.samples)
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}


def value(page: Page, name: str, **labels: str) -> float:
    return page[name, tuple(sorted(labels.items()))]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    server = ServerProcess(tmp_path_factory.mktemp("observed"), target=PEERS)
    server.configure("server", metrics=f"127.0.0.1:{server.port + 1}", log="json")
    server.start()
    told = Story(server)
    try:
        asyncio.run(told.happen())
    finally:
        status = server.stop()
    assert status == 0
    return told


def test_devices_are_counted_in_the_metrics_while_another_program_holds_the_database(tmp_path: Path):
    server = ServerProcess(tmp_path)
    server.configure("server", metrics=f"127.0.0.1:{server.port + 1}")
    server.start()

    async def join() -> None:
        async with AsyncExitStack() as stack:
            await enrolled(stack, server, 2)

    try:
        asyncio.run(join())
        with closing(sqlite3.connect(server.folder / "server.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            page = Story(server).metrics()
            other.execute("COMMIT")
    finally:
        assert server.stop() == 0
    assert value(page, "fedit_devices", status="active") == 2


def test_every_line_of_a_json_log_is_one_object_with_round_and_cohort_where_they_are_known(story: Story):
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in story.log)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in story.log)
    [cohort] = story.server.rounds()[0]["cohorts"]
    opened = [line for line in story.log if "sum opened" in line["message"]]
    assert [(line["round"], line["cohort"]) for line in opened] == [(1, cohort["cohort"][:16])]
    assert any("Federation 'tiny federation'" in line["message"] for line in story.log), "the greeting as well"


def test_a_request_that_fails_for_the_servers_own_reasons_names_its_device_and_cohort_in_the_log(story: Story):
    [failed] = [line for line in story.log if line["level"] == "error"]
    [cohort] = story.server.rounds()[0]["cohorts"]
    assert (failed["device"], failed["cohort"]) == (story.peers[0].identity.hex()[:16], cohort["cohort"][:16])
    assert "PUT /v1/cohorts/{cohort}/chunks/{index}: The server cannot write" in failed["message"]


def test_what_is_no_proper_http_is_one_line_of_the_log_without_the_address_that_it_came_from(story: Story):
    [line] = [line for line in story.log if line["logger"] == "aiohttp.server"]
    assert (line["level"], line["message"]) == ("info", "Error handling request")
    assert "traceback" not in line


def test_a_log_has_no_secret_of_server_or_devices(story: Story):
    log = story.server.log.read_text()
    folder = story.server.folder
    secrets = [(folder / "keys" / "federation.key").read_text().strip()]
    secrets += [line for line in (folder / "tls" / "key.pem").read_text().splitlines() if "-----" not in line]
    raw = [*story.tokens, *(peer.key.seed() for peer in story.peers)]
    secrets += [form for secret in raw for form in (secret.hex(), base64.urlsafe_b64encode(secret).decode()[:40])]
    assert [secret for secret in secrets if secret in log] == []
    assert "FedIT" not in log.replace("fedit", ""), "no Authorization header"
    assert "Traceback" not in log


def test_ready_means_that_blobs_can_be_written(story: Story):
    assert story.ready == [(200, "ready"), (503, "not ready: blobs"), (200, "ready")]
    assert_exact(story.server, 1, story.seats)


def test_metrics_tell_traffic_queue_phases_disk_devices_and_certificate(story: Story):
    page, chunks = story.page, "/v1/cohorts/{cohort}/chunks/{index}"
    uploaded = sum(len(seat.vector) for seat in story.seats)
    assert value(page, "fedit_received_bytes_total", route=chunks) >= uploaded
    assert value(page, "fedit_requests_total", route=chunks, status="503") == 1
    sent = value(page, "fedit_sent_bytes_total", route="/v1/adapters/{adapter}")
    assert sent > (story.server.folder.parent / "adapter" / "adapter_model.safetensors").stat().st_size
    assert value(page, "fedit_requests_under_way", route=chunks) == 0
    assert value(page, "fedit_writer_queue") == 0
    assert value(page, "fedit_connections") >= 1
    for phase in ("contribute", "prepare", "vote", "answer"):
        assert value(page, "fedit_phase_seconds_count", phase=phase) == 1
    assert value(page, "fedit_phase_seconds_count", phase="muster") >= 1
    assert value(page, "fedit_rounds_total", outcome="published") == 1
    assert value(page, "fedit_mustered_total") == PEERS
    assert value(page, "fedit_disk_free_bytes") > 0
    assert value(page, "fedit_devices", status="active") == PEERS
    assert value(page, "fedit_certificate_days_left") == pytest.approx(3650, abs=1)
    assert value(page, "fedit_last_version_timestamp_seconds") == pytest.approx(story.server.rounds()[0]["ended"])
    assert value(page, "fedit_loop_lag_seconds_count") > 0


def test_drops_are_counted_by_phase_and_by_a_cause_of_few():
    drops = [
        Drop(device="ab" * 32, phase="muster", reason=reason, cause=causes.cause_of(reason))
        for reason in (causes.below_floor(7, 5), causes.below_floor(9, 5), causes.FULL, "what an older release said")
    ]
    report = RoundReport(
        round=1, phase="over", outcome="failed", reason="", opened=0.0, ended=1.0, seconds=1.0, version=None,
        adapter_before="", adapter_after=None, update_norm=None, offered=4, mustered=4, cohorts=[], dropped=drops,
    )  # fmt: skip
    metrics = Metrics()
    metrics.round_ended(report)
    page = metrics.page().decode()
    counted = {
        cause: value(parsed(page), "fedit_dropped_total", phase="muster", cause=cause)
        for cause in ("floor", "full", "other")
    }
    assert counted == {"floor": 2, "full": 1, "other": 1}
    assert "abab" not in page


def test_every_reason_of_a_drop_has_a_cause_of_its_own():
    reasons = [
        text for name, text in vars(causes).items() if name.isupper() and isinstance(text, str) and name[0] != "_"
    ]
    assert len(
        {causes.cause_of(reason) for reason in reasons} | {causes.cause_of(causes.below_floor(4, 3))}
    ) == 1 + len(reasons)
    assert "other" not in {causes.cause_of(reason) for reason in reasons}


def test_a_phase_is_timed_only_if_it_was_seen_whole():
    told: list[tuple[str, float]] = []
    clock = PhaseClock(lambda phase, seconds: told.append((phase, seconds)))
    cohort = b"c"
    clock.update({b"": (1, Phase.MUSTER)}, 0.0)  # it had begun before
    clock.update({b"": (1, Phase.COHORTS), cohort: (Phase.CONTRIBUTE, False)}, 10.0)
    clock.update({b"": (1, Phase.COHORTS), cohort: (Phase.CONTRIBUTE, False)}, 12.0)
    clock.update({b"": (1, Phase.COHORTS), cohort: (Phase.PREPARE, False)}, 13.0)
    clock.update({b"": (2, Phase.MUSTER)}, 20.0)
    clock.update({b"": (3, Phase.MUSTER)}, 25.0)  # abandoned, and opened anew
    assert told == [("contribute", 3.0), ("prepare", 7.0), ("muster", 5.0)]


@pytest.mark.parametrize("formatter", [logs.KeyValueFormatter(), logs.JsonFormatter()])
def test_text_and_json_say_the_same_in_one_line(formatter: logging.Formatter):
    record = logging.makeLogRecord(
        {"msg": 'it "broke"\nhere', "levelname": "ERROR", "name": "x"} | logs.about(round=3, device=bytes(32))
    )
    line = formatter.format(record)
    assert "\n" not in line
    assert r"it \"broke\"\nhere" in line
    assert "cohort" not in line
    if isinstance(formatter, logs.JsonFormatter):
        assert json.loads(line) | {"time": ""} == {
            "time": "", "level": "error", "logger": "x", "round": 3, "device": "0" * 16, "message": 'it "broke"\nhere',
        }  # fmt: skip
    else:
        assert " level=error logger=x round=3 device=0000000000000000 message=" in line


def test_a_form_of_the_log_that_does_not_exist_is_refused(tmp_path: Path):
    server = ServerProcess(tmp_path)
    server.configure("server", log="xml")
    told = command("status", server.folder)
    assert told.returncode == 2
    assert "log" in told.stderr
