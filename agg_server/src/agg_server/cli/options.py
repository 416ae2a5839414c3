"""What several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from agg_server.config import Config
    from agg_server.layout import Layout
    from agg_server.store import Database

folder_argument = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")


def open_folder(folder: Path) -> "tuple[Layout, Config, Database]":
    """A federation's folder, its settings, and its database. Raises UserError where one of them is not usable."""
    from agg_server.layout import Layout
    from agg_server.store import Database

    layout = Layout(folder)
    config = layout.load()
    database = Database(layout.database_url(config))
    database.require_existing()
    return layout, config, database
