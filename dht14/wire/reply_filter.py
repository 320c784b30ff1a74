"""What a message says about where nodes are, as far as its sender can know it.

Which messages name addresses follows from the schema. One that names them in a form that is not known here
cannot even be imported.
"""

from collections.abc import Callable
from typing import Any, get_args

from attrs import evolve, fields

from dht14.kademlia.contact import Address, Contact
from dht14.security.subnets import is_private
from dht14.wire.messages import SCHEMA, Message, Ping, Request


def without_private_contacts(message: Message, host: str) -> Message:
    """Return the message of the node at this numeric address, without what it cannot know of others.

    Who is on the internet knows nobody on our loopback or our local network: to call an address there would
    be to scan our own network for a stranger. A request that gives one address of this kind is no more than
    a PING.
    """
    without_private = _NAMING.get(type(message))
    return message if without_private is None or is_private(host) else without_private(message)


def _of_contacts(name: str) -> Callable[[Any], Message]:
    def without_private(message: Any) -> Message:
        named: tuple[Contact, ...] = getattr(message, name)
        public = tuple([contact for contact in named if not is_private(contact.address[0])])
        left: Message = message if len(public) == len(named) else evolve(message, **{name: public})
        return left

    return without_private


def _of_address(name: str) -> Callable[[Any], Message]:
    def without_private(message: Any) -> Message:
        left: Message = Ping() if is_private(getattr(message, name)[0]) else message
        return left

    return without_private


def without_private(message: type[Any]) -> Callable[[Any], Message] | None:
    """What takes private addresses out of messages of this class; None for one that names no addresses.

    Raises TypeError where that cannot be told.
    """
    naming = [one for one in fields(message) if _may_name_addresses(one.type)]
    if not naming:
        return None
    match [(one.name, one.type) for one in naming]:
        case [(name, kind)] if kind == tuple[Contact, ...]:
            return _of_contacts(name)
        case [(name, kind)] if kind == Address and message in get_args(Request):
            return _of_address(name)
    raise TypeError(f"{message.__name__} names addresses in a way that hearsay does not know")


def _may_name_addresses(kind: Any) -> bool:
    return kind in (str, Contact) or any(map(_may_name_addresses, get_args(kind)))


_NAMING = {message: clean for message, _ in SCHEMA.values() if (clean := without_private(message))}
