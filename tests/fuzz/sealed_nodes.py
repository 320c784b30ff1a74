"""A target of several steps: a whole node with encrypted sessions, among independent peers. They call it and
are called by it, answer as they should or with any bytes, restart, and fall silent."""

import random
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from attrs import define, field
from cryptography.exceptions import InvalidTag
from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs

from dht14.kademlia.contact import Address
from dht14.kademlia.keyspace import hash_id, id_from_bytes, id_to_bytes
from dht14.node.policy import Policy
from dht14.security.identity import Identity, Puzzle
from dht14.sim.clock import HeapClock
from dht14.stack import StackOptions
from dht14.stack_builder import build_stack
from dht14.wire.datagram import encode
from dht14.wire.messages import Announce, FindNode, FindValue, Offer, Ping, Store, Value, Watch
from tests.fakes import BEGINNING
from tests.fuzz.nodes import Sent
from tests.fuzz.steps import step, steps
from tests.independent_messages import VOID
from tests.independent_peer import Identity as IndependentIdentity
from tests.independent_peer import Initiator, Message, Proofs, Responder, read_message, write_message
from tests.outcomes import acknowledged, value_of
from tests.owners import Owner
from tests.stacks import stack_inputs
from tests.wire.test_datagram import SAMPLES

PUZZLE, PROOFS = Puzzle("fuzz", 0), Proofs("fuzz", 0)
OWN = Identity.made_up(PUZZLE, random.Random(1))
NODE_AT = ("192.0.2.200", 8000)
IDENTITIES = [IndependentIdentity(PROOFS, bytes([number]) * 32) for number in range(1, 5)]
RPC_ID = b"rpc id.."

ASK, ANSWER, ANSWER_RIGHT, RAW, GET, PUT, WATCH, LOOK_UP, WAIT, RESTART, SILENCE, HONEST = range(12)
KINDS = 12


@define(eq=False)
class SealedPeer:
    """One peer: its session with the node, the one that the node has with it, and what the node asked it."""

    identity: IndependentIdentity
    address: Address
    clock: HeapClock
    rng: random.Random
    session: Initiator | None = None
    """The session that it began."""
    responder: Responder = field(init=False)
    asked: list[bytes] = field(factory=list)
    """Requests of the node that it has not answered."""
    is_silent: bool = False
    has_answered: bool = False
    """Whether it ever answered a HELLO, so that it may be a contact."""

    def __attrs_post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget all sessions."""
        self.session = None
        self.asked = []
        self.responder = Responder(PROOFS, self.identity, self.rng.randbytes, self.clock.seconds)

    @property
    def packed(self) -> bytes:
        """This peer as a contact with IPv4."""
        host, port = self.address
        return self.identity.proof + bytes(map(int, host.split("."))) + port.to_bytes(2, "big")

    def hear(self, datagram: bytes) -> bytes | None:
        """Take a datagram of the node; return what it sends back at once."""
        if self.is_silent:
            return None
        with suppress(*VOID, InvalidTag):
            if datagram[0] == 0x41:
                self.has_answered = True
                return self.responder.challenge(datagram)
            if datagram[0] == 0x43:
                self._add(self.responder.finish(datagram, NODE_AT))
            elif datagram[0] == 0x45 and hasattr(self.responder, "k_ir"):
                if datagram[1:9] == self.responder.cid:
                    self._add(self.responder.open(datagram))
                elif self.session is not None and datagram[1:9] == self.session.cid:
                    self.session.open(datagram)
        return None

    def _add(self, request: bytes) -> None:
        if request and request[:1] != b"\x00":
            self.asked.append(request)


class SealedTrial:
    """One input from start to end."""

    def __init__(self) -> None:
        self.clock = HeapClock(BEGINNING)
        self.stack = build_stack(
            stack_inputs(
                OWN,
                self.clock,
                StackOptions(Policy(), storage_limit=1 << 20, sealed=True),
                verify_proof=PUZZLE.verify_proof,
                rng=random.Random(14),
                resolve=lambda host, port: succeed([]),
            )
        )
        self.ports: list[tuple[Any, Sent]] = []
        for protocol in (self.stack.rpc, self.stack.probe):
            transport: Any = Sent()
            protocol.transport = transport
            protocol.startProtocol()
            self.ports.append((protocol, transport))
        rng = random.Random(5)
        self.peers = [
            SealedPeer(identity, (f"20.{number}.0.1", 8000), self.clock, rng)
            for number, identity in enumerate(IDENTITIES, 1)
        ]
        self.by_address = {peer.address: peer for peer in self.peers}
        self.outcomes: list[Deferred[Any]] = []
        self.held: dict[int, list[int | bytes]] = {}
        """What honest peers were given: the fields of the latest STORE, by key."""
        self.are_honest = False
        """Whether peers answer by themselves."""
        self.requests: list[bytes] = []
        self.answers: list[bytes] = []
        """What peers have said: either may name addresses."""
        self.probed: dict[Any, list[float]] = {}
        """When something was sent to an address that is nobody's and that only a request has named."""

    def take(self, what: int, data: bytes) -> None:
        """One step. The first byte of `data` names the peer."""
        peer, rest = self.peers[sum(data[:1]) % len(self.peers)], data[1:]
        key, node = id_from_bytes(rest[:32].ljust(32, b"\0")), self.stack.node
        if what == ASK:
            self.requests.append(rest)
            self.ask(peer, rest)
        elif what in (ANSWER, ANSWER_RIGHT) and peer.asked:
            request = peer.asked.pop()
            self.answer(peer, right_answer(self, request) if what == ANSWER_RIGHT else _under(request, rest))
        elif what == RAW:
            self.stack.rpc.datagramReceived(rest, peer.address)
        elif what == GET:
            self.outcomes.append(node.get(key).addCallback(value_of))
        elif what == PUT:
            self.outcomes.append(node.put(key, rest[32:] or b"value", 60, 8).addCallback(acknowledged))
        elif what == LOOK_UP:
            self.outcomes.append(node.find_nodes(key))
        elif what == WATCH:
            node.watch(key, lambda state: None)
        elif what == WAIT:
            self.wait(int.from_bytes(data[:2], "big") / 100)
        elif what == RESTART:
            peer.restart()
        elif what == SILENCE:
            peer.is_silent = not peer.is_silent
        elif what == HONEST:
            self.are_honest = not self.are_honest
        self.deliver()

    def ask(self, peer: SealedPeer, request: bytes) -> None:
        """Send a request of a peer, in its session or in a handshake."""
        if peer.session is not None and hasattr(peer.session, "peer_cid"):
            self.stack.rpc.datagramReceived(peer.session.data(request[:1_100]), peer.address)
            return
        self.deliver()
        caller = Initiator(PROOFS, peer.identity, None, peer.rng.randbytes, self.clock.seconds)
        for answer in self.replies(caller.hello, peer):
            finish = caller.finish(answer, request[:1_003])
            for accept in self.replies(finish, peer):
                if accept[:1] == b"\x44":
                    caller.open(accept)
                    peer.session = caller
        if not hasattr(caller, "peer_cid"):
            # The node does not answer malformed requests: an empty FINISH gets an ACCEPT at once.
            peer.session = None

    def replies(self, datagram: bytes, peer: SealedPeer) -> list[bytes]:
        """What the node sends to this peer at once, for this datagram."""
        _, sent = self.ports[0]
        before = len(sent.datagrams)
        self.stack.rpc.datagramReceived(datagram, peer.address)
        new = [raw for raw, address in sent.datagrams[before:] if address == peer.address]
        return [raw for raw in new if raw[:1] in (b"\x42", b"\x44") and raw[1:9] == datagram[1:9]]

    def answer(self, peer: SealedPeer, reply: bytes) -> None:
        """Send a reply in the session that the node has with a peer."""
        self.answers.append(reply)
        if hasattr(peer.responder, "k_ri") and len(reply) <= 1_140:
            self.stack.rpc.datagramReceived(peer.responder.answer(reply), peer.address)

    def deliver(self) -> None:
        """Give the peers what the node has sent, until it sends no more."""
        for _ in range(50):
            on_the_way = [
                (protocol, raw, address) for protocol, sent in self.ports for raw, address in sent.datagrams
            ]
            for _, sent in self.ports:
                sent.datagrams.clear()
            for protocol, raw, address in on_the_way:
                peer = self.by_address.get(address)
                if peer is None:
                    self.sent_to_nobody(address)
                    continue
                if (back := peer.hear(raw)) is not None:
                    protocol.datagramReceived(back, address)
                while self.are_honest and peer.asked:
                    self.answer(peer, right_answer(self, peer.asked.pop()))
            if not on_the_way:
                break

    def sent_to_nobody(self, address: tuple[str, int]) -> None:
        """Nothing is sent to an address that nobody has named, and two datagrams in ten minutes to one that
        somebody says is his own."""
        packed = ip_address(address[0]).packed + address[1].to_bytes(2, "big")
        if any(packed in said for said in self.answers):
            return
        assert any(packed in said for said in self.requests), f"sent to {address}"
        now, times = self.clock.seconds(), self.probed.setdefault(address, [])
        times.append(now)
        assert sum(now - 600 < time for time in times) <= 2, f"sent to {address} at {times}"

    def wait(self, seconds: float) -> None:
        until = self.clock.seconds() + min(seconds, 60.0)
        while self.clock.seconds() < until:
            self.clock.run_until(min(self.clock.seconds() + 0.25, until))
            self.deliver()

    def end(self) -> None:
        """What holds after any input."""
        self.stack.node.watches.stopService()
        self.wait(20)
        assert all(outcome.called for outcome in self.outcomes)
        self.stack.table.check_invariants()
        layer: Any = self.stack.session_layer
        layer.sessions.check_invariants()
        may_be_contacts = {PUZZLE.verify_proof(p.identity.proof) for p in self.peers if p.has_answered}
        assert {contact.node_id for contact in self.stack.table.contacts()} <= may_be_contacts
        assert not self.stack.rpc._pending, "calls that never end"


def _under(request: bytes, reply: bytes) -> bytes:
    """A reply with the RPC id of a request, where the request has one."""
    return reply[:2] + request[2:10] + reply[10:]


def right_answer(trial: SealedTrial, request: bytes) -> bytes:
    """What a good node would answer: it knows all peers, and holds what it was given."""
    try:
        rpc_id, code, *fields = read_message(request)
    except VOID:
        return b""
    none = b"\0\0"
    everybody = len(trial.peers).to_bytes(2, "big") + b"".join(peer.packed for peer in trial.peers)
    key = int.from_bytes(fields[0], "big") if fields and isinstance(fields[0], bytes) else 0
    answers: dict[int, Message] = {
        1: [64, int(trial.clock.seconds() * 1000)],
        2: [65, everybody, 1],
        3: [65, everybody, 1],
        4: [67, none, 1, 8],
        5: [70, none, bytes(16)],
        6: [64, 0],
        7: [64, 0],
        8: [64, 0],
        9: [73, 60_000, bytes(8), none],
        10: [64, 0],
        11: [74, b"peer/1"],
    }
    if code == 4:
        trial.held[key] = fields
    elif code == 3 and key in trial.held:
        _, version, ttl, copies, _, value, _ = trial.held[key]
        answers[3] = [66, version, ttl, copies, 1, value, none]
    return write_message([rpc_id, *answers.get(code, [64, 0])]) if isinstance(code, int) else b""


def sealed_node(raw: bytes) -> None:
    """Whatever peers with sessions send, the node finishes its operations, raises nothing, and takes nobody
    for a contact who answered no probe."""
    with capturedLogs() as events:
        trial = SealedTrial()
        for what, data in steps(raw):
            trial.take(what % KINDS, data)
        trial.end()
    for event in events:
        assert "log_failure" not in event, event["log_failure"]


def _ask(peer: int, message: Any) -> bytes:
    return step(ASK, bytes([peer]) + encode(RPC_ID, message))


def sealed_steps() -> list[bytes]:
    """Each kind of step, and the ones that belong together."""
    content = hash_id(b"content").to_bytes(32, "big")
    owner = Owner(1)
    owners_key, owned = id_to_bytes(owner.key), owner.says(b"payload", 5)
    version = int(BEGINNING * 1000) << 16
    met = b"".join(_ask(peer, Ping()) for peer in range(4)) + step(WAIT, b"\0\x64")
    honest = step(HONEST) + met
    key = bytes(32)
    late = step(ANSWER_RIGHT, b"\0") + step(ANSWER_RIGHT, b"\1") + step(ANSWER_RIGHT, b"\2")
    return [
        *(_ask(0, Ping()) + _ask(0, sample) for sample in SAMPLES),
        met + step(GET, b"\0" + key) + late + step(WAIT, b"\2\0"),
        honest + step(PUT, b"\0" + key + b"value") + step(WAIT, b"\0\x64") + step(GET, b"\0" + key),
        honest + step(PUT, b"\0" + content + b"content") + step(GET, b"\0" + content) + step(WAIT, b"\2\0"),
        honest
        + step(PUT, b"\0" + owners_key + owned)
        + step(WAIT, b"\2\0")
        + step(GET, b"\0" + owners_key)
        + step(WAIT, b"\2\0"),
        honest + step(WATCH, b"\0" + key) + step(WAIT, b"\x0f\0") + _ask(1, Watch(0, b"", True)),
        honest + step(LOOK_UP, b"\0" + content) + step(RESTART, b"\2") + step(LOOK_UP, b"\0" + key),
        honest + step(SILENCE, b"\1") + step(PUT, b"\0" + key + b"value") + step(WAIT, b"\2\0"),
        met
        + _ask(1, Store(7, version, 60_000, 8, 0, b"value"))
        + _ask(2, FindValue(7))
        + _ask(3, FindNode(7)),
        met
        + _ask(1, Offer(7, version, 60_000, 8, 0, False, 5, content))
        + step(RESTART, b"\1")
        + _ask(1, Ping()),
        met
        + step(GET, b"\0" + key)
        + step(ANSWER, b"\0" + encode(RPC_ID, Value(version, 60_000, 8, True, b"v"))),
        b"".join(_ask(peer, Announce(("20.9.0.1", 8000))) + step(WAIT, b"\2\0") for peer in range(4)),
        step(RAW, b"\0\x45" + bytes(60)) + step(RAW, b"\1\x41" + bytes(255)) + met,
    ]
