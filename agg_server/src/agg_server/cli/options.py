"""What several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Collection

    from agg_server.config import Config
    from agg_server.layout import Layout
    from agg_server.store import Database

folder_argument = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")


def open_folder(folder: Path) -> "tuple[Layout, Config, Database]":
    """A federation's folder, its settings, and its database. Raises UserError where one of them is not usable."""
    from agg_server.layout import Layout
    from agg_server.store import Database
    from fedit_shared.errors import UserError

    layout = Layout(folder)
    config = layout.load()
    if layout.is_backup:  # its settings may name the very database that is served elsewhere
        raise UserError(f"{folder} is a backup.", advice="Put it into a new folder first: `fedit-server restore`.")
    database = Database(layout.database_url(config))
    database.require_existing()
    return layout, config, database


def one_that_begins(names: "Collection[str]", begins: str, what: str, listed: str) -> str:
    """The one name (hex) that begins so, given with at least 8 digits. Raises UserError otherwise; ``what``: of what
    they are names, ``listed``: where they can be seen."""
    from fedit_shared.errors import UserError

    found = [name for name in names if name.startswith(begins.lower())]
    if len(found) != 1 or len(begins) < 8:
        raise UserError(f"{len(found)} {what} begin with {begins!r}.", advice=f"{listed}; give at least 8 digits.")
    return found[0]
