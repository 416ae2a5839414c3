"""What the dashboard's pages say of a federation that was really run, and what its forms do."""

import asyncio
import html
import io
import json
import re
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from dashboard import PEERS, POLICY, Markup, connection, logged_in, plain
from peers import Peer
from refusals import alone, state
from served import assert_exact, enrolled
from server_process import ServerProcess, command

from agg_server.config import Config, load_config
from agg_server.dashboard.login import COOKIE, FORM_TOKEN
from agg_server.dashboard.views.settings import sections
from agg_server.web.operator import PREFIX
from fedit_shared.errors import UnauthorizedError
from fedit_shared.identity import JoinLink


def test_rounds_are_shown_with_the_numbers_that_the_command_has(lived_in: ServerProcess):
    inside, told = logged_in(lived_in), lived_in.rounds()
    assert [round["outcome"] for round in told] == ["published", "published", "abandoned", None]
    text = plain(inside.ask("/rounds").text)
    for round in told:
        [row] = re.findall(rf"\n{round['round']} .*", text)
        assert (round["outcome"] or "in cohorts") in row
        for key in ("loss", "update_norm"):
            assert round[key] is None or f"{round[key]:.4g}" in row
        assert f" {len(round['dropped'])} " in row
    assert "the operator went back to version 1" in text


def test_a_rounds_own_page_has_its_timeline_cohorts_and_drops(lived_in: ServerProcess):
    inside, told = logged_in(lived_in), lived_in.rounds()
    first, second, third = (plain(inside.ask(f"/rounds/{number}").text) for number in (1, 2, 3))
    for what in ("Opened on adapter version 0", "4 devices uploaded", "sum opened", "Published: adapter version 1"):
        assert what in first
    assert told[0]["adapter_after"] in first
    [dropped] = told[1]["dropped"]
    assert f"{dropped['device'][:16]} answer silent after its upload is in the sum" in second
    told_in_words = command("rounds", lived_in.folder).stdout
    assert f"{dropped['device'][:16]} dropped in answer: not heard of since its upload, which counts\n" in told_in_words
    assert all(device[:16] in second for device in told[1]["cohorts"][0]["roster"])
    assert "No cohort was formed" in third


def test_the_first_page_says_what_is_awaited_and_how_it_went(lived_in: ServerProcess, untouched: ServerProcess):
    text = plain(logged_in(lived_in).ask("").text)
    assert re.search(r"cohort [0-9a-f]{8}: uploads, 2 of 4 are here \(3 are needed\) , until \d{4}", text)
    assert "2 in a cohort" in text
    assert "2 uploaded" in text
    assert "It goes on from version 1: you went back to it" in text
    assert "answer silent after its upload 1" in text
    empty = plain(logged_in(untouched).ask("").text)
    assert "3 devices that finish their training (0 devices have the task)" in empty
    assert "No device has got this round’s task yet" in empty


def test_a_device_is_blocked_and_let_in_again_at_once(lived_in: ServerProcess):
    inside, [link] = logged_in(lived_in), lived_in.invite()
    token = {FORM_TOKEN: inside.token()}

    async def act(peer: Peer) -> None:
        key = peer.identity.hex()
        asked = inside.ask(f"/devices/{key}/block")
        assert "Block the device" in asked.text
        assert (await peer.request("GET", f"/v1/adapters/{'0' * 64}"))[0] == 404, "asking is not doing"
        for doing, status, shown in (("block", 401, "blocked"), ("unblock", 404, "active"), ("block", 401, "blocked")):
            done = inside.ask(f"/devices/{key}/{doing}", token)
            assert (done.status, done.headers["Location"]) == (303, f"{PREFIX}/devices")
            assert (await peer.request("GET", f"/v1/adapters/{'0' * 64}"))[0] == status, doing
            [row] = re.findall(rf"\n{key[:16]} .*", plain(inside.ask(f"/devices?begins={key[:10]}").text))
            assert shown in row

    alone(link, "to be blocked", act, enrol=True)


def test_the_muster_of_a_blocked_device_is_withdrawn_and_no_cohort_waits_for_it(serve: Callable[..., ServerProcess]):
    server = serve(target=3)
    inside = logged_in(server)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            first, second, *others = await enrolled(stack, server, 5)
            await first.muster()
            assert re.search(r"\b1 of (the least )?3 are here", plain(inside.ask("").text))
            token = {FORM_TOKEN: inside.token()}
            assert inside.ask(f"/devices/{first.identity.hex()}/block", token).status == 303
            assert not re.search(r"\b1 of (the least )?3 are here", plain(inside.ask("").text))
            await second.muster()
            assert command("block", server.folder, second.identity.hex()).returncode == 0, "by another process"
            done = await asyncio.gather(*(peer.whole_round() for peer in others))
            told = assert_exact(server, 1, [seat for seat, _ in done])
            assert told["cohorts"][0]["roster"] == sorted(peer.identity.hex() for peer in others)
            gone = {(drop["device"], drop["phase"], drop["cause"]) for drop in told["dropped"]}
            assert gone == {(peer.identity.hex(), "muster", "blocked") for peer in (first, second)}

    asyncio.run(run())


def test_devices_are_listed_with_what_they_say_of_themselves(lived_in: ServerProcess):
    told = json.loads(command("devices", lived_in.folder, "--json").stdout)
    text = plain(logged_in(lived_in).ask("/devices").text)
    assert f"{len(told)} devices have joined" in text
    for device in told[:PEERS]:
        [row] = re.findall(rf"\n{device['device'][:16]} .*", text)
        assert "test cpu, 1 GiB Block" in row
        assert device["invitation"][:16] in row
    link = told[0]["invitation"][:16]
    assert f"4 of {len(told)} devices" in plain(logged_in(lived_in).ask(f"/devices?begins={link}").text)
    assert f'href="{PREFIX}/devices?begins={link}"' in logged_in(lived_in).ask("/invitations").text
    assert link in command("devices", lived_in.folder).stdout
    assert "0 of" in plain(logged_in(lived_in).ask("/devices?begins=xyz").text)


def test_a_link_that_the_page_makes_lets_in_as_many_as_it_says_until_it_is_revoked(lived_in: ServerProcess):
    inside = logged_in(lived_in)
    [once] = re.findall(r'name="once" value="(\w+)"', inside.ask("/invitations").text)
    form = {FORM_TOKEN: inside.token(), "uses": "3", "term": "1d", "once": once}
    sent = [inside.ask("/invitations", form) for _ in range(2)]
    assert {(answer.status, answer.headers["Location"].removeprefix(PREFIX)) for answer in sent} == {
        (303, f"/invitations/made/{once}")
    }
    made, again = (inside.ask(f"/invitations/made/{once}") for _ in range(2))
    assert (made.status, made.text == again.text) == (200, True)
    assert logged_in(lived_in).ask(f"/invitations/made/{once}").status == 404, "it is this session's"
    assert set(made.headers["Content-Security-Policy"].split("; ")) == POLICY
    assert (Markup(made.text).inline, "<svg viewBox" in made.text) == ([], True)
    link = JoinLink.parse(re.findall(r"<textarea[^>]*>([^<]*)<", made.text)[0])
    alone(link, "by the page 1", lambda peer: peer.check_in(), enrol=True)
    [row, *_] = re.findall(r"\n[0-9a-f]{16} .*", plain(inside.ask("/invitations").text))
    assert ("open" in row, "1 of 3" in row) == (True, True)
    assert str(link) not in inside.ask("/invitations").text
    name = sha256(link.token).hexdigest()
    assert inside.ask("/invitations").text.count(f'title="{name}"') == 1, "one, though it was sent twice"
    assert "3 devices, 1 of them have joined" in plain(inside.ask(f"/invitations/made/{once}").text)
    assert "not for the browser" in plain(made.text)
    assert "Revoke the invitation" in inside.ask(f"/invitations/{name}/revoke").text
    assert inside.ask(f"/invitations/{name}/revoke", {FORM_TOKEN: inside.token()}).status == 303
    shut = inside.ask(f"/invitations/made/{once}")
    assert (shut.status, str(link) in shut.text, "<textarea" in shut.text, "<svg viewBox" in shut.text) == (
        200, False, False, False,
    )  # fmt: skip
    assert "revoked Nobody new joins by its link any more. It has let in 1 of 3 devices" in " ".join(
        plain(shut.text).split()
    )
    with pytest.raises(UnauthorizedError, match="revoked"):
        alone(link, "by the page 2", lambda peer: peer.check_in(), enrol=True)
    alone(link, "by the page 1", lambda peer: peer.check_in(), enrol=True)  # who has joined stays


@pytest.mark.parametrize(
    "change", [{"uses": "0"}, {"uses": "10001"}, {"uses": "x"}, {"uses": ""}, {"term": "9d"}, {"once": "x"}]
)
def test_a_link_for_nobody_or_for_a_time_not_offered_is_not_made(untouched: ServerProcess, change: dict[str, str]):
    inside, before = logged_in(untouched), state(untouched)
    answer = inside.ask(
        "/invitations", {FORM_TOKEN: inside.token(), "uses": "1", "term": "1d", "once": "0" * 32} | change
    )
    assert (answer.status, 'role="alert"' in answer.text) == (400, True)
    assert state(untouched) == before


def test_a_version_is_downloaded_as_the_command_exports_it_with_the_card_that_its_page_shows(
    lived_in: ServerProcess, tmp_path: Path
):
    inside = logged_in(lived_in)
    assert command("export", lived_in.folder, tmp_path / "out", "--version", 2).returncode == 0
    line = connection(lived_in)
    line.request("GET", f"{PREFIX}/adapters/2/download", headers={"Cookie": f"{COOKIE}={inside.cookie}"})
    response = line.getresponse()
    archive = zipfile.ZipFile(io.BytesIO(response.read()))
    line.close()
    assert 'filename="adapter-version-2.zip"' in response.headers["Content-Disposition"]
    exported = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert {name: archive.read(name) for name in archive.namelist()} == exported
    page = inside.ask("/adapters/2").text
    assert html.unescape(re.findall(r"(?s)<pre>(.*?)</pre>", page)[0]) == exported["README.md"].decode()


def test_going_back_is_asked_for_and_then_ordered(lived_in: ServerProcess):
    inside = logged_in(lived_in)
    assert re.search(r"\n1 ● counts now .* Download\n", plain(inside.ask("/adapters").text)), (
        "the story went back to it"
    )
    before, token = state(lived_in), {FORM_TOKEN: inside.token()}
    asked = plain(inside.ask("/adapters/0/rollback").text)
    assert "Go on from adapter version 0" in asked
    assert "Round 4, whose cohorts are at work, ends first" in asked
    assert state(lived_in) == before
    assert inside.ask("/adapters/0/rollback", token).status == 303
    assert ordered(lived_in) == [(0,)]
    assert "You went back to version 0" in plain(inside.ask("/adapters").text)
    assert "Round 4 works on it: that one goes on as it is" in plain(inside.ask("/adapters/1/rollback").text)
    assert inside.ask("/adapters/stay", token).status == 303
    assert "You went back" not in plain(inside.ask("/adapters").text)
    again = inside.ask("/adapters/stay", token)
    assert (again.status, "has begun from there already" in again.text) == (400, True)
    assert state(lived_in) == before


def test_what_counts_already_is_not_gone_back_to_once_more(lived_in: ServerProcess):
    inside, before = logged_in(lived_in), state(lived_in)
    for form in (None, {FORM_TOKEN: inside.token()}):
        answer = inside.ask("/adapters/1/rollback", form)
        assert (answer.status, "Version 1 counts already" in answer.text) == (400, True)
    refused = command("rollback", lived_in.folder, 1)
    assert (refused.returncode, "Version 1 counts already" in refused.stderr) == (2, True)
    assert state(lived_in) == before


def test_the_command_goes_back_and_stays_after_all(lived_in: ServerProcess):
    before = state(lived_in)
    assert command("rollback", lived_in.folder, 2).returncode == 0
    assert ordered(lived_in) == [(2,)]
    assert "version 1 counts" in command("rollback", lived_in.folder, "--cancel").stdout
    assert command("rollback", lived_in.folder, 2).returncode == 0
    assert command("rollback", lived_in.folder, 1).returncode == 0, "round 4 works on it: the order is taken back"
    assert state(lived_in) == before
    assert command("rollback", lived_in.folder, "--cancel").returncode == 2
    assert command("rollback", lived_in.folder).returncode == 2


def ordered(server: ServerProcess) -> list[tuple[int]]:
    with closing(sqlite3.connect(server.folder / "server.sqlite3")) as database:
        return database.execute("SELECT value FROM orders WHERE name = 'rollback'").fetchall()


def test_settings_are_shown_as_they_are_and_no_password_is(lived_in: ServerProcess):
    text = plain(logged_in(lived_in).ask("/settings").text)
    for shown in ("cohort_target 4", "unsigned_requests 1000000", "contribute_window 30 min", "steps 3", "pin yes"):
        assert shown in text
    config = settings_of(lived_in)
    for url, shown in (
        ("postgresql://fedit:geheim@db/fedit", "'postgresql://fedit:***@db/fedit'"),
        ("postgresql://fedit@db/fedit?password=geheim&sslmode=require", "'postgresql://fedit@db/fedit?…'"),
        ("postgresql:///fedit?host=db&user=fedit&PASSWORD=geheim", "'postgresql:///fedit?…'"),
    ):
        server = msgspec.structs.replace(config.server, database=url)
        told = repr(sections(msgspec.structs.replace(config, server=server)))
        assert shown in told
        assert "geheim" not in told


def test_every_setting_is_shown_with_a_meaning(lived_in: ServerProcess):
    config = settings_of(lived_in)
    shown = {(s.name, setting.key) for s in sections(config) for group in s.groups for setting in group.settings}
    parts = {name: getattr(config, name) for name in config.__struct_fields__}
    assert shown == {(name, key) for name, part in parts.items() for key in part.__struct_fields__}
    assert all(len(group.meaning) > 10 for section in sections(config) for group in section.groups)


def settings_of(server: ServerProcess) -> Config:
    return load_config(server.folder / "federation.toml")
