"""The models of the handshake and the page say the same. Their answers: `python -m tests.models.check`."""

import re

from twisted.trial.unittest import SynchronousTestCase

from dht14.session.acceptor import COOKIE_LIFETIME, FINISHES_PER_SECOND, MAX_REMEMBERED_FINISHES
from tests.models.questions import ATTACKS, MODEL, MUTANTS, RULES
from tests.page import section

DATAGRAMS = {"41": "hello", "42": "challenge", "43": "finish", "44": "accept", "45": "data"}


def layouts() -> dict[str, str]:
    """The datagrams as the page has them, without sizes, nonces, associated data and padding."""
    text = section("2.0.2") + section("2.0.3")
    lines = re.findall(r"^(4\d \| .*(?:\n {30,}.*)?)", text, re.MULTILINE)
    found = {}
    for line in lines:
        line = re.sub(r"\s+", " ", line)
        line = re.sub(r", (nonce|12 zero bytes), AAD = the \d+ bytes before,", ",", line)
        line = re.sub(r" \| 207 bytes of padding, ignored", "", line)
        line = re.sub(r" u?\d+(?= \||$)", "", line)
        found[line[:2]] = line
    return found


class HandshakeModelTests(SynchronousTestCase):
    """The rules of the theorem prover, beside docs/protocol.md."""

    def test_layouts(self) -> None:
        """Above the rule for each datagram stand the fields that the page gives it."""
        in_model = re.findall(r"^% ([A-Z]+): (4\d .*)\nfof\((\w+), axiom,", MODEL, re.MULTILINE)
        self.assertEqual({fields[:2]: fields for _, fields, _ in in_model}, layouts())
        for name, fields, rule in in_model:
            self.assertEqual((name.lower(), rule), (DATAGRAMS[fields[:2]], DATAGRAMS[fields[:2]]))

    def test_derivations(self) -> None:
        """What is hashed and signed is what the page says."""
        page = section("2.0.2")
        derivations = re.findall(r"^% {3}(?:t|hs|prekey)\(.*?\) +(.*)$", MODEL, re.MULTILINE)
        self.assertEqual(len(derivations), 3)
        for text in derivations:
            self.assertIn(text, page)

    def test_mutants(self) -> None:
        """Each attack has a mutant that makes it possible, and each mutant changes what the rules say."""
        self.assertEqual({name for mutant in MUTANTS for name in mutant.finds}, set(ATTACKS))
        for mutant in MUTANTS:
            self.assertTrue(any(RULES.get(name) != rule for name, rule in mutant.rules.items()), mutant.fault)

    def test_memory(self) -> None:
        """The responder remembers as many FINISHes as in the model of replays: those of all seconds that a
        cookie lives, of the second in which it is made, and of a burst."""
        self.assertGreaterEqual(MAX_REMEMBERED_FINISHES, FINISHES_PER_SECOND * (COOKIE_LIFETIME + 2))
