"""The sockets of a real node: bound before the node starts, closed together.

To add a listener, bind it in `NodePorts.bind`, where a port that is taken still ends the start, and close it
with the others of its kind: those for clients before the hand-over ends, those for nodes after it.
"""

from ipaddress import ip_address
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred

from dht14.app.options import PutReply, Role, Settings
from dht14.errors import AddressUnavailable
from dht14.kademlia.contact import Address
from dht14.net.api.clients import ApiLimits
from dht14.net.api.factory import ApiFactory
from dht14.net.api.metrics import ApiMetrics
from dht14.net.api.replies import PutGet
from dht14.net.bulk.server import BulkServer
from dht14.net.listen import bind_tcp, bind_udp, listen_tcp
from dht14.net.rpc.udp_port import UdpPort
from dht14.net.tcp_port import TcpPort
from dht14.stack import Stack

ANY_PORT_TRIES = 20
"""The system chooses a free UDP port without regard to TCP: another one is asked for as often as this."""


@frozen
class ApiPort:
    """The listener of the API. Clients can connect as soon as it is bound; their requests wait for the
    node."""

    _factory: ApiFactory
    _listener: Any

    @property
    def address(self) -> Address:
        """Host and port."""
        bound = self._listener.getHost()
        return bound.host, bound.port

    @property
    def metrics(self) -> ApiMetrics:
        """What the API counts."""
        return self._factory.metrics

    def abort(self) -> None:
        """Accept no more clients; there are none yet."""
        self._listener.stopListening()

    async def close(self) -> None:
        """Accept no more clients, answer the requests under way, and close the connections."""
        await maybeDeferred(self._listener.stopListening)
        await self._factory.close()


@frozen(kw_only=True)
class NodePorts:
    """All sockets of one node."""

    p2p: UdpPort
    """For other nodes."""
    probe: UdpPort
    """A second UDP port, from which callers are probed."""
    bulk: TcpPort | None
    """For large values; it has the number of `p2p`. None in a bootstrap node."""
    api: ApiPort | None
    """None in a bootstrap node, and where nobody asked for one."""

    @classmethod
    def bind(
        cls, settings: Settings, role: Role, node: PutGet, reactor: Any, *, has_api: bool = True
    ) -> "NodePorts":
        """Bind the sockets of a node. `node` answers the clients of the API.

        Raises `AddressUnavailable`, with nothing left open.
        """
        ports = cls._bind_p2p(settings.node.p2p_address, role, reactor)
        if role is Role.BOOTSTRAP or not has_api:
            return ports
        try:
            factory = _api_factory(settings, reactor, node)
            listener = listen_tcp("api_address", settings.node.api_address, factory, reactor)
        except AddressUnavailable:
            ports.close_p2p()
            raise
        return evolve(ports, api=ApiPort(factory, listener))

    @classmethod
    def _bind_p2p(cls, address: Address, role: Role, reactor: Any) -> "NodePorts":
        """Bind the sockets for other nodes. Port 0 is any that is free for UDP and TCP alike."""
        host, port = address
        for tries_left in reversed(range(1 if port else ANY_PORT_TRIES)):
            ports = cls(
                p2p=bind_udp("p2p_address", address, reactor),
                probe=bind_udp("p2p_address", (host, 0), reactor),
                bulk=None,
                api=None,
            )
            if role is Role.BOOTSTRAP:
                break
            try:
                bulk = bind_tcp("p2p_address", (host, ports.p2p.getHost().port), reactor)
                return evolve(ports, bulk=bulk)
            except AddressUnavailable:
                ports.close_p2p()
                if not tries_left:
                    raise
        return ports

    @property
    def p2p_address(self) -> Address:
        """Host and port for other nodes."""
        bound = self.p2p.getHost()
        return bound.host, bound.port

    @property
    def source(self) -> str | None:
        """The address that peers see, if the node is bound to one; None if it is bound to all."""
        host = self.p2p_address[0]
        return None if ip_address(host).is_unspecified else host

    def serve(self, stack: Stack, bulk_server: BulkServer | None) -> None:
        """Let the other nodes in."""
        self.p2p.serve(stack.rpc)
        self.probe.serve(stack.probe)
        if self.bulk is not None and bulk_server is not None:
            self.bulk.serve(bulk_server)

    async def close_api(self) -> None:
        """Answer the clients, and close the ports for them."""
        if self.api is not None:
            await self.api.close()

    def close_all(self) -> None:
        """Close all ports at once: the start has failed."""
        self.close_p2p()
        if self.api is not None:
            self.api.abort()

    def close_p2p(self) -> "Deferred[Any]":
        """Close the ports for other nodes."""
        ports = (self.p2p, self.probe, self.bulk)
        return gatherResults([port.close() for port in ports if port is not None])


def _api_factory(settings: Settings, reactor: Any, node: PutGet) -> ApiFactory:
    api, limiter = settings.api, settings.rate_limiter
    limits = ApiLimits(
        api_allow=api.api_allow,
        requests_per_second=limiter.requests_per_second,
        burst_size=limiter.burst_size,
        loopback_requests_per_second=limiter.loopback_rate,
        max_connections=api.max_connections,
        max_connections_per_client=api.max_connections_per_client,
    )
    return ApiFactory(node, limits, reactor, answers_puts=api.put_reply is PutReply.SUCCESS)
