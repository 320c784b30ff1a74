"""Loads the configuration of options, environment and file into one frozen `Settings`.

Precedence: command line, environment (`DHT14_<SECTION>_<OPTION>`), file, default. Every mistake is a
`ConfigError` that names the section, the option and the remedy. A file may be one that all modules of a
VoidPhone share: `shared_file` says what of it is ours.
"""

import configparser
import difflib
import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import attrs

from dht14.app import option_types, shared_file
from dht14.app.options import SECTIONS, AdminSocket, NodeSettings, Role, Settings
from dht14.errors import ConfigError

T = TypeVar("T")

_VARIABLE = "DHT14_"


_BOOTSTRAP = "bootstrap"
_KEY = ("security", "encryption_key")
_OPTIONS = {section: tuple(attrs.fields_dict(kind)) for section, kind in SECTIONS.items()}
_OUR_SECTIONS = (_BOOTSTRAP, *SECTIONS)
# In a VoidPhone's shared file a section of another name belongs to another module, unless the name is so
# similar to one of ours that it is a mistake. 1 is the same name.
_MISTYPED = 0.88


class OptionText(NamedTuple):
    """The text of one option, and where it was written."""

    text: str
    source: str


_Texts = dict[tuple[str, str], OptionText]


def load(
    role: Role,
    path: str | None = None,
    environment: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
    seeds: Sequence[str] = (),
    file_option: str = "--config",
) -> Settings:
    """Return the settings of one process.

    `options` are the options of `[node]` from the command line. `seeds`, if there are any, replace the whole
    section `[bootstrap]`. `file_option` is the option that names the file. Raises `ConfigError`.
    """
    file = _read(path, file_option) if path is not None else _File({})
    texts = _texts(file, environment or {}, options or {}, seeds)
    folder = os.path.dirname(os.path.abspath(path)) if path is not None else os.curdir
    settings = validated(_settings(role, _with_key_file_below(folder, texts)))
    if role is Role.NODE:
        _refuse_shared_ports(settings.node)
    return attrs.evolve(settings, unused=file.unused)


def load_node(
    role: Role,
    path: str | None = None,
    environment: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
) -> NodeSettings:
    """Return only the section `[node]`, for commands that must not need the key file. Raises
    `ConfigError`."""
    file = _read(path) if path is not None else _File({})
    return _node(role, _texts(file, environment or {}, options or {}, ()))


def written(
    path: str | None = None, environment: Mapping[str, str] | None = None
) -> dict[tuple[str, str], OptionText]:
    """Return what is written of each option, by section and name, and where.

    Names are known, values are not validated. Raises `ConfigError`.
    """
    file = _read(path) if path is not None else _File({})
    return _texts(file, environment or {}, {}, ())


def _texts(
    file: "_File", environment: Mapping[str, str], options: Mapping[str, str], seeds: Sequence[str]
) -> _Texts:
    texts = file.texts | _from_environment(environment)
    for name, text in options.items():
        texts["node", name] = OptionText(text, "--" + name.replace("_", "-"))
    if seeds:
        texts = {key: given for key, given in texts.items() if key[0] != _BOOTSTRAP}
        texts |= {(_BOOTSTRAP, str(n)): OptionText(text, "--bootstrap") for n, text in enumerate(seeds)}
    for (section, name), given in texts.items():
        # The text is not repeated: it may contain a key, because an indented line continues the option above
        # it.
        is_raw_key = (section, name) == _KEY and option_types.is_raw_key(given.text)
        if (
            not is_raw_key
            and "\n" not in given.text
            and (problem := option_types.quoting_problem(given.text))
        ):
            raise _mistake(section, name, given, problem)
        if not given.text.isprintable():
            raise _mistake(
                section, name, given, "has a line break in it; begin every option at the start of a line"
            )
    return texts


def _node(role: Role, texts: _Texts) -> NodeSettings:
    node: NodeSettings = _section("node", texts)
    return node if node.data_dir else attrs.evolve(node, data_dir=f"data/{role.value}")


def _settings(role: Role, texts: _Texts) -> Settings:
    sections = {section: _section(section, texts) for section in SECTIONS}
    sections["node"] = _node(role, texts)
    return Settings(
        bootstrap=tuple(
            _parsed(option_types.seed, section, name, given)
            for (section, name), given in texts.items()
            if section == _BOOTSTRAP
        ),
        **sections,
    )


def _section(section: str, texts: _Texts) -> Any:
    return SECTIONS[section](
        **{
            name: _parsed(_metadata(section, name)["parse"], section, name, texts[section, name])
            for name in _OPTIONS[section]
            if (section, name) in texts
        }
    )


def _metadata(section: str, name: str) -> Mapping[str, Any]:
    metadata: Mapping[str, Any] = attrs.fields_dict(SECTIONS[section])[name].metadata
    return metadata


def _parsed(parse: Callable[[str], T], section: str, name: str, given: OptionText) -> T:
    try:
        return parse(given.text)
    except ValueError as error:
        raise _mistake(section, name, given, str(error)) from None


def _mistake(section: str, name: str, given: OptionText, problem: str) -> ConfigError:
    return ConfigError(f"[{section}] {_shown(name)} ({given.source}): {problem}")


def _with_key_file_below(folder: str, texts: _Texts) -> _Texts:
    given = texts.get(_KEY)
    if given is None or not given.text.startswith("file:"):
        return texts
    there = os.path.join(folder, given.text.removeprefix("file:"))
    return texts | {_KEY: given._replace(text="file:" + there)}


class _File(NamedTuple):
    """The options of a file, and what in it is not for this node."""

    texts: _Texts
    unused: tuple[str, ...] = ()


def _read(path: str, option: str = "--config") -> _File:
    try:
        with open(path, encoding="utf-8-sig") as opened:
            text = opened.read()
    except OSError as error:
        raise ConfigError(
            f"{option}: cannot read {path!r} ({error.strerror}); name a configuration file that this "
            "user can read"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{option}: {path!r} is not UTF-8 text; save it as UTF-8") from None
    shared = shared_file.split(text, _OUR_SECTIONS)
    if shared is None:
        return _File(_own_options(_parsed_file(text, path), path))
    file = _parsed_file(shared.ours, path)
    dht = list(file.items(shared_file.SECTION))
    file.remove_section(shared_file.SECTION)
    texts = _own_options(file, path)
    for name, value in dht:
        _refuse_unknown("option in [dht]", name, shared_file.OPTIONS, path)
        ours = shared_file.OPTIONS[name]
        if ours in texts:
            raise ConfigError(
                f"[dht] {name} sets [{ours[0]}] {ours[1]}, which {path} sets already; keep one of the two"
            )
        texts[ours] = OptionText(shared_file.without_comment(value), f"[dht] {name} in {path}")
    return _File(texts, _unused(shared, path))


def _parsed_file(text: str, path: str) -> configparser.ConfigParser:
    file = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        file.read_string(text, path)
    except configparser.Error as error:
        raise ConfigError(_file_mistake(path, error)) from None
    return file


def _own_options(file: configparser.ConfigParser, path: str) -> _Texts:
    texts: _Texts = {}
    for section in file.sections():
        _refuse_unknown("section", section, [*_OUR_SECTIONS, shared_file.SECTION], path)
        for name, text in file.items(section):
            if section != _BOOTSTRAP:
                _refuse_unknown(f"option in [{section}]", name, _OPTIONS[section], path)
            texts[section, name] = OptionText(text, path)
    return texts


def _unused(shared: shared_file.SharedFile, path: str) -> tuple[str, ...]:
    """Return the names of what other modules read. Refuse what is meant for this node and misplaced."""
    for option in shared.global_options:
        homes = [section for section, names in _OPTIONS.items() if option.name in names]
        if option.name in shared_file.OPTIONS or homes:
            section = shared_file.SECTION if option.name in shared_file.OPTIONS else homes[0]
            raise ConfigError(f"{path}, line {option.line}: {option.name} belongs below [{section}]")
    for section in shared.others:
        nearest = difflib.get_close_matches(section.lower(), _OUR_SECTIONS, n=1, cutoff=_MISTYPED)
        if nearest:
            raise ConfigError(f"unknown section: {_shown(section)} ({path}); did you mean {nearest[0]}?")
    return (
        *(_shown(option.name) for option in shared.global_options),
        *(f"[{_shown(section)}]" for section in shared.others),
    )


def _file_mistake(path: str, error: configparser.Error) -> str:
    """Describe a syntax error of the file, without the line itself: it may contain a key."""
    if isinstance(error, configparser.DuplicateOptionError):
        option = f"[{_shown(error.section)}] {_shown(error.option)}"
        return f"{option} is twice in {path}, again in line {error.lineno}"
    if isinstance(error, configparser.DuplicateSectionError):
        return (
            f"[{_shown(error.section)}] is twice in {path}, again in line {error.lineno}; make it one section"
        )
    if isinstance(error, configparser.MissingSectionHeaderError):
        shared = " ([dht] in a VoidPhone's shared file)" if error.line.lower().startswith("hostkey") else ""
        return f"{path}, line {error.lineno}: is before any section; write [node] or another above it{shared}"
    if isinstance(error, configparser.ParsingError) and error.errors:
        return f"{path}, line {error.errors[0][0]}: is not an option; write name = value"
    return f"{path} cannot be read as sections with lines of name = value"


def _from_environment(environment: Mapping[str, str]) -> _Texts:
    known = {
        f"{_VARIABLE}{section}_{name}".upper(): (section, name)
        for section, names in _OPTIONS.items()
        for name in names
    }
    seed_prefix = f"{_VARIABLE}{_BOOTSTRAP}_".upper()
    texts: _Texts = {}
    for variable in sorted(environment):
        if not variable.startswith(_VARIABLE):
            continue
        seed_name = variable.removeprefix(seed_prefix)
        if seed_name != variable and seed_name:
            key = (_BOOTSTRAP, seed_name.lower())
        else:
            _refuse_unknown("variable", variable, known, "the environment")
            key = known[variable]
        texts[key] = OptionText(environment[variable], variable)
    return texts


def _refuse_unknown(what: str, name: str, known: Iterable[str], source: str) -> None:
    if name in known:
        return
    names = {one.lower(): one for one in known}
    nearest = difflib.get_close_matches(name.lower(), names, n=1)
    cure = f"did you mean {names[nearest[0]]}?" if nearest else "dht14 config lists all options"
    if not nearest and what == "section":
        cure += "; a file that modules of a VoidPhone share has the section [dht]"
    raise ConfigError(f"unknown {what}: {_shown(name)} ({source}); {cure}")


def _shown(name: str) -> str:
    # A key on a line of its own, or without its "=", is read as a name.
    return name if len(name) < 32 and name.isprintable() else f"a name of {len(name)} characters"


def validated(settings: Settings) -> Settings:
    """Return the settings. Raises `ConfigError` where options contradict each other."""
    storage, limiter = settings.storage, settings.rate_limiter
    if storage.min_ttl > storage.max_ttl:
        raise ConfigError(
            f"[storage] min_ttl ({storage.min_ttl}) must not exceed max_ttl ({storage.max_ttl})"
        )
    if not storage.min_ttl <= storage.ttl_unless_asked <= storage.max_ttl:
        raise ConfigError(
            f"[storage] default_ttl ({storage.default_ttl}) must lie between min_ttl ({storage.min_ttl}) "
            f"and max_ttl ({storage.max_ttl}); leave it out to let it follow them"
        )
    reached_at = settings.node.advertised_address or settings.node.p2p_address
    if not settings.security.difficulty and not option_types.is_private(reached_at[0]):
        raise ConfigError(
            f"[security] difficulty: 0 is only for private networks, and {reached_at[0]} is public; "
            "set it to 4, or [node] p2p_address to a loopback or private address"
        )
    if (limiter.requests_per_second or limiter.loopback_rate) and not limiter.burst_size:
        raise ConfigError("[rate_limiter] burst_size must be at least 1 unless requests_per_second is 0")
    return settings


def _refuse_shared_ports(node: NodeSettings) -> None:
    """Raise `ConfigError` where two TCP ports of the node are the same one: it would find the second of them
    in use, by itself. A bootstrap node has one TCP port at the most."""
    ports = {"p2p_address": node.p2p_address, "api_address": node.api_address}
    if not isinstance(node.admin_address, AdminSocket):
        ports["admin_address"] = node.admin_address
    for (name, (host, port)), (other_name, (other, other_port)) in itertools.combinations(ports.items(), 2):
        if port == other_port and _is_host_shared(host, other):
            why = "; p2p_address takes the port of its number for TCP, too" if name == "p2p_address" else ""
            raise ConfigError(
                f"[node] {other_name}: port {port} is that of {name}{why}; give each a port of its own"
            )


def _is_host_shared(one: str, other: str) -> bool:
    """Whether a socket at one host takes the port of the other as well. One at :: serves IPv4, too. Names are
    not resolved here."""
    hosts = (one, other)
    return one == other or "::" in hosts or ("0.0.0.0" in hosts and not any(":" in host for host in hosts))
