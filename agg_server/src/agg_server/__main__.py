"""``python -m agg_server``: the same as ``fedit-server``."""

from .cli import main

main()
