"""Removes private addresses from what a node on the internet says about others.

The schema decides which messages name addresses. A new message is filtered too; one that names addresses in a
form that this module does not know cannot even be imported.
"""

from collections.abc import Callable, Mapping
from typing import Any, get_args

from attrs import evolve, fields

from dht14.kademlia.contact import Address, Contact
from dht14.records.store import Refusal
from dht14.security.subnets import is_private
from dht14.wire.messages import InventoryEntry, Message, Ping, Request
from dht14.wire.schema import SCHEMA, MessageSchema

Filter = Callable[[Any], Message]
"""From a message to the same message without private addresses."""


_NAMES_NOBODY = (int, bool, bytes, Refusal, tuple[InventoryEntry, ...])
"""The types of fields that cannot hold an address."""


def without_private_contacts(message: Message, host: str) -> Message:
    """Return a message of the node at this numeric address without what that node cannot know.

    A node on the internet knows nobody on our loopback or our local network. If we called an address there,
    we would scan our own network for an unknown peer. An ANNOUNCE of a private address becomes a PING.
    """
    without_private = _FILTERS.get(type(message))
    return message if without_private is None or is_private(host) else without_private(message)


def filters_of(schema: Mapping[int, MessageSchema]) -> dict[type[Message], Filter]:
    """Return the filter of each message that names addresses.

    Raises TypeError for a message with a field that is neither a number, nor bytes, nor of a known form.
    """
    filters = {}
    for entry in schema.values():
        without_private = _filter_of(entry.message)
        if without_private is not None:
            filters[entry.message] = without_private
    return filters


def _filter_of(message: type[Any]) -> Filter | None:
    naming = [(one.name, one.type) for one in fields(message) if one.type not in _NAMES_NOBODY]
    match naming:
        case []:
            return None
        case [(name, kind)] if kind == tuple[Contact, ...]:
            return _of_contacts(name)
        case [(name, kind)] if kind == Address and message in get_args(Request):
            return _of_address(name)
    raise TypeError(f"{message.__name__} names addresses in a form that the filter does not know")


def _of_contacts(name: str) -> Filter:
    def without_private(message: Any) -> Message:
        named: tuple[Contact, ...] = getattr(message, name)
        public = tuple([contact for contact in named if not is_private(contact.address[0])])
        left: Message = message if len(public) == len(named) else evolve(message, **{name: public})
        return left

    return without_private


def _of_address(name: str) -> Filter:
    def without_private(message: Any) -> Message:
        left: Message = Ping() if is_private(getattr(message, name)[0]) else message
        return left

    return without_private


_FILTERS = filters_of(SCHEMA)
