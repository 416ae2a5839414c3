"""A download from the hub, in a line now and then."""

import time

import click

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
