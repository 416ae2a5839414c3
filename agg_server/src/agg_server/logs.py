"""Logs as key=value lines. No secret ever gets here: messages are made of names, numbers and public keys."""

import json
import logging
import time

from aiohttp.http_exceptions import HttpProcessingError


class KeyValueFormatter(logging.Formatter):
    """``time=… level=… logger=… message="…"``, and the traceback, if any, as one value."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        line = f"time={stamp} level={record.levelname.lower()} logger={record.name}"
        line += f" message={json.dumps(record.getMessage(), ensure_ascii=False)}"
        if record.exc_info:
            line += f" traceback={json.dumps(self.formatException(record.exc_info), ensure_ascii=False)}"
        return line


def _without_traceback(record: logging.LogRecord) -> bool:
    """A stranger's bytes that are no HTTP are one line, not a traceback: a port scan must not fill the log."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.exc_info, record.levelno, record.levelname = None, logging.INFO, "INFO"
    return True


def set_up(level: int = logging.INFO) -> None:
    """Send all logs to stderr, in this form."""
    handler = logging.StreamHandler()
    handler.setFormatter(KeyValueFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("aiohttp.server").addFilter(_without_traceback)
    for noisy in ("aiohttp.access", "asyncio", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
