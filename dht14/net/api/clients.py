"""Accounts of API clients, one for each address: who may connect, how often, and with how many
connections."""

from collections import deque
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Protocol

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from dht14.net.api.metrics import ApiMetrics
from dht14.net.api.watch_shares import ConnectionShare, WatchShares
from dht14.net.log_limiter import LogLimiter
from dht14.node.timers import cancel_timer
from dht14.security.rate_limiter import RateLimiter, TokenBucket

Network = IPv4Network | IPv6Network

SLOT_TIMEOUT = 1.0
"""Seconds that a connection over the limit waits for another one of its client to end.

A client that connects, sends a PUT and closes, many times in a row, gets ahead of the node: the reactor
accepts new connections before it sees that the old ones are closed. To refuse them at once would lose their
PUTs.
"""

HELD_BYTES = 64 << 20
"""Bytes that all connections together may make the node hold, beyond one request each: values of requests
under way, and replies that clients do not read."""


@frozen
class ApiLimits:
    """Limits set by the operator: the options of the same names in `[api]` and `[rate_limiter]`."""

    api_allow: tuple[Network, ...]
    requests_per_second: float = 100.0
    burst_size: float = 200.0
    loopback_requests_per_second: float | None = None
    """For a client on loopback; None: as for any other."""
    max_connections: int = 1024
    max_connections_per_client: int = 128


class WaitingConnection(Protocol):
    """A connection as its client's account knows it."""

    def slot_acquired(self) -> None:
        """The client may have this connection now."""

    def abort(self) -> None:
        """No other connection of the client ended in time."""

    def tokens_available(self) -> None:
        """It is this connection's turn to take tokens."""


class ClientAccount:
    """The account of one address: its connections share a token bucket, and wait in one queue while it is
    empty."""

    _log = Logger()

    def __init__(self, address: str, rate: float, bucket: TokenBucket, accounts: "ClientAccounts") -> None:
        self.address = address
        self._rate = rate
        self.uses = 0
        """Connections, with those whose client is gone while its PUTs are at work."""
        self.held = 0
        """Bytes that its connections make the node hold."""
        self._free_slots = accounts.limits.max_connections_per_client
        self._waiting: dict[WaitingConnection, IDelayedCall] = {}
        self._bucket = bucket
        self._accounts = accounts
        self._queue: deque[WaitingConnection] = deque()
        self._served: WaitingConnection | None = None
        self._timer: IDelayedCall | None = None

    def acquire_slot(self, connection: WaitingConnection) -> bool:
        """Take one of the client's slots. If False, `slot_acquired` or `abort` follows."""
        if self._free_slots:
            self._free_slots -= 1
            return True
        self._waiting[connection] = self._accounts.clock.callLater(SLOT_TIMEOUT, self._reject, connection)
        return False

    def connection_lost(self, connection: WaitingConnection) -> None:
        """The connection has ended; its PUTs may still be under way."""
        self._accounts.connection_lost()
        waiting = self._waiting.pop(connection, None)
        if waiting is None:
            self._free_slots += 1
        cancel_timer(waiting)
        # One whose time is over is being cut.
        in_time = [one for one, timeout in self._waiting.items() if timeout.active()]
        for one in in_time[: self._free_slots]:
            self._waiting.pop(one).cancel()
            self._free_slots -= 1
            one.slot_acquired()

    def hold(self, growth: int) -> None:
        """As `Account.hold`."""
        self.held += growth
        self._accounts.held += growth

    def may_hold_more(self) -> bool:
        """As `Account.may_hold_more`. No client holds more than it leaves free: a single one gets half of
        all, two get a third each, and a newcomer always gets some."""
        return self.held < HELD_BYTES - self._accounts.held

    def take_token(self, connection: WaitingConnection, now: float) -> bool:
        """Take a token for one request. If False, `tokens_available` says when to ask again."""
        if (not self._queue or self._served is connection) and self._bucket.take(now):
            return True
        if not self._queue and self._served is None:
            self._bucket_emptied(now)
        self._queue.append(connection)
        if self._served is None:
            self._set_timer(now)
        return False

    def leave_queue(self, connection: WaitingConnection) -> None:
        """The connection does not need a token any more."""
        self._queue.remove(connection)
        if not self._queue and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def watch_share(self) -> ConnectionShare:
        """Return what a new connection of this client may watch."""
        return self._accounts.watches.of_connection(self.address)

    def work_done(self) -> None:
        """The last request of a connection that has ended is done."""
        self._accounts.work_done(self)

    def _reject(self, connection: WaitingConnection) -> None:
        self._accounts.refuse_excess(self.address)
        connection.abort()

    def _bucket_emptied(self, now: float) -> None:
        self._accounts.metrics.throttled += 1
        if self._accounts.log_limiter.may_log(("throttled", self.address), now):
            self._log.warn(
                "Throttling API client {client}; requests per second: {requests_per_second}.",
                event="api.throttled",
                client=self.address,
                requests_per_second=self._rate,
            )

    def _set_timer(self, now: float) -> None:
        if self._queue and self._timer is None:
            # At a high rate it waits for several tokens: the timer fires about 20 times a second at most.
            some = max(1.0, self._rate / 20)
            self._timer = self._accounts.clock.callLater(self._bucket.wait(now, some), self._serve_queue)

    def _serve_queue(self) -> None:
        self._timer = None
        now = self._accounts.clock.seconds()
        while self._queue and not self._bucket.wait(now):
            self._served = self._queue.popleft()
            self._served.tokens_available()
        self._served = None
        self._set_timer(now)


class ClientAccounts:
    """All accounts and their common limits. Decides who may connect."""

    _log = Logger()

    def __init__(self, limits: ApiLimits, clock: IReactorTime) -> None:
        self.limits = limits
        self.clock = clock
        self.metrics = ApiMetrics()
        self.log_limiter = LogLimiter(clock.seconds())
        self.watches = WatchShares(self.metrics)
        self.held = 0
        """Bytes that all connections make the node hold."""
        rate, local_rate = limits.requests_per_second, limits.loopback_requests_per_second
        self._rate, self._local_rate = rate, rate if local_rate is None else local_rate
        self._buckets = RateLimiter(self._rate, limits.burst_size)
        self._local_buckets = RateLimiter(self._local_rate, limits.burst_size)
        self._by_address: dict[str, ClientAccount] = {}

    def admit(self, host: str) -> ClientAccount | None:
        """Return the account of this address and count one more connection; None if it may not connect."""
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
        account = self._by_address.get(str(ip))
        if account is None:
            account = self._by_address[str(ip)] = self._new_account(ip)
        account.uses += 1
        return account

    def _new_account(self, ip: IPv4Address | IPv6Address) -> ClientAccount:
        rate = self._local_rate if ip.is_loopback else self._rate
        buckets = self._local_buckets if ip.is_loopback else self._buckets
        return ClientAccount(str(ip), rate, buckets.bucket(str(ip), self.clock.seconds()), self)

    def refuse_excess(self, address: str) -> None:
        """Count and log a connection over the limit, of this client or of all."""
        self.metrics.too_many += 1
        self._refused(address, "too many connections")

    def connection_lost(self) -> None:
        """A connection has ended."""
        self.metrics.connections -= 1
        self.metrics.left_behind += 1

    def work_done(self, account: ClientAccount) -> None:
        """The last request of a connection that has ended is done."""
        self.metrics.left_behind -= 1
        account.uses -= 1
        if not account.uses:
            del self._by_address[account.address]

    def _refused(self, address: str, reason: str) -> None:
        if self.log_limiter.may_log((reason, address), self.clock.seconds()):
            self._log.warn(
                "Refusing API client {client}: {reason}.", event="api.refused", client=address, reason=reason
            )


def _plain(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    # A socket for both families shows IPv4 clients as ::ffff:a.b.c.d.
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip
