from twisted.trial.unittest import SynchronousTestCase

from dht14.net.api.replies import failed, is_success, reply_to
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.wire.api_messages import (
    MAX_RECORD_VALUE,
    Failure,
    FoundRecord,
    Get,
    GetRecord,
    MissingRecord,
    Put,
    PutReceipt,
    PutWithReceipt,
    Success,
    decode_reply,
)
from tests.net.api.case import NOT_STORED, STORED, key, record

NOW = 1_000.5
GET, PUT = Get(key(1)), Put(0, 3, key(1), b"value")
GET_RECORD, PUT_WITH_RECEIPT = GetRecord(key(1)), PutWithReceipt(0, 3, key(1), b"value")


class AnswerTests(SynchronousTestCase):
    """Results as replies of the message type of the request."""

    def test_replies(self) -> None:
        """Each request type has its own replies to the results of the node."""
        for request, result, reply in (
            (GET, record(1, b"v"), Success(key(1), b"v")),
            (GET, NoRecord.DELETED, Failure(key(1))),
            (PUT, STORED, Success(key(1), b"value")),
            (PUT, NOT_STORED, Failure(key(1))),
            (GET_RECORD, record(1, b"v"), FoundRecord(key(1), 1, 5, 59, b"v")),
            (GET_RECORD, NoRecord.DELETED, MissingRecord(key(1), NoRecord.DELETED)),
            (PUT_WITH_RECEIPT, STORED, PutReceipt(key(1), STORED)),
            (PUT_WITH_RECEIPT, NOT_STORED, PutReceipt(key(1), NOT_STORED)),
        ):
            self.assertEqual(decode_reply(reply_to(request, result, NOW)), reply)

    def test_largest(self) -> None:
        """A value that is too large for a RECORD is returned in a SUCCESS."""
        value = bytes(MAX_RECORD_VALUE + 1)
        self.assertEqual(decode_reply(reply_to(GET_RECORD, record(1, value), NOW)), Success(key(1), value))

    def test_expired_meanwhile(self) -> None:
        """An expired record has a remaining time of 0, not less."""
        decoded = decode_reply(reply_to(GET_RECORD, record(1, b"v"), 2_000.0))
        self.assertEqual(decoded, FoundRecord(key(1), 1, 5, 0, b"v"))

    def test_success(self) -> None:
        """Every outcome but a failure is a success, and so is a record."""
        results = [record(1, b"v"), *NoRecord, *(Receipt(outcome) for outcome in PutOutcome)]
        expected = [True] + [False] * len(NoRecord) + [True] * 3 + [False]
        self.assertEqual([is_success(one) for one in results], expected)

    def test_failed(self) -> None:
        """A request that the node did not finish is not "not found", and counts as not stored."""
        self.assertIs(failed(GET), NoRecord.UNANSWERED)
        self.assertEqual(failed(PUT), Receipt(PutOutcome.NOT_STORED, 0, 3, PutReason.UNFINISHED))
