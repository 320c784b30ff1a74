"""The machines of a simulated network, and the lives of the nodes on them."""

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
"""The number of a node's second port, counted from its first."""

PUZZLE = Puzzle("simulated", 0)
"""Of all simulated networks: every proof solves it, so that nodes are made at once."""


class NodeRole(Enum):
    """A bootstrap node routes but holds no values, and no client talks to it."""

    NODE = "node"
    BOOTSTRAP = "bootstrap"


@frozen(eq=False)
class Host:
    """A machine, and the node that runs on it whenever it runs."""

    number: int
    role: NodeRole
    identity: Identity = field(repr=False)
    address: Address
    behind_nat: bool = False
    """Reached by those alone whom it has sent to: see `sim.network.Nat`."""
    skew: float = 0.0
    """Seconds by which its clock is wrong."""
    make_responder: MakeResponder = Responder
    """What answers others there; the shipped one, unless the node is hostile."""
    disk: VirtualDisk | None = None
    """Where its values lie. None: in memory, and gone with the process."""

    @property
    def contact(self) -> Contact:
        """As others know its node."""
        return Contact(self.identity.node_id, self.address, self.identity.proof)

    @property
    def probe_address(self) -> Address:
        """Whence its node probes those who call it."""
        host, port = self.address
        return host, port + PROBE_PORT

    @property
    def is_hostile(self) -> bool:
        """Whether it does not conduct itself as the shipped node does."""
        return self.make_responder is not Responder


@frozen(eq=False)
class VirtualNode:
    """One life of one node."""

    host: Host
    process: Process
    ports: tuple[VirtualPort, VirtualPort]
    """That of its RPCs, and the one that it probes callers from."""
    stack: Stack
    began: float

    @property
    def port(self) -> VirtualPort:
        """That of its RPCs."""
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
        """Whether its process is neither frozen nor dead."""
        return self.process.state is ProcessState.RUNNING


@frozen
class Operation(Generic[T]):
    """One operation: its result, how long it took, and the datagrams from and to its node meanwhile."""

    result: T
    seconds: float
    datagrams: int
