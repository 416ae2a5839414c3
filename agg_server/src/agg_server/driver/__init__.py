"""Around the round engine: timers, disk, worker threads, and the devices that wait for an answer."""

from .driver import Driver

__all__ = ["Driver"]
