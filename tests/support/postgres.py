"""A real PostgreSQL of the tests' own. It refuses to run as root: then it runs as somebody else."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from benchmarks.ports import free_port

_USERS = ("postgres", "nobody")
"""As whom it may run where the tests run as root."""


def binaries() -> Path | None:
    """Where its programs are; None if there are none."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = shutil.which("postgres")
    found = [*debian, *([Path(on_path).resolve().parent] if on_path else [])]
    return next((folder for folder in found if (folder / "postgres").exists() and (folder / "initdb").exists()), None)


class Postgres:
    """One server on a port of this machine, with as many databases as are asked for."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._made = 0

    def database(self) -> str:
        """The URL of a new, empty database."""
        self._made += 1
        name = f"fedit{self._made}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def connect(self, name: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(f"postgresql://postgres@127.0.0.1:{self.port}/{name}", autocommit=True)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A server that is thrown away afterwards. It does not sync: what is under test is killed processes."""
    programs = binaries()
    assert programs is not None, "asked for where there is none"
    user = _somebody()
    folder = Path(tempfile.mkdtemp(prefix="fedit-postgres-"))
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    port = free_port()

    def run(*line: str) -> "subprocess.Popen[bytes]":
        with (folder / "log").open("ab") as log:
            return subprocess.Popen(
                [str(programs / line[0]), *line[1:]],
                cwd=folder,
                stdout=log,
                stderr=log,
                user=None if user is None else user.pw_uid,
                group=None if user is None else user.pw_gid,
                extra_groups=None if user is None else [],
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(folder)},
            )

    data = str(folder / "data")
    assert run("initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync").wait(120) == 0, _log(folder)
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "fsync": "off",
        "max_connections": "100",
    }
    serving = run("postgres", "-D", data, *(f"--{key}={value}" for key, value in options.items()))
    try:
        server, end = Postgres(folder, port), time.monotonic() + 60
        while True:
            try:
                server.connect().close()
                break
            except psycopg.OperationalError:
                assert serving.poll() is None, _log(folder)
                assert time.monotonic() < end, _log(folder)
                time.sleep(0.05)
        yield server
    finally:
        serving.send_signal(signal.SIGINT)  # whoever is connected is cut off
        try:
            serving.wait(20)
        except subprocess.TimeoutExpired:
            serving.kill()
            serving.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _somebody() -> pwd.struct_passwd | None:
    """Whom to run as; None for the user who runs the tests."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next(known[name] for name in _USERS if name in known)


def _log(folder: Path) -> str:
    return (folder / "log").read_text(errors="replace")
