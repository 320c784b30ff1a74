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
    """An `Account` with a fixed limit of bytes."""

    most: int = 1 << 30
    held: int = 0

    def hold(self, growth: int) -> None:
        self.held += growth

    def may_hold_more(self) -> bool:
        return self.held < self.most


class RequestQueueTests(SynchronousTestCase):
    def test_replies_in_order(self) -> None:
        """Replies are available in the order of the requests, as soon as the earlier ones are."""
        queue = RequestQueue(Purse())
        first, second, third = (queue.add(get(name)) for name in "abc")
        taken = []
        for entry, reply in ((second, b"2"), (first, b"1"), (third, b"3")):
            queue.settle(entry, reply)
            taken.append(queue.take_replies())
        self.assertEqual(taken, [[], [b"1", b"2"], [b"3"]])
        self.assertEqual(len(queue), 0)

    def test_one_at_a_time_for_a_key(self) -> None:
        """When a request is settled, the next one for its key becomes ready, in order."""
        queue = RequestQueue(Purse())
        entries = [queue.add(get("a")) for _ in range(4)]
        self.assertIsNone(queue.next_ready())
        for entry, following in zip(entries, [*entries[1:], None], strict=True):
            self.assertTrue(queue.is_busy(b"a"))
            queue.settle(entry, b"")
            self.assertIs(queue.next_ready(), following)
        self.assertFalse(queue.is_busy(b"a"))

    def test_room(self) -> None:
        """There is room for a limited number of requests, and of bytes of values and replies."""
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
        """It lists the requests without a reply; they can be settled in that order at once."""
        queue = RequestQueue(Purse())
        entries = [queue.add(get(name)) for name in "aabab"]
        queue.settle(entries[2], b"b")
        self.assertEqual(queue.unsettled(), [*entries[:2], *entries[3:]])
        for entry in queue.unsettled():
            queue.settle(entry, b"x")
        self.assertEqual(queue.take_replies(), [b"x", b"x", b"b", b"x", b"x"])

    def test_any_course(self) -> None:
        """In any order of events, at most one request of a key is under way and no reply overtakes
        another."""
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
        """If the account has no room, one request may still be under way, whatever others hold."""
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
