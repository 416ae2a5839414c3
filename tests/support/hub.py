"""A hub on loopback: as much of the Hugging Face hub's API as a download asks for, over real HTTP."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c0ffee" + 34 * "0"
PLAIN_AGENT = r"unknown/None; hf_hub/[\w.]+; python/[\w.]+"
"""What the hub's library says of itself where telemetry is off."""


class Hub:
    """Serves the files of ``folder`` as the model (``kind`` datasets: the data set) ``name``; ``sizes`` overrides what
    it says of a file's size."""

    def __init__(self, name: str, folder: Path, kind: str = "models") -> None:
        self.name = name
        self.kind = kind
        self.folder = folder
        self.sizes: dict[str, int] = {}
        self.broken = ""
        """``hub``: it is down; ``file``: each file's line breaks before its end."""
        self.fetched: list[str] = []
        self.agents: set[str] = set()
        """What whoever asked says it is."""
        self.url = ""

    def tree(self) -> list[dict[str, object]]:
        """The listing of the one commit."""
        return [
            {
                "type": "file",
                "path": path.relative_to(self.folder).as_posix(),
                "size": self.sizes.get(path.name, path.stat().st_size),
                "oid": hashlib.sha1(path.read_bytes()).hexdigest(),
            }
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        ]


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """``hub`` at ``hub.url`` while inside."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on stderr."""

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            hub.agents.add(self.headers["User-Agent"])
            path = self.path.partition("?")[0]
            if hub.broken == "hub":
                self._send(b"{}", status=503)
                return
            files = f"/{'' if hub.kind == 'models' else f'{hub.kind}/'}{hub.name}/resolve/{COMMIT}/"
            if path.startswith(f"/api/{hub.kind}/{hub.name}/tree/{COMMIT}"):
                self._send(json.dumps(hub.tree()).encode())
            elif path.startswith(f"/api/{hub.kind}/{hub.name}"):
                self._send(json.dumps({"id": hub.name, "sha": COMMIT, "siblings": []}).encode())
            elif path.startswith(files):
                file = hub.folder / path.removeprefix(files)
                if self.command == "GET":
                    hub.fetched.append(file.name)
                data = file.read_bytes()
                self._send(
                    data,
                    {
                        "Content-Length": str(hub.sizes.get(file.name, len(data))),
                        "ETag": f'"{hashlib.sha1(data).hexdigest()}"',
                        "X-Repo-Commit": COMMIT,
                    },
                )
            else:
                self._send(b"{}", {"X-Error-Code": "RepoNotFound"}, 404)

        def _send(self, body: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET" and headers and hub.broken == "file":
                self.close_connection = True
            elif self.command == "GET":
                self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
