"""Where the operator's pages lie, and what HTTP asks of them: :mod:`agg_server.dashboard` has them."""

from typing import Protocol

from aiohttp import web

from fedit_shared.errors import FeditError

PREFIX = "/dashboard"


class OperatorPages(Protocol):
    """The dashboard."""

    def routes(self) -> list[web.RouteDef]:
        """All of its routes, below PREFIX."""
        ...

    def refusal(self, error: FeditError) -> web.Response:
        """The page for an error."""
        ...


def is_operators(path: str) -> bool:
    """Whether a request for this path is for the operator's pages."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")
