"""Owners at the command line, against real nodes."""

import json

from tests.process.nodes import DHT14, Twistd, run_program
from tests.process.test_network import NetworkTestCase


class OwnersTests(NetworkTestCase):
    def dht14(self, *words: str, at: Twistd | None = None) -> tuple[int, str]:
        """Exit code and standard output of one command."""
        api = ("--api-address", f"127.0.0.1:{at.api_port}") if at else ()
        ended = run_program(*DHT14, *words, *api, folder=self.network.folder)
        self.assertNotIn("Traceback", ended.stderr)
        return ended.returncode, ended.stdout

    def test_life_of_a_value(self) -> None:
        """A key is made, a value is put, overwritten, defended, deleted and put again, each at another
        node."""
        one, two, three = self.cluster(3)
        sign = ("--sign", "me.pem", "--salt", "blog")
        self.assertEqual(self.dht14("keygen", "me.pem")[0], 0)
        code, key = self.dht14("put", *sign, "first", at=one)
        self.assertEqual((code, len(key.strip())), (0, 64))
        key = key.strip()
        self.assertEqual(self.dht14("get", key, at=two), (0, "first"))
        self.assertEqual(self.dht14("put", "second", *sign, at=two), (0, key + "\n"))
        self.assertEqual(self.dht14("get", key, at=three), (0, "second"))
        self.assertEqual(self.dht14("put", key, "squatter", at=three), (1, ""))
        self.assertEqual(self.dht14("put", *sign, "--seq", "5", "older", at=three), (1, ""))
        self.assertEqual(self.dht14("get", key, at=one), (0, "second"))
        self.assertEqual(self.dht14("delete", *sign, at=three), (0, key + "\n"))
        for node in (one, two, three):
            self.assertEqual(self.dht14("get", key, at=node), (1, ""))
        self.assertEqual(self.dht14("delete", *sign, at=one), (1, ""))
        self.assertEqual(self.dht14("put", *sign, "again", at=one), (0, key + "\n"))
        code, answer = self.dht14("get", key, "--json", at=two)
        self.assertEqual((code, json.loads(answer)["found"], json.loads(answer)["bytes"]), (0, True, 5))

    def test_content(self) -> None:
        """What is put as content is found under the key that is printed."""
        (node,) = self.cluster(1)
        code, key = self.dht14("put", "--content", "a value", at=node)
        self.assertEqual((code, self.dht14("get", key.strip(), at=node)), (0, (0, "a value")))
