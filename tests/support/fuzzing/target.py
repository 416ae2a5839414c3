"""What is fuzzed: a decoder of bytes that come from somebody else, and what has to hold whatever they are."""

import atexit
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fedit_shared.errors import FeditError
from fedit_shared.messages.fields import TEXT_PATTERN

from .forms import BYTES, Form

Read = Callable[[bytes], None]
"""Takes the bytes in. Raises FeditError to refuse them, and nothing else; asserts what holds of what it accepts."""
ROOM = 512 * 2**20
"""Bytes that one input may make a decoder allocate."""
_SHOWN = re.compile(TEXT_PATTERN)
_LONGEST_WORDS = 4000


@dataclass(frozen=True)
class Target:
    """A decoder. ``make`` imports what it needs and gives the :data:`Read` and valid inputs; ``longest``: bytes of an
    input; ``cases``: how many a test run tries."""

    name: str
    make: Callable[[], tuple[Read, Sequence[bytes]]]
    form: Form = BYTES
    longest: int = 4096
    cases: int = 100

    @cached_property
    def _made(self) -> tuple[Read, Sequence[bytes]]:
        return self.make()

    @property
    def seeds(self) -> Sequence[bytes]:
        """Valid inputs."""
        return self._made[1]

    def accepts(self, data: bytes) -> bool:
        """Whether ``data`` is taken in. Whatever is raised here is a finding."""
        try:
            self._made[0](data)
        except FeditError as refusal:
            require_shown(refusal)
            return False
        return True


def require_shown(refusal: FeditError) -> None:
    """A refusal goes to a terminal: it says something, moves no cursor, and is not as long as what it refuses."""
    assert refusal.message, "a refusal without words"
    for text in (refusal.message, refusal.advice):
        assert _SHOWN.match(text), f"a refusal that a terminal would obey: {text!r:.300}"
        assert len(text) <= _LONGEST_WORDS, f"a refusal of {len(text)} characters"


def stable(data: bytes, decode: Callable[[bytes], Any], encode: Callable[[Any], bytes]) -> Any:
    """What ``data`` decodes to; encoded, it decodes to the same again. Compared as bytes: NaN is not equal to NaN."""
    value = decode(data)
    with taken():
        written = encode(value)
        assert encode(decode(written)) == written
    return value


@contextmanager
def taken() -> Iterator[None]:
    """What was taken in once is not refused later."""
    try:
        yield
    except FeditError as refusal:
        raise AssertionError(f"taken in, and refused later: {refusal}") from refusal


def scratch() -> Path:
    """A folder that goes when this process ends, in memory where there is one."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fuzzing-", dir=shared if shared.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
