import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from dht14.app import admin_files
from dht14.app.admin import AdminPort, admin_token, bind_admin
from dht14.app.admin_files import MAX_SOCKET_PATH, SOCKET_NAME, TOKEN_NAME, socket_address
from dht14.app.data_dir import DataDir
from dht14.app.disk_monitor import DiskMonitor
from dht14.app.node_view import RealNodeView
from dht14.app.option_types import HostPort
from dht14.app.options import AdminSocket, NodeSettings, Role, Settings
from dht14.app.start import StartProgress
from dht14.app.state_file import StateFile
from dht14.errors import AddressUnavailable, ConfigError


class Client(Protocol):
    """A connection to the surface: fires when the first bytes come, and when it ends."""

    def __init__(self) -> None:
        self.answered: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()

    def ask(self, path: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b"GET %s HTTP/1.1\r\nHost: node\r\n\r\n" % path)

    def dataReceived(self, data: bytes) -> None:
        if not self.answered.called:
            self.answered.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(None)


class AdminCase(TestCase):
    def setUp(self) -> None:
        # The path of a Unix socket is at most 107 bytes long; that of a folder of a test can be longer.
        folder = tempfile.mkdtemp(prefix="dht14-")
        self.addCleanup(shutil.rmtree, folder)
        self.data_dir = self.open(Path(folder) / "data")

    def open(self, folder: Path) -> DataDir:
        data_dir = DataDir.open(str(folder))
        self.addCleanup(data_dir.close)
        return data_dir

    async def bind(
        self, address: HostPort | AdminSocket = AdminSocket.UNIX, data_dir: DataDir | None = None
    ) -> AdminPort | None:
        data_dir = data_dir or self.data_dir
        settings = NodeSettings(admin_address=address)
        view = RealNodeView(
            settings=Settings(node=settings),
            role="node",
            progress=StartProgress(Role.NODE, reactor, StateFile(data_dir)),
            disk=DiskMonitor(data_dir),
            clock=reactor,
            p2p_address=("127.0.0.1", 8000),
            api_address=None,
        )
        port = bind_admin(settings, data_dir, view, lambda level: None, reactor)
        if port is not None:
            self.addCleanup(lambda: Deferred.fromCoroutine(port.close()))
        return port

    @property
    def socket_path(self) -> str:
        return self.data_dir.file(SOCKET_NAME)


class SocketTests(AdminCase):
    """The Unix socket in the data directory."""

    async def test_mode(self) -> None:
        """Only the owner can connect, and no token is made; the socket goes with the node."""
        port = await self.bind()
        assert port is not None
        mode = os.stat(self.socket_path).st_mode
        self.assertEqual((stat.S_ISSOCK(mode), stat.S_IMODE(mode)), (True, 0o600))
        self.assertEqual(port.url, f"unix:{self.socket_path}")
        self.assertFalse(os.path.exists(self.data_dir.file(TOKEN_NAME)))
        await port.close()
        self.assertFalse(os.path.exists(self.socket_path))

    async def test_connections_cut(self) -> None:
        """When the node stops its connections are cut, those that wait for events too: their answers would
        need a database that is closed."""
        port = await self.bind()
        assert port is not None
        endpoint = UNIXClientEndpoint(reactor, self.socket_path)
        clients = [await connectProtocol(endpoint, Client()) for _ in range(2)]
        clients[0].ask(b"/v1/events")
        await clients[0].answered
        await port.close()
        for client in clients:
            await client.lost

    async def test_stale(self) -> None:
        """A socket that a killed node left behind is replaced."""
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(self.socket_path)
        self.assertIsNotNone(await self.bind())
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.socket_path)

    async def test_other_file(self) -> None:
        """A file that is no socket is not removed; the error names it and the cure, with code 69."""
        Path(self.socket_path).write_text("notes")
        with self.assertRaises(AddressUnavailable) as refused:
            await self.bind()
        self.assertEqual(refused.exception.exit_code, 69)
        self.assertIn(self.socket_path, str(refused.exception))
        self.assertIn("admin_address", str(refused.exception))
        self.assertEqual(Path(self.socket_path).read_text(), "notes")

    async def test_long_path(self) -> None:
        """A path that is too long for a socket is reached through its folder, by the client, too."""
        folder = Path(self.data_dir.path) / ("n" * MAX_SOCKET_PATH)
        data_dir = self.open(folder)
        port = await self.bind(data_dir=data_dir)
        assert port is not None
        path = data_dir.file(SOCKET_NAME)
        self.assertEqual((port.url, stat.S_IMODE(os.stat(path).st_mode)), (f"unix:{path}", 0o600))
        with socket_address(path) as short, socket.socket(socket.AF_UNIX) as client:
            client.connect(short)
        await port.close()
        self.assertFalse(os.path.exists(path))
        self.assertNotIn(str(folder), [os.path.realpath(file.path) for file in os.scandir("/proc/self/fd")])

    async def test_too_long(self) -> None:
        """Where a long path is impossible the node works without an admin surface, and says so."""
        self.patch(admin_files, "_OPEN_FOLDER", "/nowhere/{}")
        folder = Path(self.data_dir.path) / ("n" * MAX_SOCKET_PATH)
        with capturedLogs() as events:
            self.assertIsNone(await self.bind(data_dir=self.open(folder)))
        (event,) = [event for event in events if "path" in event and event["log_level"].name == "warn"]
        self.assertEqual(event["path"], str(folder / SOCKET_NAME))

    async def test_none(self) -> None:
        """With `none` nothing is made."""
        before = sorted(os.listdir(self.data_dir.path))
        self.assertIsNone(await self.bind(AdminSocket.NONE))
        self.assertEqual(sorted(os.listdir(self.data_dir.path)), before)

    async def test_stale_elsewhere(self) -> None:
        """The socket of a killed node goes, also if this one has none: commands would take it for dead."""
        for address in (AdminSocket.NONE, ("127.0.0.1", 0)):
            with socket.socket(socket.AF_UNIX) as left:
                left.bind(self.socket_path)
            await self.bind(address)
            self.assertFalse(os.path.exists(self.socket_path))


class TcpTests(AdminCase):
    """A TCP address, with a token."""

    async def test_url(self) -> None:
        """The port that was bound is in the URL."""
        port = await self.bind(("127.0.0.1", 0))
        assert port is not None
        number = int(port.url.removeprefix("http://127.0.0.1:").removesuffix("/"))
        socket.create_connection(("127.0.0.1", number)).close()
        self.assertTrue(os.path.exists(self.data_dir.file(TOKEN_NAME)))

    async def test_in_use(self) -> None:
        """An address in use is an error with code 69 that names the option."""
        other = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(other.close)
        with self.assertRaises(AddressUnavailable) as refused:
            await self.bind(("127.0.0.1", other.getsockname()[1]))
        self.assertEqual(refused.exception.exit_code, 69)
        self.assertIn("admin_address", str(refused.exception))

    def test_token(self) -> None:
        """The token is made once, with mode 0600, and is long."""
        token = admin_token(self.data_dir)
        self.assertEqual(admin_token(self.data_dir), token)
        self.assertGreaterEqual(len(token), 43)
        path = self.data_dir.file(TOKEN_NAME)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertEqual(Path(path).read_text(), f"{token}\n")

    def test_own_token(self) -> None:
        """A token that the operator wrote is used; an empty file is not one."""
        path = Path(self.data_dir.file(TOKEN_NAME))
        path.write_text("chosen\n")
        self.assertEqual(admin_token(self.data_dir), "chosen")
        path.write_text("\n")
        self.assertGreaterEqual(len(admin_token(self.data_dir)), 43)

    def test_unreadable_token(self) -> None:
        """A token that cannot be read is an error of the configuration."""
        os.mkdir(self.data_dir.file(TOKEN_NAME))
        self.assertRaises(ConfigError, admin_token, self.data_dir)
