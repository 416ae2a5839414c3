"""A `fedit-server` whose clock is off by the seconds in the file ``FEDIT_CLOCK``, which may change while it runs."""

import os
import time
from pathlib import Path

_true, _file = time.time, Path(os.environ["FEDIT_CLOCK"])


def shifted() -> float:
    return _true() + float(_file.read_text())


if __name__ == "__main__":
    time.time = shifted  # before anything has kept it
    from agg_server.cli import main

    main()
