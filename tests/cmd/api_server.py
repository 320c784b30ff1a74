"""A node's API for the tests of the clients: one thread that answers as it is told."""

import socket
import threading
import typing
from collections.abc import Callable

from dht14.wire.api_messages import Get, Put, decode_request, encode_failure, encode_success
from dht14.wire.frames import FrameSplitter

Answer = Callable[[Put | Get], bytes]


@typing.final
class ApiServer:
    """Listens on a free port of 127.0.0.1; each request is answered with what `answer` makes of it.

    Without `answer` it keeps what it is given. An empty answer closes the connection.
    """

    def __init__(self, answer: Answer | None = None) -> None:
        self.requests: list[Put | Get] = []
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
                answer = self._answer(self.requests[-1])
                if not answer:
                    return
                connection.sendall(answer)
