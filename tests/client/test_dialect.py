from twisted.trial.unittest import SynchronousTestCase

from dht14.client.dialect import Dialect, encode
from dht14.wire.api_messages import Get, GetRecord, Put, PutWithReceipt, decode_request

KEY = bytes(32)


class EncodeTests(SynchronousTestCase):
    def test_both_dialects(self) -> None:
        """Our messages go out as those of VoidPhone in the plain dialect; those of VoidPhone are the same
        in both."""
        given, wanted = PutWithReceipt(60, 8, KEY, b"v"), GetRecord(KEY, content=True)
        plain_given, plain_wanted = Put(60, 8, KEY, b"v"), Get(KEY)
        for request, extended, plain in (
            (given, given, plain_given),
            (wanted, wanted, plain_wanted),
            (plain_given, plain_given, plain_given),
            (plain_wanted, plain_wanted, plain_wanted),
        ):
            self.assertEqual(decode_request(encode(request, Dialect.EXTENDED)), extended)
            self.assertEqual(decode_request(encode(request, Dialect.PLAIN)), plain)
