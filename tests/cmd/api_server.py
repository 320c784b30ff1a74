"""A node's API for the tests of the clients: one thread with scripted answers."""

import socket
import threading
import typing
from collections.abc import Callable

from dht14.records.receipt import NoRecord, PutOutcome, Receipt
from dht14.wire.api_messages import (
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
STORED_LINE = "stored on 8 of 8 nodes\n"
"""What `dht14 put` prints for it."""

Answer = Callable[[Put | Get], bytes]


@typing.final
class ApiServer:
    """Listens on a free port of 127.0.0.1 and answers each request with the result of `answer`.

    Without `answer` it stores values itself. An empty answer closes the connection. A server that is not
    `extended` closes the connection at messages that only DHT-14 knows, or does not answer them.
    """

    def __init__(self, answer: Answer | None = None, *, extended: bool = True, hangs_up: bool = True) -> None:
        self.requests: list[Put | Get] = []
        self._extended = extended
        self._hangs_up = hangs_up
        self._values: dict[bytes, bytes] = {}
        self._answer = answer or self._keep
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "ApiServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _keep(self, request: Put | Get) -> bytes:
        if isinstance(request, Put):
            self._values[request.key] = request.value
        value = self._values.get(request.key)
        if isinstance(request, PutWithReceipt):
            return encode_receipt(request.key, STORED)
        if isinstance(request, GetRecord):
            if value is None:
                return encode_no_record(request.key, NoRecord.NOT_FOUND)
            return encode_record(request.key, 1, 7, 60, value)
        return encode_failure(request.key) if value is None else encode_success(request.key, value)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        splitter = FrameSplitter()
        while piece := connection.recv(65_536):
            splitter.feed(piece)
            while (frame := splitter.next_frame()) is not None:
                self.requests.append(decode_request(frame))
                if isinstance(self.requests[-1], PutWithReceipt | GetRecord) and not self._extended:
                    if self._hangs_up:
                        return
                    continue
                answer = self._answer(self.requests[-1])
                if not answer:
                    return
                connection.sendall(answer)
