"""``fedit-server serve``."""

import os
from pathlib import Path

import click

from .options import folder_argument, open_folder


@click.command("serve")
@folder_argument
@click.option("--listen", metavar="HOST:PORT", help="Where this process listens. Default: what the settings say.")
@click.option("--metrics", metavar="HOST:PORT", help="Where it shows its metrics. Default: what the settings say.")
def serve_command(folder: Path, listen: str | None, metrics: str | None) -> None:
    """Serve the federation in DIR until SIGTERM or Ctrl-C. Stopping and starting it loses nothing.

    With a PostgreSQL database, several processes may serve it, here or elsewhere.
    """
    import asyncio
    import logging
    from contextlib import nullcontext

    # asyncio's sendfile over TLS goes on to the file's end after the line broke, with a warning for every 16 KiB.
    os.environ.setdefault("AIOHTTP_NOSENDFILE", "1")  # read when aiohttp is imported

    from agg_server.config import listening
    from agg_server.lock import only_server
    from agg_server.serve import serve
    from agg_server.upkeep.ballast import lay
    from agg_server.upkeep.integrity import require_whole
    from agg_server.watching import logs

    os.umask(0o077)  # keys, devices and updates are nobody else's
    layout, config, database = open_folder(folder)
    config = listening(config, listen, metrics)
    with nullcontext() if database.shared else only_server(layout):
        require_whole(database)
        database.migrate()
        database.close()
        lay(layout, config)
        logs.set_up(config.server.log)
        announce = logging.getLogger("agg_server").info if config.server.log == "json" else click.echo
        asyncio.run(serve(layout, config, announce))
