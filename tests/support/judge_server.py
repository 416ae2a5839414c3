"""A judge on loopback that speaks /v1/chat/completions over real HTTP, and answers as a test wants it to."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, NamedTuple


class Answered(NamedTuple):
    """One HTTP response."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


Behaviour = Callable[[int, str], Answered | str]
"""From the request's number, counted from 0, and the question: a response, or what the model is to say."""


@dataclass
class JudgeServer:
    """``requests``: the bodies that came, in order; ``headers``: theirs."""

    behave: Behaviour
    address: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    @property
    def questions(self) -> list[str]:
        """What was asked."""
        return [request["messages"][-1]["content"] for request in self.requests]


def said(text: str) -> Answered:
    """A completion that says ``text``."""
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    message = {"role": "assistant", "content": text}
    return Answered(200, json.dumps({"choices": [{"index": 0, "message": message}], "usage": usage}).encode())


def shown(question: str) -> tuple[str, str]:
    """The two answers in a question, in the order in which they are shown."""
    parts = [question.partition(f"[The Start of Assistant {n}'s Answer]\n")[2] for n in (1, 2)]
    first, second = (part.partition("\n\n[The End of Assistant")[0] for part in parts)
    return first, second


def by_length(number: int, question: str) -> str:
    """A fair judge: the longer answer is better."""
    first, second = (min(10, 1 + len(answer)) for answer in shown(question))
    return f"{first} {second}\nThe longer, the better."


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up is none of a test's business."""


@contextmanager
def judging(behave: Behaviour) -> Iterator[JudgeServer]:
    """The judge, listening."""
    judge = JudgeServer(behave)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with judge.lock:
                number = len(judge.requests)
                judge.requests.append(body)
                judge.headers.append(dict(self.headers))
            if self.path != "/v1/chat/completions":
                answered = Answered(404, b'{"error": {"message": "no such page"}}')
            else:
                made = judge.behave(number, body["messages"][-1]["content"])
                answered = said(made) if isinstance(made, str) else made
            self.send_response(answered.status)
            for name, value in answered.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answered.body)))
            self.end_headers()
            self.wfile.write(answered.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    judge.address = f"http://127.0.0.1:{server.server_port}/v1"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield judge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
