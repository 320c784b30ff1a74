"""TLS over TCP: values that fit no datagram."""
