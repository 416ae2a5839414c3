"""What Linux says of a process's memory. Imports nothing: the peers' environments use it too."""

from pathlib import Path


def status_bytes(field: str, process: int | str = "self") -> int:
    """``VmRSS``, ``VmHWM``, ``RssAnon`` … of ``/proc/PROCESS/status``, in bytes."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024
