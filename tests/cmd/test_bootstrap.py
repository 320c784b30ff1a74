import io
from contextlib import redirect_stderr
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from dht14.app.options import Role
from dht14.cmd import bootstrap, node
from tests.cmd.test_node import parse


class OptionsTests(SynchronousTestCase):
    """The options of `twistd dht14-bootstrap`."""

    def test_defaults(self):
        """Without a file it listens on the port of a node, with a data directory of its own."""
        options = parse(options=bootstrap.Options)
        self.assertIs(options.role, Role.BOOTSTRAP)
        self.assertEqual(options.settings.node.p2p_address, ("0.0.0.0", 8000))
        self.assertEqual(options.settings.node.data_dir, "data/bootstrap")

    def test_file_of_a_node(self):
        """It accepts the whole configuration file of a node."""
        shipped = Path(__file__).parent.parent.parent / "conf" / "config.ini"
        settings = parse(
            "--config", str(shipped), "--p2p-address", "[::1]:9", options=bootstrap.Options
        ).settings
        self.assertEqual(settings.node.p2p_address, ("::1", 9))

    def test_no_api(self):
        """It has no option for an API address."""
        with redirect_stderr(io.StringIO()) as err:
            ended = self.assertRaises(
                SystemExit, parse, "--api-address", "127.0.0.1:1", options=bootstrap.Options
            )
        self.assertEqual(ended.code, 78)
        self.assertIn("--api-address", err.getvalue())

    def test_same_maker(self):
        """The function that makes a node makes it."""
        self.assertIs(bootstrap.makeService, node.makeService)
