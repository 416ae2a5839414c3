"""Paths as a person names them."""

import os
from pathlib import Path

from fedit_shared.errors import UserError


def absolute(path: str | Path) -> Path:
    """``path`` from the root on, ``~`` resolved. Raises UserError for one that cannot be kept in a file: its name is
    no Unicode text, or its ``~`` is nobody's home."""
    try:
        found = Path(os.path.normpath(Path(path).expanduser().absolute()))
        str(found).encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode(errors="surrogateescape").decode(errors="replace")
        raise UserError(f"The name {shown} is not valid UTF-8.", advice="Rename the file or folder.") from error
    except RuntimeError as error:
        raise UserError(f"{path}: {error}", advice="Write the path out.") from error
    return found
