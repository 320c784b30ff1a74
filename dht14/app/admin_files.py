"""The files of the admin surface in the data directory, by which `dht14` finds it."""

SOCKET_NAME = "admin.sock"
TOKEN_NAME = "admin.token"

MAX_SOCKET_PATH = 107
"""Bytes of the longest path that a Unix socket can have on Linux."""
