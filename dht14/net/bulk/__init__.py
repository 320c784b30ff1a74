"""The bulk channel: values too large for a datagram, over TLS and TCP. docs/protocol.md, section 5, has the
bytes."""
