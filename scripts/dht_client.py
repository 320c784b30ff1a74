#!/usr/bin/env python3
"""Sends one PUT or one GET to the API of a VoidPhone DHT node. Needs only the standard library.

    python scripts/dht_client.py -a 127.0.0.1 -p 7400 -s -k greeting -d "hello"
    python scripts/dht_client.py -a 127.0.0.1 -p 7400 -g -k greeting

The key is UTF-8 text, padded with zero bytes to 32 bytes. Exit code: 0 if the value was found or stored,
else 1.
"""

import argparse
import secrets
import socket
import struct
import sys
from typing import BinaryIO

PUT, GET, SUCCESS, FAILURE = 650, 651, 652, 653
KEY_BYTES = 32
MAX_VALUE = 65_495
TTL = 1
ANSWER_SECONDS = 15


def main() -> int:
    args = parse_arguments()
    key = args.key.encode("utf-8", "surrogateescape").ljust(KEY_BYTES, b"\0")
    if args.set:
        value = args.data.encode("utf-8", "surrogateescape")
        request = message(PUT, struct.pack(">HBB", TTL, 0, 0) + key + value)
    else:
        request = message(GET, key)
    try:
        kind, body = ask(args.address, args.port, request)
    except (OSError, ValueError) as error:
        print(f"no answer from {args.address} port {args.port}: {error}", file=sys.stderr)
        return 1
    if body[:KEY_BYTES] != key or kind not in {SUCCESS, FAILURE}:
        print("the answer is to another request", file=sys.stderr)
        return 1
    show(args.key, kind, body[KEY_BYTES:])
    return 0 if kind == SUCCESS else 1


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Store or get one value at a DHT node.")
    parser.add_argument("-a", "--address", default="127.0.0.1", help="host of the node's API (%(default)s)")
    parser.add_argument("-p", "--port", type=int, default=7400, help="port of the API (%(default)s)")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("-s", "--set", action="store_true", help="store a value")
    action.add_argument("-g", "--get", action="store_true", help="get a value")
    parser.add_argument("-k", "--key", help="key, a text of up to 32 bytes; random for -s if not given")
    parser.add_argument("-d", "--data", help="value, a text; random if not given")
    args = parser.parse_args()
    if args.get and args.key is None:
        parser.error("-g needs a key (-k)")
    if args.get and args.data is not None:
        parser.error("-d needs -s")
    if args.key is None:
        args.key = secrets.token_hex(KEY_BYTES // 2)
    if args.data is None:
        args.data = secrets.token_hex(16)
    if len(args.key.encode("utf-8", "surrogateescape")) > KEY_BYTES:
        parser.error(f"the key has more than {KEY_BYTES} bytes")
    if not 0 < len(args.data.encode("utf-8", "surrogateescape")) <= MAX_VALUE:
        parser.error(f"the value must have 1 to {MAX_VALUE} bytes")
    if not 0 < args.port < 65_536:
        parser.error("the port must be a number from 1 to 65535")
    return args


def message(kind: int, body: bytes) -> bytes:
    return struct.pack(">HH", 4 + len(body), kind) + body


def ask(host: str, port: int, request: bytes) -> tuple[int, bytes]:
    with socket.create_connection((host, port), timeout=ANSWER_SECONDS) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as replies:
            size, kind = struct.unpack(">HH", receive(replies, 4))
            return kind, receive(replies, size - 4)


def receive(replies: BinaryIO, size: int) -> bytes:
    data = replies.read(max(size, 0))
    if len(data) != size:
        raise ConnectionError("the connection was closed")
    return data


def show(key: str, kind: int, value: bytes) -> None:
    verdict = "SUCCESS" if kind == SUCCESS else "FAILURE"
    lines = [f"{verdict} {key}".encode("utf-8", "surrogateescape"), *([value] if value else []), b""]
    sys.stdout.buffer.write(b"\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
