import io
from contextlib import redirect_stderr
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from dht14.app.options import Role
from dht14.cmd import bootstrap, node
from tests.cmd.test_node import parse


class OptionsTests(SynchronousTestCase):
    """What can be typed after `twistd dht14-bootstrap`."""

    def test_defaults(self):
        """Without a file it listens where nodes do, beside whose data it keeps its own."""
        options = parse(options=bootstrap.Options)
        self.assertIs(options.role, Role.BOOTSTRAP)
        self.assertEqual(options.settings.node.p2p_address, ("0.0.0.0", 8000))
        self.assertEqual(options.settings.node.data_dir, "data/bootstrap")

    def test_file_of_a_node(self):
        """It takes a node's whole file."""
        shipped = Path(__file__).parent.parent.parent / "conf" / "config.ini"
        settings = parse(
            "--config", str(shipped), "--p2p-address", "[::1]:9", options=bootstrap.Options
        ).settings
        self.assertEqual(settings.node.p2p_address, ("::1", 9))

    def test_no_api(self):
        """There is no API to give an address to."""
        with redirect_stderr(io.StringIO()) as err:
            ended = self.assertRaises(
                SystemExit, parse, "--api-address", "127.0.0.1:1", options=bootstrap.Options
            )
        self.assertEqual(ended.code, 78)
        self.assertIn("--api-address", err.getvalue())

    def test_same_maker(self):
        """It is made by what makes a node."""
        self.assertIs(bootstrap.makeService, node.makeService)
