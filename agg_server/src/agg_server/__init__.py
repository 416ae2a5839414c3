"""The aggregation server. A round's life is in :mod:`.rounds`, pure; I/O and timers around it in :mod:`.driver`."""

__version__ = "0.1.0.dev0"
