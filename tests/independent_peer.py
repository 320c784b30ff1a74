"""An independent implementation of datagrams and messages, written from docs/protocol.md alone. It imports
nothing of dht14, its own decoders included. It is simple: it sends what a test says, and has no limits."""

import hashlib
import os
import socket
import struct
import time
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

Address = tuple[str, int]
Random = Callable[[int], bytes]
Clock = Callable[[], float]

Message = list[int | bytes]
PING, FIND_NODE, PONG, NODES = 1, 2, 64, 65


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


class Proofs:
    """Section 2.0.1, for one network."""

    def __init__(self, network: str, difficulty: int) -> None:
        self.tag = b"dht14/" + network.encode()
        self.bits = 4 * difficulty

    def solved(self, data: bytes) -> bool:
        return int.from_bytes(sha256(data), "big") >> (256 - self.bits) == 0

    def node_id(self, proof: bytes) -> bytes:
        node_id = sha256(self.tag + b"/id" + proof[:40])
        assert len(proof) == 48
        assert self.solved(self.tag + b"/s" + node_id)
        assert self.solved(self.tag + b"/d" + node_id + proof[40:])
        return node_id

    def search(self, public_key: bytes) -> bytes:
        n1 = n2 = 0
        while not self.solved(
            self.tag + b"/s" + sha256(self.tag + b"/id" + public_key + struct.pack(">Q", n1))
        ):
            n1 += 1
        node_id = sha256(self.tag + b"/id" + public_key + struct.pack(">Q", n1))
        while not self.solved(self.tag + b"/d" + node_id + struct.pack(">Q", n2)):
            n2 += 1
        return public_key + struct.pack(">QQ", n1, n2)


def seal(key: bytes, nonce: int, header: bytes, payload: bytes) -> bytes:
    return header + AESGCM(key).encrypt(bytes(4) + struct.pack(">Q", nonce), payload, header)


def unseal(key: bytes, nonce: int, datagram: bytes, header_length: int) -> bytes:
    header, sealed = datagram[:header_length], datagram[header_length:]
    return AESGCM(key).decrypt(bytes(4) + struct.pack(">Q", nonce), sealed, header)


class Keys:
    """The key schedule of section 2.0.2."""

    def __init__(self, hello: bytes, challenge: bytes, shared: bytes) -> None:
        self.h = sha256(hello[:49] + challenge)
        self.prk = self._hmac(self.h, shared)
        self.fin = self.expand(b"fin", 32)

    @staticmethod
    def _hmac(key: bytes, data: bytes) -> bytes:
        key = key.ljust(64, b"\0")
        inner = sha256(bytes(byte ^ 0x36 for byte in key) + data)
        return sha256(bytes(byte ^ 0x5C for byte in key) + inner)

    def expand(self, label: bytes, length: int) -> bytes:
        return HKDFExpand(hashes.SHA256(), length, label).derive(self.prk)

    def directions(self, initiator: bytes, responder: bytes) -> tuple[bytes, bytes]:
        both = self.expand(b"keys" + initiator + responder, 64)
        return both[:32], both[32:]


class Identity:
    """A key pair and its proof."""

    def __init__(self, proofs: Proofs, private: bytes) -> None:
        self.key = Ed25519PrivateKey.from_private_bytes(private)
        self.proof = proofs.search(self.key.public_key().public_bytes_raw())
        self.node_id = proofs.node_id(self.proof)


class Initiator:
    """The initiator's side of one handshake, and the session that results."""

    def __init__(
        self,
        proofs: Proofs,
        identity: Identity,
        node_id: bytes | None,
        random: Random,
        clock: Clock = time.time,
    ) -> None:
        self.proofs, self.identity, self.sought, self.clock = proofs, identity, node_id, clock
        self.heard: list[float] = []
        """The times of those with whom it made sessions."""
        self.cid = random(8)
        self.ephemeral = X25519PrivateKey.from_private_bytes(random(32))
        public = self.ephemeral.public_key().public_bytes_raw()
        hint = bytes(8) if node_id is None else sha256(node_id + public)[:8]
        self.hello = (b"\x41" + self.cid + public + hint).ljust(256, b"\0")
        self.sent = 0

    def finish(self, challenge: bytes, request: bytes) -> bytes:
        assert len(challenge) == 181 and challenge[:9] == b"\x42" + self.cid
        cookie, proof, prekey = challenge[9:33], challenge[33:81], challenge[81:113]
        expires, signature = challenge[113:117], challenge[117:]
        self.responder = self.proofs.node_id(proof)
        assert self.sought in (None, self.responder)
        Ed25519PublicKey.from_public_bytes(proof[:32]).verify(signature, b"dht14/prekey" + prekey + expires)
        ends = struct.unpack(">I", expires)[0] * 60
        times = sorted([self.clock(), *self.heard[-15:], ends - 1_200])
        assert ends + 86_400 >= times[(len(times) - 1) // 2]
        shared = self.ephemeral.exchange(X25519PublicKey.from_public_bytes(prekey))
        self.keys = Keys(self.hello, challenge, shared)
        self.k_ir, self.k_ri = self.keys.directions(self.identity.node_id, self.responder)
        self.signature = self.identity.key.sign(b"dht14/hs" + self.keys.h + self.identity.proof)
        head = b"\x43" + self.cid + cookie + self.hello[9:41] + prekey[:4]
        self.last_finish = seal(self.keys.fin, 0, head, self.identity.proof + self.signature + request)
        return self.last_finish

    def open(self, datagram: bytes) -> bytes:
        """The payload of an ACCEPT or DATA."""
        assert datagram[1:9] == self.cid and len(datagram) <= 1_200
        payload = unseal(self.k_ri, struct.unpack(">Q", datagram[9:17])[0], datagram, 17)
        if datagram[:1] == b"\x44":
            assert len(payload) >= 26
            self.peer_cid, self.observed, payload = payload[:8], payload[8:26], payload[26:]
        return payload

    def data(self, payload: bytes) -> bytes:
        head = b"\x45" + self.peer_cid + struct.pack(">Q", self.sent)
        self.sent += 1
        return seal(self.k_ir, self.sent - 1, head, payload)


class Responder:
    """The responder's side: any number of handshakes, one session."""

    def __init__(self, proofs: Proofs, identity: Identity, random: Random, clock: Clock = time.time) -> None:
        self.proofs, self.identity, self.random, self.clock = proofs, identity, random, clock
        self.prekey = X25519PrivateKey.from_private_bytes(random(32))
        public = self.prekey.public_key().public_bytes_raw()
        expires = struct.pack(">I", int(clock() + 1_200) // 60 + 1)
        signature = identity.key.sign(b"dht14/prekey" + public + expires)
        self.signed = identity.proof + public + expires + signature
        self.hellos: dict[bytes, tuple[bytes, int]] = {}

    def challenge(self, hello: bytes) -> bytes:
        # It remembers the HELLOs, which a real node must not do: so any different cookies will do.
        cookie = self.random(24)
        self.hellos[cookie] = hello, int(self.clock())
        return b"\x42" + hello[1:9] + cookie + self.signed

    def finish(self, finish: bytes, address: Address) -> bytes:
        """The request in a FINISH."""
        assert 197 <= len(finish) <= 1_200
        cookie = finish[9:33]
        challenge = b"\x42" + finish[1:9] + cookie + self.signed
        assert finish[65:69] == self.signed[48:52]
        shared = self.prekey.exchange(X25519PublicKey.from_public_bytes(finish[33:65]))
        hello, made_at = self.hellos[cookie]
        assert int(self.clock()) - made_at <= 120
        assert hello[41:49] in (bytes(8), sha256(self.identity.node_id + hello[9:41])[:8])
        keys = Keys(hello, challenge, shared)
        opened = unseal(keys.fin, 0, finish, 69)
        proof, signature, request = opened[:48], opened[48:112], opened[112:]
        self.initiator = self.proofs.node_id(proof)
        Ed25519PublicKey.from_public_bytes(proof[:32]).verify(signature, b"dht14/hs" + keys.h + proof)
        self.k_ir, self.k_ri = keys.directions(self.initiator, self.identity.node_id)
        self.initiator_cid, self.cid = finish[1:9], self.random(8)
        self.sent, self.confirmed = 0, False
        observed = bytes(10) + b"\xff\xff" + socket.inet_aton(address[0]) + struct.pack(">H", address[1])
        self.prefix = self.cid + observed
        return request

    def open(self, data: bytes) -> bytes:
        assert data[1:9] == self.cid and len(data) <= 1_200
        payload = unseal(self.k_ir, struct.unpack(">Q", data[9:17])[0], data, 17)
        self.confirmed = True
        return payload

    def answer(self, payload: bytes) -> bytes:
        """ACCEPT or DATA."""
        kind, prefix = (b"\x45", b"") if self.confirmed else (b"\x44", self.prefix)
        head = kind + self.initiator_cid + struct.pack(">Q", self.sent)
        self.sent += 1
        return seal(self.k_ri, self.sent - 1, head, prefix + payload)


# Messages, section 2.1


def read_message(raw: bytes) -> Message:
    """The items of a message: its RPC id, its code, its fields."""
    count, rest = raw[0] - 0x80, raw[1:]
    assert 2 <= count <= 23
    items: Message = []
    for _ in range(count):
        major, argument = rest[0] & 0xE0, rest[0] & 0x1F
        assert major in (0x00, 0x40) and argument <= 27
        size = 0 if argument < 24 else 1 << (argument - 24)
        assert len(rest) > size
        number = argument if not size else int.from_bytes(rest[1 : 1 + size], "big")
        # The shortest form: a number that fits half of these bytes must not use all of them.
        assert size == 0 or number >= (24 if size == 1 else 1 << (4 * size))
        rest = rest[1 + size :]
        if major == 0x00:
            items.append(number)
        else:
            assert number <= len(rest)
            items.append(rest[:number])
            rest = rest[number:]
    assert not rest and isinstance(items[0], bytes) and len(items[0]) == 8 and isinstance(items[1], int)
    return items


def write_message(items: Message) -> bytes:
    """The bytes of a message of these items."""

    def head(major: int, number: int) -> bytes:
        if number < 24:
            return bytes([major + number])
        size = next(size for size in (1, 2, 4, 8) if number < 1 << (8 * size))
        return bytes([major + 24 + (1, 2, 4, 8).index(size)]) + number.to_bytes(size, "big")

    written = [head(0, item) if isinstance(item, int) else head(0x40, len(item)) + item for item in items]
    return bytes([0x80 + len(items)]) + b"".join(written)


def read_contacts(raw: bytes) -> list[tuple[bytes, str, int]]:
    """Proof, host and port of each contact."""
    n4, rest = struct.unpack(">H", raw[:2])[0], raw[2:]
    found: list[tuple[bytes, str, int]] = []
    while rest:
        size, family = (4, socket.AF_INET) if len(found) < n4 else (16, socket.AF_INET6)
        proof, host, port = rest[:48], rest[48 : 48 + size], rest[48 + size : 50 + size]
        found.append((proof, socket.inet_ntop(family, host), struct.unpack(">H", port)[0]))
        rest = rest[50 + size :]
    assert n4 <= len(found) <= 20
    return found


def contacts_in(reply: bytes) -> list[tuple[bytes, str, int]]:
    """The contacts of a NODES of a node that holds values."""
    _, code, contacts, holds_values = read_message(reply)
    assert (code, holds_values) == (NODES, 1) and isinstance(contacts, bytes)
    return read_contacts(contacts)


def is_pong(reply: bytes, ping: bytes) -> bool:
    """Whether this is the answer to that PING, with any time."""
    rpc_id, code, *fields = read_message(reply)
    return (
        rpc_id == read_message(ping)[0] and code == PONG and len(fields) == 1 and isinstance(fields[0], int)
    )


def pong(ping: bytes) -> bytes | None:
    """The answer to a PING, without a time; None for anything else."""
    if not ping:  # A FINISH without a request.
        return None
    rpc_id, code, *_ = read_message(ping)
    return write_message([rpc_id, PONG, 0]) if code == PING else None


class IndependentPeer:
    """A simple node on a socket of `own_host`. It calls one real node, and answers all PINGs."""

    def __init__(
        self,
        network: str,
        difficulty: int,
        port: int,
        host: str = "127.0.0.1",
        own_host: str = "127.0.0.1",
    ) -> None:
        self.proofs = Proofs(network, difficulty)
        self.identity = Identity(self.proofs, os.urandom(32))
        self.responder = Responder(self.proofs, self.identity, os.urandom)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((own_host, 0))
        self.socket.settimeout(5)
        self.node = (host, port)
        self.sessions: dict[bytes, Initiator] = {}
        """Those that it began, by connection id. The node may send its own requests in each of them."""
        self.answers_hellos = True
        """Whether HELLOs reach it; not behind a NAT."""
        self.asked_from: set[int] = set()
        """The ports that HELLOs came from."""
        self.last_finish, self.last_accept = b"", b""
        """Of the latest session that another began."""

    def close(self) -> None:
        self.socket.close()

    def send(self, datagram: bytes) -> None:
        self.socket.sendto(datagram, self.node)

    def receive(self, cid: bytes) -> bytes:
        """Return the next datagram to this connection id, and serve others meanwhile."""
        while True:
            datagram, address = self.socket.recvfrom(2000)
            if datagram[1:9] == cid:
                return datagram
            self.serve(datagram, address)

    def serve(self, datagram: bytes, address: Address) -> None:
        """Answer HELLOs, and PINGs in any session."""
        kind = datagram[0]
        if session := self.sessions.get(datagram[1:9]):
            # A CHALLENGE may come twice, as its HELLO may.
            if kind != 0x42 and (reply := self.reply_to(session.open(datagram))):
                self.send(session.data(reply))
        elif kind == 0x41:
            self.asked_from.add(address[1])
            if self.answers_hellos:
                self.socket.sendto(self.responder.challenge(datagram), address)
        elif kind == 0x43:
            if datagram != self.last_finish:
                self.last_finish = datagram
                request = self.responder.finish(datagram, address)
                self.last_accept = self.responder.answer(self.reply_to(request))
            # Else the ACCEPT was lost or late.
            self.socket.sendto(self.last_accept, address)
        elif kind == 0x45:
            self.socket.sendto(self.responder.answer(self.reply_to(self.responder.open(datagram))), address)
        else:
            raise AssertionError(f"nobody asked for {datagram.hex()}")

    def reply_to(self, request: bytes) -> bytes:
        """The reply to a request: a PONG to a PING, else nothing."""
        return pong(request) or b""

    def serve_for(self, seconds: float) -> None:
        """Serve others for these seconds."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                self.serve(*self.socket.recvfrom(2000))
            except TimeoutError:
                break
        self.socket.settimeout(5)

    def call(self, request: bytes) -> bytes:
        """Begin a session with the node, and return the response to the request."""
        self.session = Initiator(self.proofs, self.identity, None, os.urandom)
        self.send(self.session.hello)
        self.send(self.session.finish(self.receive(self.session.cid), request))
        self.sessions[self.session.cid] = self.session
        return self.response()

    def call_again(self, request: bytes) -> bytes:
        """Send a request in the session, and return the response."""
        self.send(self.session.data(request))
        return self.response()

    def response(self) -> bytes:
        """What the node sends next in the session, except the requests that this peer answers."""
        while True:
            payload = self.session.open(self.receive(self.session.cid))
            if not (reply := self.reply_to(payload)):
                return payload
            self.send(self.session.data(reply))

    def find_node(self, target: bytes) -> list[tuple[bytes, str, int]]:
        """Begin a session, and return proof, host and port of the contacts nearest to this id."""
        return contacts_in(self.call(write_message([b"12345678", FIND_NODE, target])))
