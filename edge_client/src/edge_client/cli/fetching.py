"""Which records a command is to work with, and their download from the hub, in a line now and then."""

import time
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from edge_client.data import DataSource

TELL_SECONDS = 10.0


class Fetched:
    """Called with the bytes that are here and all of them; says so at the start and then now and then, on stderr or,
    without ``err``, on stdout."""

    def __init__(self, name: str, *, err: bool = True) -> None:
        self._name = name
        self._err = err
        self._said = 0.0

    def __call__(self, here: int, total: int) -> None:
        from edge_client.sizes import size

        now = time.monotonic()
        if not here or now > self._said + TELL_SECONDS:
            self._said = now
            click.echo(
                f"Fetching {self._name} from the Hugging Face hub: {size(here)} of {size(total)}.", err=self._err
            )


def described(
    source: "DataSource",
    data: str | None,
    fields: dict[str, str],
    container: Literal["jsonl", "json", "csv", "parquet"] | None,
    bad_lines: Literal["refuse", "skip"] | None,
) -> "DataSource":
    """``source`` as changed by what was given of these options. Raises UserError for a name that is none."""
    from msgspec.structs import replace

    from edge_client.data import located

    if data is not None:
        source = replace(source, path=located(data), container="auto")
    return replace(
        source,
        fields=fields or source.fields,
        bad=bad_lines or source.bad,
        container=container or source.container,
    )
