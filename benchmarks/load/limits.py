"""What this machine can do at best, in chunks of uploads: bytes a second through TLS on loopback, and onto the disk."""

import os
import socket
import ssl
import tempfile
import threading
import time
from pathlib import Path

from agg_server.tls import server_context
from fedit_shared.messages import CHUNK_SIZE

_SECONDS = 3.0


def disk_bytes_per_second(folder: Path) -> float:
    """Chunks written and synced one after the other, for three seconds."""
    content = os.urandom(CHUNK_SIZE)
    with tempfile.TemporaryFile(dir=folder) as file:
        done, begun = 0, time.perf_counter()
        while (seconds := time.perf_counter() - begun) < _SECONDS:
            file.write(content)
            file.flush()
            os.fdatasync(file.fileno())
            done += len(content)
    return done / seconds


def loopback_bytes_per_second(certificate: Path, key: Path) -> float:
    """One TLS connection between two threads, for three seconds: sender and receiver share this machine's cores, as
    devices and server do here."""
    received = 0

    def receive() -> None:
        nonlocal received
        plain, _ = listener.accept()
        with plain, server_context(certificate, key).wrap_socket(plain, server_side=True) as line:
            buffer = bytearray(CHUNK_SIZE)
            while got := line.recv_into(buffer):
                received += got

    with socket.create_server(("127.0.0.1", 0)) as listener:
        receiver = threading.Thread(target=receive)
        receiver.start()
        with socket.create_connection(listener.getsockname()) as plain, _trusting().wrap_socket(plain) as line:
            content = os.urandom(CHUNK_SIZE)
            begun = time.perf_counter()
            while time.perf_counter() - begun < _SECONDS:
                line.sendall(content)
        receiver.join()
        return received / (time.perf_counter() - begun)


def _trusting() -> ssl.SSLContext:
    """Only the speed counts here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
