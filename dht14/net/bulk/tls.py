"""TLS for the bulk channel: version 1.3 only; each side is identified by the raw key of its node.

Certificates only carry keys: each side has a self-signed one, whose names and dates mean nothing. The user of
a connection compares the key when the handshake is over, before it sends anything.
"""

from datetime import datetime, timezone
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from dht14.errors import Malformed

ALPN = b"dht14/1"

_MAX_OVERHEAD = 4_096
"""Bytes that TLS may add to one value."""


@implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
class NodeTls:
    """Makes the TLS part of connections of one node, from its own key."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key

    @cached_property
    def _context(self) -> SSL.Context:
        """Made for the first connection: it takes 18 KiB, and many nodes never move a large value."""
        private_key = self._private_key
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_max_proto_version(SSL.TLS1_3_VERSION)
        # Every connection must prove both keys: no resumption.
        context.set_options(SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.use_privatekey(private_key)
        context.use_certificate(_certificate(private_key))
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _is_leaf)
        context.set_alpn_protos([ALPN])
        context.set_alpn_select_callback(_select)
        return context

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """The side that connects (Twisted calls)."""
        return SSL.Connection(self._context, None)

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """The side that is connected to (Twisted calls)."""
        return SSL.Connection(self._context, None)


class WholeWrites(TLSMemoryBIOProtocol):
    """Twisted's TLS, except that a write goes to the socket in one piece instead of one for each 16 KB.

    Only for connections that write nothing before the handshake is over.
    """

    def write(self, data: bytes) -> None:
        """Send these bytes."""
        connection = self.getHandle()
        if self.disconnecting or connection is None:
            return
        try:
            connection.sendall(data)
            sealed = connection.bio_read(len(data) + _MAX_OVERHEAD)
        except SSL.Error:
            super().write(data)  # It fails again, and Twisted ends the connection.
            return
        self.transport.write(sealed)  # type: ignore[union-attr]


def peer_public_key(connection: SSL.Connection) -> bytes:
    """Return the raw key, 32 bytes, that the other side has proven, after the handshake. Raises `Malformed`
    for a connection that is not one of nodes."""
    if connection.get_alpn_proto_negotiated() != ALPN:
        raise Malformed("a connection of another protocol")
    certificate = connection.get_peer_certificate(as_cryptography=True)
    # On the server side OpenSSL leaves the peer's own certificate out of its chain.
    if any(other != certificate for other in connection.get_peer_cert_chain(as_cryptography=True) or ()):
        raise Malformed("more than one certificate")
    try:
        key = certificate.public_key() if certificate is not None else None
    except ValueError as error:
        raise Malformed("a certificate without a key") from error
    if not isinstance(key, Ed25519PublicKey):
        raise Malformed("a certificate of another kind")
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _certificate(private_key: Ed25519PrivateKey) -> x509.Certificate:
    no_name = x509.Name([])
    return (
        x509.CertificateBuilder(no_name, no_name, private_key.public_key(), serial_number=1)
        .not_valid_before(datetime(1970, 1, 1, tzinfo=timezone.utc))
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone.utc))
        .sign(private_key, None)
    )


def _is_leaf(connection: SSL.Connection, certificate: X509, error: int, depth: int, fine: int) -> bool:
    """Accept the certificate of the peer, whatever X.509 says about it, and no other: only its key counts."""
    return depth == 0


def _select(connection: SSL.Connection, offered: list[bytes]) -> bytes:
    return ALPN if ALPN in offered else b""
