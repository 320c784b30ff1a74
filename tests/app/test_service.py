import shutil
import socket
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from attrs import evolve
from twisted.application.service import MultiService
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

import dht14.app.service
from dht14.app.data_dir import DataDir
from dht14.app.options import NodeSettings, PutReply, Role, SecuritySettings, Settings
from dht14.app.service import build_node
from dht14.app.startup_warnings import SAMPLE_KEY
from dht14.app.state_file import NodeState, read_state
from dht14.errors import AddressUnavailable, ConfigError, DataDirInUse
from dht14.kademlia.contact import Address, Seed
from dht14.kademlia.parameters import OPERATION_TIMEOUT
from dht14.node.join import FIRST_TRY_TIMEOUT
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.wire import api_messages
from tests.fakes import fields
from tests.process.ports import free_port

KEY = bytes(range(32))


class Client(Protocol):
    """Sends requests in one piece; `closed` fires with all received bytes when the connection is closed."""

    def __init__(self, *requests: bytes) -> None:
        self.requests = requests
        self.received = b""
        self.first: Deferred[None] = Deferred()
        self.closed: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"".join(self.requests))

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if not self.first.called:
            self.first.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed.callback(self.received)


def free_address() -> Address:
    """An address that is free for UDP and TCP."""
    return "127.0.0.1", free_port()


def bind(address: Address, kind: socket.SocketKind) -> socket.socket:
    """A socket bound there; OSError if the address is in use."""
    bound = socket.socket(socket.AF_INET, kind)
    try:
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


class ServiceTestCase(TestCase):
    """Nodes on the loopback, in the reactor of the tests."""

    def setUp(self) -> None:
        # The path of the admin socket in a data directory must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="dht14-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.running: list[MultiService] = []
        # On a busy machine the database may open late; requests must wait for it, unless a test says
        # otherwise.
        self.patch(dht14.app.service, "OPENING_TIMEOUT", 60)
        self.addCleanup(self.stop_all)

    async def stop_all(self) -> None:
        for service in list(self.running):
            await self.stop(service)

    def settings(self, name: str = "one", seeds: tuple[Seed, ...] = (), **node: object) -> Settings:
        data_dir = str(self.folder / name)
        addresses = {"p2p_address": free_address(), "api_address": free_address()}
        return Settings(
            node=NodeSettings(**{"data_dir": data_dir, **addresses, **node}),  # type: ignore[arg-type]
            bootstrap=seeds,
            security=SecuritySettings(difficulty=1),
        )

    def start(self, settings: Settings, role: Role = Role.NODE) -> MultiService:
        service = build_node(settings, reactor, role)
        self.running.append(service)
        service.startService()
        return service

    async def stop(self, service: MultiService) -> None:
        self.running.remove(service)
        await service.stopService()

    async def ask(self, settings: Settings, *requests: bytes) -> bytes:
        """The reply to these requests, up to its first piece."""
        client = await self.connect(settings, *requests)
        await client.first
        assert client.transport is not None
        client.transport.loseConnection()
        return await client.closed

    async def connect(self, settings: Settings, *requests: bytes) -> Client:
        endpoint = TCP4ClientEndpoint(reactor, *settings.node.api_address)
        connected: Client = await connectProtocol(endpoint, Client(*requests))
        return connected

    @staticmethod
    def state(settings: Settings) -> NodeState | None:
        """The node's state file, as `dht14 wait` reads it."""
        return read_state(settings.node.data_dir)

    async def state_is(self, settings: Settings, wanted: NodeState) -> None:
        """Wait until the state file has this content."""
        for _ in range(200):
            if self.state(settings) == wanted:
                return
            await deferLater(reactor, 0.05)
        self.fail(f"it says {self.state(settings)}")

    def assert_free(self, settings: Settings) -> None:
        """The ports and the data directory are free."""
        bind(settings.node.p2p_address, socket.SOCK_DGRAM).close()
        bind(settings.node.p2p_address, socket.SOCK_STREAM).close()
        bind(settings.node.api_address, socket.SOCK_STREAM).close()
        DataDir.open(settings.node.data_dir).close()


class LifeTests(ServiceTestCase):
    async def test_serves(self) -> None:
        """A node answers its API as soon as it is started, without any other node in the network."""
        settings = self.settings()
        with capturedLogs() as events:
            self.start(settings)
            put = await self.ask(settings, api_messages.encode_put(60, 0, KEY, b"value"))
        self.assertEqual(put, api_messages.encode_success(KEY, b"value"))
        self.assertEqual(await self.ask(settings, api_messages.encode_get(KEY)), put)
        logged = {*fields(events, "role", "host", "port"), *fields(events, "host", "port")}
        self.assertIn(("node", *settings.node.p2p_address), logged)
        self.assertIn(settings.node.api_address, logged)

    async def test_dead_seed(self) -> None:
        """A node whose seed is silent is alone after 2 s and serves what it holds: a request only waits
        that long. Its state file says how far it is, also when others come later."""
        silent = bind(free_address(), socket.SOCK_DGRAM)
        self.addCleanup(silent.close)
        settings = self.settings(seeds=(Seed(*silent.getsockname()),))
        self.start(settings)
        began = time.monotonic()
        put = await self.ask(settings, api_messages.encode_put(60, 0, KEY, b"value", receipt=True))
        self.assertTrue(time.monotonic() - began >= FIRST_TRY_TIMEOUT)
        reply = api_messages.decode_reply(put)
        assert isinstance(reply, api_messages.PutReceipt)
        receipt = reply.receipt
        self.assertEqual((receipt.outcome, receipt.stored, receipt.wanted), (PutOutcome.STORED_BY_ALL, 1, 8))
        found = await self.ask(settings, api_messages.encode_get(KEY))
        self.assertEqual(found, api_messages.encode_success(KEY, b"value"))
        await self.state_is(settings, NodeState((), False))
        other = self.settings("other", seeds=(Seed(*settings.node.p2p_address),))
        self.start(other)
        await self.state_is(other, NodeState((), True))

    async def test_joining(self) -> None:
        """A GET at a node that has just started finds the values of its network: it waits until the node
        has joined."""
        first = self.settings("first")
        self.start(first)
        put = api_messages.encode_put(60, 0, KEY, b"value")
        self.assertEqual(await self.ask(first, put), api_messages.encode_success(KEY, b"value"))
        settings = self.settings(seeds=(Seed(*first.node.p2p_address),))
        self.start(settings)
        found = await self.ask(settings, api_messages.encode_get_record(KEY))
        reply = api_messages.decode_reply(found)
        assert isinstance(reply, api_messages.FoundRecord)
        self.assertEqual((reply.kind, reply.value), (1, b"value"))
        self.assertTrue(55 <= reply.ttl <= 60)

    async def test_stopped(self) -> None:
        """After the stop its ports are closed and its directory is free; it can be started again."""
        settings = self.settings()
        for _ in range(2):
            service = self.start(settings)
            self.assertRaises(OSError, bind, settings.node.p2p_address, socket.SOCK_DGRAM)
            self.assertRaises(DataDirInUse, DataDir.open, settings.node.data_dir)
            await self.stop(service)
            self.assert_free(settings)

    async def test_stopped_in_the_middle(self) -> None:
        """A node can be stopped while it looks for seeds that do not exist, and leaves nothing behind."""
        for dead in (Seed(*free_address()), Seed("no-such-host.invalid", 8000)):
            settings = self.settings(seeds=(dead,))
            service = self.start(settings)
            await deferLater(reactor, 0.01)
            await self.stop(service)
            self.assert_free(settings)

    async def test_stopped_at_work(self) -> None:
        """Requests under way are answered before the end."""
        dead = bind(free_address(), socket.SOCK_DGRAM)
        self.addCleanup(dead.close)
        first = self.settings("first")
        self.start(first)
        settings = self.settings(seeds=(Seed(*first.node.p2p_address),))
        service = self.start(settings)
        await self.joined(settings)
        client = await self.connect(
            settings, *(api_messages.encode_put(60, 0, bytes([n]) * 32, b"value") for n in range(10))
        )
        await client.first
        await self.stop(service)
        received = await client.closed
        size = len(api_messages.encode_success(KEY, b"value"))
        self.assertEqual(len(received), 10 * size)

    async def test_hand_over_fails(self) -> None:
        """A hand-over that fails is logged, and the rest of the stop goes on."""

        def run(seconds: float) -> "Deferred[None]":
            return fail(ZeroDivisionError())

        settings = self.settings()
        service: Any = self.start(settings)
        await self.ask(settings, api_messages.encode_put(60, 0, KEY, b"value"))
        stack = evolve(service._running.stack, hand_over=SimpleNamespace(run=run))
        service._running = evolve(service._running, stack=stack)
        await self.stop(service)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assert_free(settings)

    async def joined(self, settings: Settings) -> None:
        """Wait until a node has saved contacts: then it has some."""
        for _ in range(100):
            if (Path(settings.node.data_dir) / "contacts").exists():
                return
            await deferLater(reactor, 0.05)
        raise AssertionError("it did not join")

    async def test_contacts_kept(self) -> None:
        """A node finds its network again through its saved contacts, without a seed."""
        first = self.settings("first")
        self.start(first)
        settings = self.settings(seeds=(Seed(*first.node.p2p_address),))
        service = self.start(settings)
        await self.joined(settings)
        await self.stop(service)
        put = api_messages.encode_put(60, 0, KEY, b"value")
        await self.ask(first, put)
        service = self.start(evolve(settings, bootstrap=()))
        found = b""
        for _ in range(100):
            found = await self.ask(settings, api_messages.encode_get(KEY))
            if found == api_messages.encode_success(KEY, b"value"):
                return
            await deferLater(reactor, 0.05)
        self.fail(f"not found: {found!r}")

    async def test_damaged_contacts(self) -> None:
        """Damaged contacts are logged, and do not delay the start."""
        settings = self.settings()
        service = self.start(settings)
        await self.ask(settings, api_messages.encode_get(KEY))
        await self.stop(service)
        (Path(settings.node.data_dir) / "contacts").write_bytes(b"damaged")
        with capturedLogs() as events:
            self.start(settings)
            await self.ask(settings, api_messages.encode_get(KEY))
        self.assertEqual(len(fields(events, "reason")), 1)

    async def test_values_kept(self) -> None:
        """A value is found after a restart; the log says how many records there are."""
        settings = self.settings()
        service = self.start(settings)
        put = await self.ask(settings, api_messages.encode_put(60, 0, KEY, b"value"))
        await self.stop(service)
        with capturedLogs() as events:
            self.start(settings)
            self.assertEqual(await self.ask(settings, api_messages.encode_get(KEY)), put)
        self.assertEqual(fields(events, "records"), [(1,)])

    async def test_long_search(self) -> None:
        """While a node has no id its requests wait, 5 s at most, and then get NOT_READY. It stops at once,
        also while some wait."""
        settings = self.settings()
        service = self.start(evolve(settings, security=SecuritySettings(difficulty=8)))
        began = time.monotonic()
        replies = await self.ask(
            settings,
            api_messages.encode_get(bytes(32))
            + api_messages.encode_get_record(KEY)
            + api_messages.encode_put(60, 0, bytes([1]) * 32, b"value", receipt=True),
        )
        self.assertTrue(time.monotonic() - began >= OPERATION_TIMEOUT)
        not_ready = Receipt(PutOutcome.NOT_STORED, 0, 0, PutReason.NOT_READY)
        self.assertEqual(
            replies,
            api_messages.encode_failure(bytes(32))
            + api_messages.encode_no_record(KEY, NoRecord.NOT_READY)
            + api_messages.encode_receipt(bytes([1]) * 32, not_ready),
        )
        self.assertEqual(self.state(settings), NodeState(("identity", "join", "values"), False))
        waits = await self.connect(settings, api_messages.encode_get(KEY))
        await deferLater(reactor, 0.05)
        await self.stop(service)
        self.assertEqual(await waits.closed, api_messages.encode_failure(KEY))
        DataDir.open(settings.node.data_dir).close()
        self.assertIsNone(self.state(settings))

    async def test_no_room(self) -> None:
        """If the proof of work cannot be saved, that is logged; the API goes on answering."""
        settings = self.settings()
        with capturedLogs() as events:
            service = self.start(evolve(settings, security=SecuritySettings(difficulty=3)))
            (Path(settings.node.data_dir) / "identity.proof.new").mkdir()
            for _ in range(1000):
                if errors := [event for event in events if event["log_level"] is LogLevel.critical]:
                    break
                await deferLater(reactor, 0.01)
        self.assertIn("data_dir", errors[0]["reason"])
        found = await self.ask(settings, api_messages.encode_get(KEY))
        self.assertEqual(found, api_messages.encode_failure(KEY))
        await self.stop(service)

    async def test_raised_difficulty(self) -> None:
        """A node whose proof of work is too easy for its network gets another id, logs that, and keeps its
        values."""
        settings = self.settings()
        service = self.start(evolve(settings, security=SecuritySettings(difficulty=0)))
        put = await self.ask(settings, api_messages.encode_put(60, 0, KEY, b"value"))
        await self.stop(service)
        with capturedLogs() as events:
            self.start(evolve(settings, security=SecuritySettings(difficulty=2)))
            self.assertEqual(await self.ask(settings, api_messages.encode_get(KEY)), put)
        ((former, now),) = fields(events, "former", "now")
        self.assertNotEqual(former, now)
        self.assertIn((now,), fields(events, "node_id"))

    async def test_slow_check(self) -> None:
        """If the check of the database takes long the node joins without it; a GET waits for it."""
        settings = self.settings()
        service = self.start(settings)
        put = await self.ask(settings, api_messages.encode_put(60, 0, KEY, b"value"))
        await self.stop(service)
        self.patch(dht14.app.service, "OPENING_TIMEOUT", 0)
        self.start(settings)
        self.assertEqual(await self.ask(settings, api_messages.encode_get(KEY)), put)

    async def test_damaged_values(self) -> None:
        """The log says where damaged values are; the node starts without values."""
        settings = self.settings()
        service = self.start(settings)
        await self.ask(settings, api_messages.encode_get(KEY))
        await self.stop(service)
        (database,) = (Path(settings.node.data_dir) / "values").glob("*.mdb")
        database.write_bytes(b"damaged" * 1000)
        with capturedLogs() as events:
            self.start(settings)
            await self.ask(settings, api_messages.encode_get(KEY))
        self.assertEqual(fields(events, "path"), [(f"{database.absolute()}.damaged-1",)])

    async def test_older_values(self) -> None:
        """The database of an older version is not called corrupt: no disk must be examined."""
        settings = self.settings()
        service = self.start(settings)
        await self.ask(settings, api_messages.encode_get(KEY))
        await self.stop(service)
        header = Path(settings.node.data_dir) / "values" / "header"
        content = b"DHT14VAL" + (1).to_bytes(2, "big") + header.read_bytes()[10:-32]
        header.write_bytes(content + sha256(content).digest())
        with capturedLogs() as events:
            self.start(settings)
            await self.ask(settings, api_messages.encode_get(KEY))
        aside = f"{header.parent.absolute()}.damaged-1"
        self.assertEqual(fields(events, "event", "path"), [("database.outdated", aside)])

    async def test_missing_values(self) -> None:
        """A database that existed and is missing is critical; a first start is not."""
        settings = self.settings()
        with capturedLogs() as events:
            service = self.start(settings)
            await self.ask(settings, api_messages.encode_get(KEY))
        await self.stop(service)
        self.assertEqual(fields(events, "path"), [])
        (database,) = (Path(settings.node.data_dir) / "values").glob("*.mdb")
        database.unlink()
        with capturedLogs() as events:
            self.start(settings)
            await self.ask(settings, api_messages.encode_get(KEY))
        self.assertEqual(fields(events, "log_level", "path"), [(LogLevel.critical, str(database.absolute()))])

    async def test_cancelled_start(self) -> None:
        """A node that was stopped before its database was made has lost nothing: its next start says nothing
        of a missing one."""
        settings = self.settings()
        service = self.start(settings)
        await self.ask(settings, api_messages.encode_get(KEY))
        await self.stop(service)
        shutil.rmtree(Path(settings.node.data_dir) / "values")
        self.running.append(cancelled := build_node(settings, reactor, Role.NODE))
        await self.stop(cancelled)
        with capturedLogs() as events:
            self.start(settings)
            await self.ask(settings, api_messages.encode_get(KEY))
        self.assertEqual(fields(events, "path"), [])

    async def test_sample_key(self) -> None:
        """The published key works, with a warning."""
        settings = self.settings()
        with capturedLogs() as events:
            self.start(evolve(settings, security=evolve(settings.security, encryption_key=SAMPLE_KEY)))
        warnings = [event for event in events if event["log_level"] is LogLevel.warn]
        self.assertTrue(any("published sample" in event["log_format"] for event in warnings))
        self.assertNotIn(SAMPLE_KEY.decode(), str(events))

    async def test_bootstrap(self) -> None:
        """A bootstrap node serves other nodes, and has no API and no values."""
        settings = self.settings()
        self.start(settings, Role.BOOTSTRAP)
        self.assertRaises(OSError, bind, settings.node.p2p_address, socket.SOCK_DGRAM)
        with self.assertRaises(ConnectionRefusedError):
            await self.connect(settings)
        self.assertFalse((Path(settings.node.data_dir) / "values").exists())

    async def test_no_put_reply(self) -> None:
        """With put_reply = none the first reply is that to the GET."""
        settings = self.settings()
        settings = evolve(settings, api=evolve(settings.api, put_reply=PutReply.NONE))
        self.start(settings)
        requests = [api_messages.encode_put(60, 0, KEY, b"value"), api_messages.encode_get(bytes(32))]
        self.assertEqual(await self.ask(settings, *requests), api_messages.encode_failure(bytes(32)))


class FailedStartTests(ServiceTestCase):
    """A start that fails leaves nothing open, and says which option to change."""

    def refused(
        self, settings: Settings, taken: socket.socket | None, error: type[Exception], name: str
    ) -> None:
        readers = set(reactor.getReaders())
        refusal = self.assertRaises(error, build_node, settings, reactor, Role.NODE)
        self.assertIn(name, str(refusal))
        self.assertEqual(set(reactor.getReaders()), readers)
        if taken is not None:
            taken.close()
        self.assert_free(settings)

    def test_api_port_taken(self) -> None:
        """If the API's port is taken, the UDP port is free again."""
        settings = self.settings()
        taken = bind(settings.node.api_address, socket.SOCK_STREAM)
        taken.listen()
        self.refused(settings, taken, AddressUnavailable, "api_address")

    def test_p2p_port_taken(self) -> None:
        """If the UDP port is taken, the directory is free again."""
        settings = self.settings()
        taken = bind(settings.node.p2p_address, socket.SOCK_DGRAM)
        self.refused(settings, taken, AddressUnavailable, "p2p_address")

    def test_bulk_port_taken(self) -> None:
        """The same holds for the TCP port of the same number."""
        settings = self.settings()
        taken = bind(settings.node.p2p_address, socket.SOCK_STREAM)
        taken.listen()
        self.refused(settings, taken, AddressUnavailable, "TCP")

    def test_foreign_address(self) -> None:
        """An address of another host, or a name without address, is unavailable."""
        for host in ("192.0.2.1", "no-such-host.invalid"):
            settings = self.settings(p2p_address=(host, 8000))
            refusal = self.assertRaises(AddressUnavailable, build_node, settings, reactor, Role.NODE)
            self.assertIn("p2p_address", str(refusal))
            DataDir.open(settings.node.data_dir).close()

    def test_damaged_identity(self) -> None:
        """A damaged identity is reported, and the ports were never opened."""
        settings = self.settings()
        Path(settings.node.data_dir).mkdir(parents=True)
        (Path(settings.node.data_dir) / "identity.pem").write_text("damaged")
        self.refused(settings, None, ConfigError, "identity.pem")

    async def test_wrong_key(self) -> None:
        """A wrong key is reported, and nothing stays open."""
        settings = self.settings()
        service = self.start(settings)
        await self.ask(settings, api_messages.encode_get(KEY))
        await self.stop(service)
        wrong = evolve(settings, security=evolve(settings.security, encryption_key=b"w" * 32))
        self.refused(wrong, None, ConfigError, "encryption_key")

    def test_data_dir_taken(self) -> None:
        """A directory of another node is reported; that node keeps it."""
        settings = self.settings()
        held = DataDir.open(settings.node.data_dir)
        self.addCleanup(held.close)
        self.assertRaises(DataDirInUse, build_node, settings, reactor, Role.NODE)
        self.assertRaises(DataDirInUse, DataDir.open, settings.node.data_dir)
