"""Who gets to see the dashboard, what its pages may not do, and what they say of a federation that was really run."""

import base64
import os
import pty
import re
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dashboard import (
    EMPTY_PAGES,
    FORMS,
    PAGES,
    POLICY,
    Markup,
    Operator,
    addresses,
    connection,
    live_page,
    logged_in,
    new_code,
    part,
)
from peers import Peer
from refusals import alone, state
from server_process import ServerProcess, command

from agg_server.dashboard import Dashboard
from agg_server.dashboard.login import COOKIE, FORM_TOKEN, begin_session, hashed, make_link, require_session
from agg_server.store import Database
from agg_server.web.operator import PREFIX
from fedit_shared.errors import UnauthorizedError

STREAMS = ("/live", "/adapters/{version}/download", "/invitations/made/00")
"""What takes a session, and is no page, or one session's own."""


def test_every_route_of_the_dashboard_is_tried_here():
    nobody: Any = SimpleNamespace(
        tools=SimpleNamespace(config=SimpleNamespace(federation=SimpleNamespace(name="a federation")))
    )
    routes = Dashboard(nobody, nobody, nobody, nobody).routes()
    found = {(route.method, route.path.removeprefix(PREFIX)) for route in routes}
    found -= {("GET", "/login"), ("POST", "/login"), ("GET", "/static/{name}"), ("*", "/{rest:.*}")}
    found -= {("GET", "/"), ("GET", "/favicon.ico")}
    found -= {("GET", path) for path in STREAMS} | {("GET", "/invitations/made/{once}")}
    assert {path for method, path in found if method == "GET"} == set(PAGES)
    assert {path for method, path in found if method == "POST"} == set(FORMS)


def test_who_has_no_session_sees_the_form_to_log_in_and_nothing_else(lived_in: ServerProcess):
    unknown = base64.urlsafe_b64encode(bytes(32)).decode().rstrip("=")
    everything, forms = addresses(lived_in, [*PAGES, *STREAMS]), addresses(lived_in, FORMS)
    for cookie in ("", "x", unknown, unknown + "="):
        for path in everything:
            answer = Operator(lived_in, cookie).ask(path)
            assert answer.status == 401, path
            assert 'name="code"' in answer.text, path
            assert not re.search(r"<nav|<table|mustering|published", answer.text), path
        for path in forms:
            assert Operator(lived_in, cookie).ask(path, {FORM_TOKEN: "0" * 64}).status == 401, path


def test_a_link_lets_in_once(lived_in: ServerProcess):
    operator, code = Operator(lived_in), new_code(lived_in)
    assert operator.ask("/login").status == 200
    entered = operator.log_in(code)
    assert (entered.status, entered.headers["Location"]) == (303, PREFIX)
    assert operator.ask("").status == 200
    second = Operator(lived_in)
    again = second.log_in(code)
    assert (again.status, second.cookie) == (401, "")
    assert "used before" in again.text
    assert operator.ask("").status == 200, "the first session goes on"


def test_of_two_who_use_one_link_at_the_same_time_one_gets_in(lived_in: ServerProcess):
    for _ in range(3):
        code = new_code(lived_in)
        with ThreadPoolExecutor(4) as threads:
            statuses = list(threads.map(lambda _, code=code: Operator(lived_in).log_in(code).status, range(4)))
        assert sorted(statuses) == [303, 401, 401, 401]


def test_a_link_that_is_too_old_is_refused(lived_in: ServerProcess):
    code = new_code(lived_in)
    with change(lived_in) as database:
        database.execute("UPDATE login_links SET expires = expires - 600 WHERE token_hash = ?", [digest(code)])
    assert Operator(lived_in).log_in(code).status == 401


@pytest.mark.parametrize("code", ["", "x", "²" * 43, "A" * 43, "A" * 5000, "%00"])
def test_what_is_no_code_is_refused_in_words(untouched: ServerProcess, code: str):
    answer = Operator(untouched).ask("/login", {"code": code, "more": "x"})
    assert answer.status in (401, 413)
    assert re.search(r'role="alert">\w', answer.text)
    assert "Traceback" not in untouched.log.read_text()


def test_a_session_ends_when_its_time_is_over_or_by_logging_out(lived_in: ServerProcess):
    late, leaving, staying = (logged_in(lived_in) for _ in range(3))
    with change(lived_in) as database:
        session = "UPDATE operator_sessions SET expires = expires - 43200 WHERE secret_hash = ?"
        database.execute(session, [digest(late.cookie)])
    assert late.ask("").status == 401
    kept = leaving.cookie
    out = leaving.ask("/logout", {FORM_TOKEN: leaving.token()})
    assert (out.status, out.headers["Location"], leaving.cookie) == (303, f"{PREFIX}/login", "")
    assert Operator(lived_in, kept).ask("").status == 401
    assert staying.ask("").status == 200


def test_the_cookie_is_for_this_host_over_tls_and_out_of_reach_of_scripts_and_other_sites(lived_in: ServerProcess):
    cookie = Operator(lived_in).log_in().headers["Set-Cookie"]
    name, *rules = [part.strip() for part in cookie.split(";")]
    assert name.startswith("__Host-")
    assert {rule.lower() for rule in rules} >= {"secure", "httponly", "samesite=strict", "path=/"}
    assert not any(rule.lower().startswith("domain") for rule in rules)


def test_a_form_without_its_sessions_token_does_nothing(lived_in: ServerProcess):
    operator, other = logged_in(lived_in), logged_in(lived_in)
    before, forms = state(lived_in), addresses(lived_in, FORMS)
    for token in ("", "0" * 64, other.token(), operator.token()[:-1], "ü"):
        for path in forms:
            assert operator.ask(path, {FORM_TOKEN: token}).status == 403, (path, token)
    assert operator.ask("/logout", {}).status == 403
    assert operator.ask("/logout", {FORM_TOKEN: operator.token()}, Content_Type="text/plain").status == 400
    assert operator.ask("").status == 200
    assert state(lived_in) == before


def test_no_page_has_script_or_style_of_its_own_or_asks_elsewhere_and_the_policy_says_so(
    lived_in: ServerProcess, untouched: ServerProcess
):
    for server, paths in ((lived_in, PAGES), (untouched, EMPTY_PAGES)):
        inside, pages = logged_in(server), addresses(server, paths)
        answers = {path: inside.ask(path) for path in [*pages, "/login", "/nowhere", "/rounds/99999"]}
        answers["no session"] = Operator(server).ask("")
        answers["forged"] = inside.ask("/logout", {FORM_TOKEN: ""})
        for path, answer in answers.items():
            assert set(answer.headers["Content-Security-Policy"].split("; ")) == POLICY, path
            assert answer.headers["Cache-Control"] == "no-store", path
            assert answer.headers["X-Content-Type-Options"] == "nosniff", path
            assert answer.headers["Content-Type"].startswith("text/html"), path
            found = Markup(answer.text)
            assert (found.inline, found.elsewhere) == ([], []), path
        for path in pages:
            assert answers[path].status == 200, path
            forms = Markup(answers[path].text).forms
            assert forms, path
            for form in forms:
                if form.get("method") == "get":
                    continue
                assert (form.get("method"), form["tokens"]) == ("post", inside.token()), path


def test_who_comes_without_a_path_or_with_a_slash_too_many_is_led_to_the_first_page(untouched: ServerProcess):
    for path in ("/", f"{PREFIX}/", "/favicon.ico"):
        line = connection(untouched)
        line.request("GET", path)
        answer = line.getresponse()
        answer.read()
        if path == "/favicon.ico":
            assert (answer.status, answer.headers["Content-Type"][:13]) == (200, "image/svg+xml")
        else:
            assert (answer.status, answer.headers["Location"]) == (303, PREFIX)
        line.close()


def test_what_is_not_there_is_said_on_a_page(lived_in: ServerProcess):
    inside = logged_in(lived_in)
    rounds = ("/rounds/99999", "/rounds/x", "/rounds/" + "9" * 40)
    others = ("/adapters/99", "/adapters/01", "/adapters/1/x", f"/devices/{'0' * 64}/block", "/invitations/x/revoke")
    for path in ("/nowhere", "/static/../login", "/static/x.css", *rounds, *others):
        answer = inside.ask(path)
        assert (answer.status, 'role="alert"' in answer.text) == (404, True), path


def test_static_files_may_be_kept_by_the_browser_and_change_their_address_when_they_change(untouched: ServerProcess):
    page = Operator(untouched).ask("/login").text
    for name in ("style.css", "page.js", "icon.svg"):
        [address] = re.findall(rf'"{PREFIX}(/static/{name}\?\w+)"', page)
        answer = Operator(untouched).ask(address)
        assert "immutable" in answer.headers["Cache-Control"]
        assert address.endswith(sha256(answer.text.encode()).hexdigest()[:12])
        assert set(answer.headers["Content-Security-Policy"].split("; ")) == POLICY


def test_a_devices_identity_opens_no_page_and_a_session_is_nothing_to_the_device_api(lived_in: ServerProcess):
    [link] = lived_in.invite()
    session = logged_in(lived_in)

    async def act(peer: Peer) -> None:
        for path in ("", "/rounds", "/live"):
            status, raw, _ = await peer.request("GET", PREFIX + path)
            assert (status, b'name="code"' in raw) == (401, True), path
        status, _, _ = await peer.request("POST", f"{PREFIX}/login", b"code=" + link.token.hex().encode())
        assert status in (400, 401)
        unsigned = {"Authorization": "", "Cookie": f"{COOKIE}={session.cookie}"}
        for method, path in (("GET", f"/v1/adapters/{'0' * 64}"), ("POST", "/v1/checkin")):
            status, _, _ = await peer.request(method, path, headers=unsigned)
            assert status == 401, path

    alone(link, "at the dashboard", act, enrol=True)
    assert session.ask("").status == 200


def test_logins_and_what_forms_ask_for_are_in_the_log_by_session_and_without_a_secret(lived_in: ServerProcess):
    first, second, nobody = logged_in(lived_in), logged_in(lived_in), Operator(lived_in)
    before, device = len(lived_in.log.read_text()), "5" * 64
    nobody.log_in("A" * 43)
    third = logged_in(lived_in)
    for operator in (first, second):
        assert operator.ask(f"/devices/{device}/block", {FORM_TOKEN: operator.token()}).status == 404
    third.ask("/logout", {FORM_TOKEN: third.token()})
    told = lived_in.log.read_text()[before:]
    assert told.count("a login at the dashboard was refused, from 127.0.0.1") == 1
    [entered] = re.findall(r"operator's session (\w{8}): logged in, from 127.0.0.1", told)
    done = re.findall(r"operator's session (\w{8}): POST (\S+)\"", told)
    assert [path for _, path in done] == [f"{PREFIX}/devices/{device[:16]}/block"] * 2 + [f"{PREFIX}/logout"]
    names = [name for name, _ in done]
    assert (len(set(names)), names[2]) == (3, entered)
    assert device not in told


def test_one_command_ends_all_sessions_and_links(untouched: ServerProcess):
    one, other, code = logged_in(untouched), logged_in(untouched), new_code(untouched)
    [count] = re.findall(r"^(\d+) sessions are over", command("logout", untouched.folder).stdout)
    assert int(count) >= 2
    assert [operator.ask("").status for operator in (one, other)] == [401, 401]
    assert Operator(untouched).log_in(code).status == 401
    assert logged_in(untouched).ask("").status == 200


def test_neither_the_database_nor_the_log_has_a_link_or_a_session(lived_in: ServerProcess):
    unused, operator = new_code(lived_in), Operator(lived_in)
    used = new_code(lived_in)
    operator.log_in(used)
    operator.ask("")
    kept = b"".join(path.read_bytes() for path in lived_in.folder.glob("server.sqlite3*")) + lived_in.log.read_bytes()
    for secret in (unused, used, operator.cookie):
        raw = base64.urlsafe_b64decode(secret + "=")
        assert digest(secret) in kept or secret == used, "it is kept as a hash"
        for form in (raw, raw.hex().encode(), secret.encode(), operator.token().encode()):
            assert form not in kept


class Story:
    """A server whose first page is open when it is told to stop, and that is then served in a terminal."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.server = ServerProcess(root, target=3)
        self.parts: list[dict[str, str]] = []
        self.statuses: dict[str, int] = {}

    def happen(self) -> None:
        self.server.start()
        try:
            self._live()
        finally:
            self.stopped = self.server.stop()
        self.logged = self.server.log.read_text()
        self._in_a_terminal()

    def _live(self) -> None:
        [link] = self.server.invite()
        self.operator = logged_in(self.server)
        line, stream = live_page(self.operator)
        self.headers = stream.headers
        self.parts = [part(stream) for _ in range(3)]
        alone(link, "live", lambda peer: peer.muster(), enrol=True)
        while "1 of the least 3 are here" not in self.parts[-1]["html"]:
            self.parts.append(part(stream))
        assert self.server.stop() == 0, "it does not wait for the page to be closed"
        stream.read()
        line.close()

    def _in_a_terminal(self) -> None:
        server = self.server
        ours, theirs = pty.openpty()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        command_line = [sys.executable, "-m", "agg_server", "serve", str(server.folder)]
        process = subprocess.Popen(command_line, stdout=theirs, stderr=subprocess.DEVNULL, env=environment)
        os.close(theirs)
        said = b""
        try:
            while (found := re.search(rb"/dashboard/login#([\w-]{43})\s", said)) is None:
                said += os.read(ours, 4096)
            self.statuses["printed link"] = Operator(server).log_in(found[1].decode()).status
            self.statuses["session after a restart"] = self.operator.ask("").status
            self.code = new_code(server)
            assert command("backup", server.folder, self.root / "backup").returncode == 0
        finally:
            process.terminate()
            process.wait(60)
            os.close(ours)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    told = Story(tmp_path_factory.mktemp("story"))
    told.happen()
    return told


def test_serve_prints_a_link_for_a_terminal_and_none_for_a_log(story: Story):
    assert story.statuses["printed link"] == 303
    assert "/dashboard/login#" not in story.logged
    assert f"fedit-server login {story.server.folder}" in story.logged


def test_a_session_outlasts_a_restart_but_not_a_backup_that_is_put_back(story: Story):
    assert story.statuses["session after a restart"] == 200
    restored = story.root / "restored"
    assert command("restore", story.root / "backup", restored).returncode == 0
    database = Database(f"sqlite:///{restored / 'server.sqlite3'}")
    with pytest.raises(UnauthorizedError, match="over"):
        require_session(database, base64.urlsafe_b64decode(story.operator.cookie + "="), 0.0)
    with pytest.raises(UnauthorizedError, match="used before"):
        begin_session(database, story.code, 0.0)
    database.close()


def test_the_first_page_is_sent_again_in_parts_when_something_has_happened(story: Story):
    assert story.headers["Content-Type"] == "text/event-stream"
    assert set(story.headers["Content-Security-Policy"].split("; ")) == POLICY
    assert {told["id"] for told in story.parts[:3]} == {"now", "facts", "history"}
    assert {told["id"] for told in story.parts[3:]} <= {"now", "facts"}
    assert all(Markup(told["html"]).inline == [] for told in story.parts)


def test_where_the_settings_say_so_there_are_no_pages(tmp_path: Path):
    server = ServerProcess(tmp_path)
    server.configure("server", dashboard=False)
    server.start()
    try:
        for path in ("", "/login", "/static/page.js", "/live"):
            line = connection(server)
            line.request("GET", PREFIX + path)
            assert line.getresponse().status == 404, path
            line.close()
    finally:
        server.stop()
    assert "fedit-server login" not in server.log.read_text()
    refused = command("login", server.folder)
    assert (refused.returncode, "[server] dashboard = true" in refused.stderr) == (2, True)


def test_replicas_share_sessions_and_a_link_is_good_at_one_of_them(postgres: Any):
    first, second = (Database(url) for url in [postgres.database()] * 2)
    first.migrate()
    code = make_link(first, "https://x", 100.0).partition("#")[2]
    secret = begin_session(second, code, 200.0)
    assert require_session(first, secret, 201.0) == secret
    with pytest.raises(UnauthorizedError):
        begin_session(first, code, 201.0)
    for database in (first, second):
        database.close()


def test_a_page_that_is_kept_up_to_date_ends_with_its_session(lived_in: ServerProcess):
    operator = logged_in(lived_in)
    line, stream = live_page(operator)
    part(stream)
    operator.ask("/logout", {FORM_TOKEN: operator.token()})
    assert stream.read().count(b"event: part") <= 3, "to its end"
    line.close()


def digest(secret: str) -> bytes:
    return hashed(base64.urlsafe_b64decode(secret + "="))


def change(server: ServerProcess) -> Any:
    """The server's database, to be changed beside it; committed and closed at the end."""

    class Changing(closing):  # type: ignore[type-arg]
        def __exit__(self, *error: object) -> None:
            self.thing.commit()
            super().__exit__(*error)

    return Changing(sqlite3.connect(server.folder / "server.sqlite3", timeout=30))
