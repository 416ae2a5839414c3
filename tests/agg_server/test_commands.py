"""An operator's commands: what each mistake is answered with. One line, exit status 2, nothing changed."""

import json
import socket
import sqlite3
import sys
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from certificates import Authority, new_key, pem_of
from server_process import Said, ServerProcess, command, make_adapter, process

from fedit_shared.adapter import read_adapter
from fedit_shared.identity import JoinLink


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    """A federation that nobody serves."""
    return ServerProcess(tmp_path_factory.mktemp("commands"))


def refused(answer: Said, *words: str) -> None:
    """A user's mistake: exit status 2, one clear line with these words, no traceback."""
    assert answer.returncode == 2, answer.stderr
    assert "Traceback" not in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1, answer.stderr
    assert not any(end in answer.stderr for end in ("?.", "..")), answer.stderr
    for word in words:
        assert word in answer.stderr


def test_init_refuses_a_folder_that_is_a_federations_already_or_not_empty(made: ServerProcess, tmp_path: Path):
    adapter = make_adapter(tmp_path / "adapter")
    before = sorted(made.folder.rglob("*"))
    refused(command("init", made.folder, "--adapter", adapter, "--model", "m"), "already", "serve")
    assert sorted(made.folder.rglob("*")) == before
    refused(command("init", tmp_path, "--adapter", adapter, "--model", "m"), "not an empty folder")


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_init_refuses_what_is_no_peft_adapter_and_leaves_nothing_behind(tmp_path: Path, missing: str):
    adapter = make_adapter(tmp_path / "adapter")
    (adapter / missing).unlink()
    refused(command("init", tmp_path / "f", "--adapter", adapter, "--model", "m"), missing, "new-adapter")
    (adapter / missing).write_bytes(b"nonsense")
    refused(command("init", tmp_path / "f", "--adapter", adapter, "--model", "m"), "not a PEFT adapter")
    refused(command("init", tmp_path / "f", "--adapter", tmp_path / "none", "--model", "m"), "not a PEFT adapter")
    assert not (tmp_path / "f").exists()


def test_init_takes_the_model_from_the_adapters_folder_else_asks_for_it(tmp_path: Path):
    adapter = make_adapter(tmp_path / "adapter")
    refused(command("init", tmp_path / "f", "--adapter", adapter), "--model")
    (adapter / "fedit.json").write_text(json.dumps({"id": "org/tiny", "revision": "abc", "files": {}}))
    assert command("init", tmp_path / "f", "--adapter", adapter).returncode == 0
    assert 'id = "org/tiny"' in (tmp_path / "f" / "federation.toml").read_text()


def test_init_refuses_wishes_that_contradict_each_other(tmp_path: Path):
    base = ("init", tmp_path / "f", "--adapter", make_adapter(tmp_path / "adapter"), "--model", "m")
    refused(small := command(*base, "--cohort-min", 2), "cohort_min")
    assert "line" not in small.stderr, "no file of ours that the operator could look into"
    refused(command(*base, "--cohort-min", 5, "--cohort-target", 4), "cohort_target")
    refused(command(*base, "--address", "http://plain"), "https://HOST:PORT")
    refused(command(*base, "--listen", "8443"), "HOST:PORT")
    for name in ("x\x1b", "two\nlines", "evil \u202e"):
        refused(unread := command(*base, "--name", name), "[federation] name", "a line without control characters")
        assert "regex" not in unread.stderr
    for model in ("a b/../c", "../up", "..", "/models/tiny", "owner/na me", "a/b/c", "C:\\models"):
        refused(command(*base[:-2], "--model", model), "[model] id", "OWNER/NAME")
    refused(command(*base, "--certificate", tmp_path / "c.pem"), "--key")
    refused(command(*base, "--certificate", tmp_path / "c.pem", "--key", tmp_path / "k.pem"), "c.pem")
    assert not (tmp_path / "f").exists()


def test_a_given_certificate_is_used_and_pinned_only_if_nobody_else_vouches_for_it(made: ServerProcess, tmp_path: Path):
    tls = ("--certificate", made.folder / "tls/certificate.pem", "--key", made.folder / "tls/key.pem")
    adapter = make_adapter(tmp_path / "adapter")
    assert command("init", tmp_path / "f", "--adapter", adapter, "--model", "m", *tls).returncode == 0
    assert "not for the browser" in command("invite", tmp_path / "f").stderr
    [own], link = made.invite(), JoinLink.parse(command("invite", tmp_path / "f").stdout.strip())
    assert link.pin == own.pin
    toml = tmp_path / "f" / "federation.toml"
    toml.write_text(toml.read_text().replace("pin = true", "pin = false"))
    assert JoinLink.parse(command("invite", tmp_path / "f").stdout.strip()).pin is None


def test_a_certificate_of_a_private_authority_is_pinned_unless_this_machine_trusts_that_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    authority, tls = signed_by_an_authority(tmp_path, "fed.example")
    wishes = ("--adapter", make_adapter(tmp_path / "adapter"), "--model", "m", *tls)
    here, elsewhere = ("--address", "https://fed.example:8443"), ("--address", "https://other.example:8443")

    def pinned(name: str, *address: str) -> bool:
        made = command("init", tmp_path / name, *wishes, *address)
        assert made.returncode == 0, made.stderr
        link = JoinLink.parse(command("invite", tmp_path / name).stdout.strip())
        assert ("hash of its key" in made.stderr) == (link.pin is not None)
        return link.pin is not None

    assert pinned("untrusted", *here)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    assert not pinned("trusted", *here)
    assert pinned("misnamed", *elsewhere)


@pytest.mark.parametrize(
    ("model", "noted"), [("org/tiny-1.5_b", False), ("tiny", False), ("my tiny model (2)", True), ("a--b", True)]
)
def test_a_model_that_no_hub_can_have_is_taken_for_a_folders_name(tmp_path: Path, model: str, noted: bool):
    made = command("init", tmp_path / "f", "--adapter", make_adapter(tmp_path / "adapter"), "--model", model)
    assert made.returncode == 0, made.stderr
    assert ("--model-path" in made.stderr) == noted


@pytest.mark.parametrize("verb", ["serve", "invite", "status", "rounds", "devices", "export", "rollback", "block"])
def test_a_folder_that_was_never_initialised_is_named_with_what_to_do(tmp_path: Path, verb: str):
    rest = {"export": [tmp_path / "out"], "rollback": [0], "block": ["00000000"]}.get(verb, [])
    refused(command(verb, tmp_path, *rest), "federation.toml is missing", "fedit-server init")


def test_a_typo_in_the_settings_is_named_with_line_and_nearest_key(tmp_path: Path):
    server = ServerProcess(tmp_path)
    toml = server.folder / "federation.toml"
    toml.write_text(toml.read_text().replace("cohort_min", "cohort_mim"))
    refused(process("serve", server.folder), "line ", "'cohort_mim'", "'cohort_min'")


def test_a_port_in_use_is_named(tmp_path: Path):
    server = ServerProcess(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", server.port))
        other.listen()
        refused_with_log = process("serve", server.folder)
    assert refused_with_log.returncode == 2
    last = refused_with_log.stderr.strip().splitlines()[-1]
    assert "another program uses it" in last
    assert "[server] listen" in last
    assert "Traceback" not in refused_with_log.stderr


def test_missing_keys_and_certificates_are_named(tmp_path: Path):
    server = ServerProcess(tmp_path)
    (server.folder / "tls" / "key.pem").rename(tmp_path / "key.pem")
    refused(process("serve", server.folder), "key.pem is missing")
    (tmp_path / "key.pem").rename(server.folder / "tls" / "key.pem")
    (server.folder / "keys" / "federation.key").write_text("no key")
    refused(process("serve", server.folder), "federation.key cannot be read as a key", "put it back from a backup")
    (server.folder / "keys" / "federation.key").unlink()
    refused(process("serve", server.folder), "federation.key is missing")


def test_a_damaged_adapter_is_found_at_the_start(tmp_path: Path):
    server = ServerProcess(tmp_path)
    server.start()
    server.stop()
    [file] = (server.folder / "blobs" / "adapters").iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    started = process("serve", server.folder)
    assert started.returncode == 1
    assert "is damaged" in started.stderr.splitlines()[-1]
    assert "Traceback" not in started.stderr


def test_invitations_are_different_links_with_their_number(made: ServerProcess):
    links = made.invite("--count", 3, "--uses", 2)
    assert len({link.token for link in links}) == 3
    assert all(link.address == f"https://127.0.0.1:{made.port}" for link in links)
    refused(command("invite", made.folder, "--expires", "soon"), "--expires", "7d")


def test_status_and_rounds_of_a_new_federation_are_empty(made: ServerProcess):
    status = json.loads(command("status", made.folder, "--json").stdout)
    assert (status["served"], status["version"], status["round"]) == (False, 0, None)
    assert made.rounds() == []
    assert command("status", made.folder).returncode == 0


def test_the_first_version_is_exported_as_the_adapter_that_was_given(made: ServerProcess, tmp_path: Path):
    assert command("export", made.folder, tmp_path / "out").returncode == 0
    given = made.folder.parent / "adapter"
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "out" / name).exists()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "the adapter that the federation began with" in card
    results = tmp_path / "results.json"
    results.write_text('{"records": 3}')
    refused(
        command("export", made.folder, tmp_path / "out3", "--results", results), "holds no results", "evaluate --json"
    )
    assert not (tmp_path / "out3").exists()
    assert command("export", made.folder, tmp_path / "out3", "--data-license", "CC-BY-SA-3.0").returncode == 0
    assert 'license: "cc-by-sa-3.0"' in (tmp_path / "out3" / "README.md").read_text()
    old = read_adapter((given / "adapter_model.safetensors").read_bytes())
    new = read_adapter((tmp_path / "out" / "adapter_model.safetensors").read_bytes())
    assert old[0] == new[0]
    assert np.array_equal(old[1], new[1])
    refused(command("export", made.folder, tmp_path / "out"), "not empty")
    refused(command("export", made.folder, tmp_path / "out2", "--version", 7), "no adapter version 7")
    refused(command("rollback", made.folder, 7), "no adapter version 7")


def test_unknown_devices_cannot_be_blocked(made: ServerProcess):
    refused(command("block", made.folder, "0123456789"), "0 devices")


def test_an_invitation_is_listed_by_a_name_of_its_own_and_revoked_by_it(tmp_path: Path):
    server = ServerProcess(tmp_path)
    first, second = (server.invite("--uses", 2)[0] for _ in range(2))
    listed = command("invitations", server.folder).stdout
    assert listed.count("open") == 2
    for link in (first, second):
        assert str(link) not in listed
        assert sha256(link.token).hexdigest()[:16] in listed
    name = sha256(first.token).hexdigest()
    refused(command("revoke", server.folder, name[:7]), "begin with", "8 digits")
    refused(command("revoke", server.folder, "0" * 64), "0 invitations' names", "fedit-server invitations")
    assert command("revoke", server.folder, name[:12]).stdout == f"Revoked {name}.\n"
    told = {row["invitation"]: row for row in json.loads(command("invitations", server.folder, "--json").stdout)}
    assert told[name]["revoked"] is not None
    assert told[sha256(second.token).hexdigest()]["revoked"] is None
    again = command("revoke", server.folder, name)
    assert again.returncode == 0
    assert json.loads(command("invitations", server.folder, "--json").stdout) == list(told.values()), (
        "when it was, stays"
    )


def test_a_folder_is_served_once(tmp_path: Path):
    server = ServerProcess(tmp_path)
    server.start()
    refused(process("serve", server.folder), "already being served")
    assert json.loads(command("status", server.folder, "--json").stdout)["served"]
    assert server.stop() == 0


def test_a_row_of_another_release_is_told_in_one_line(tmp_path: Path):
    server = ServerProcess(tmp_path)
    server.start()
    assert server.stop() == 0
    with closing(sqlite3.connect(server.folder / "server.sqlite3")) as connection, connection:
        connection.execute("UPDATE rounds SET report = ?", (b"\x81\xa5round\x01",))
    refused(process("rounds", server.folder), "cannot read", "release")


def test_a_missing_broken_or_newer_database_is_named_and_left_alone(tmp_path: Path):
    server = ServerProcess(tmp_path)
    file = server.folder / "server.sqlite3"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    refused(process("serve", server.folder), "does not fit", "upgrade")
    file.write_bytes(b"no database" * 1000)
    for suffix in ("-wal", "-shm"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)
    broken = command("status", server.folder)
    assert broken.returncode == 1
    assert "not a database" in broken.stderr
    assert "Traceback" not in broken.stderr
    file.unlink()
    for verb in ("serve", "invite", "status"):
        refused(command(verb, server.folder), "server.sqlite3 is missing", "backup")
    assert not file.exists()


def test_a_database_whose_driver_is_missing_is_named_with_what_to_install_and_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as where it is not installed
    server = ServerProcess(tmp_path)
    server.configure("server", database="postgresql://fedit:hush@localhost/fedit")
    told = command("serve", server.folder)
    refused(told, "postgresql+psycopg://fedit:***@localhost/fedit", 'pip install "psycopg[binary]"')
    assert "hush" not in told.stderr
    server.configure("server", database="nonsense:hush")
    told = command("status", server.folder)
    refused(told, "database URL cannot be used", "[server] database")
    assert "hush" not in told.stderr


def signed_by_an_authority(folder: Path, host: str) -> tuple[Path, tuple[str | Path, ...]]:
    """An authority's certificate; and, as options of init, one for ``host`` that it has signed, and its key."""
    authority, key = Authority(folder), new_key()
    (folder / "given.pem").write_bytes(authority.sign(host, key))
    (folder / "given.key").write_bytes(pem_of(key))
    return authority.certificate, ("--certificate", folder / "given.pem", "--key", folder / "given.key")
