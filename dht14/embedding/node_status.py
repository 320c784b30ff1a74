"""What a node in this process says about itself."""

from attrs import frozen


@frozen(kw_only=True)
class NodeStatus:
    """The state of a node at one moment."""

    is_ready: bool
    """Whether puts and gets are answered at once; before that they wait."""
    waits_for: tuple[str, ...]
    """What is missing until then: of `identity`, `values` and `join`."""
    joined: bool
    """Whether it is in contact with other nodes."""
    node_id: str | None
    """64 hex digits; None while the proof of work is mined."""
    p2p_address: str
    api_address: str | None
    contacts: int
    """Nodes in the routing table."""
    values: int
    """Values on its disk, also those that have expired and were not swept yet."""
    stored_bytes: int
    """Bytes that they take."""
