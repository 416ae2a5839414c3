"""``python -m fedit_shared.conformance FILE…``: vectors against the installed code."""

import sys
from pathlib import Path

from fedit_shared.errors import FeditError, UserError

from .runner import check


def main(files: list[str]) -> int:
    """The exit status: 0 all cases passed, 1 a case failed, 2 there was no case to run."""
    failed = 0
    try:
        if not files:
            raise UserError("No vector file.", advice="Usage: python -m fedit_shared.conformance FILE…")
        for name in files:
            for outcome in check(_read(name)):
                failed += not outcome.passed
                print(f"{'ok' if outcome.passed else 'FAILED'}  {name}  {outcome.name}  {outcome.difference}".rstrip())
    except FeditError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if failed:
        print(f"{failed} failed", file=sys.stderr)
    return 1 if failed else 0


def _read(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}.") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
