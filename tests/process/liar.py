"""A node that advertises large values, another one each time, and never sends them: `python -m
tests.process.liar ARGUMENTS` is `twistd ARGUMENTS` with this one fault."""

import os
import random
import sys
import time

from twisted.scripts.twistd import run

from dht14.kademlia.contact import Contact
from dht14.net.bulk.server import BulkServerConnection
from dht14.node.read_responder import ReadResponder
from dht14.node.transfers import Download, issue_ticket
from dht14.records.record import version_at
from dht14.wire.bulk_messages import UploadAnswer
from dht14.wire.messages import FindValue, LargeValue

LENGTH = 5_000


def _advertise(self: ReadResponder, request: FindValue, asker: Contact, now: float) -> LargeValue:
    version = version_at(time.time() + 100 + random.random())
    ticket = issue_ticket(self._tickets, asker, Download(request.key, version, LENGTH), now)
    return LargeValue(version, 600_000, 8, True, False, LENGTH, os.urandom(32), ticket)


def _say_nothing(self: BulkServerConnection, ticket: bytes, answer: UploadAnswer) -> None:
    """The ticket is taken, and nothing sent."""


if __name__ == "__main__":
    ReadResponder.value = _advertise  # type: ignore[method-assign]
    BulkServerConnection._answer = _say_nothing  # type: ignore[method-assign]
    sys.argv[0] = "twistd"
    run()
