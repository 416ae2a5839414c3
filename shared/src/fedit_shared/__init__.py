"""What a participant's client and the aggregation server have in common.

Nothing here does I/O, reads a clock or starts a thread: bytes, times and randomness are passed in. So everything
that matters for privacy can be read, and tested, without a socket.
"""

__version__ = "0.1.0.dev0"
