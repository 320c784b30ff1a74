"""The settings of a node that a Python program starts: options as arguments, with the parsers of the file."""

import difflib
import enum
import os
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import TypeVar

import attrs

from dht14.app import option_types
from dht14.app.config import validated
from dht14.app.option_types import HostPort
from dht14.app.options import SECTIONS, AdminSocket, Settings
from dht14.errors import ConfigError
from dht14.kademlia.contact import Seed

T = TypeVar("T")

_PARAMETERS = {"data_dir": "data_dir", "p2p_address": "p2p", "api_address": "api", "bootstrap": "seeds"}
"""Options of the file that are parameters of their own."""

_LOGGING = ("log_level", "log_format")

HOMES = {
    name: section
    for section, kind in SECTIONS.items()
    for name in attrs.fields_dict(kind)
    if name not in _PARAMETERS and name not in _LOGGING
}
"""The section of each option: no two sections have an option of the same name."""


def embedded_settings(
    data_dir: str | os.PathLike[str],
    seeds: Iterable[str],
    p2p: str,
    api: str | None,
    options: Mapping[str, object],
) -> Settings:
    """Return the settings of a node. In `p2p` and `api` port 0 is any free one.

    Raises `ConfigError`, which names the option and the remedy; TypeError for an argument of a wrong type.
    """
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise TypeError("seeds is a list of addresses, each HOST:PORT, not one text or None")
    for name in options:
        _refuse_unknown(name)
    if not isinstance(data_dir, str | os.PathLike):
        raise TypeError(f"data_dir is the path of a folder, a str or Path, not {type(data_dir).__name__}")
    if not os.fspath(data_dir):
        # More likely a variable that was never set than the working directory, which would get the files.
        raise ConfigError("data_dir is empty; name a folder, or . for the working directory")
    node: dict[str, object] = {
        "data_dir": os.path.abspath(os.fspath(data_dir)),
        "p2p_address": _parsed(_address, "p2p", p2p),
        # The program is beside its node and needs no surface, unless it asks for one.
        "admin_address": AdminSocket.NONE,
    }
    if api is not None:
        node["api_address"] = _parsed(_address, "api", api)
    values: dict[str, dict[str, object]] = {section: {} for section in SECTIONS}
    values["node"] = node
    for name, value in options.items():
        section = HOMES[name]
        parse = attrs.fields_dict(SECTIONS[section])[name].metadata["parse"]
        values[section][name] = _parsed(parse, name, _text(name, value))
    return validated(
        Settings(
            bootstrap=tuple(_seed(seed) for seed in seeds),
            **{section: kind(**values[section]) for section, kind in SECTIONS.items()},
        )
    )


def _refuse_unknown(name: str) -> None:
    if name in HOMES:
        return
    if name in _LOGGING:
        raise ConfigError(f"{name}: your program decides what is logged; see twisted.logger")
    if name in _PARAMETERS:
        raise ConfigError(f"{name}: give it as {_PARAMETERS[name]}")
    known = [*HOMES, *_PARAMETERS.values()]
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)
    raise ConfigError(f"unknown option: {name}; did you mean {nearest[0]}?")


def _parsed(parse: Callable[[str], T], name: str, text: object) -> T:
    if not isinstance(text, str):
        raise TypeError(f"{name} is a text, not {type(text).__name__}")
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None


def _seed(text: str) -> Seed:
    if not isinstance(text, str):
        raise TypeError(f"seeds is a list of addresses, each HOST:PORT, not {type(text).__name__}")
    return _parsed(option_types.seed, "seeds", text)


def _address(text: str) -> HostPort:
    is_any = text.endswith(":0")
    try:
        host, port = option_types.host_port(text[:-1] + "1" if is_any else text)
    except ValueError as error:
        # With the text that was given.
        raise ValueError(str(error).replace(repr(text[:-1] + "1"), repr(text))) from None
    return host, 0 if is_any else port


def _text(name: str, value: object) -> str:
    """Return a value as it would be written in the file."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        # A float that is written with an exponent would not be understood.
        return format(Decimal(repr(value)), "f")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(_text(name, one) for one in value)
    raise TypeError(f"{name} is a text or a number, not {type(value).__name__}")
