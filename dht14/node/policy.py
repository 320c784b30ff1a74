"""The policy of a node: lifetimes and numbers of copies."""

from attrs import frozen

from dht14.kademlia.parameters import MAX_REPLICATION, REPLICATION


@frozen(kw_only=True)
class Policy:
    """What this node does where the client leaves the choice to it. Times in seconds."""

    replication: int = REPLICATION
    min_ttl: int = 60
    max_ttl: int = 86_400
    default_ttl: int = 86_400

    def ttl(self, asked: int) -> int:
        """Return the time to live if the client asked for `asked` seconds; 0 asks for the default."""
        return min(max(asked or self.default_ttl, self.min_ttl), self.max_ttl)

    def copies(self, asked: int) -> int:
        """Return the number of copies if the client asked for `asked`; 0 asks for the default."""
        return min(asked or self.replication, MAX_REPLICATION)
