"""The sockets of a node."""

from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from dht14.app.options import NodeSettings, Role, Settings
from dht14.app.ports import NodePorts
from dht14.errors import AddressUnavailable
from dht14.net.api.readiness import Readiness
from tests.process.ports import free_port


class NodePortsTests(TestCase):
    """Sockets on the loopback. Those taken by other programs are tested with the whole service."""

    def settings(self, host: str = "127.0.0.1", **node: Any) -> Settings:
        addresses: dict[str, Any] = {
            "p2p_address": (host, free_port()),
            "api_address": ("127.0.0.1", free_port()),
        }
        return Settings(node=NodeSettings(**{**addresses, **node}))

    def bind(self, settings: Settings, role: Role = Role.NODE) -> NodePorts:
        ports = NodePorts.bind(settings, role, Readiness(Clock()), reactor)
        self.addCleanup(ports.close_p2p)
        self.addCleanup(ports.close_api)
        return ports

    def test_node(self) -> None:
        """A node has all ports at its addresses; the second UDP port has another number."""
        settings = self.settings()
        ports = self.bind(settings)
        assert ports.api is not None
        self.assertEqual(ports.p2p_address, settings.node.p2p_address)
        self.assertEqual(ports.api.address, settings.node.api_address)
        self.assertIsNotNone(ports.bulk)
        self.assertNotEqual(ports.probe.getHost().port, ports.p2p_address[1])

    def test_bootstrap(self) -> None:
        """A bootstrap node has neither an API nor a bulk port."""
        ports = self.bind(self.settings(), Role.BOOTSTRAP)
        self.assertEqual((ports.bulk, ports.api), (None, None))

    def test_source(self) -> None:
        """A node that is bound to one address connects from it; one that is bound to all has none."""
        self.assertEqual(self.bind(self.settings()).source, "127.0.0.1")
        self.assertIsNone(self.bind(self.settings("0.0.0.0")).source)

    def test_taken(self) -> None:
        """If one port is taken, all others are free again."""
        settings = self.settings()
        taken = self.bind(settings)
        assert taken.api is not None
        other = self.settings(api_address=taken.api.address)
        self.assertRaises(AddressUnavailable, NodePorts.bind, other, Role.NODE, Readiness(Clock()), reactor)
        self.bind(self.settings(p2p_address=other.node.p2p_address))
