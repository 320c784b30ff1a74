"""A node and its neighbours, for tests of maintenance."""

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeNetwork

FAR = 1 << 255


class MaintenanceTestCase(SynchronousTestCase):
    """Node 1 and its neighbours."""

    def setUp(self) -> None:
        self.network = FakeNetwork()
        self.one, *self.others = self.network.cluster(1, FAR + 1, FAR + 2, FAR + 3)

    def asked(self, kind: type) -> list[int]:
        """Count the requests of this kind to each of the others since the last call."""
        counts = [sum(isinstance(request, kind) for request in peer.asked) for peer in self.others]
        for peer in self.others:
            peer.asked.clear()
        return counts
