"""The memory budget: what may be used, what is used, and how running out looks."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from edge_client.room import find_room

from .failures import CrowdedError, NoRoomError
from .footprint import MAPPED, POOLED_MOST
from .outlook import FREE_SHARE
from .sizes import gib

_LINUX = sys.platform.startswith("linux")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_SMALLEST_MAPPING = 128 * 1024
_NEVER = 2**31 - 1
_REFILLED = 32
"""One part in so many of the budget: small tensors were seen to fill 3 % of it again."""
_MESSAGES = (
    "can't allocate memory",
    "out of memory",
    "bad_alloc",
    "could not create a memory",
    "could not create a primitive",  # oneDNN's way of saying it
    "cannot allocate memory",
    "cublas_status_alloc_failed",
)


class Budget:
    """A hard cap for this process on one device.

    On CUDA the allocator refuses to grow past it. On a CPU under Linux the cap is RLIMIT_DATA, which makes torch's
    allocator raise; elsewhere :attr:`enforced` is False and the budget is only planned with.
    """

    def __init__(self, device: torch.device, limit: int | None) -> None:
        self.device = device
        self._given = limit is not None
        # On a CPU the budget also holds what this process holds already, its libraries, which is no longer free.
        held = self.used() if device.type == "cpu" else 0
        self.limit = limit if limit is not None else int((self._free() + held) * FREE_SHARE)
        self.enforced = device.type == "cuda" or _LINUX
        if device.type == "cpu" and _LINUX:
            torch.zeros(2**22).add_(1)  # starts the threads, so that their stacks are among what is untouched
            self._untouched = _status("VmData") - _status("RssAnon")

    def apply(self) -> None:
        """Set the cap. Raises NoRoomError if more than the budget is in use already."""
        if self.device.type == "cuda":
            total = torch.cuda.get_device_properties(self.device).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, self.limit / total), self.device)
            return
        if self.room() <= 0:
            raise NoRoomError(
                f"The budget of {gib(self.limit)} is used up: {gib(self.used())} are in use before training starts.",
                advice="Give it more memory.",
            )
        if self.enforced:
            _limit_data(self.limit - _status("RssFile") + self._untouched)

    def used(self) -> int:
        """Bytes in use now: resident on a CPU, reserved by the allocator on CUDA."""
        if self.device.type == "cuda":
            return torch.cuda.memory_reserved(self.device)
        return int(psutil.Process().memory_info().rss)

    def room(self) -> int:
        """Bytes that may still be used."""
        return self.limit - self.used()

    def peak(self) -> int:
        """The most that was in use at one time."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_reserved(self.device)
        if _LINUX:  # ru_maxrss would count the parent's memory, from before the exec
            return _status("VmHWM")
        if sys.platform == "win32":
            return int(psutil.Process().memory_info().peak_wset)
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def pool(self, pooled: bool) -> None:
        """Keep freed tensors' memory for the next ones, or hand each of MAPPED bytes and more back at once: then the
        kernel clears every page anew."""
        if self.device.type == "cpu" and _LINUX:
            _glibc("mallopt", _M_MMAP_THRESHOLD, POOLED_MOST if pooled else MAPPED)
            _glibc("mallopt", _M_TRIM_THRESHOLD, _NEVER if pooled else _SMALLEST_MAPPING)

    def tighten(self) -> None:
        """After memory ran out: release it, and from now on hand freed tensors of any size back at once, which is
        slower. What the trimmed heap still holds of the address space is no longer counted, but for the part that
        small tensors may fill again."""
        self.release()
        if self.device.type == "cpu" and _LINUX:
            _glibc("mallopt", _M_MMAP_THRESHOLD, _SMALLEST_MAPPING)
            _glibc("mallopt", _M_TRIM_THRESHOLD, _SMALLEST_MAPPING)
            self._untouched = _status("VmData") - _status("RssAnon") - self.limit // _REFILLED
            self.apply()

    def release(self) -> None:
        """Hand back what is no longer used, after something large was dropped."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        elif _LINUX:
            _glibc("malloc_trim", 0)

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Within the block, memory that runs out because others hold what is this process's to use is told as
        CrowdedError: the same work may fit another time. Without a given limit, that is whatever is free."""
        try:
            yield
        except Exception as error:
            short = isinstance(error, NoRoomError) or is_out_of_memory(error)
            if not short or (self._given and self._free() + self.used() >= self.limit * FREE_SHARE):
                raise
            message = error.message if isinstance(error, NoRoomError) else "Memory ran out."
            told = f"{message} Other programs leave {gib(self._free())} of this machine's memory free."
            raise CrowdedError(told) from error

    def _free(self) -> int:
        return torch.cuda.mem_get_info(self.device)[0] if self.device.type == "cuda" else find_room().free


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` is one of the many ways in which libraries say that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _MESSAGES)


def _limit_data(wanted: int) -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _glibc(name: str, *arguments: int) -> None:
    """Call a function that other C libraries, like musl, do not have; nothing happens there."""
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*arguments)


def _status(field: str) -> int:
    """A size in Linux's own account of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024
