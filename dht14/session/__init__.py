"""Pure: the handshake, the sessions of a node, and the layer that encrypts its datagrams."""
