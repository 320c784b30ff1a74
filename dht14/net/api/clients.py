"""Who may use the API and how much of it: the accounts of its clients, one for each address."""

from collections import deque
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Protocol

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from dht14.net.api.metrics import ApiMetrics
from dht14.net.log_limiter import LogLimiter
from dht14.security.rate_limiter import RateLimiter, TokenBucket

Network = IPv4Network | IPv6Network

SLOT_TIMEOUT = 1.0
"""So long a connection too many may wait for another one of its client to end.

Who connects, sends a PUT and hangs up, many times in a row, is soon ahead of us: we accept new connections
before we see that the old ones are closed. To refuse them at once would lose their PUTs.
"""

HELD_BYTES = 64 << 20
"""What all connections together may make us hold beyond one request each: values on their way, and replies that
their clients do not read."""


@frozen
class ApiLimits:
    """What the operator allows; the options of the same names in `[api]` and `[rate_limiter]`."""

    api_allow: tuple[Network, ...]
    requests_per_second: float = 100.0
    burst_size: float = 200.0
    loopback_requests_per_second: float | None = None
    """Of a client on loopback; None: as of any other."""
    max_connections: int = 1024
    max_connections_per_client: int = 128


class WaitingConnection(Protocol):
    """A connection, as far as its client's account knows it."""

    def slot_acquired(self) -> None:
        """It is one of the connections that its client may have."""

    def abort(self) -> None:
        """No place came free."""

    def tokens_available(self) -> None:
        """It is this connection's turn to take tokens."""


class ApiClient:
    """One address: its connections share a token bucket and wait in one line when it is dry."""

    _log = Logger()

    def __init__(self, address: str, rate: float, bucket: TokenBucket, clients: "ApiClients") -> None:
        self.address = address
        self._rate = rate
        self.uses = 0
        self.held = 0
        """Bytes that its connections make us hold."""
        self._free_slots = clients.limits.max_connections_per_client
        self._waiting: dict[WaitingConnection, IDelayedCall] = {}
        self._bucket = bucket
        self._clients = clients
        self._queue: deque[WaitingConnection] = deque()
        self._served: WaitingConnection | None = None
        self._timer: IDelayedCall | None = None

    def acquire_slot(self, connection: WaitingConnection) -> bool:
        """Take one of the client's places; or False, and `slot_acquired` will tell, or `abort`."""
        if self._free_slots:
            self._free_slots -= 1
            return True
        self._waiting[connection] = self._clients.clock.callLater(SLOT_TIMEOUT, self._reject, connection)
        return False

    def connection_lost(self, connection: WaitingConnection) -> None:
        """The connection is no more; the work that it left may go on."""
        self._clients.connection_lost()
        waiting = self._waiting.pop(connection, None)
        if waiting is None:
            self._free_slots += 1
        elif waiting.active():
            waiting.cancel()
        while self._free_slots and self._waiting:
            first = next(iter(self._waiting))
            self._waiting.pop(first).cancel()
            self._free_slots -= 1
            first.slot_acquired()

    def hold(self, growth: int) -> None:
        """As `Account.hold`."""
        self.held += growth
        self._clients.held += growth

    def may_hold_more(self) -> bool:
        """As `Account.may_hold_more`. No client holds more than it leaves to the others: one alone has half of
        all, two have a third each, and there always is something for one who comes."""
        return self.held < HELD_BYTES - self._clients.held

    def take_token(self, connection: WaitingConnection, now: float) -> bool:
        """A token for one request; or False, and `tokens_available` will tell when to ask again."""
        if (not self._queue or self._served is connection) and self._bucket.take(now):
            return True
        if not self._queue and self._served is None:
            self._bucket_emptied(now)
        self._queue.append(connection)
        if self._served is None:
            self._set_timer(now)
        return False

    def leave_queue(self, connection: WaitingConnection) -> None:
        """The connection needs no token any more."""
        self._queue.remove(connection)
        if not self._queue and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def work_done(self) -> None:
        """The work that a connection left is done."""
        self._clients.work_done(self)

    def _reject(self, connection: WaitingConnection) -> None:
        self._clients.refuse_excess(self.address)
        connection.abort()

    def _bucket_emptied(self, now: float) -> None:
        self._clients.metrics.throttled += 1
        if self._clients.log_limiter.may_log(("throttled", self.address), now):
            self._log.warn(
                "API client {client} is throttled to {requests_per_second} requests per second",
                client=self.address,
                requests_per_second=self._rate,
            )

    def _set_timer(self, now: float) -> None:
        if self._queue and self._timer is None:
            # Some tokens at a time where the rate is high: at most about 20 turns a second.
            some = max(1.0, self._rate / 20)
            self._timer = self._clients.clock.callLater(self._bucket.wait(now, some), self._serve_queue)

    def _serve_queue(self) -> None:
        self._timer = None
        now = self._clients.clock.seconds()
        while self._queue and not self._bucket.wait(now):
            self._served = self._queue.popleft()
            self._served.tokens_available()
        self._served = None
        self._set_timer(now)


class ApiClients:
    """All accounts, the limits they have in common, and who is not let in."""

    _log = Logger()

    def __init__(self, limits: ApiLimits, clock: IReactorTime) -> None:
        self.limits = limits
        self.clock = clock
        self.metrics = ApiMetrics()
        self.log_limiter = LogLimiter(clock.seconds())
        self.held = 0
        """Bytes that all connections make us hold."""
        rate, local_rate = limits.requests_per_second, limits.loopback_requests_per_second
        self._rate, self._local_rate = rate, rate if local_rate is None else local_rate
        self._buckets = RateLimiter(self._rate, limits.burst_size)
        self._local_buckets = RateLimiter(self._local_rate, limits.burst_size)
        self._by_address: dict[str, ApiClient] = {}

    def admit(self, host: str) -> ApiClient | None:
        """The account of this address with one connection more, or None if it may not connect."""
        ip = _plain(ip_address(host))
        if not any(ip in network for network in self.limits.api_allow):
            self.metrics.not_allowed += 1
            self._refused(str(ip), "not in api_allow")
            return None
        busiest = max(self.metrics.connections, self.metrics.left_behind)
        if busiest >= self.limits.max_connections:
            self.refuse_excess(str(ip))
            return None
        self.metrics.connections += 1
        client = self._by_address.get(str(ip))
        if client is None:
            client = self._by_address[str(ip)] = self._account(ip)
        client.uses += 1
        return client

    def _account(self, ip: IPv4Address | IPv6Address) -> ApiClient:
        rate = self._local_rate if ip.is_loopback else self._rate
        buckets = self._local_buckets if ip.is_loopback else self._buckets
        return ApiClient(str(ip), rate, buckets.bucket(str(ip), self.clock.seconds()), self)

    def refuse_excess(self, address: str) -> None:
        """There are too many connections, of this client or of all."""
        self.metrics.too_many += 1
        self._refused(address, "too many connections")

    def connection_lost(self) -> None:
        """A connection is no more."""
        self.metrics.connections -= 1
        self.metrics.left_behind += 1

    def work_done(self, client: ApiClient) -> None:
        """And its work is done."""
        self.metrics.left_behind -= 1
        client.uses -= 1
        if not client.uses:
            del self._by_address[client.address]

    def _refused(self, address: str, reason: str) -> None:
        if self.log_limiter.may_log((reason, address), self.clock.seconds()):
            self._log.warn("API client {client} is refused: {reason}", client=address, reason=reason)


def _plain(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    # A socket that serves both families shows IPv4 clients as ::ffff:a.b.c.d.
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip
