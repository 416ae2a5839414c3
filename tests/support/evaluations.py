"""Folders as ``fedit-client evaluate`` claims them, for tests of what reads them."""

from collections.abc import Sequence
from pathlib import Path

from edge_client.evaluation.kept import Arm, Header, Kept


def claimed(
    place: Path,
    records: int,
    arms: Sequence[Arm],
    *,
    data: str = "",
    max_new_tokens: int = 9,
    quantization: str = "int8",
) -> Kept:
    """The new folder ``place``, claimed for these arms; nothing is evaluated yet."""
    place.mkdir()
    kept = Kept(place)
    header = Header(
        model="tiny",
        revision="",
        files={},
        data=data,
        records=records,
        max_length=9,
        max_new_tokens=max_new_tokens,
        quantization=quantization,
    )
    kept.claim(header, arms)
    return kept
