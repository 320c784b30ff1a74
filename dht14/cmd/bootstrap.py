"""`twistd dht14-bootstrap`: runs a node that others join through. It has no API and holds no values."""

from dht14.app.options import Role
from dht14.cmd.node import MORE_HELP, BaseOptions, makeService

__all__ = ["Options", "makeService"]


class Options(BaseOptions):
    """Options of a bootstrap node. The configuration file of a node is accepted as a whole."""

    role = Role.BOOTSTRAP
    longdesc = "Runs a bootstrap node: it routes, but holds no values and has no API." + MORE_HELP
