from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import hash_id
from dht14.node.network_clock import MAX_AGE, MAX_CONTACTS, READ_TOLERANCE, TOLERANCE, NetworkClock
from dht14.records.record import Record, version_at

NOW = 1_700_000_000.0


class NetworkClockTests(SynchronousTestCase):
    """A node that has run for 1,000 seconds, and whose clock is `wrong` by some seconds."""

    def setUp(self) -> None:
        self.ran, self.wrong = 1000.0, 0.0
        self.time = NetworkClock(lambda: self.ran, lambda: NOW + self.ran + self.wrong)

    def hear(self, *wrong: float, round_trip: float = 0.0) -> None:
        """Contacts answer whose clocks are wrong by this much."""
        for node_id, seconds in enumerate(wrong):
            self.time.heard(node_id, NOW + self.ran + seconds, round_trip)

    @property
    def ahead(self) -> float:
        return round(self.time.now() - NOW - self.ran, 3)

    def test_alone(self) -> None:
        """Before it has heard of others a node has its own clock."""
        self.wrong = 7.0
        self.assertEqual(self.ahead, 7.0)

    def test_median(self) -> None:
        """The time is that of most contacts: neither its own clock nor a few others that are wrong count."""
        self.wrong = -86_400.0
        self.hear(0.0, 0.1, 0.2, 1e9, -1e9)
        self.assertEqual(self.ahead, 0.0)

    def test_two(self) -> None:
        """Two nodes alone agree, on the slower clock."""
        self.hear(50.0)
        self.assertEqual(self.ahead, 0.0)
        self.hear(-50.0)
        self.assertEqual(self.ahead, -50.0)

    def test_set_clock(self) -> None:
        """A clock that is set, its own too, is one voice: the time goes on as it went."""
        self.hear(0.0, 0.0, 0.0)
        for wrong in (3600.0, -3600.0, 90_000.0):
            self.wrong = wrong
            self.ran += 10
            self.assertEqual(self.ahead, 0.0)

    def test_round_trip(self) -> None:
        """What a contact says was true when it said so: half a round trip ago."""
        self.hear(*[0.0] * 3, round_trip=0.5)
        self.assertEqual(self.ahead, 0.25)

    def test_enough(self) -> None:
        """Two contacts are enough to outvote this node; one, where it knows no other."""
        heard_enough = self.time.has_heard_enough
        self.assertEqual([heard_enough(contacts) for contacts in (0, 1, 2)], [True, False, False])
        self.hear(0.0)
        self.assertEqual([heard_enough(contacts) for contacts in (1, 2)], [True, False])
        self.hear(0.0, 0.0)
        self.assertTrue(heard_enough(20))

    def test_bounded(self) -> None:
        """Only the last contacts count, each once."""
        self.hear(*[60.0] * 3 * MAX_CONTACTS)
        self.hear(*[0.0] * MAX_CONTACTS)
        self.assertEqual(self.ahead, 0.0)
        self.assertEqual(len(self.time._ahead), MAX_CONTACTS)

    def test_versions(self) -> None:
        """A version may be so far ahead of the time; what others hold may be a little farther."""
        for tolerance, believed in (
            (TOLERANCE, self.time.may_be_written),
            (READ_TOLERANCE, self.time.may_be_held),
        ):
            newest = version_at(NOW + self.ran + tolerance)
            self.assertTrue(believed(newest))
            self.assertFalse(believed(newest + 1))

    def test_dated(self) -> None:
        """A version from the future keeps its distance from now if it was made of the clock with which the
        process has begun; otherwise it counts as a day old. Others stay as they are."""
        self.ran, self.wrong = NOW + 86_400.0, -NOW - 86_400.0

        def dated(made_at: float, key: int = 7, contacts: int = 9) -> int:
            record = Record(key=key, value=b"v", version=version_at(made_at), expires_at=9e9, replication=8)
            return self.time.dated(record, contacts).version

        now = NOW + self.ran
        self.hear(*[-now + NOW] * 4)
        self.assertEqual(dated(NOW + 86_000.0), version_at(NOW + 86_000.0))
        self.hear(*[-now + NOW] * 5)
        self.assertEqual(dated(NOW + 86_000.0), version_at(NOW - 400.0))
        self.assertEqual(dated(NOW + 90_000.0), version_at(NOW - MAX_AGE))
        self.assertEqual(dated(NOW + 86_000.0, hash_id(b"v")), version_at(NOW + 86_000.0))
        for seconds in (READ_TOLERANCE - 1, 0, -1_000):
            self.assertEqual(dated(NOW + seconds), version_at(NOW + seconds))
