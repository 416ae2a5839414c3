"""Logs: one line an event, as key=value or as JSON. No secret ever gets here: messages are made of names, numbers and
public keys.

A record may say what it is about: ``extra=about(round=…, cohort=…, device=…)``.
"""

import json
import logging
import time
from collections.abc import Callable
from typing import Literal

from aiohttp.http_exceptions import HttpProcessingError

Form = Literal["text", "json"]
SHOWN = 16
"""Of a cohort's id or a device's public key, so many digits are shown: enough to find it by."""
_ABOUT = ("round", "cohort", "device")


def about(*, round: int | None = None, cohort: bytes | None = None, device: bytes | None = None) -> dict[str, object]:
    """What a record is about, for ``extra``."""
    named = {"round": round, "cohort": _shown(cohort), "device": _shown(device)}
    return {name: value for name, value in named.items() if value is not None}


def _shown(name: bytes | None) -> str | None:
    return None if name is None else name.hex()[:SHOWN]


def _fields(record: logging.LogRecord, formatted: Callable[..., str]) -> dict[str, object]:
    """``formatted``: how an exception becomes text."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    fields: dict[str, object] = {"time": f"{moment}.{int(record.msecs):03d}Z", "level": record.levelname.lower()}
    fields["logger"] = record.name
    fields |= {name: value for name in _ABOUT if (value := getattr(record, name, None)) is not None}
    fields["message"] = record.getMessage()
    if record.exc_info:
        fields["traceback"] = formatted(record.exc_info)
    return fields


class KeyValueFormatter(logging.Formatter):
    """``time=… level=… logger=… round=… message="…"``, and the traceback, if any, as one value."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields = _fields(record, self.formatException)
        quoted = {
            name: json.dumps(fields[name], ensure_ascii=False) for name in ("message", "traceback") if name in fields
        }
        return " ".join(f"{name}={value}" for name, value in (fields | quoted).items())


class JsonFormatter(logging.Formatter):
    """The same fields as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return json.dumps(_fields(record, self.formatException), ensure_ascii=False)


_FORMATTERS: dict[Form, type[logging.Formatter]] = {"text": KeyValueFormatter, "json": JsonFormatter}


def _no_address(record: logging.LogRecord) -> bool:
    """aiohttp ends what it says of a request with whom it came from: nobody's address is kept in the log for that. A
    stranger's bytes that are no HTTP are one line, not a traceback: a port scan must not fill it."""
    if record.args:
        record.msg, record.args = str(record.msg).removesuffix(" from %s"), ()
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.exc_info, record.levelno, record.levelname = None, logging.INFO, "INFO"
    return True


def set_up(form: Form = "text", level: int = logging.INFO) -> None:
    """Send all logs to stderr, in this form."""
    handler = logging.StreamHandler()
    handler.setFormatter(_FORMATTERS[form]())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("aiohttp.server").addFilter(_no_address)
    for noisy in ("aiohttp.access", "asyncio", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
