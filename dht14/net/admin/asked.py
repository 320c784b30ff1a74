"""Reads what several pages take in the same way: a key, a lifetime and copies, a page of a list."""

from collections.abc import Callable, Mapping
from typing import Any

from dht14.kademlia.parameters import MAX_REPLICATION
from dht14.net.admin.endpoint import AdminCall, Answer, HttpError, whole_number

MAX_TTL = 65_535
"""Seconds, as in the API."""

MAX_PAGE = 1_000
"""Items of a list in one answer."""

ParseKey = Callable[[str], int]
"""Makes a key of what a user writes. Raises `ValueError` with the reason."""


def asked_key(parse_key: ParseKey, text: str) -> int:
    """Return the key that a request names. Raises `HttpError`."""
    try:
        return parse_key(text)
    except ValueError as error:
        raise HttpError(400, str(error)) from None


def asked_storage(given: Mapping[str, str]) -> tuple[int, int]:
    """Return the time to live in seconds and the copies that the parameters of a request ask for; 0 for the
    defaults. Raises `HttpError`."""
    ttl = whole_number(given, "ttl", 0, 0, MAX_TTL)
    return ttl, whole_number(given, "replication", 0, 0, MAX_REPLICATION)


def page_of_list(call: AdminCall, read: Callable[[str, int], Mapping[str, Any]]) -> Answer:
    """Answer with at most `limit` items behind a cursor; `read` takes both. Raises `HttpError`."""
    limit = whole_number(call.parameters, "limit", 100, 1, MAX_PAGE)
    try:
        return Answer.of_json(read(call.parameters.get("after", ""), limit))
    except ValueError as error:
        raise HttpError(400, str(error), "Use the 'next' of an earlier page as 'after'.") from None
