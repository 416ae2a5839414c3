"""Runs vector files against this package: does it compute, and refuse, what the protocol says?

``python -m fedit_shared.conformance FILE…`` prints one line a case, ``ok`` or ``FAILED`` with the first difference, and
exits with 0 if all passed, 1 if one did not, 2 for what is no vector file.

**A file** is JSON: ``{"format": "fedit-vectors-1", "about": text, "given": {name: value}, "cases": [case]}``.
**A case** is ``{"name", "kind", "in": {name: value}}`` with either ``"out"``, the result as a JSON object, or
``"error"``, the ``code`` (:mod:`fedit_shared.errors`) with which the input must be refused. Inputs are ``given``,
overlaid by ``in``. The result must equal ``out`` exactly: same names, same values. The kinds, with their inputs and
results, are the functions of :mod:`.arithmetic`, :mod:`.signed`, :mod:`.members` and :mod:`.sums`.

**Values.** Bytes are written in hex, or as ``{"repeat": hex, "size": n}``: repeated up to n bytes; or as ``{"of": path,
"put": [[offset, hex], …], "size": n}``: a value of ``given``, or else of ``in``, found by names and list places joined
with dots, with bytes overwritten and then cut off, or filled up with zeros, to n (``put`` and ``size`` may be absent).
The numbers that JSON does not have are ``"nan"`` and ``"inf"``. A long array in a result is ``{"count", "bytes",
"sha256", "first"}``: its length, the bytes of an element, the SHA-256 of the little-endian elements, the first four.
"""

from .runner import KINDS, Outcome, check, run

__all__ = ["KINDS", "Outcome", "check", "run"]
