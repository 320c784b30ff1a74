"""What is wrong with a node, and what its operator can do about it."""

from dht14.app.disk_monitor import DiskMonitor, Trouble
from dht14.app.start import StartPhase
from dht14.client.address import format_address
from dht14.kademlia.contact import Address
from dht14.net.admin.view import StatusJson

FULL = 0.85
"""The share of the limit of the store from which on it is nearly full: it refuses records soon."""

_TROUBLES = {
    Trouble.DIRECTORY: (
        "the data directory is gone",
        "Put the data directory back, or restart the node.",
    ),
    Trouble.VALUES: (
        "the database cannot be written",
        "Free space in the data directory, let its user write there, or replace the disk; see the log.",
    ),
    Trouble.DESCRIPTORS: (
        "no file descriptors are left",
        "Raise the limit of file descriptors (ulimit -n, LimitNOFILE).",
    ),
}
"""What is wrong and what to do, the most urgent first."""


def troubles_of(disk: DiskMonitor) -> list[tuple[str, str]]:
    """Return what is wrong with the disk, and what to do about it; the most urgent first."""
    return [explained for trouble, explained in _TROUBLES.items() if trouble in disk.troubles]


def advice(status: StatusJson, phase: StartPhase, disk: DiskMonitor, duplicate: Address | None) -> str:
    """Return the most urgent thing to do, or that there is nothing to do.

    `duplicate`: the address of another node with the identity of this one, None if none is known.
    """
    for trouble, cure in troubles_of(disk):
        return f"{trouble.capitalize()}. {cure}"
    if phase is StartPhase.ENDING:
        return "The node is stopping."
    if phase is StartPhase.FAILED:
        return "The node could not start; its log says why."
    if status["cut_off"]:
        return "Hardly any contact answers. Check the network of this host, and its firewall."
    if not status["ready"]:
        return f"Starting: {', '.join(status['reasons'])}."
    if not status["joined"]:
        return (
            "No other node can be reached: values are stored on this node only. Check [bootstrap], and that "
            "UDP passes the firewall."
        )
    if duplicate is not None:
        return (
            f"Another node, at {format_address(*duplicate)}, has the identity of this one: others find the "
            "values of neither reliably. Stop one of the two, or give it its own data directory."
        )
    storage, kept = status["storage"], status["kept"]
    if kept is not None and kept["failing"]:
        return (
            f"Kept values that could not be renewed: {kept['failing']} of {kept['values']}. dht14 kept lists "
            "them, with the reasons."
        )
    if storage is not None and storage["used"] > FULL * storage["limit"]:
        return "The store is nearly full. Raise [storage] storage_limit, if the disk has space."
    return "All is well."
