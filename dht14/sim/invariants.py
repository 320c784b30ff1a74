"""Checks the invariants of all nodes while a world runs."""

from attrs import define, field

from dht14.records.record import Kind, Record
from dht14.session.encrypted import EncryptedLayer
from dht14.sim.clock import ProcessState
from dht14.sim.history import History
from dht14.sim.host import VirtualNode
from dht14.sim.world import World

CHECK_INTERVAL = 1.0
"""Virtual seconds between two checks."""

NODES_PER_CHECK = 10
"""Nodes that are checked at a time, in turn. With thousands of nodes, to check each of them every half a
minute costs as much as all that they do."""

KEYS_CHECKED = 200


@define(eq=False)
class InvariantChecker:
    """Checks some of the nodes every virtual second. A broken invariant is an AssertionError of the run.

    - Table, store and sessions are consistent, and keep their limits.
    - A table has no contact that never existed: nodes pass on verified contacts only.
    - A store never replaces a record by an older one.
    """

    _world: World
    _history: History
    checks: int = field(default=0, init=False)
    """Of single nodes."""
    _seen: dict[VirtualNode, dict[int, Record]] = field(factory=dict, init=False)
    """The records of each node at its last check, by key."""

    def start(self) -> None:
        """Check from now on, as long as the world runs."""
        self._check_some(0)

    def _check_some(self, turn: int) -> None:
        nodes = list(self._world.nodes.values())
        rounds = -(-len(nodes) // NODES_PER_CHECK) or 1
        for node in nodes[turn % rounds :: rounds]:
            if node.process.state is not ProcessState.DEAD:
                self.check_node(node)
        if turn % rounds == 0:
            present = set(nodes)
            self._seen = {node: seen for node, seen in self._seen.items() if node in present}
        self._world.clock.post(CHECK_INTERVAL, self._check_some, turn + 1)

    def check_node(self, node: VirtualNode) -> None:
        """Check one node. Raises AssertionError with its number and the fault."""
        self.checks += 1
        try:
            node.stack.table.check_invariants()
            if node.stack.store is not None:
                node.stack.store.check_invariants()
            if isinstance(node.stack.session_layer, EncryptedLayer):
                node.stack.session_layer.sessions.check_invariants()
        except AssertionError as wrong:
            raise AssertionError(f"node {node.number} contradicts itself: {wrong}") from wrong
        for contact in node.stack.table.contacts():
            assert self._world.is_real(contact), f"node {node.number} knows {contact}, which never was"
        if not node.host.is_hostile:
            self._check_records(node)

    def _check_records(self, node: VirtualNode) -> None:
        store, now = node.stack.store, node.process.seconds()
        if store is None:
            return
        before = self._seen.get(node, {})
        after: dict[int, Record] = {}
        for key in self._history.keys(KEYS_CHECKED):
            held = store.get(key, now)
            if held is None:
                continue
            after[key] = held
            older = before.get(key)
            if older is None or (older.kind is Kind.CONTENT and older.expires_at <= now):
                continue  # No version floor is left after content that has expired.
            assert older is held or older.rank <= held.rank, (
                f"node {node.number} has replaced {older} by an older one, {held}"
            )
        self._seen[node] = after
