"""The bulk channel of a simulated node: a transfer is one datagram of any length, which is resent.

It passes through the virtual network, so it is lost, duplicated and delayed like all others. Not simulated
are TLS, whose authentication is assumed, and the round trips of its handshake: nodes keep their connections.
"""

from functools import partial
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import DatagramProtocol

from dht14.bounded import BoundedDict
from dht14.errors import CallFailed, Withdrawn
from dht14.kademlia.contact import Address, Contact
from dht14.node.responder import Responder
from dht14.node.transfers import Upload
from dht14.security.identity import PROOF_BYTES, VerifyProof, public_key_in
from dht14.security.tickets import TICKET_BYTES
from dht14.wire.bulk_messages import UploadAnswer, decode_answer, encode_answer, tag_of
from dht14.wire.messages import Reply

REQUEST, RESPONSE, CLOSED = 0xB0, 0xB1, 0xB2
"""First bytes of these datagrams; no session layer uses them."""

_OWN = frozenset((REQUEST, RESPONSE, CLOSED))

RESEND_SECONDS, MAX_RESENDS = 0.25, 5
"""Seconds until the first resend, doubled for each further one, and the number of resends."""

MAX_RESPONSES = 1_024
"""Responses that are kept for resent requests."""


@define(eq=False)
class _VirtualTransfer:
    """One outgoing transfer without a response."""

    datagram: bytes
    address: Address
    answered: "Deferred[UploadAnswer]"
    timer: IDelayedCall | None = None
    sent: int = 0
    """Datagrams sent so far."""


@define(eq=False)
class VirtualBulk(DatagramProtocol):
    """Both ends of one node's bulk channel, a `Bulk`, on the port that it shares with the RPCs."""

    noisy = False
    """Twisted must not log `repr(self)`, all state of the node, at each start: of a `Liar` 144,000
    characters."""

    _proof: bytes
    _verify_proof: VerifyProof
    _clock: IReactorTime
    _rpc: DatagramProtocol = field(init=False)
    _responder: Responder = field(init=False)
    _transfers: dict[bytes, _VirtualTransfer] = field(factory=dict, init=False)
    """By the tag of the ticket."""
    _responses: BoundedDict[bytes, bytes] = field(factory=lambda: BoundedDict(MAX_RESPONSES), init=False)
    """To used tickets, the oldest first; empty until the responder answers."""

    def serve(self, rpc: DatagramProtocol, responder: Responder) -> None:
        """Set the receivers of RPC datagrams and of transfers."""
        self._rpc = rpc
        self._responder = responder

    # Bulk

    def push(self, contact: Contact, ticket: bytes, value: bytes) -> "Deferred[Reply]":
        """As `Bulk.push`."""
        return self._ask(contact, ticket, value)

    def fetch(self, contact: Contact, ticket: bytes, length: int) -> "Deferred[bytes]":
        """As `Bulk.fetch`."""
        return self._ask(contact, ticket, b"").addCallback(_whole)

    def _ask(self, contact: Contact, ticket: bytes, value: bytes) -> "Deferred[Any]":
        tag = tag_of(ticket)
        answered: Deferred[Any] = Deferred(partial(self._forget, tag))
        datagram = bytes([REQUEST]) + self._proof + ticket + value
        self._transfers[tag] = _VirtualTransfer(datagram, contact.address, answered)
        self._send(tag)
        return answered

    def _send(self, tag: bytes) -> None:
        transfer = self._transfers[tag]
        if transfer.sent > MAX_RESENDS:
            self._close(tag)
            transfer.answered.errback(CallFailed())
            return
        transfer.timer = self._clock.callLater(RESEND_SECONDS * 2**transfer.sent, self._send, tag)
        transfer.sent += 1
        self._write(transfer.datagram, transfer.address)

    def _forget(self, tag: bytes, _: object) -> None:
        self._close(tag)

    def _close(self, tag: bytes) -> _VirtualTransfer | None:
        transfer = self._transfers.pop(tag, None)
        if transfer is not None and transfer.timer is not None and transfer.timer.active():
            transfer.timer.cancel()
        return transfer

    # Incoming datagrams

    def makeConnection(self, transport: Any) -> None:
        """The port is open (Twisted calls)."""
        super().makeConnection(transport)
        self._rpc.makeConnection(transport)

    def doStop(self) -> None:
        """The port is closed (Twisted calls)."""
        self._rpc.doStop()

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """A datagram has arrived (Twisted calls)."""
        kind = datagram[0]
        if kind not in _OWN:
            self._rpc.datagramReceived(datagram, addr)
            return
        body = datagram[1:]
        if kind == REQUEST:
            self._asked(body, addr)
        elif kind == RESPONSE:
            self._answered(*decode_answer(body, self._verify_proof))
        else:
            self._answered(body, CallFailed())

    def _answered(self, tag: bytes, answer: UploadAnswer | CallFailed) -> None:
        transfer = self._close(tag)
        if transfer is None:
            return
        if isinstance(answer, CallFailed):
            transfer.answered.errback(answer)
        else:
            transfer.answered.callback(answer)

    def _asked(self, body: bytes, requester: Address) -> None:
        proof, ticket = body[:PROOF_BYTES], body[PROOF_BYTES : PROOF_BYTES + TICKET_BYTES]
        if ticket in self._responses:
            self._reply(ticket, requester)
            return
        self._responses[ticket] = b""
        now = self._clock.seconds()
        transfer = self._responder.redeem(ticket, public_key_in(proof), now)
        if transfer is None:
            self._respond(ticket, requester, bytes([CLOSED]) + tag_of(ticket))
        elif isinstance(transfer, Upload):
            value = body[PROOF_BYTES + TICKET_BYTES :]
            self._responder.take(transfer, value, now, partial(self._respond_with, ticket, requester))
        else:
            self._respond_with(ticket, requester, self._responder.give(transfer, now))

    def _respond_with(self, ticket: bytes, requester: Address, answer: UploadAnswer) -> None:
        self._respond(ticket, requester, bytes([RESPONSE]) + encode_answer(ticket, answer))

    def _respond(self, ticket: bytes, requester: Address, datagram: bytes) -> None:
        self._responses[ticket] = datagram
        self._reply(ticket, requester)

    def _reply(self, ticket: bytes, requester: Address) -> None:
        if answer := self._responses[ticket]:
            self._write(answer, requester)

    def _write(self, datagram: bytes, address: Address) -> None:
        assert self.transport is not None
        self.transport.write(datagram, address)


def _whole(answer: UploadAnswer) -> bytes:
    if answer is None:
        raise Withdrawn
    if not isinstance(answer, bytes):
        raise CallFailed
    return answer
