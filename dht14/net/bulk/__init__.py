"""The bulk channel: values too large for a datagram, over TLS and TCP."""
