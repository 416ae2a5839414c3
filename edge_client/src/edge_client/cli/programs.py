"""``--json``: one JSON object a line on stdout, each with its name under ``event``."""

from typing import Any

import click
import msgspec

from fedit_shared.errors import FeditError

REPORTS = ("Status", "Round", "Doctor", "Plan", "DataCheck", "Evaluation", "Verdict", "Error")
"""What commands tell besides the events of :mod:`edge_client.client`."""


def tell(report: str, fields: dict[str, Any]) -> None:
    """One line on stdout. ``report``: one of :data:`REPORTS`; bytes become hex."""
    assert report in REPORTS, report
    plain = {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}
    click.echo(msgspec.json.encode({"event": report, **plain}))


def tell_error(error: FeditError | click.ClickException, exit_code: int) -> None:
    """What goes wrong, and how the command is about to end."""
    if isinstance(error, FeditError):
        fields = {"code": error.code, "message": error.message, "advice": error.next_step}
    else:
        context = error.ctx if isinstance(error, click.UsageError) else None
        advice = f"See `{context.command_path if context else 'fedit-client'} --help`."
        fields = {"code": "usage", "message": error.format_message(), "advice": advice}
    tell("Error", fields | {"exit_code": exit_code})
