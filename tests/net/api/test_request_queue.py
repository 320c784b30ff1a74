import random

from attrs import define
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.parameters import MAX_VALUE
from dht14.net.api.request_queue import MAX_HELD_BYTES, MAX_REQUESTS, QueuedRequest, RequestQueue
from dht14.wire.api_messages import Get, Put


def get(key: str) -> Get:
    return Get(key.encode())


def put(key: str, value: bytes) -> Put:
    return Put(0, 0, key.encode(), value)


@define
class Purse:
    """An `Account` that may hold so many bytes."""

    most: int = 1 << 30
    held: int = 0

    def hold(self, growth: int) -> None:
        self.held += growth

    def may_hold_more(self) -> bool:
        return self.held < self.most


class RequestQueueTests(SynchronousTestCase):
    def test_replies_in_order(self) -> None:
        """Replies are to be had in the order of the requests, as soon as those before them are there."""
        queue = RequestQueue(Purse())
        first, second, third = (queue.add(get(name)) for name in "abc")
        taken = []
        for entry, reply in ((second, b"2"), (first, b"1"), (third, b"3")):
            queue.settle(entry, reply)
            taken.append(queue.take_replies())
        self.assertEqual(taken, [[], [b"1", b"2"], [b"3"]])
        self.assertEqual(len(queue), 0)

    def test_one_at_a_time_for_a_key(self) -> None:
        """Of the requests for one key the next gets due when the one before it is settled, in order."""
        queue = RequestQueue(Purse())
        entries = [queue.add(get("a")) for _ in range(4)]
        self.assertIsNone(queue.next_ready())
        for entry, following in zip(entries, [*entries[1:], None], strict=True):
            self.assertTrue(queue.is_busy(b"a"))
            queue.settle(entry, b"")
            self.assertIs(queue.next_ready(), following)
        self.assertFalse(queue.is_busy(b"a"))

    def test_room(self) -> None:
        """There is room for so many requests and for so many bytes of values and replies."""
        many, large, answered = RequestQueue(Purse()), RequestQueue(Purse()), RequestQueue(Purse())
        for number in range(MAX_REQUESTS):
            self.assertTrue(many.has_room())
            many.add(get(str(number)))
        self.assertFalse(many.has_room())

        large.add(put("a", bytes(MAX_HELD_BYTES - 1)))
        self.assertTrue(large.has_room())
        large.add(put("b", b"v"))
        self.assertFalse(large.has_room())

        first, second = answered.add(get("a")), answered.add(get("b"))
        answered.settle(second, bytes(MAX_HELD_BYTES))
        self.assertFalse(answered.has_room())
        answered.settle(first, b"")
        answered.take_replies()
        self.assertTrue(answered.has_room())

    def test_unsettled(self) -> None:
        """It tells which requests have no reply yet; they can be settled in that order all at once."""
        queue = RequestQueue(Purse())
        entries = [queue.add(get(name)) for name in "aabab"]
        queue.settle(entries[2], b"b")
        self.assertEqual(queue.unsettled(), [*entries[:2], *entries[3:]])
        for entry in queue.unsettled():
            queue.settle(entry, b"x")
        self.assertEqual(queue.take_replies(), [b"x", b"x", b"b", b"x", b"x"])

    def test_any_course(self) -> None:
        """However requests come and are settled, at most one for each key is at work and no reply overtakes."""
        rng = random.Random(3)
        purse = Purse()
        queue, working, added, taken = RequestQueue(purse), list[QueuedRequest](), 0, list[bytes]()
        while len(taken) < 2000:
            if queue.has_room() and rng.random() < 0.55:
                was_at_work = queue.is_busy(name := b"%d" % rng.randrange(10))
                entry = queue.add(Put(0, 0, name, b"%d" % added))
                added += 1
                if not was_at_work:
                    working.append(entry)
            elif working:
                entry = working.pop(rng.randrange(len(working)))
                queue.settle(entry, entry.request.value)  # type: ignore[union-attr]
                while (due := queue.next_ready()) is not None:
                    working.append(due)
                taken += queue.take_replies()
            is_busy = [entry.request.key for entry in working]
            self.assertEqual(len(is_busy), len(set(is_busy)))
        self.assertEqual(taken, [b"%d" % number for number in range(len(taken))])
        for entry in queue.unsettled():
            queue.settle(entry, b"")
        queue.take_replies()
        self.assertEqual(purse.held, 0)

    def test_account(self) -> None:
        """Where the account has no room one request may be at work, however many others hold what."""
        purse = Purse(MAX_VALUE)
        queue, other = RequestQueue(purse), RequestQueue(purse)
        entry = queue.add(get("a"))
        self.assertEqual((purse.held, queue.has_room(), other.has_room()), (MAX_VALUE, False, True))
        other.settle(other.add(put("a", bytes(100))), bytes(200))
        self.assertEqual((purse.held, other.has_room()), (MAX_VALUE + 200, False))
        queue.settle(entry, bytes(10))
        self.assertEqual((purse.held, queue.has_room()), (210, True))
        for one in (queue, other):
            one.take_replies(is_read=False)
        self.assertEqual(purse.held, 210)
        for one in (queue, other):
            one.all_read()
        self.assertEqual(purse.held, 0)
