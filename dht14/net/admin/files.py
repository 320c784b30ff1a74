"""`/v1/files`: files of any size. A PUT is stored while it comes, and a GET is sent while it is fetched."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qs

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.server import Request

from dht14.files.address import format_address, parse_address
from dht14.files.content_store import Missing, NoManifest, TransferFailed
from dht14.files.download import FileTree, fetch, find_tree
from dht14.files.manifest import PIECE_BYTES
from dht14.files.upload import FileUpload
from dht14.net.admin.access import AccessRules
from dht14.net.admin.asked import asked_storage
from dht14.net.admin.endpoint import (
    AdminResource,
    Answer,
    HttpError,
    check_sender,
    check_token,
    header,
    is_over,
    parameters,
    path_segments,
    write_result,
)
from dht14.net.admin.refusals import MISSING, REFUSED
from dht14.net.admin.streams import Flow
from dht14.net.admin.view import NodeView
from dht14.net.admin.view_store import NotKnown, NotStored, ViewStore

MAX_TRANSFERS = 4
"""Files that come or go at once, each with 32 operations on other nodes. The next one gets 429."""

READ_AHEAD = 16 * PIECE_BYTES
"""Bytes of a PUT that wait in memory. The connection is not read while there are more."""

BODY_TIMEOUT = 30.0
"""Seconds without a byte after which a PUT that is being read is given up."""

_RANGE = re.compile("bytes=([0-9]{1,19})-")


class IncomingFile:
    """The body of one PUT, on its way from the connection into the network."""

    def __init__(self, request: Request) -> None:
        self._channel: Any = request.channel
        self._buffer = bytearray()
        self._is_over = self._is_paused = False
        self._awaited: Deferred[None] | None = None
        self.stored: Deferred[Answer]
        """Fires when all is stored."""

    def received(self, data: bytes) -> None:
        """Take a part of the body."""
        self._buffer += data
        if len(self._buffer) > READ_AHEAD and not self._is_paused:
            self._is_paused = True
            self._channel.setTimeout(None)
            self._channel.transport.pauseProducing()
        self._wake()

    def ended(self) -> None:
        """The body is complete."""
        self._is_over = True
        self._wake()

    def lost(self) -> None:
        """The client has gone, before or after the end of the body."""
        self.stored.addErrback(lambda _: None)
        self.stored.cancel()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the pieces as they are complete."""
        while True:
            while len(self._buffer) < PIECE_BYTES and not self._is_over:
                self._awaited = Deferred()
                await self._awaited
            piece = bytes(self._buffer[:PIECE_BYTES])
            del self._buffer[:PIECE_BYTES]
            if self._is_paused and len(self._buffer) <= READ_AHEAD // 2:
                self._is_paused = False
                if not self._is_over:  # Then the client waits for us.
                    self._channel.setTimeout(BODY_TIMEOUT)
                self._channel.transport.resumeProducing()
            if not piece:
                return
            yield piece

    def _wake(self) -> None:
        awaited, self._awaited = self._awaited, None
        if awaited is not None and not awaited.called:
            awaited.callback(None)


class FileTransfers(AdminResource):
    """The files that come and go through the admin surface."""

    def __init__(self, view: NodeView, rules: AccessRules, clock: IReactorTime) -> None:
        super().__init__()
        self._view = view
        self._rules = rules
        self._clock = clock
        self.running = 0

    # PUT

    def begin(self, request: Request, uri: bytes) -> IncomingFile:
        """Begin to store a body whose head has come. Raises `HttpError`."""
        self._admit(request)
        request.args = parse_qs(uri.partition(b"?")[2], keep_blank_values=True)
        ttl, replication = asked_storage(parameters(request, frozenset({"ttl", "replication"})))
        incoming = IncomingFile(request)
        store = ViewStore(self._view, self._clock, ttl, replication)
        self.running += 1
        upload = FileUpload(store, lambda _: None, replication)
        incoming.stored = Deferred.fromCoroutine(self._store(upload, incoming))
        incoming.stored.addBoth(self._counted)
        return incoming

    async def _store(self, upload: FileUpload, incoming: IncomingFile) -> Answer:
        try:
            async with aclosing(incoming.pieces()) as pieces:
                key = await upload.run(pieces)
        except TransferFailed as failed:
            raise _put_error(failed, upload.progress.bytes_done) from failed
        done = upload.progress
        return Answer.of_json(
            {
                "address": format_address(key),
                "key": key.hex(),
                "bytes": done.bytes_done,
                "bytes_found": done.bytes_found,
                "pieces": done.pieces_done,
                "copies": done.copies,
                "wanted": done.wanted,
                "expires_in": done.lifetime,
            }
        )

    # GET

    def respond(self, request: Request) -> None:
        """Begin to send a file, or answer for one that has come as soon as it is stored."""
        incoming: IncomingFile | None = getattr(request, "incoming", None)
        if incoming is not None:
            incoming.stored.addBoth(lambda result: write_result(request, result, self.log))
            return
        self._admit(request)
        if request.method not in (b"GET", b"HEAD"):
            raise HttpError(405, "only GET and PUT are possible here", headers={"Allow": "GET, HEAD, PUT"})
        key = self._key(request)
        parameters(request, frozenset())
        self.running += 1
        flow = Flow(request, self._clock)
        sending = Deferred.fromCoroutine(self._send(request, key, flow))
        request.notifyFinish().addErrback(lambda _: sending.cancel())
        sending.addBoth(self._counted)
        sending.addBoth(self._sent, request, flow)

    def _key(self, request: Request) -> bytes:
        (text,) = path_segments(request, 1)
        try:
            return parse_address(text if text.startswith("dht14:") else f"dht14:{text}")
        except ValueError as error:
            raise HttpError(400, str(error)) from None

    async def _send(self, request: Request, key: bytes, flow: Flow) -> None:
        store = ViewStore(self._view, self._clock)
        try:
            tree = await find_tree(store, key)
        except Missing:
            raise HttpError(404, "not found", "It has expired, or was never stored.") from None
        except NoManifest as flaw:
            raise HttpError(422, f"what stands there is {flaw}", "GET /v1/values/KEY.") from None
        except TransferFailed as failed:
            raise _get_error(failed) from failed
        head = _head_of(request, key, tree)
        if request.method == b"HEAD" or head.begin == tree.root.size:
            head.set(request)
            return
        number, skipped = divmod(head.begin, tree.root.piece_bytes)
        try:
            async with aclosing(fetch(store, tree.root, number)) as pieces:
                async for piece in pieces:
                    if not request.startedWriting:
                        # Not sooner: without its first piece there is no file.
                        head.set(request)
                        request.registerProducer(flow, True)
                    request.write(piece[skipped:])
                    skipped = 0
                    await flow.ready()
        except TransferFailed as failed:
            raise _get_error(failed) from failed

    def _sent(self, result: object, request: Request, flow: Flow) -> None:
        flow.stop()
        if is_over(request):
            return
        if not isinstance(result, Failure):
            if request.producer is not None:
                request.unregisterProducer()
            request.finish()
        elif not request.startedWriting:
            write_result(request, result, self.log)
        elif request.channel is not None:
            # The client has the length, and sees that something is missing.
            if not result.check(HttpError):
                self.log.failure("An admin request failed; this is a bug.", result, event="admin.request_bug")
            request.channel.forceAbortClient()

    # Both

    def _admit(self, request: Request) -> None:
        check_sender(request, self._rules)
        check_token(request, self._rules)
        if self.running >= MAX_TRANSFERS:
            raise HttpError(
                429, f"{MAX_TRANSFERS} files are on their way", "Try again.", {"Retry-After": "5"}
            )

    def _counted(self, result: Any) -> Any:
        self.running -= 1
        return result


@frozen
class FileHead:
    """What the answer to a GET says before the file."""

    begin: int
    """The byte of the file with which the answer begins."""
    headers: dict[str, str]

    def set(self, request: Request) -> None:
        """Set the status and the headers of the answer."""
        if self.begin:
            request.setResponseCode(206)
        for name, text in self.headers.items():
            request.setHeader(name.encode(), text.encode())


def _head_of(request: Request, address: bytes, tree: FileTree) -> FileHead:
    """Return the head of the answer to a GET of an address. Raises `HttpError`.

    Of ranges only those that go to the end are known: they are what continues a broken download. Every other
    `Range` gets the whole file, as RFC 9110 allows. So does one without `If-Range` at an owner's address:
    that can name another file by now, and the client would join the parts of two.
    """
    size = tree.root.size
    tag = f'"{tree.key.hex()}"'
    asked = _RANGE.fullmatch(header(request, b"range") or "")
    condition = header(request, b"if-range")
    is_same = condition == tag if condition is not None else address == tree.key
    begin = int(asked[1]) if asked is not None and is_same else 0
    if begin and begin >= size:
        raise HttpError(416, "the file ends before that", headers={"Content-Range": f"bytes */{size}"})
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(size - begin),
        "Accept-Ranges": "bytes",
        "ETag": tag,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    if tree.expires_in is not None:
        headers["X-DHT14-Expires-In"] = str(tree.expires_in)
    if begin:
        headers["Content-Range"] = f"bytes {begin}-{size - 1}/{size}"
    return FileHead(begin, headers)


def _put_error(failed: TransferFailed, bytes_done: int) -> HttpError:
    status, error, hint = _cause_of(failed)
    return HttpError(
        status, f"{bytes_done:,} bytes are stored, then: {error}", f"PUT it again to go on. {hint}"
    )


def _get_error(failed: TransferFailed) -> HttpError:
    return HttpError(*_cause_of(failed))


def _cause_of(failed: TransferFailed) -> tuple[int, str, str]:
    trouble = failed.__cause__
    origin = trouble.__cause__ if trouble is not None else None
    if isinstance(origin, NotStored):
        return REFUSED[origin.receipt.reason]
    if isinstance(origin, NotKnown):
        return MISSING[origin.reason]
    if isinstance(trouble, Missing):
        return 404, "a part of the file is not found", "It has expired, or was never stored."
    return 502, str(failed), ""
