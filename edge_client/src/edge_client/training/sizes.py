"""Sizes in bytes, for a person."""


def gib(size: int) -> str:
    """``1.50 GiB``, or ``300 MiB``."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
