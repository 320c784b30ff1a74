import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from dht14.client import channel
from dht14.cmd import health
from dht14.kademlia import parameters
from dht14.maintenance import announcer, handover, replicator, republish
from dht14.net import resolver
from dht14.net.api import connection, frame_timeout, readiness
from dht14.net.bulk import client_connection as bulk_client
from dht14.net.bulk import deadlines
from dht14.net.bulk import server as bulk_server
from dht14.net.rpc import pacing, probe, standstill
from dht14.node import deadline_queue, join
from dht14.security import tickets
from dht14.session import acceptor, encrypted, handshake, initiator, session, session_table

TOP = Path(__file__).parent.parent
API_PROMISE = 5.0
"""Seconds within which the API answers, and within which a stopped node has ended (README)."""


class TimeoutTests(SynchronousTestCase):
    """Timeouts of different modules that depend on each other."""

    def assert_ascending(self, *seconds: float) -> None:
        """Each is smaller than the next one."""
        self.assertEqual(list(seconds), sorted(set(seconds)))

    def test_call(self) -> None:
        """A call is slow before its contact is silent, silent before it has failed, and fails before its
        operation."""
        self.assert_ascending(
            parameters.SOFT_TIMEOUT_MIN, parameters.SOFT_TIMEOUT_UNKNOWN, parameters.SOFT_TIMEOUT_MAX
        )
        self.assert_ascending(parameters.SILENT_TIMEOUT_MIN, parameters.SILENT_TIMEOUT_MAX)
        self.assertLessEqual(parameters.SOFT_TIMEOUT_MAX, parameters.SILENT_TIMEOUT_MAX)
        self.assert_ascending(
            parameters.SOFT_TIMEOUT_MAX + parameters.SILENT_TIMEOUT_MAX,
            parameters.HARD_TIMEOUT,
            parameters.OPERATION_TIMEOUT,
        )
        self.assertLess(deadline_queue.TIMER_RESOLUTION, parameters.SOFT_TIMEOUT_MIN)
        self.assertLess(pacing.MAX_WAIT, parameters.HARD_TIMEOUT)

    def test_handshake(self) -> None:
        """A handshake is given up when no call waits for it any more, and resent before the soft timeout
        ends."""
        self.assertLessEqual(parameters.HARD_TIMEOUT, initiator.HANDSHAKE_TIMEOUT)
        self.assertLessEqual(encrypted.RESEND_AFTER, parameters.SOFT_TIMEOUT_UNKNOWN)
        self.assertLess(acceptor.COOKIE_LIFETIME, handshake.PREKEY_LIFETIME)
        self.assertLessEqual(2 * acceptor.PREKEY_ROTATION, handshake.PREKEY_LIFETIME)

    def test_session(self) -> None:
        """A session rests before it is renewed, and is renewed before it is refused."""
        self.assert_ascending(session_table.REST_AFTER, session.REKEY_AFTER, session.MAX_AGE)

    def test_operation(self) -> None:
        """An operation ends before the API must have answered, and its steps before the operation."""
        self.assertLess(parameters.OPERATION_TIMEOUT, API_PROMISE)
        for step in (
            parameters.FIRST_READ_TIMEOUT,
            parameters.PUT_QUEUE_TIMEOUT,
            parameters.CLOCK_TIMEOUT,
            parameters.VOUCHED_TIMEOUT,
            parameters.PUSH_SILENT,
            readiness.DATABASE_TIMEOUT,
            join.FIRST_TRY_TIMEOUT,
        ):
            self.assertLess(step, parameters.OPERATION_TIMEOUT)
        self.assertLess(parameters.PUSH_SLOW, parameters.PUSH_SILENT)
        # After a first read that is not certain, there is time for one call.
        self.assertGreater(
            parameters.OPERATION_TIMEOUT - parameters.FIRST_READ_TIMEOUT, parameters.SOFT_TIMEOUT_MAX
        )

    def test_clients(self) -> None:
        """Our own clients wait for longer than the API takes, and the container's health check for longer
        still."""
        docker = re.search(r"HEALTHCHECK .*--timeout=(\d+)s", (TOP / "Dockerfile").read_text())
        assert docker is not None
        self.assert_ascending(
            API_PROMISE, health.API_TIMEOUT, health.API_TIMEOUT + health.HELLO_TIMEOUT, float(docker[1])
        )
        self.assert_ascending(API_PROMISE, channel.SILENCE_TIMEOUT, channel.ANSWER_TIMEOUT)
        self.assertLess(API_PROMISE, frame_timeout.FRAME_TIMEOUT)
        self.assertLessEqual(connection.LINGER_TIMEOUT, frame_timeout.FRAME_TIMEOUT)

    def test_stop(self) -> None:
        """A stopped node hands over and ends in time, long before the container is killed."""
        self.assertLess(handover.HAND_OVER_TIMEOUT, API_PROMISE)
        self.assertLessEqual(replicator.LARGE_COPY_TIMEOUT, handover.HAND_OVER_TIMEOUT)
        killed = re.search(r"--stop-timeout (\d+)", (TOP / "scripts" / "deploy.sh").read_text())
        assert killed is not None
        self.assertLess(2 * API_PROMISE, float(killed[1]))

    def test_bulk(self) -> None:
        """The client closes an idle connection before the server does; a ticket outlives the way to the
        server."""
        self.assertLess(
            bulk_client.IDLE_TIMEOUT + 2 * deadlines.CHECK_INTERVAL, bulk_server.SERVER_IDLE_TIMEOUT
        )
        self.assertLessEqual(bulk_client.CONNECT_TIMEOUT, bulk_server.HANDSHAKE_TIMEOUT)
        self.assertLess(bulk_server.TRANSFER_GRACE, bulk_client.ANSWER_TIMEOUT)
        self.assertLess(parameters.OPERATION_TIMEOUT + bulk_client.CONNECT_TIMEOUT, tickets.TICKET_LIFETIME)

    def test_copies(self) -> None:
        """A small copy is given up while its call may still be answered; a copy lives for longer than it
        takes."""
        self.assert_ascending(replicator.COPY_TIMEOUT, parameters.HARD_TIMEOUT, replicator.LARGE_COPY_TIMEOUT)
        self.assertLess(replicator.LARGE_COPY_TIMEOUT, republish.MIN_REMAINING)
        self.assertLess(republish.REPUBLISH_LOOK, parameters.REPAIR_INTERVAL_MIN)

    def test_standstill(self) -> None:
        """A beat that is late by one interval is no standstill."""
        self.assertLess(standstill.BEAT_INTERVAL, standstill.STANDSTILL)

    def test_probe(self) -> None:
        """A probe is resent before it has failed; a caller is probed again while it may seem reachable."""
        self.assertLess(probe.RESEND_AFTER, parameters.HARD_TIMEOUT)
        self.assertLess(probe.PROBE_SPACING, probe.RETURN_PATH_LIFETIME)
        self.assertLess(announcer.ANNOUNCE_INTERVAL, announcer.ANNOUNCE_LIFETIME)

    def test_resolver(self) -> None:
        """A name server may be asked twice before the resolver gives up."""
        options = re.search(r"timeout:(\d+) attempts:(\d+)", (TOP / "Dockerfile").read_text())
        assert options is not None
        self.assertLess(int(options[1]) * int(options[2]), resolver.RESOLVE_TIMEOUT)
