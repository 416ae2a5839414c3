"""How the package's loops are compiled: by numba, once, kept on disk, and without the GIL.

numba's own cache trusts a kernel as long as the kernel's file is unchanged; but constants from ``parameters`` are
compiled in, and functions of another file would be. So whatever a kernel is made of is part of the key here: the
package's version and the text of every file in ``_SOURCES``. A kernel imports nothing of the package from elsewhere.
"""

from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numba.core.caching import FunctionCache
from numpy.typing import NDArray

from . import __version__

Word = TypeVar("Word", bound=np.generic)

_SOURCES = ("compiled.py", "parameters.py", "rounding.py", "secagg/kernels.py")


def _fingerprint() -> str:
    folder = Path(__file__).parent
    digest = sha256(__version__.encode())
    for name in _SOURCES:
        with suppress(OSError):  # packed into one file (a zip, a frozen program): the version alone must do
            digest.update(sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()


_KEY = _fingerprint()


class KernelCache(FunctionCache):
    """numba's cache on disk (beside the sources, else in the user's cache folder; ``NUMBA_CACHE_DIR`` is honoured),
    with a stricter key. A file that cannot be read or written costs a compilation, never an error."""

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), _KEY)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function, or None."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # a torn file raises whatever pickle and LLVM make of it
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function if there is room."""
        with suppress(OSError):
            super().save_overload(sig, data)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` with numba at its first call, for the types it is called with."""
    compiled: Any = njit(nogil=True)(function)
    with suppress(RuntimeError):  # no folder can be written: compile anew in every process
        compiled._cache = KernelCache(function)
    return compiled


def constant(array: NDArray[Word]) -> NDArray[Word]:
    """``array`` as kernels read what they are given: C order, read-only, no subclass; shares its memory if it can.

    numba compiles anew for an argument that may be written to, or that lies in a mapped file.
    """
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
