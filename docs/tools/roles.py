"""A griffe extension: the roles that docstrings use (``:class:`Client```) become links of the site.

A name with a leading ``~`` is shown by its last part. What begins with a dot, or stands alone, is a name in the
docstring's own scope and is shown without a link where no page has it.
"""

import re
from typing import Any

from griffe import Docstring, Extension, Object

ROLE = re.compile(r":(?:class|meth|func|mod|data|attr|exc):`(~?)([\w.]+)`")


class Roles(Extension):
    """Rewrites every docstring as it is read."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring = Docstring(
                ROLE.sub(_link, obj.docstring.value),
                lineno=obj.docstring.lineno,
                endlineno=obj.docstring.endlineno,
                parent=obj,
            )


def _link(role: re.Match[str]) -> str:
    short, name = role[1], role[2].lstrip(".")
    return f"`{name.rpartition('.')[2] if short else name}`"
