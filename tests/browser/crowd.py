"""A dashboard of a node that does not exist, with a given number of contacts.

python -m tests.browser.crowd PORT CONTACTS
"""

import random
import sys
from collections.abc import AsyncGenerator
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from dht14.app.node_events import totals
from dht14.net.admin.access import AccessRules
from dht14.net.admin.site import AdminParts, admin_factory
from dht14.net.admin.view import PeerJson, StatusJson, event
from tests.net.admin.case import FakeView, parse_key

OWN_ID = random.Random(0).getrandbits(256)


class CrowdedView(FakeView):
    """A `NodeView` with many contacts, distributed as in a routing table of k-buckets."""

    crowd: int = 0

    def status(self) -> StatusJson:
        status = super().status()
        status["node_id"] = f"{OWN_ID:064x}"
        status["contacts"], status["network_size"] = self.crowd, 100 * self.crowd
        return status

    def peers(self) -> list[PeerJson]:
        rng = random.Random(1)
        return [self.peer(number, rng) for number in range(self.crowd)]

    def peer(self, number: int, rng: random.Random) -> PeerJson:
        shared = number * 16 // max(self.crowd, 1)
        node_id = OWN_ID ^ (1 << 255 - shared) ^ rng.getrandbits(255 - shared)
        return PeerJson(
            node_id=f"{node_id:064x}",
            host=f"198.51.{number % 100}.{number // 100}",
            port=8000,
            shared_bits=shared,
            rtt=rng.lognormvariate(-2.5, 0.6),
            last_seen=rng.uniform(0, 600),
            failures=int(rng.random() < 0.05),
            holds_values=rng.random() < 0.95,
        )

    async def events(self) -> AsyncGenerator[bytes, None]:
        for at in range(3):
            yield event("status", {"status": self.status(), "totals": totals(None), "at": at})
        yield event("peers", {"peers": self.peers()})
        await Deferred()


def main(port: int, contacts: int) -> None:
    """Serve until killed."""
    view = CrowdedView()
    view.crowd = contacts
    clock: Any = reactor
    parts = AdminParts(
        view=view,
        samples=lambda: (),
        version="0.0",
        parse_key=parse_key,
        set_log_level=view.levels.append,
        clock=clock,
    )
    clock.listenTCP(port, admin_factory(parts, AccessRules("token")), interface="127.0.0.1")
    clock.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
