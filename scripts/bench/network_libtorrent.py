"""Fifty sessions of libtorrent in one process on 127.0.0.1, with immutable items. Prints figures as JSON.

A put ends when libtorrent has asked eight nodes to hold the item; a get ends with its verified item.
"""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import libtorrent
from workload import NODES, print_figures

FIRST_PORT = 28_600
GET_TIMEOUT = 10.0
MIN_CONTACTS = 16
UNLIMITED = 10_000_000
SETTINGS = {
    "alert_mask": libtorrent.alert.category_t.dht_notification
    | libtorrent.alert.category_t.dht_operation_notification,
    "alert_queue_size": 100_000,
    "dht_upload_rate_limit": UNLIMITED,
    "dht_bootstrap_nodes": "",
    "dht_block_ratelimit": UNLIMITED,
    "dht_max_dht_items": UNLIMITED,
    # All nodes are at one address.
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_prefer_verified_node_ids": False,
    "dht_ignore_dark_internet": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
}


class LibtorrentNetwork:
    """As it ships, without its limits of rates and of nodes at one address."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._sessions: list[Any] = []
        self._targets: dict[bytes, bytes] = {}
        self._waiting: dict[tuple[int, bytes], list[asyncio.Future[Any]]] = defaultdict(list)

    async def join(self) -> None:
        """Start the nodes, and introduce each to all others: alone its table fills in minutes."""
        for number in range(NODES):
            session = libtorrent.session(
                {**SETTINGS, "listen_interfaces": f"127.0.0.1:{FIRST_PORT + number}"}
            )
            self._sessions.append(session)
            session.set_alert_notify(
                lambda node=number: self._loop.call_soon_threadsafe(self._read_alerts, node)
            )
        while any(self._contacts(node) < MIN_CONTACTS for node in range(NODES)):
            for node, session in enumerate(self._sessions):
                if self._contacts(node) < MIN_CONTACTS:
                    for other in range(NODES):
                        session.add_dht_node(("127.0.0.1", FIRST_PORT + other))
            await asyncio.sleep(0.2)

    def _contacts(self, node: int) -> int:
        count: int = self._sessions[node].status().dht_nodes
        return count

    def _read_alerts(self, node: int) -> None:
        for alert in self._sessions[node].pop_alerts():
            if isinstance(alert, libtorrent.dht_put_alert):
                self._resolve(node, alert.target.to_bytes(), alert.num_success > 0)
            elif isinstance(alert, libtorrent.dht_immutable_item_alert):
                self._resolve(node, alert.target.to_bytes(), alert.item)

    def _resolve(self, node: int, target: bytes, result: Any) -> None:
        for future in self._waiting.pop((node, target), ()):
            if not future.done():
                future.set_result(result)

    def _wait(self, node: int, target: bytes) -> "asyncio.Future[Any]":
        future = self._loop.create_future()
        self._waiting[node, target].append(future)
        return future

    async def put(self, node: int, key: bytes, value: bytes) -> bool:
        target = hashlib.sha1(libtorrent.bencode(value)).digest()
        self._targets[key] = target
        done = self._wait(node, target)
        self._sessions[node].dht_put_immutable_item(value)
        return bool(await done)

    async def get(self, node: int, key: bytes) -> bytes | None:
        target = self._targets[key]
        done = self._wait(node, target)
        self._sessions[node].dht_get_immutable_item(libtorrent.sha1_hash(target))
        try:
            value: bytes = await asyncio.wait_for(done, GET_TIMEOUT)
        except TimeoutError:
            return None
        return value

    async def kill(self, nodes: Sequence[int]) -> None:
        for node in nodes:
            self._sessions[node].stop_dht()


async def _main() -> None:
    await print_figures(LibtorrentNetwork(), lambda works: asyncio.gather(*works))


if __name__ == "__main__":
    asyncio.run(_main())
