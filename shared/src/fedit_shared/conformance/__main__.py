"""``python -m fedit_shared.conformance FILE…``: vectors against the installed code."""

import sys

from fedit_shared.errors import FeditError, UserError

from .runner import check

LARGEST_FILE = 64 << 20


def main(files: list[str]) -> int:
    """The exit status: 0 all cases passed, 1 a case failed, 2 there was no case to run."""
    failed = 0
    try:
        if not files:
            raise UserError("No vector file.", advice="Usage: python -m fedit_shared.conformance FILE…")
        for name in files:
            for outcome in check(_read(name)):
                failed += not outcome.passed
                line = f"{'ok' if outcome.passed else 'FAILED'}  {name}  {outcome.name}  {outcome.difference}"
                print(_printable(line.rstrip()))
    except FeditError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if failed:
        print(f"{failed} failed", file=sys.stderr)
    return 1 if failed else 0


def _read(name: str) -> bytes:
    try:
        with open(name, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}.", advice="Name a vector file.") from error
    if len(data) > LARGEST_FILE:
        raise UserError(
            f"{name} is no vector file: it is larger than {LARGEST_FILE >> 20} MiB.", advice="Name a vector file."
        )
    return data


def _printable(text: str) -> str:
    """``text`` on one line, with nothing that a terminal would act on: whoever wrote the file chose the names."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
