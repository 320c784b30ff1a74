"""Pure: the handshake, the sessions of a node, and the layers that turn messages into datagrams.

docs/protocol.md specifies them in sections 2.0.2 to 2.0.6.
"""
