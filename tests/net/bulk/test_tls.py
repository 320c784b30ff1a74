import os
import warnings
from datetime import datetime, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from zope.interface import implementer

from dht14.errors import CallFailed
from dht14.net.bulk.client import BulkClient
from dht14.net.bulk.tls import ALPN, NodeTls
from tests.net.bulk.tls_case import (
    ASKER,
    HOLDER,
    HOLDER_CONTACT,
    PUZZLE,
    UNKNOWN_PEER,
    VALUE,
    BulkCase,
    Talker,
    join,
    wrapped,
)

TRIES = int(os.environ.get("DHT14_TESTS_RELAY_TRIES", "2"))
"""Attempts of each impostor."""


def certificate(key, signer=None) -> X509:
    """A certificate for this key, self-signed unless another key signs it."""
    name = x509.Name([])
    day = datetime(2026, 1, 1, tzinfo=timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, day, day)
    algorithm = None if isinstance(signer or key, Ed25519PrivateKey) else hashes.SHA256()
    return X509.from_cryptography(builder.sign(signer or key, algorithm))


@implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
class OtherTls:
    """TLS as another program may speak it."""

    def __init__(self, key=None, *others: X509, shown=None, version=SSL.TLS1_3_VERSION, alpn=ALPN) -> None:
        self._context = context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        if key is not None:
            context.use_certificate(shown or certificate(key))
            context.use_privatekey(PKey.from_cryptography_key(key))
        for other in others:
            context.add_extra_chain_cert(other)
        context.set_verify(SSL.VERIFY_NONE, lambda *_: True)
        if alpn:
            context.set_alpn_protos([alpn])
            context.set_alpn_select_callback(lambda connection, offered: alpn)

    def clientConnectionForTLS(self, tlsProtocol):
        return SSL.Connection(self._context, None)

    def serverConnectionForTLS(self, tlsProtocol):
        return SSL.Connection(self._context, None)


def impostors():
    """Everything that a party between two nodes can show; none of it is the key of either node."""
    own = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\1")
    return {
        "a certificate of its own": OtherTls(own),
        "that of another valid node": NodeTls(UNKNOWN_PEER.private_key),
        "another kind of key": OtherTls(ec.generate_private_key(ec.SECP256R1())),
        "TLS 1.2": OtherTls(own, version=SSL.TLS1_2_VERSION),
        "another protocol": OtherTls(own, alpn=b"h2"),
        "no protocol": OtherTls(own, alpn=b""),
    }


class ImpostorTests(BulkCase):
    """A party between two nodes that ends their TLS and begins its own towards each."""

    def test_towards_the_asker(self) -> None:
        """A node that sends a value sends no byte of it, nor of its ticket, to any other party."""
        for what, tls in impostors().items():
            for _ in range(TRIES):
                relay = Talker()
                client = BulkClient(NodeTls(ASKER.private_key), PUZZLE.verify_proof, self.reactor)
                pushed = client.push(HOLDER_CONTACT, self.ticket_to_push(), VALUE)
                dial = self.reactor.tcpClients.pop()[2]
                join(wrapped(relay, tls, self.reactor, False), dial.buildProtocol(None))
                self.failureResultOf(pushed, CallFailed)
                self.assertEqual((relay.received, relay.lost), (b"", True), what)

    def test_towards_the_holder(self) -> None:
        """A party with a stolen ticket gets no byte for it."""
        self.hold()
        shown = {**impostors(), "no certificate": OtherTls()}
        for what, tls in shown.items():
            for _ in range(TRIES):
                relay = Talker()
                pump = join(self.accept(), wrapped(relay, tls, self.reactor, True))
                if not relay.lost:
                    relay.say(self.ticket_to_fetch())
                    self.reactor.advance(0)
                    pump.flush()
                self.assertEqual((relay.received, relay.lost), (b"", True), what)
        self.assertEqual(self.server.metrics.given, 0)

    def test_certificate_without_its_key(self) -> None:
        """The certificate of the right node does not help a party without its key."""
        shown = certificate(HOLDER.private_key)
        self.assertRaises(SSL.Error, OtherTls, UNKNOWN_PEER.private_key, shown=shown)


class NodeTlsTests(BulkCase):
    def fetch_with(self, tls) -> bytes:
        """What a peer with this TLS gets for the ticket of the asker."""
        self.hold()
        peer = Talker()
        side = wrapped(peer, tls, self.reactor, True)
        pump = join(self.accept(), side)
        self.connection = side.getHandle()
        if not peer.lost:
            peer.say(self.ticket_to_fetch())
            self.reactor.advance(0)
            pump.flush()
        return peer.received[-len(VALUE) :]

    def test_version(self) -> None:
        """Nodes speak TLS 1.3 and name their protocol."""
        self.assertEqual(self.fetch_with(NodeTls(ASKER.private_key)), VALUE)
        self.assertEqual(self.connection.get_protocol_version_name(), "TLSv1.3")
        self.assertEqual(self.connection.get_alpn_proto_negotiated(), ALPN)

    def test_no_warning(self) -> None:
        """Nothing deprecated is used: where warnings are errors, as in many tests, large values fail."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.assertEqual(self.fetch_with(NodeTls(ASKER.private_key)), VALUE)

    def test_dates_do_not_matter(self) -> None:
        """The dates of a certificate do not matter: a node may have a wrong clock."""
        self.assertEqual(self.fetch_with(OtherTls(ASKER.private_key)), VALUE)

    def test_signature_does_not_matter(self) -> None:
        """The signer of a certificate does not matter: the handshake proves the key."""
        shown = certificate(ASKER.private_key, UNKNOWN_PEER.private_key)
        self.assertEqual(self.fetch_with(OtherTls(ASKER.private_key, shown=shown)), VALUE)

    def test_one_certificate(self) -> None:
        """The right key beside another certificate is refused."""
        another = certificate(UNKNOWN_PEER.private_key)
        self.assertEqual(self.fetch_with(OtherTls(ASKER.private_key, another)), b"")
        self.assertEqual(self.server.metrics.refused, 1)
