import cbor2
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.files.address import decode_link, encode_link, format_address, is_link, parse_address

KEY = bytes(range(32))


class AddressTests(SynchronousTestCase):
    def test_address(self) -> None:
        """An address is `dht14:` and the key; digits may be of either case."""
        self.assertEqual(format_address(KEY), "dht14:" + KEY.hex())
        self.assertEqual(parse_address(format_address(KEY)), KEY)
        self.assertEqual(parse_address("dht14:" + KEY.hex().upper()), KEY)

    def test_no_address(self) -> None:
        """Everything else is refused."""
        for text in (
            "",
            KEY.hex(),
            "dht14:",
            "DHT14:" + KEY.hex(),
            f"dht14:{KEY.hex()}\n",
            "dht14:" + "0" * 63,
        ):
            self.assertRaises(ValueError, parse_address, text)

    def test_link(self) -> None:
        """A link is the CBOR array that the page describes, and nothing else is one."""
        link = encode_link(KEY)
        self.assertEqual(link, cbor2.dumps(["dht14/link", 1, KEY]))
        self.assertEqual(decode_link(link), KEY)
        for payload in (link[:-1], link + b"\x00", cbor2.dumps(["dht14/link", 2, KEY]), KEY, b""):
            self.assertFalse(is_link(payload))
            self.assertRaises(Malformed, decode_link, payload)
