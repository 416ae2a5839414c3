"""A server of the tests' own that speaks S3: localbucket, which keeps a bucket as a folder."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.ports import free_port

SECRET = "hush-hush-hush"


class Bucket:
    """One bucket. What it holds lies in ``folder``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None
        self._port = free_port()
        self.folder = root / "bucket"
        self.folder.mkdir(parents=True)

    @property
    def environment(self) -> dict[str, str]:
        """What a server that uses it needs."""
        return {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self._url,
            "AWS_ALLOW_HTTP": "true",
        }

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Answer; returns when it does."""
        line = [sys.executable, "-m", "localbucket", str(self._root), "--port", str(self._port)]
        self._process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(self._url, timeout=10).close()
                return
            except OSError:
                assert self._process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.05)

    def stop(self) -> None:
        """Answer no more; what it holds stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def bucket(root: Path) -> Iterator[Bucket]:
    """One that is stopped afterwards; while it is there, so are its keys in this process's environment."""
    made, before = Bucket(root), dict(os.environ)
    made.start()
    os.environ.update(made.environment)
    try:
        yield made
    finally:
        made.stop()
        for name in made.environment:
            os.environ.pop(name)
        os.environ.update(before)
