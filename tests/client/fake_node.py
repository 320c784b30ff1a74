"""A node's API for the tests of the clients: threads that serve each connection as a script says."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import final

from dht14.records.receipt import NoRecord, PutOutcome, Receipt
from dht14.wire.api_messages import (
    ApiRequest,
    Get,
    GetRecord,
    Put,
    PutWithReceipt,
    decode_request,
    encode_failure,
    encode_no_record,
    encode_receipt,
    encode_record,
    encode_success,
)
from dht14.wire.frames import FrameSplitter

STORED = Receipt(PutOutcome.STORED, 8, 8, version=7)

Script = Callable[["Conversation"], None]


class Conversation:
    """One connection, seen from the node."""

    def __init__(self, connection: socket.socket, node: "FakeNode") -> None:
        self.socket = connection
        self.node = node

    def requests(self) -> Iterator[ApiRequest]:
        """What the client asks, until it hangs up."""
        splitter = FrameSplitter()
        while piece := self.socket.recv(65_536):
            splitter.feed(piece)
            while (frame := splitter.next_frame()) is not None:
                request = decode_request(frame)
                self.node.requests.append(request)
                yield request

    def send(self, reply: bytes) -> None:
        self.socket.sendall(reply)

    def reset(self) -> None:
        """Break the connection as a dying node does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@final
class FakeNode:
    """Listens on 127.0.0.1. The n-th connection is served by the n-th script, and all others by the last
    one."""

    def __init__(self, *scripts: Script, port: int = 0) -> None:
        self.requests: list[ApiRequest] = []
        self.values: dict[bytes, bytes] = {}
        self.ended = threading.Event()
        self.accepted = 0
        self._scripts = scripts or (serve,)
        self._socket = socket.create_server(("127.0.0.1", port))
        self._threads = [threading.Thread(target=self._accept)]
        self._connections: list[socket.socket] = []
        self.port: int = self._socket.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self) -> "FakeNode":
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._threads[0].join()
        self.ended.set()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            script = self._scripts[min(self.accepted, len(self._scripts) - 1)]
            self.accepted += 1
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection, script))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, script: Script) -> None:
        with connection, suppress(OSError):
            script(Conversation(connection, self))

    def reply_to(self, request: ApiRequest) -> bytes:
        """What a node of ours answers that keeps what it is given."""
        if isinstance(request, Put):
            self.values[request.key] = request.value
        value = self.values.get(request.key)
        if isinstance(request, PutWithReceipt):
            return encode_receipt(request.key, STORED)
        if isinstance(request, GetRecord):
            if value is None:
                return encode_no_record(request.key, NoRecord.NOT_FOUND)
            return encode_record(request.key, 1, 7, 60, value)
        return encode_failure(request.key) if value is None else encode_success(request.key, value)


# scripts


def serve(talk: Conversation) -> None:
    """Answer everything."""
    for request in talk.requests():
        talk.send(talk.node.reply_to(request))


def serve_first(count: int, ending: Script | None = None) -> Script:
    """Answer `count` requests; then end, or go on with another script."""

    def script(talk: Conversation) -> None:
        for number, request in enumerate(talk.requests(), 1):
            if number > count:
                break
            talk.send(talk.node.reply_to(request))
        if ending is not None:
            ending(talk)
        else:
            talk.reset()

    return script


def hang_up(talk: Conversation) -> None:
    """Wait for a request and close the connection."""
    next(talk.requests(), None)


def keep_silent(talk: Conversation) -> None:
    """Read and never answer."""
    for _ in talk.requests():
        pass


def send_bytes(reply: bytes) -> Script:
    """Wait for a request and send these bytes."""

    def script(talk: Conversation) -> None:
        next(talk.requests(), None)
        talk.send(reply)
        talk.node.ended.wait()

    return script


def voidphone(talk: Conversation) -> None:
    """Know the messages of every VoidPhone node alone, and close the connection at others."""
    for request in talk.requests():
        if isinstance(request, PutWithReceipt | GetRecord):
            return
        talk.send(talk.node.reply_to(request))


def silent_voidphone(talk: Conversation) -> None:
    """Know the messages of every VoidPhone node alone, and answer nothing to others."""
    for request in talk.requests():
        if not isinstance(request, PutWithReceipt | GetRecord):
            talk.send(talk.node.reply_to(request))


def letter_of_the_specification(talk: Conversation) -> None:
    """As `voidphone`, and a PUT has no reply."""
    for request in talk.requests():
        if isinstance(request, PutWithReceipt | GetRecord):
            return
        reply = talk.node.reply_to(request)
        if isinstance(request, Get):
            talk.send(reply)
