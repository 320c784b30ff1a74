"""Where a node's API is, as users write it."""

import os
import re

DEFAULT_ADDRESS = "127.0.0.1:7400"


def parse_address(address: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT` or `[IPV6]:PORT`. Raises ValueError, TypeError."""
    if not isinstance(address, str):
        raise TypeError(f"an address is a text, HOST:PORT, not {type(address).__name__}")
    host, _, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or (":" in host and not bracketed) or not re.fullmatch("[0-9]{1,5}", port):
        raise ValueError(f"{address!r} is not HOST:PORT or [IPV6]:PORT")
    if not 1 <= int(port) <= 65_535:
        raise ValueError(f"{address!r}: a port is 1 to 65535")
    return (host[1:-1] if bracketed else host), int(port)


def format_address(host: str, port: int) -> str:
    """Return an address as it is written."""
    return f"{f'[{host}]' if ':' in host else host}:{port}"


def problem_of(error: OSError) -> str:
    """Return why no connection could be made. asyncio writes text of its own into its errors."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)
