"""A VoidPhone's shared file: one INI file for all modules of a VoidPhone, with a section for each.

A file with a section `[dht]`, in upper or lower case, is one. There the sections of other modules are not
ours to judge, nor are options above the first section: the specification puts `hostkey` there. `[dht]` names
some options of `[node]` and a seed; all other options have their own sections, as in a file of ours.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

from attrs import frozen

SECTION = "dht"

OPTIONS = {
    "api_address": ("node", "api_address"),
    "p2p_address": ("node", "p2p_address"),
    "listen_address": ("node", "p2p_address"),
    "bootstrapper": ("bootstrap", "bootstrapper"),
    "bootstrap_node": ("bootstrap", "bootstrap_node"),
}
"""The options of `[dht]`, and ours that they set. Modules name the same thing differently."""

_HEADER = re.compile(r"\[([^]]+)\]")
_COMMENT = re.compile(r"(^|\s)[#;]")


class GlobalOption(NamedTuple):
    """An option above the first section."""

    name: str
    line: int


@frozen
class SharedFile:
    """The parts of a shared file that are for this node, and those that are not."""

    ours: str
    """The text with all other lines empty, so that a line keeps its number."""
    global_options: tuple[GlobalOption, ...]
    others: tuple[str, ...]
    """The names of sections of other modules."""


def split(text: str, our_sections: Collection[str]) -> SharedFile | None:
    """Separate our sections from those of other modules. Return None if there is no section `[dht]`."""
    ours: list[str] = []
    global_options: list[GlobalOption] = []
    others: dict[str, None] = {}
    section = None
    is_shared = False
    for number, line in enumerate(text.split("\n"), 1):
        header = _HEADER.match(line.strip())
        if header is not None:
            section = header[1].strip()
            if section.lower() == SECTION:
                is_shared, section = True, SECTION
            elif section not in our_sections:
                others[section] = None
        elif section is None and (name := _option_name(line)):
            global_options.append(GlobalOption(name, number))
        if section == SECTION or section in our_sections:
            ours.append(line if header is None else f"[{section}]")
        else:
            ours.append("")
    return SharedFile("\n".join(ours), tuple(global_options), tuple(others)) if is_shared else None


def without_comment(text: str) -> str:
    """Remove a comment behind a value: other modules' parsers do, and no address contains one."""
    return _COMMENT.split(text, maxsplit=1)[0].strip()


def _option_name(line: str) -> str:
    """Return the name of an option in lower case; "" in a comment or anything else."""
    name, separator, _ = line.replace(":", "=", 1).partition("=")
    return "" if not separator or _COMMENT.match(line.strip()) else name.strip().lower()
