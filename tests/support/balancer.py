"""A load balancer before a server: it ends TLS with the server's own certificate, and speaks HTTP to both sides."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from server_process import ServerProcess

_HOPS = {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "server", "date"}


@dataclass
class Balancer:
    """``answers(request)``: what it answers by itself, None to pass the request on. ``loses(request)``: whether the
    connection is reset once the server has answered, so that nobody hears it. Both are asked for each request.

    A server that is not there is a 502. ``lost``: how many answers were.
    """

    server: ServerProcess
    answers: Callable[[web.Request], int | None] = lambda request: None
    loses: Callable[[web.Request], bool] = lambda request: False
    lost: int = field(default=0, init=False)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        """Its port."""
        context, tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.server.folder / "tls"
        context.load_cert_chain(tls / "certificate.pem", tls / "key.pem")
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:

            async def handle(request: web.Request) -> web.StreamResponse:
                return await self._handle(session, request)

            app = web.Application(client_max_size=2**24)
            app.router.add_route("*", "/{path:.*}", handle)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
            try:
                yield runner.addresses[0][1]
            finally:
                await runner.cleanup()

    async def _handle(self, session: aiohttp.ClientSession, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        status = self.answers(request)
        if status is not None:
            return _page(status)
        sent = {name: value for name, value in request.headers.items() if name.lower() not in _HOPS}
        address = f"https://127.0.0.1:{self.server.port}{request.path_qs}"
        try:
            async with session.request(request.method, address, data=body or None, headers=sent) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOPS}
                reply = web.Response(status=answer.status, body=await answer.read(), headers=kept)
        except aiohttp.ClientError:
            return _page(502)
        if self.loses(request):
            self.lost += 1
            assert request.transport is not None
            request.transport.abort()
        return reply


def _page(status: int) -> web.Response:
    text = f"<html>\n<head><title>{status}</title></head>\n<body>The balancer is sorry.</body>\n</html>"
    return web.Response(status=status, text=text, content_type="text/html")
