"""Pure: the handshake, the sessions of a node, and the layers that turn messages into datagrams."""
