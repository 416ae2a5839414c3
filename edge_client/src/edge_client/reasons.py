"""What an exception of somebody else's says, in a message of ours."""


def reason_of(error: BaseException, limit: int = 300) -> str:
    """The first line of ``error``, or its name, without a full stop, in ``limit`` characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:limit].rstrip(".")


def said_by_server(reason: str) -> str:
    """A server's own words, which nobody is to take for this program's."""
    return f"The server says: {reason}"
