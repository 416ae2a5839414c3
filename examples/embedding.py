"""A client inside an application: a web server on this machine that takes part in a federation while it runs, shows how
far it is, and stops both together. ``python examples/embedding.py LINK records.jsonl``, then http://127.0.0.1:8080."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from aiohttp import web

from edge_client import Client, FeditError, describe, to_json

CLIENT = web.AppKey("client", Client)
STATUS = web.AppKey("status", dict[str, Any])


async def federate(app: web.Application) -> None:
    """Take part until cancelled, or until the federation ends. What its owner has to see to is shown, not raised: the
    application has other things to do as well."""
    status = app[STATUS]
    try:
        async with app[CLIENT] as client:
            async for event in client.run():
                status["line"], status["event"] = describe(event), to_json(event)
        status["line"] = "The federation has ended."
    except FeditError as error:
        status["line"] = f"{error.message} {error.next_step}"


async def in_background(app: web.Application) -> AsyncIterator[None]:
    """Start the client with the application; stop it when that stops. What was begun goes on at the next start."""
    task = asyncio.create_task(federate(app))
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def show(request: web.Request) -> web.Response:
    """The last event, in words and as data."""
    return web.json_response(request.app[STATUS])


def make_app(client: Client) -> web.Application:
    """The application, with ``client`` not yet begun."""
    app = web.Application()
    app[CLIENT], app[STATUS] = client, {"line": "Not begun yet.", "event": None}
    app.cleanup_ctx.append(in_background)
    app.router.add_get("/", show)
    return app


if __name__ == "__main__":
    web.run_app(make_app(Client.join(sys.argv[1], data=sys.argv[2])), host="127.0.0.1", port=8080)
