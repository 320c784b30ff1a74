"""Every error that DHT-14 raises on purpose, and whose fault each one is.

A peer's or a client's nonsense is `Malformed`: it is counted, logged once and dropped. What the
operator can cure is a `StartError`: it ends the process with the exit code it carries. Anything else
that is raised is our own bug and shall be loud.
"""


class Dht14Error(Exception):
    """The root of the tree; never raised itself."""


class Malformed(Dht14Error):
    """Bytes from outside that are not a message. The only error that leaves a decoder."""


class CallFailed(Dht14Error):
    """A call will not be answered: the peer was silent for too long, or this node is shutting down."""


class StartError(Dht14Error):
    """The node cannot start. The text names the section, the option and the cure, never a secret."""

    exit_code = 1


class ConfigError(StartError):
    """The configuration is wrong (EX_CONFIG)."""

    exit_code = 78


class DataDirInUse(StartError):
    """Another process holds the data directory (EX_TEMPFAIL)."""

    exit_code = 75


class AddressUnavailable(StartError):
    """An address is in use, or is not one of this host (EX_UNAVAILABLE)."""

    exit_code = 69
