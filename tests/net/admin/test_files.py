import hashlib
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport

from dht14.files.address import encode_link
from dht14.files.content_store import Hope
from dht14.files.manifest import PIECE_BYTES
from dht14.kademlia.keyspace import id_from_bytes
from dht14.net.admin.files import BODY_TIMEOUT, MAX_TRANSFERS, READ_AHEAD
from dht14.net.admin.streams import STALL_TIMEOUT
from dht14.net.admin.view import NotStarted
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.records.record import Record
from tests.net.admin.case import GONE, TOKEN, AdminCase, FakeView, Response, parsed
from tests.owners import Owner

CONTENT = b"".join(number.to_bytes(8, "big") * (PIECE_BYTES // 8) for number in range(40)) + b"end"


@define(slots=False)
class KeepingView(FakeView):
    """Keeps values; a test can hold puts back, and refuse them."""

    values: dict[int, bytes] = field(factory=dict)
    held_back: list[Deferred[None]] | None = None
    refusal: PutReason | None = None
    is_started: bool = True
    missing: NoRecord = NoRecord.NOT_FOUND

    async def put(self, key: int, value: bytes, ttl: int, replication: int) -> Receipt:
        if not self.is_started:
            raise NotStarted
        self.puts.append((key, value, ttl, replication))
        if self.held_back is not None:
            wait: Deferred[None] = Deferred()
            self.held_back.append(wait)
            await wait
        if self.refusal is not None:
            return Receipt(PutOutcome.NOT_STORED, 0, 8, self.refusal)
        self.values[key] = value
        return self.put_result

    async def get(self, key: int, content: bool) -> Record | NoRecord:
        value = self.values.get(key)
        if value is None:
            return self.missing
        return Record(key=key, value=value, version=0, expires_at=600.0, replication=8)


class FileCase(AdminCase):
    make_view = KeepingView
    view: KeepingView

    def put(self, content: bytes = CONTENT, path: str = "/v1/files") -> Response:
        return self.ask("PUT", path, content)

    def pass_time(self) -> None:
        """Let all tries of a call that fails take place."""
        for pause in (*Hope.GREAT.value, *Hope.SMALL.value):
            self.clock.advance(pause)


class PutFileTests(FileCase):
    """A file is stored while it comes."""

    def test_stored(self) -> None:
        """The answer has its address and what is known of its copies; the parameters go to the node."""
        response = self.put(path="/v1/files?ttl=600&replication=3")
        answer = response.content
        self.assertEqual(response.status, 200)
        self.assertEqual(answer["address"], f"dht14:{answer['key']}")
        self.assertEqual((answer["bytes"], answer["pieces"], answer["copies"]), (len(CONTENT), 41, 8))
        self.assertEqual(answer["expires_in"], 600)
        self.assertEqual({put[2:] for put in self.view.puts}, {(600, 3)})
        self.assertEqual(int(answer["key"], 16), self.view.puts[-1][0])

    def test_chunked(self) -> None:
        """A body without a length is the same file."""
        channel, transport = self.send("PUT", "/v1/files", Content_Length="", Transfer_Encoding="chunked")
        for begin in range(0, len(CONTENT), 50_000):
            part = CONTENT[begin : begin + 50_000]
            channel.dataReceived(b"%x\r\n%s\r\n" % (len(part), part))
        channel.dataReceived(b"0\r\n\r\n")
        self.assertEqual(parsed(transport.value()).content["address"], self.put().content["address"])

    def test_stored_while_it_comes(self) -> None:
        """Pieces are stored before the body is complete."""
        channel, transport = self.send("PUT", "/v1/files", Content_Length=str(len(CONTENT)))
        channel.dataReceived(CONTENT[: 10 * PIECE_BYTES])
        self.assertEqual(len(self.view.puts), 10)
        self.assertEqual(transport.value(), b"")
        channel.dataReceived(CONTENT[10 * PIECE_BYTES :])
        self.assertEqual(parsed(transport.value()).status, 200)

    def test_flow(self) -> None:
        """What cannot be stored at once is not read: the connection pauses, for as long as it takes."""
        self.view.held_back = []
        channel, transport = self.send("PUT", "/v1/files", Content_Length=str(len(CONTENT)))
        begin = 0
        while transport.producerState != "paused":
            channel.dataReceived(CONTENT[begin : begin + 50_000])
            begin += 50_000
        self.assertLess(begin, READ_AHEAD + 200_000)
        self.clock.advance(10 * BODY_TIMEOUT)
        self.assertFalse(transport.disconnecting or transport.disconnected)
        held, self.view.held_back = self.view.held_back, None
        for wait in held:
            wait.callback(None)
        self.assertEqual(transport.producerState, "producing")
        channel.dataReceived(CONTENT[begin:])
        self.assertEqual(parsed(transport.value()).status, 200)

    def test_slow_end(self) -> None:
        """When the body is complete the client waits, for as long as the node takes to store the rest."""
        self.view.held_back = []
        content = CONTENT[: READ_AHEAD + 8 * PIECE_BYTES]
        _, transport = self.send("PUT", "/v1/files", content)
        self.assertEqual(transport.producerState, "paused")
        for wait in self.view.held_back:
            wait.callback(None)
        self.assertEqual(transport.producerState, "producing")
        self.clock.advance(10 * BODY_TIMEOUT)
        self.assertFalse(transport.disconnecting or transport.disconnected)

    def test_refused(self) -> None:
        """A refusal that lasts is answered before all of the body has come, with what to do."""
        self.view.refusal = PutReason.WRITER_SHARE
        channel, transport = self.send("PUT", "/v1/files", Content_Length=str(len(CONTENT)))
        channel.dataReceived(CONTENT[: 3 * PIECE_BYTES])
        self.pass_time()
        response = parsed(transport.value())
        self.assertEqual((response.status, set(response.content)), (507, {"error", "hint"}))
        self.assertTrue(transport.disconnecting)

    def test_refused_at_the_end(self) -> None:
        """Or after it."""
        self.view.refusal = PutReason.NO_ROOM
        _, transport = self.send("PUT", "/v1/files", b"short")
        self.pass_time()
        self.assertEqual(parsed(transport.value()).status, 507)

    def test_not_started(self) -> None:
        """A node without an id yet says so."""
        self.view.is_started = False
        self.assertEqual(self.put(b"short").status, 503)

    def test_client_gone(self) -> None:
        """Nothing goes on for a client that has gone, and its place is free."""
        for _ in range(2 * MAX_TRANSFERS):
            channel, _ = self.send("PUT", "/v1/files", Content_Length=str(len(CONTENT)))
            channel.dataReceived(CONTENT[:100_000])
            channel.connectionLost(GONE)
        self.assertEqual(self.put().status, 200)

    def test_limit(self) -> None:
        """One file too many gets 429, before its body."""
        channels = [self.send("PUT", "/v1/files", Content_Length="1000")[0] for _ in range(MAX_TRANSFERS)]
        _, transport = self.send("PUT", "/v1/files", Content_Length="1000")
        self.assertEqual(parsed(transport.value()).status, 429)
        for channel in channels:
            channel.connectionLost(GONE)
        self.assertEqual(self.put(b"short").status, 200)

    def test_wrong_requests(self) -> None:
        """Nothing is stored of what has no token, a foreign Host, or a wrong parameter."""
        for status, path, token, host in (
            (401, "/v1/files", None, "127.0.0.1"),
            (403, "/v1/files", TOKEN, "evil.example"),
            (400, "/v1/files?tll=1", TOKEN, "127.0.0.1"),
            (400, "/v1/files?replication=21", TOKEN, "127.0.0.1"),
        ):
            _, transport = self.send("PUT", path, b"short", token, Host=host)
            self.assertEqual(parsed(transport.value()).status, status)
            self.assertTrue(transport.disconnecting)
        self.assertEqual(self.view.puts, [])


class GetFileTests(FileCase):
    """A file is sent while it is fetched."""

    def setUp(self) -> None:
        super().setUp()
        self.key: str = self.put().content["key"]

    def get(self, key: str, **headers: str) -> Response:
        return self.ask("GET", f"/v1/files/{key}", b"", TOKEN, **headers)

    def test_sent(self) -> None:
        """It comes with its length, under its key or its address."""
        for key in (self.key, f"dht14:{self.key}"):
            response = self.get(key)
            self.assertEqual((response.status, response.body), (200, CONTENT))
            self.assertEqual(response.headers["content-length"], str(len(CONTENT)))
            self.assertEqual(response.headers["x-dht14-expires-in"], "600")

    def test_owner(self) -> None:
        """An owner's value leads to it."""
        owner = Owner()
        self.view.values[owner.key] = owner.says(encode_link(bytes.fromhex(self.key)), 1)
        self.assertEqual(self.get(f"{owner.key:064x}").body, CONTENT)

    def test_head(self) -> None:
        """HEAD has the headers alone."""
        response = self.ask("HEAD", f"/v1/files/{self.key}")
        self.assertEqual((response.headers["content-length"], response.body), (str(len(CONTENT)), b""))

    def test_range(self) -> None:
        """A broken download goes on from any byte, if it is still the same file."""
        for begin in (1, PIECE_BYTES, 5 * PIECE_BYTES + 77, len(CONTENT) - 1):
            response = self.get(self.key, Range=f"bytes={begin}-")
            self.assertEqual((response.status, response.body), (206, CONTENT[begin:]))
            self.assertEqual(
                response.headers["content-range"], f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}"
            )
        self.assertEqual(self.get(self.key, Range="bytes=5-", If_Range='"other"').status, 200)
        self.assertEqual(self.get(self.key, Range="bytes=5-9").status, 200)
        self.assertEqual(self.get(self.key, Range=f"bytes={len(CONTENT)}-").status, 416)

    def test_range_of_owner(self) -> None:
        """The download of an owner's file goes on only if the client says which file it has begun: the owner
        may have put another one since. Otherwise it gets the whole file."""
        owner = Owner()
        self.view.values[owner.key] = owner.says(encode_link(bytes.fromhex(self.key)), 1)
        address = f"{owner.key:064x}"
        tag = self.get(address).headers["etag"]
        self.assertEqual(self.get(address, Range="bytes=5-").status, 200)
        self.assertEqual(self.get(address, Range="bytes=5-", If_Range='"other"').body, CONTENT)
        response = self.get(address, Range="bytes=5-", If_Range=tag)
        self.assertEqual((response.status, response.body), (206, CONTENT[5:]))
        past_the_end = f"bytes={len(CONTENT)}-"
        self.assertEqual(self.get(address, Range=past_the_end).status, 200, "the file before was longer")

    def test_flow(self) -> None:
        """It is fetched no faster than the client reads; a client that reads nothing is disconnected."""
        channel, _ = self.connect()
        paused = PausingTransport()
        channel.makeConnection(paused)
        channel.dataReceived(self.request())
        sent = len(paused.value())
        self.assertLess(sent, 3 * PIECE_BYTES)
        paused.resume()
        self.assertGreater(len(paused.value()), sent)
        self.clock.advance(STALL_TIMEOUT)
        self.assertTrue(paused.disconnected)
        self.assertEqual(self.get(self.key).status, 200)

    def request(self) -> bytes:
        lines = f"Host: 127.0.0.1\r\nAuthorization: Bearer {'t' * 43}\r\n"
        return f"GET /v1/files/{self.key} HTTP/1.1\r\n{lines}\r\n".encode()

    def test_lost_piece(self) -> None:
        """A piece that is lost cuts the connection: the client sees that the file is not complete."""
        lost = hashlib.sha256(CONTENT[5 * PIECE_BYTES : 6 * PIECE_BYTES]).digest()
        del self.view.values[id_from_bytes(lost)]
        _, transport = self.send("GET", f"/v1/files/{self.key}")
        self.pass_time()
        self.assertTrue(transport.disconnected)
        self.assertTrue(parsed(transport.value()).body.startswith(CONTENT[: 5 * PIECE_BYTES]))

    def test_lost_first_piece(self) -> None:
        """Without its first piece there is no file, and no head of one."""
        lost = hashlib.sha256(CONTENT[:PIECE_BYTES]).digest()
        del self.view.values[id_from_bytes(lost)]
        _, transport = self.send("GET", f"/v1/files/{self.key}")
        self.pass_time()
        response = parsed(transport.value())
        self.assertEqual(
            (response.status, response.content["error"]), (404, "a part of the file is not found")
        )
        self.assertNotIn("etag", response.headers)

    def test_empty(self) -> None:
        """A file without a byte is one."""
        key = self.put(b"").content["key"]
        response = self.get(key)
        self.assertEqual(
            (response.status, response.headers["content-length"], response.body), (200, "0", b"")
        )

    def test_not_there(self) -> None:
        """A file that is not found, no file, and no address: each has its status."""
        piece = hashlib.sha256(CONTENT[:PIECE_BYTES]).hexdigest()
        for key, status in (("0" * 64, 404), (piece, 422), ("short", 400), ("", 404), (f"{self.key}/x", 404)):
            _, transport = self.send("GET", f"/v1/files/{key}")
            self.pass_time()
            self.assertEqual((key, parsed(transport.value()).status), (key, status))

    def test_not_known(self) -> None:
        """If those who should know it do not answer, that is not the same as not found."""
        self.view.missing = NoRecord.UNANSWERED
        _, transport = self.send("GET", f"/v1/files/{'0' * 64}")
        self.pass_time()
        self.assertEqual(parsed(transport.value()).status, 504)


class PausingTransport(StringTransport):
    """Tells its producer to pause after each write, as a full socket does."""

    def write(self, data: bytes) -> None:
        super().write(data)
        producer: Any = self.producer
        if producer is not None:
            producer.pauseProducing()

    def resume(self) -> None:
        producer: Any = self.producer
        producer.resumeProducing()
