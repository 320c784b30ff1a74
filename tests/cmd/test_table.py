from twisted.trial.unittest import SynchronousTestCase

from dht14.cmd.table import byte_size, milliseconds


class FormatTests(SynchronousTestCase):
    """Numbers as people read them."""

    def test_byte_size(self) -> None:
        """The unit fits, with one decimal below 100 of it."""
        for count, text in (
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (150 << 10, "150 KiB"),
            (5 << 30, "5.0 GiB"),
            (5_000 << 40, "5000 TiB"),
        ):
            self.assertEqual(byte_size(count), text)

    def test_milliseconds(self) -> None:
        """One decimal; no time is a dash."""
        self.assertEqual([milliseconds(seconds) for seconds in (0.01234, 0.0, None)], ["12.3", "0.0", "-"])
