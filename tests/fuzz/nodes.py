"""Targets of several steps: a whole node, and a connection of the API."""

import random
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from dht14.kademlia.contact import Address
from dht14.kademlia.keyspace import hash_id, id_from_bytes
from dht14.net.api.factory import ApiFactory
from dht14.net.api.metrics import BadFrame
from dht14.node.policy import Policy
from dht14.records.receipt import NoRecord
from dht14.session.plaintext import PLAIN
from dht14.sim.clock import HeapClock
from dht14.stack import StackOptions
from dht14.stack_builder import build_stack
from dht14.wire import api_messages
from dht14.wire.datagram import encode
from dht14.wire.messages import (
    FindNode,
    FindValue,
    Nodes,
    Offer,
    Outranked,
    Ping,
    Refused,
    Store,
    Stored,
    Value,
    Wanted,
)
from tests.fakes import BEGINNING, contact_at, identity
from tests.fuzz.steps import step, steps
from tests.net.api.case import UNLIMITED, QuickNode, Wire
from tests.outcomes import acknowledged, value_of
from tests.owners import Owner
from tests.stacks import stack_inputs
from tests.wire.test_datagram import SAMPLES

OWN_ID = 1 << 200
FRIEND = contact_at(1 << 201, ("192.0.2.1", 8000))
UNKNOWN_PEER = contact_at(1 << 202, ("192.0.2.2", 8000))
NEAR = (contact_at(1 << 203, ("192.0.2.9", 8000)), contact_at(3, ("2001:db8::1", 8000)))
"""The contacts that the friend may name."""
REACHABLE = {contact.address: contact for contact in (FRIEND, *NEAR)}
REACHABLE_IDS = {contact.node_id for contact in REACHABLE.values()}
RPC_ID = b"rpc id.."

FROM_FRIEND, FROM_UNKNOWN_PEER, ANSWER, GET, PUT, WAIT, RAW, PROBED, LOOK_UP = range(9)
KINDS = 9


class Sent:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.datagrams: list[tuple[bytes, Address]] = []

    def write(self, datagram: bytes, address: Address) -> None:
        assert 0 < len(datagram) <= 1_200
        self.datagrams.append((datagram, address))


class Trial:
    """One input from start to end: a node that knows one other node."""

    def __init__(self) -> None:
        self.clock = HeapClock(BEGINNING)
        self.stack = build_stack(
            stack_inputs(
                identity(OWN_ID),
                self.clock,
                StackOptions(Policy(), storage_limit=1 << 20, sealed=False),
                rng=random.Random(14),
                resolve=lambda host, port: succeed([]),
            )
        )
        transports: list[Any] = [Sent(), Sent()]
        for protocol, transport in zip((self.stack.rpc, self.stack.probe), transports, strict=True):
            protocol.transport = transport
            protocol.startProtocol()
        self.sent: Sent = transports[0]
        self.stack.table.confirmed(FRIEND, BEGINNING, 0.01)
        self.outcomes: list[Deferred[Any]] = []

    def receive(self, payload: bytes, sender: Any = FRIEND) -> None:
        self.stack.rpc.datagramReceived(PLAIN + sender.proof + payload, sender.address)

    def take(self, what: int, data: bytes) -> None:
        """One step."""
        node = self.stack.node
        key = id_from_bytes(data[:32].ljust(32, b"\0"))
        if what == FROM_FRIEND:
            self.receive(data)
        elif what == FROM_UNKNOWN_PEER:
            self.receive(data, UNKNOWN_PEER)
        elif what == ANSWER:
            self.answer(data)
        elif what == GET:
            self.outcomes.append(node.get(key).addCallback(value_of))
        elif what == PUT:
            self.outcomes.append(node.put(key, data[32:] or b"value", 60, 8).addCallback(acknowledged))
        elif what == LOOK_UP:
            self.outcomes.append(node.find_nodes(key))
        elif what == WAIT:
            self.wait(int.from_bytes(data[:2], "big") / 100)
        elif what == RAW:
            self.stack.rpc.datagramReceived(data, FRIEND.address)
        else:
            self.stack.probe.datagramReceived(data, UNKNOWN_PEER.address)

    def answer(self, data: bytes) -> None:
        """Answer the latest request that was not: the data as a message, under its RPC id."""
        while self.sent.datagrams:
            datagram, address = self.sent.datagrams.pop()
            if address in REACHABLE:
                rpc_id = datagram[1 + len(FRIEND.proof) + 2 :][:8]
                self.receive(data[:2] + rpc_id + data[10:], REACHABLE[address])
                return

    def wait(self, seconds: float) -> None:
        self.clock.run_until(self.clock.seconds() + seconds)

    def end(self) -> None:
        """What holds after any input."""
        self.wait(20)
        assert all(outcome.called for outcome in self.outcomes)
        table = self.stack.table
        table.check_invariants()
        assert {contact.node_id for contact in table.contacts()} <= REACHABLE_IDS, (
            "a node got in without a probe"
        )
        assert not self.stack.rpc._pending and not self.clock.getDelayedCalls()


def node(raw: bytes) -> None:
    """Whatever peers send, the node finishes its operations, and only probed nodes get into its table."""
    with capturedLogs() as events:
        trial = Trial()
        for what, data in steps(raw):
            trial.take(what % KINDS, data)
        trial.end()
    for event in events:
        assert "log_failure" not in event, event["log_failure"]


def node_steps() -> list[bytes]:
    """Each kind of step, and the ones that belong together."""
    content = hash_id(b"content").to_bytes(32, "big")
    owner = Owner(1)
    owned = owner.says(b"payload", 5)
    owners_key = owner.key.to_bytes(32, "big")
    version = int(BEGINNING * 1000) << 16
    digest = content

    def answered(first: bytes, *messages: Any) -> bytes:
        return first + b"".join(step(ANSWER, encode(RPC_ID, message)) for message in messages)

    return [
        *(step(FROM_FRIEND, encode(RPC_ID, sample)) for sample in SAMPLES),
        step(FROM_UNKNOWN_PEER, encode(RPC_ID, Ping())) + step(WAIT, b"\x01\0"),
        step(FROM_UNKNOWN_PEER, encode(RPC_ID, FindNode(7)))
        + step(FROM_FRIEND, encode(RPC_ID, FindValue(7))),
        step(FROM_UNKNOWN_PEER, encode(RPC_ID, Store(7, version, 60_000, 8, 0, b"value")))
        + step(FROM_FRIEND, encode(RPC_ID, FindValue(7)))
        + step(FROM_FRIEND, encode(RPC_ID, Offer(7, version, 60_000, 8, 0, False, 5, digest))),
        step(FROM_FRIEND, encode(RPC_ID, Store(owner.key, 5, 60_000, 8, 0, owned)))
        + step(
            FROM_UNKNOWN_PEER, encode(RPC_ID, Store(owner.key, 6, 60_000, 8, 0, owner.says(b"", 6), True))
        ),
        answered(step(GET, bytes(32)), Value(version, 60_000, 8, True, b"value")),
        answered(step(GET, bytes(32)), Nodes(NEAR), Value(version, 60_000, 8, True, b"value"), Nodes(())),
        answered(step(GET, content), Value(0, 60_000, 8, True, b"content")),
        answered(step(GET, owners_key), Nodes(NEAR), Value(5, 60_000, 8, True, owned), Nodes(())),
        answered(step(PUT, bytes(32) + b"value"), Stored(())),
        answered(step(PUT, bytes(32) + b"value"), Stored(NEAR), Stored(()), Refused(())),
        answered(step(PUT, bytes(32) + b"value"), Outranked(version + 9, ()), Nodes(()), Stored(())),
        answered(step(PUT, bytes(32) + b"value"), Refused(NEAR), Wanted((), bytes(16)), Stored(())),
        answered(
            step(PUT, owners_key + owned),
            Nodes(()),
            Outranked(5, ()),
            Value(5, 9_000, 8, True, owned),
            Stored(()),
        ),
        answered(step(LOOK_UP, bytes(32)), Nodes(NEAR), Nodes(()), Nodes(())),
        step(RAW, b"\x50" + bytes(60)) + step(RAW, b"\x51" + bytes(56)) + step(PROBED, b"\x52" + bytes(56)),
    ]


def api_stream(raw: bytes) -> None:
    """However the bytes of a client are cut, it gets the same replies and the same end of the connection:
    `seed u8 | bytes`."""
    rng, stream = random.Random(raw[:1]), raw[1:]
    pieces = []
    while stream:
        length = rng.choice((1, 2, 3, 5, 40, 1_000, 65_536))
        pieces.append(stream[:length])
        stream = stream[length:]
    assert _served(pieces) == _served([b"".join(pieces)])


def _served(pieces: list[bytes]) -> tuple[bytes, list[str], dict[BadFrame, int]]:
    clock = Clock()
    clock.advance(1_000.0)
    api = ApiFactory(QuickNode(), UNLIMITED, clock)
    connection = api.buildProtocol(IPv4Address("TCP", "127.0.0.1", 5))
    assert connection is not None
    wire = Wire()
    connection.makeConnection(wire)
    for piece in pieces:
        connection.dataReceived(piece)
        clock.advance(0)
    clock.advance(0)
    for _ in range(3):
        clock.advance(31.0)
    for reply in wire.replies():
        assert isinstance(reply, api_messages.ApiReply)
    return wire.value(), wire.said, dict(api.metrics.bad_frames)


def api_streams() -> list[bytes]:
    """Several requests in a row, good ones and others."""
    put, get = api_messages.encode_put(60, 8, bytes(32), b"value"), api_messages.encode_get(bytes(32))
    with_receipt = api_messages.encode_put(60, 8, bytes(32), b"value", receipt=True)
    record = api_messages.encode_get_record(bytes(32), content=True)
    return [
        b"\0" + put + get + get,
        b"\1" + get + put[:20],
        b"\2" + get + api_messages.encode_failure(bytes(32)) + get,
        b"\4" + with_receipt + record + get + record[:20],
        b"\5" + record + put + b"GET / HTTP/1.1\r\n",
        b"\6" + get + api_messages.encode_no_record(bytes(32), NoRecord.DELETED) + record,
        b"\3" + api_messages.encode_put(1, 1, bytes(32), bytes(3_000)) + get + b"\0\3" + get,
    ]
