"""Field types with their bounds: a value outside them is refused when a message is decoded."""

from typing import Annotated

import msgspec

from fedit_shared.text import UNSHOWN

Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Identity = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
CohortId = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
Size = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
UnixTime = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
TEXT_PATTERN = rf"\A[^{UNSHOWN}]*\Z"
Text = Annotated[str, msgspec.Meta(max_length=400, pattern=TEXT_PATTERN)]
"""A line that can be shown as it is: it moves no cursor, and is read in the order in which it was written."""


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=str.lower):
    """Base of the wire messages: immutable, fields by name, the class name in small letters as tag."""
