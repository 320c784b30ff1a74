"""The errors that DHT-14 raises on purpose, and whose fault each one is.

Invalid input of a peer or a client is `Malformed`: it is counted, logged once and dropped. A problem that the
operator can solve is a `StartError`: it ends the process with its exit code. Every other exception is a bug
of DHT-14, and must be loud.
"""


class Dht14Error(Exception):
    """The base class; never raised itself."""


class Malformed(Dht14Error):
    """Bytes from outside that cannot be decoded. The only error that leaves a decoder."""


class CallFailed(Dht14Error):
    """A call without an answer: the peer was silent for too long, or this node is stopping."""


class Interrupted(CallFailed):
    """The connection was cut while the call was under way. The peer may be there: another connection may
    do."""


class Withdrawn(CallFailed):
    """A holder answers that it does not have (any more) the value that it had advertised."""


class StartError(Dht14Error):
    """The node cannot start. The text names the section, the option and the remedy, never a secret."""

    exit_code = 1


class ConfigError(StartError):
    """The configuration is wrong (EX_CONFIG)."""

    exit_code = 78


class DataDirInUse(StartError):
    """Another process holds the data directory (EX_TEMPFAIL)."""

    exit_code = 75


class AddressUnavailable(StartError):
    """An address is in use, or does not belong to this host (EX_UNAVAILABLE)."""

    exit_code = 69
