"""What a reply says about third parties, as far as its sender can know it."""

from attrs import evolve

from dht14.kademlia.contact import Contact
from dht14.security.subnet import is_private
from dht14.wire.messages import LargeValue, Nodes, Outranked, Refused, Reply, Stored, Value, Wanted

_NAMING = (Value, LargeValue, Stored, Outranked, Refused, Wanted)


def believable(reply: Reply, host: str) -> Reply:
    """The reply of the node at this numeric address, without contacts that cannot be where it says.

    Who is on the internet knows nobody on our loopback or our local network: to call such a contact would
    be to scan our own network for a stranger.
    """
    if isinstance(reply, Nodes):
        contacts = reply.contacts
    elif isinstance(reply, _NAMING):
        contacts = reply.nearer
    else:
        return reply
    if is_private(host) or not any(is_private(contact.address[0]) for contact in contacts):
        return reply
    public = _public(contacts)
    return evolve(reply, contacts=public) if isinstance(reply, Nodes) else evolve(reply, nearer=public)


def _public(contacts: tuple[Contact, ...]) -> tuple[Contact, ...]:
    return tuple(contact for contact in contacts if not is_private(contact.address[0]))
