"""Memory that is not held for nothing: by default a thousand quiet connections keep a quarter of a gigabyte, and what
large requests took stays with the C allocator. Nor is time spent on what stays."""

import asyncio.sslproto
import ctypes
import gc

TLS_BUFFER = 32 * 1024
"""Two TLS records. asyncio makes a buffer for each connection when it is made, 256 KiB unless told otherwise."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE = 128 * 1024


def be_frugal() -> None:
    """For this process, before it has connections or threads. Where the C library is not glibc its allocator stays as
    it is."""
    asyncio.sslproto.SSLProtocol.max_size = TLS_BUFFER  # there is no other way to set it
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        # Set, they no longer grow with what is freed: chunks of uploads go back to the system at once.
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE)
        mallopt(_M_ARENA_MAX, 2)


def keep_what_is_here() -> None:
    """What was loaded to start stays until the end: let the garbage collector not look through it again and again,
    while nothing else runs."""
    gc.collect()
    gc.freeze()
