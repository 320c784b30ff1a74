import inspect
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import dht14
from dht14.app.embedded_settings import HOMES, embedded_settings
from dht14.app.options import SECTIONS, AdminSocket, PutReply, Settings, YesNo
from dht14.errors import ConfigError
from dht14.kademlia.contact import Seed


def settings(p2p: str = "127.0.0.1:0", api: str | None = None, **options: object) -> Settings:
    return embedded_settings("one", (), p2p, api, options)


class EmbeddedSettingsTests(SynchronousTestCase):
    """Options as arguments."""

    def assert_refused(self, *words: str, p2p: str = "127.0.0.1:0", **options: object) -> None:
        error = self.assertRaises(ConfigError, settings, p2p, **options)
        for word in words:
            self.assertIn(word, str(error))

    def test_defaults(self) -> None:
        """What is not given has the default of the file; the folder is an absolute path."""
        found = settings()
        self.assertEqual(found.storage, Settings().storage)
        self.assertEqual(found.security, Settings().security)
        self.assertEqual(found.node.data_dir, str(Path("one").absolute()))
        self.assertEqual(
            embedded_settings(Path("/x y#z"), (), "[::1]:8000", None, {}).node.data_dir, "/x y#z"
        )

    def test_no_folder(self) -> None:
        """An empty name is no folder: the files of the node would fill the working directory."""
        error = self.assertRaises(ConfigError, embedded_settings, "", (), "127.0.0.1:0", None, {})
        self.assertIn("data_dir", str(error))
        for wrong in (None, b"one", 7):
            folder: Any = wrong
            refused = self.assertRaises(TypeError, embedded_settings, folder, (), "127.0.0.1:0", None, {})
            self.assertIn("data_dir", str(refused))
        here = embedded_settings(".", (), "127.0.0.1:0", None, {})
        self.assertEqual(here.node.data_dir, str(Path.cwd()))

    def test_addresses(self) -> None:
        """Port 0 is accepted, unlike in the file; other addresses are checked as there."""
        self.assertEqual(settings("127.0.0.1:0").node.p2p_address, ("127.0.0.1", 0))
        self.assertEqual(settings("[::1]:0", "localhost:7400").node.p2p_address, ("::1", 0))
        self.assertEqual(settings("[::1]:0", "localhost:7400").node.api_address, ("localhost", 7400))
        self.assert_refused("p2p: ", "no port", p2p="127.0.0.1")
        self.assert_refused("p2p: ", "'70000'", p2p="127.0.0.1:70000")
        self.assert_refused("p2p: ", "'::1:0'", "brackets", p2p="::1:0")

    def test_values(self) -> None:
        """Python's values mean what their texts mean in the file."""
        found = settings(
            replication=3,
            max_ttl="3600",
            writer_share=0.5,
            storage_limit="2M",
            put_reply=PutReply.NONE,
            diversity_private=True,
            api_allow=["127.0.0.0/8", "::1"],
            encryption_key=bytes(range(32)),
            default_ttl=None,
            requests_per_second=1e-05,
        )
        self.assertEqual((found.storage.replication, found.storage.max_ttl), (3, 3600))
        self.assertEqual((found.storage.writer_share, found.storage.storage_limit), (0.5, 2 << 20))
        self.assertEqual(found.api.put_reply, PutReply.NONE)
        self.assertEqual(found.security.diversity_private, YesNo.YES)
        self.assertEqual([str(network) for network in found.api.api_allow], ["127.0.0.0/8", "::1/128"])
        self.assertEqual(found.security.encryption_key, bytes(range(32)))
        self.assertEqual(found.rate_limiter.requests_per_second, 1e-05)

    def test_every_option(self) -> None:
        """Every default can be given as it stands in the file; names are unique and collide with no
        parameter."""
        names = [name for kind in SECTIONS.values() for name in kind.__match_args__]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(HOMES.keys() & inspect.signature(dht14.Node).parameters.keys(), set())
        for name, section in HOMES.items():
            default = inspect.getattr_static(SECTIONS[section], "__attrs_attrs__")
            text = next(one.metadata["default"] for one in default if one.name == name)
            if name != "admin_address":
                self.assertEqual(settings(**{name: text}), settings(), name)
        self.assertEqual(settings().node.admin_address, AdminSocket.NONE)
        self.assertEqual(settings(admin_address="unix").node.admin_address, AdminSocket.UNIX)

    def test_seeds(self) -> None:
        """Seeds are those of the file; a single text is a mistake."""
        node_id = "ab" * 32
        found = embedded_settings("one", [f"{node_id}@h:1", "[::1]:2"], "127.0.0.1:0", None, {})
        self.assertEqual(found.bootstrap, (Seed("h", 1, int(node_id, 16)), Seed("::1", 2, None)))
        self.assertRaises(TypeError, embedded_settings, "one", "h:1", "127.0.0.1:0", None, {})
        error = self.assertRaises(ConfigError, embedded_settings, "one", ["h"], "127.0.0.1:0", None, {})
        self.assertIn("seeds: 'h' has no port", str(error))
        for wrong in (None, [("h", 1)], 7):
            seeds: Any = wrong
            refused = self.assertRaises(TypeError, embedded_settings, "one", seeds, "127.0.0.1:0", None, {})
            self.assertIn("HOST:PORT", str(refused))

    def test_mistakes(self) -> None:
        """Unknown names are refused with the nearest one, wrong values with the option and the remedy."""
        self.assert_refused("unknown option: replicaton", "did you mean replication?", replicaton=3)
        self.assert_refused("unknown option: sedes", "did you mean seeds?", sedes=[])
        self.assert_refused("p2p_address: give it as p2p", p2p_address="127.0.0.1:8000")
        self.assert_refused("log_level: your program decides", log_level="debug")
        self.assert_refused("replication: 21 is out of range", replication=21)
        self.assert_refused("replication: 'yes' is not a whole number", replication=True)
        self.assert_refused("min_ttl (90) must not exceed max_ttl (80)", min_ttl=90, max_ttl=80)
        self.assert_refused("difficulty: 0 is only for private networks", p2p="0.0.0.0:0", difficulty=0)
        self.assertRaises(TypeError, settings, replication=object())
        self.assertRaises(TypeError, settings, p2p=8000)

    def test_secret(self) -> None:
        """A wrong key is refused without being shown."""
        error = self.assertRaises(ConfigError, settings, encryption_key=b"secret of mine")
        self.assertNotIn("secret of mine", str(error))
        self.assertNotIn(b"secret of mine".hex(), str(error))
