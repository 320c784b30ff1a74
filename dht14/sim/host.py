"""The hosts of a simulated network, and the processes of nodes on them."""

from enum import Enum
from typing import Generic, TypeVar

from attrs import field, frozen

from dht14.kademlia.contact import Address, Contact
from dht14.node.responder import Responder
from dht14.security.identity import Identity, Puzzle
from dht14.sim.clock import Process, ProcessState
from dht14.sim.network import VirtualPort
from dht14.sim.virtual_disk import VirtualDisk
from dht14.stack import MakeResponder, Stack

T = TypeVar("T")

PROBE_PORT = 10_000
"""The port number of a node's probes, minus that of its RPCs."""

PUZZLE = Puzzle("simulated", 0)
"""Every proof solves it, so identities cost no time."""


class NodeRole(Enum):
    """A bootstrap node routes, but holds no values and serves no clients."""

    NODE = "node"
    BOOTSTRAP = "bootstrap"


@frozen(eq=False)
class Host:
    """A host and the configuration of its node."""

    number: int
    role: NodeRole
    identity: Identity = field(repr=False)
    address: Address
    behind_nat: bool = False
    """See `sim.network.Nat`."""
    skew: float = 0.0
    """Seconds by which its wall clock is ahead."""
    make_responder: MakeResponder = Responder
    """Makes the responder: the shipped one, unless the node is hostile."""
    disk: VirtualDisk | None = None
    """The disk for its values. None: they are in memory, and lost with the process."""

    @property
    def is_holder(self) -> bool:
        """Whether others can store records at its node: behind a NAT nobody can call it."""
        return self.role is NodeRole.NODE and not self.behind_nat

    @property
    def contact(self) -> Contact:
        """Its node as a contact of others."""
        return Contact(self.identity.node_id, self.address, self.identity.proof)

    @property
    def probe_address(self) -> Address:
        """The address from which its node sends probes."""
        host, port = self.address
        return host, port + PROBE_PORT

    @property
    def is_hostile(self) -> bool:
        """Whether its responder is not the shipped one."""
        return self.make_responder is not Responder


@frozen(eq=False)
class VirtualNode:
    """One process of one node, from its start to its end."""

    host: Host
    process: Process
    ports: tuple[VirtualPort, VirtualPort]
    """Of RPCs and of probes."""
    stack: Stack
    started_at: float

    @property
    def port(self) -> VirtualPort:
        """Of RPCs."""
        return self.ports[0]

    @property
    def number(self) -> int:
        """Of its host."""
        return self.host.number

    @property
    def role(self) -> NodeRole:
        """Of its host."""
        return self.host.role

    @property
    def contact(self) -> Contact:
        """Of its host."""
        return self.host.contact

    @property
    def running(self) -> bool:
        """Whether the process is neither frozen nor dead."""
        return self.process.state is ProcessState.RUNNING


@frozen
class Operation(Generic[T]):
    """One operation of a client: its result, its duration, and the datagrams and bytes from and to its node
    meanwhile."""

    result: T
    seconds: float
    datagrams: int
    bytes: int
