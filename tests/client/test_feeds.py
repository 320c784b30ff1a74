"""What an iterator over a watched key hands out, and when it asks."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.client.channel import Channel, Exchange
from dht14.client.dialect import NodeDialect
from dht14.client.errors import Forged, NoNode, NotReady, TooManyWatches
from dht14.client.feeds import (
    FIRST_RETRY,
    HEARTBEAT_INTERVAL,
    LAST_RETRY,
    POLL_INTERVAL,
    Feed,
    Feeds,
    News,
    Pause,
    Step,
)
from dht14.client.keys import content_key
from dht14.records.receipt import NoRecord
from dht14.wire.api_messages import (
    MAX_RECORD_VALUE,
    ApiReply,
    ChangedRecord,
    Failure,
    FoundRecord,
    GetRecord,
    GoneRecord,
    MissingRecord,
    Success,
    WatchKey,
    encode_changed,
    encode_gone,
    encode_record,
)
from tests.owners import Owner

KEY = bytes(range(32))
ASK = WatchKey(KEY)


def found(value: bytes, version: int = 1) -> FoundRecord:
    return FoundRecord(KEY, 1, version, 60, value)


def changed(value: bytes, version: int) -> ChangedRecord:
    return ChangedRecord(KEY, 1, version, 60, value)


class FeedTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.feed = Feed(KEY)
        self.assertEqual(self.feed.step(0.0), ASK)

    def said(self, step: Step) -> object:
        """The value that is handed out; "nothing" for none at all."""
        if not isinstance(step, News):
            return "nothing"
        return None if step.value is None else step.value.value

    def heard(self, reply: ApiReply, now: float = 1.0) -> object:
        self.feed.heard(reply)
        return self.said(self.feed.step(now))


class NewsTests(FeedTestCase):
    def test_states(self) -> None:
        """The present state comes first, then each that differs from the last one."""
        self.assertIsNone(self.heard(MissingRecord(KEY, NoRecord.NOT_FOUND)))
        self.assertEqual(self.heard(changed(b"1", 1)), b"1")
        self.assertEqual(self.heard(changed(b"1", 2)), b"1")
        self.assertIsNone(self.heard(GoneRecord(KEY, NoRecord.DELETED)))

    def test_same(self) -> None:
        """The same state again, in whatever reply, is no news."""
        self.assertEqual(self.heard(found(b"1")), b"1")
        self.assertEqual(self.heard(found(b"1")), "nothing")
        self.assertEqual(self.heard(changed(b"1", 1)), "nothing")
        self.assertIsNone(self.heard(GoneRecord(KEY, NoRecord.NOT_FOUND)))
        self.assertEqual(self.heard(MissingRecord(KEY, NoRecord.DELETED)), "nothing")

    def test_latest(self) -> None:
        """Of states that come faster than they are fetched the last one is handed out."""
        self.feed.heard(found(b"1"))
        self.feed.heard(changed(b"2", 2))
        self.assertEqual(self.said(self.feed.step(1.0)), b"2")
        self.assertIsInstance(self.feed.step(1.0), Pause)

    def test_large(self) -> None:
        """A value that was too large for its message is asked for."""
        self.heard(found(b"1"))
        self.feed.heard(changed(b"", 2))
        self.assertEqual(self.feed.step(1.0), GetRecord(KEY))
        large = bytes(MAX_RECORD_VALUE + 1)
        self.feed.fetched(Success(KEY, large), 1.0)
        self.assertEqual(self.said(self.feed.step(1.0)), large)
        self.assertEqual(self.feed.step(1.0), Pause(HEARTBEAT_INTERVAL - 1.0))

    def test_change_while_fetching(self) -> None:
        """What the node tells while a value is on its way is newer than that value."""
        self.heard(found(b"1"))
        self.feed.heard(changed(b"", 2))
        self.assertEqual(self.feed.step(1.0), GetRecord(KEY))
        self.feed.heard(changed(b"3", 3))
        self.feed.fetched(Success(KEY, bytes(MAX_RECORD_VALUE + 1)), 1.0)
        self.assertEqual(self.said(self.feed.step(1.0)), b"3")
        self.assertIsInstance(self.feed.step(1.0), Pause)

    def test_not_fetched(self) -> None:
        """A value that was not found out is asked for again soon."""
        self.heard(found(b"1"))
        self.feed.heard(changed(b"", 2))
        self.assertEqual(self.feed.step(1.0), GetRecord(KEY))
        self.feed.fetched(MissingRecord(KEY, NoRecord.UNANSWERED), 1.0)
        self.assertEqual(self.feed.step(1.0), Pause(FIRST_RETRY))
        self.assertEqual(self.feed.step(1.0 + FIRST_RETRY), ASK)

    def test_unknown(self) -> None:
        """That nobody knows the state is no state."""
        self.assertEqual(self.heard(found(b"1")), b"1")
        self.assertEqual(self.heard(MissingRecord(KEY, NoRecord.UNANSWERED)), "nothing")
        self.assertEqual(self.heard(found(b"1")), "nothing")
        # Nor does it take the place of one that was not handed out yet: another iterator may have asked.
        self.feed.heard(changed(b"2", 2))
        self.assertEqual(self.heard(MissingRecord(KEY, NoRecord.UNANSWERED)), b"2")

    def test_owner(self) -> None:
        """An owner's value is verified; its tombstone is no value."""
        owner = Owner()
        key = owner.key.to_bytes(32, "big")
        self.feed = Feed(key)
        self.feed.step(0.0)
        self.assertEqual(self.heard(ChangedRecord(key, 2, 1, 60, owner.says(b"mine", 1))), b"mine")
        self.assertIsNone(self.heard(ChangedRecord(key, 2, 2, 60, owner.says(b"", 2))))
        forged = owner.says(b"mine", 3)[:-1] + b"X"
        self.feed.heard(ChangedRecord(key, 2, 3, 60, forged))
        self.assertRaises(Forged, self.feed.step, 1.0)

    def test_content(self) -> None:
        """So is content."""
        self.feed.heard(ChangedRecord(KEY, 3, 0, 60, b"not of this key"))
        self.assertRaises(Forged, self.feed.step, 1.0)
        key = content_key(b"content")
        self.feed = Feed(key)
        self.assertEqual(self.heard(ChangedRecord(key, 3, 0, 60, b"content")), b"content")


class AskingTests(FeedTestCase):
    def test_heartbeat(self) -> None:
        """The watch is asked for again after a while, and at once when the connection is lost."""
        self.heard(found(b"1"))
        self.assertEqual(self.feed.step(2.0), Pause(HEARTBEAT_INTERVAL - 2.0))
        self.assertEqual(self.feed.step(HEARTBEAT_INTERVAL), ASK)
        self.assertEqual(self.feed.step(HEARTBEAT_INTERVAL), Pause(HEARTBEAT_INTERVAL))
        self.feed.lost()
        self.assertEqual(self.feed.step(HEARTBEAT_INTERVAL + 1), ASK)

    def test_other_node(self) -> None:
        """A node of another kind, which answers as to a GET, is polled."""
        self.assertIsNone(self.heard(Failure(KEY)))
        self.assertEqual(self.feed.step(2.0), Pause(POLL_INTERVAL - 1.0))
        self.assertEqual(self.heard(Success(KEY, b"1")), b"1")
        self.assertEqual(self.feed.step(6.0), ASK)

    def test_first_error(self) -> None:
        """Before the first state errors are raised."""
        self.assertRaises(NoNode, self.feed.failed, NoNode("gone"), 1.0)
        self.feed.heard(MissingRecord(KEY, NoRecord.NOT_READY))
        self.assertRaises(NotReady, self.feed.step, 1.0)

    def test_later_errors(self) -> None:
        """Afterwards the node is asked again, at growing intervals, until it answers."""
        self.heard(found(b"1"))
        now, pauses = 10.0, []
        for _ in range(6):
            self.feed.failed(NoNode("gone"), now)
            step = self.feed.step(now)
            assert isinstance(step, Pause)
            pauses.append(step.seconds)
            now += step.seconds
            self.assertEqual(self.feed.step(now), ASK)
        self.assertEqual(pauses, [FIRST_RETRY, 1.0, 2.0, 4.0, LAST_RETRY, LAST_RETRY])
        self.assertEqual(self.heard(MissingRecord(KEY, NoRecord.NOT_READY), now), "nothing")
        self.assertEqual(self.feed.step(now + LAST_RETRY), ASK)
        self.assertEqual(self.heard(found(b"2", 2), now), b"2")
        self.feed.failed(NoNode("gone"), now)
        self.assertEqual(self.feed.step(now), Pause(FIRST_RETRY))

    def test_too_many(self) -> None:
        """A refused watch is an error at any time."""
        self.heard(found(b"1"))
        self.feed.heard(MissingRecord(KEY, NoRecord.TOO_MANY_WATCHES))
        self.assertRaises(TooManyWatches, self.feed.step, 1.0)


class ChannelTests(SynchronousTestCase):
    """How a channel hands out what comes between the replies."""

    def setUp(self) -> None:
        self.channel = Channel(NodeDialect())
        self.woken: list[str] = []
        self.feed = Feed(KEY, lambda: self.woken.append("woken"))
        self.channel.feeds.add(self.feed)
        self.channel.connected(0.0)

    def test_between_replies(self) -> None:
        """A change of a watched key is no reply: the requests before and after it get theirs."""
        other = bytes(32)
        exchanges = [Exchange(ASK, 15.0), Exchange(GetRecord(other), 15.0)]
        for exchange in exchanges:
            self.channel.add(exchange)
        self.channel.to_send(0.0)
        self.channel.received(
            encode_record(KEY, 1, 1, 60, b"1")
            + encode_changed(KEY, 1, 2, 60, b"2")
            + encode_gone(bytes([7]) * 32, NoRecord.NOT_FOUND)
            + encode_record(other, 1, 1, 60, b"other"),
            0.0,
        )
        outcomes = [exchange.outcome for exchange in exchanges]
        self.assertEqual(outcomes, [found(b"1"), FoundRecord(other, 1, 1, 60, b"other")])
        self.feed.step(0.0)
        self.assertEqual(len(self.woken), 2)

    def test_order(self) -> None:
        """A reply to a WATCH replaces what came before it, and is replaced by what comes after it."""
        self.channel.add(Exchange(ASK, 15.0))
        self.channel.to_send(0.0)
        before, after = encode_changed(KEY, 1, 1, 60, b"1"), encode_changed(KEY, 1, 3, 60, b"3")
        self.channel.received(before + encode_record(KEY, 1, 2, 60, b"2"), 0.0)
        step = self.feed.step(0.0)
        assert isinstance(step, News)
        assert step.value is not None
        self.assertEqual(step.value.value, b"2")
        self.channel.received(after, 0.0)
        step = self.feed.step(0.0)
        assert isinstance(step, News)
        assert step.value is not None
        self.assertEqual(step.value.value, b"3")

    def test_lost(self) -> None:
        """A lost connection, and one that brings nonsense, wake the feeds; they ask again."""
        for lose in (self.channel.lost, lambda: self.channel.received(b"HTTP/1.1", 1.0)):
            self.assertEqual(self.feed.step(1.0), ASK)
            self.woken.clear()
            lose()
            self.assertEqual(self.woken, ["woken"])
            self.channel.connected(1.0)

    def test_feeds(self) -> None:
        """Each feed of a key is told; with the last one nobody watches it any more."""
        feeds, other = Feeds(), Feed(KEY)
        feeds.add(self.feed)
        feeds.add(other)
        feeds.heard(found(b"1"))
        self.assertIsInstance(self.feed.step(0.0), News)
        self.assertIsInstance(other.step(0.0), News)
        self.assertFalse(feeds.remove(self.feed))
        self.assertTrue(feeds.remove(other))
        feeds.heard(found(b"1"))
