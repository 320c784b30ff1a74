from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.wire.api_messages import encode_get, encode_put
from tests.net.api.case import ApiTestCase, QuickNode, key


class OutcomeTests(ApiTestCase):
    """What is counted of each request."""

    def test_outcomes(self) -> None:
        """A GET counts as found, or by the reason why there is no record; a PUT by its outcome, and one that
        came too early as not ready."""
        connection, _ = self.connect()
        not_ready = Receipt(PutOutcome.NOT_STORED, 0, 8, PutReason.NOT_READY)
        answers = [b"v", None, NoRecord.NOT_READY, NoRecord.UNANSWERED, True, False, not_ready]
        for n in range(4):
            connection.dataReceived(encode_get(key(n)))
        for n in range(4, 7):
            connection.dataReceived(encode_put(0, 0, key(n), b"v"))
        for call, answer in zip(self.node.calls, answers, strict=True):
            call.answer.callback(answer)
        metrics = self.api.metrics
        self.assertEqual(metrics.found, 1)
        missed = {reason: times for reason, times in metrics.not_found.items() if times}
        self.assertEqual(missed, {NoRecord.NOT_FOUND: 1, NoRecord.NOT_READY: 1, NoRecord.UNANSWERED: 1})
        self.assertEqual(list(metrics.put_outcomes.values()), [1, 0, 0, 1])
        self.assertEqual(metrics.put_not_ready, 1)

    def test_latency(self) -> None:
        """The time from the begin of a request to its answer is counted, by method."""
        connection, _ = self.connect()
        connection.dataReceived(encode_get(key(1)) + encode_put(0, 0, key(2), b"v"))
        self.clock.advance(0.5)
        self.node.calls[0].answer.callback(b"v")
        self.clock.advance(0.5)
        self.node.calls[1].answer.callback(True)
        metrics = self.api.metrics
        self.assertEqual((metrics.get_latency.count, metrics.get_latency.total), (1, 0.5))
        self.assertEqual((metrics.put_latency.count, metrics.put_latency.total), (1, 1.0))

    def test_at_once(self) -> None:
        """An answer that the node has at once counts as well."""
        self.api.node = QuickNode({1: b"v"})
        connection, _ = self.connect()
        connection.dataReceived(encode_get(key(1)))
        self.assertEqual((self.api.metrics.found, self.api.metrics.get_latency.count), (1, 1))

    def test_bug(self) -> None:
        """A request that fails in the node counts by what its client is told."""
        connection, _ = self.connect()
        connection.dataReceived(encode_get(key(1)) + encode_put(0, 0, key(2), b"v"))
        for call in self.node.calls:
            call.answer.errback(ZeroDivisionError("a bug"))
        self.flushLoggedErrors(ZeroDivisionError)
        metrics = self.api.metrics
        self.assertEqual(metrics.not_found[NoRecord.UNANSWERED], 1)
        self.assertEqual(metrics.put_outcomes[PutOutcome.NOT_STORED], 1)
