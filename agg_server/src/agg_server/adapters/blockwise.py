"""Walking along long vectors block by block, so that what is computed on the way takes no further vector."""

from collections.abc import Iterator

BLOCK = 1 << 16


def blocks(size: int) -> Iterator[slice]:
    """Slices that cover 0 … ``size`` in order."""
    for start in range(0, size, BLOCK):
        yield slice(start, min(start + BLOCK, size))
