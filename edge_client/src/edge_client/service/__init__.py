"""The client as a service of the operating system: what is written for systemd, launchd and Windows. No I/O."""

from . import launchd, systemd, windows
from .kinds import Kind, Service

KINDS: dict[str, Kind] = {"systemd": systemd.KIND, "launchd": launchd.KIND, "windows": windows.KIND}
PLATFORMS = {"linux": "systemd", "darwin": "launchd", "win32": "windows"}
"""Which of them a platform (``sys.platform``) has."""

__all__ = ["KINDS", "PLATFORMS", "Kind", "Service"]
