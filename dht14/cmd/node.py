"""`twistd dht14`: the options of a node, and the service that twistd runs.

twistd calls `makeService` before it forks and before it opens a log: a failed start is reported on the
terminal where it was typed, with the exit code of its `StartError`.
"""

import difflib
import os
import re
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.logger import ILogObserver, Logger
from twisted.python import usage

from dht14 import __version__
from dht14.app import config, logs
from dht14.app.log_file import LogFile
from dht14.app.options import Role, Settings
from dht14.app.reactor_clock import monotonic_clock, set_reactor_clock
from dht14.cmd.twistd_options import as_user_of, check_twistd_options
from dht14.errors import ConfigError, StartError

MORE_HELP = (
    " Every option of the configuration file can also be set in the environment, as "
    "DHT14_<SECTION>_<OPTION>. Precedence: command line, environment, file, default."
    " Options of twistd itself stand directly after twistd: with -n it stays in the foreground and logs to "
    "stdout; without -n it becomes a daemon, with its log and PID file in the data directory."
    " Exit codes: 0 after SIGTERM or SIGINT. A node that cannot start gives the reason in one line and ends "
    "with 78 (the configuration, the key or the data directory is wrong), 75 (another process uses the data "
    "directory) or 69 (an address is in use or not of this host)."
)

_UNKNOWN_OPTION = re.compile(r"option --(\S+) not (?:recognized|a unique prefix)")
_TWISTD_PIDFILE = "twistd.pid"
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class BaseOptions(usage.Options):
    """Options of both kinds of node. `settings` is set once the options are parsed."""

    role: Role
    settings: Settings
    pidfile_is_ours = False

    synopsis = "[options]"
    optParameters: Sequence[Sequence[str | None]] = (
        ("config", "c", None, "Configuration file (optional)"),
        ("p2p-address", None, None, "HOST:PORT on which to listen for other nodes"),
        ("data-dir", None, None, "Folder for identity, values, saved contacts and lock"),
        ("admin-address", None, None, "HTTP for operators: unix, HOST:PORT or none"),
        ("log-level", None, None, "debug, info, warn, error or critical"),
        ("log-format", None, None, "text or json"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.seeds: list[str] = []

    def opt_bootstrap(self, seed: str) -> None:
        """HOST:PORT to join through, instead of the configured ones. May be repeated."""
        self.seeds.append(seed)

    def opt_version(self) -> None:
        """Display the version and exit."""
        print(f"DHT-14 {__version__}")
        raise SystemExit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the command line. Report wrong usage like a wrong configuration.

        That is one line, where twistd would print its help to stdout, and an exit code that says: do not
        restart.
        """
        with exit_on_start_error():
            try:
                super().parseOptions(options)
            except usage.UsageError as wrong:
                raise ConfigError(f"{wrong}; {self._cure(str(wrong))}") from None

    def _cure(self, problem: str) -> str:
        """Suggest the option that is most similar to an unknown one."""
        unknown = _UNKNOWN_OPTION.match(problem)
        known = [name.rstrip("=") for name in self.longOpt]
        typed = unknown[1] if unknown is not None else ""
        nearest = [name for name in known if typed and name.startswith(typed)]
        nearest = nearest or difflib.get_close_matches(typed, known, n=1)
        if not nearest:
            return "--help lists the options"
        return f"did you mean {' or '.join('--' + name for name in nearest)}?"

    def parseArgs(self, *words: str) -> None:
        """Refuse positional arguments, by name: Twisted's own message does not say which."""
        if words:
            raise usage.UsageError(f"{words[0]!r} is not an option")

    def postOptions(self) -> None:
        """Read the whole configuration: a wrong one ends the start before anything is changed."""
        given = {name.replace("-", "_"): text for name, text in self.items() if text is not None}
        path = given.pop("config", None)
        twistd: Any = self.parent
        with exit_on_start_error():
            if "pidfile" not in twistd:  # It is not twistd, but twist, which does less.
                raise ConfigError("twist cannot run a node; write twistd -n in its place")
            self.settings = config.load(self.role, path, os.environ, given, self.seeds)
        if twistd["pidfile"] == _TWISTD_PIDFILE:
            # twistd puts its PID file into the working directory. There it would keep a second node from
            # starting, and a stale file whose number another process got would keep even the first. The lock
            # of the data directory decides who runs; `makeService` puts a daemon's PID file below that lock.
            twistd["pidfile"] = ""
            self.pidfile_is_ours = True


class Options(BaseOptions):
    """Options of a node."""

    role = Role.NODE
    longdesc = "Runs a node with an API for the programs of this host." + MORE_HELP
    optParameters = (("api-address", None, None, "HOST:PORT of the API (TCP)"),)


def makeService(options: BaseOptions) -> IService:
    """Return the node as a service, with its ports open. Ends the process if it cannot start."""
    # A signal that comes before the reactor runs would kill the process: hold it back until then.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    # A core dump would contain the keys of the node and values of others.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Imported late: `twistd --help` loads this module too, and --reactor may still choose another reactor.
    from twisted.internet import reactor

    from dht14.app.data_dir import require_free_space
    from dht14.app.service import build_node

    settings = options.settings
    twistd: Any = options.parent
    is_daemon = not twistd["nodaemon"]
    set_reactor_clock(reactor, monotonic_clock())
    with exit_on_start_error():
        check_twistd_options(twistd)
        with as_user_of(twistd):
            threshold = logs.LogThreshold(settings.node.log_level)
            node = build_node(settings, reactor, options.role, threshold.change)
            file = _log_file(twistd, settings.node.data_dir)
            if is_daemon:
                require_free_space(settings.node.data_dir)
    if options.pidfile_is_ours and is_daemon:
        twistd["pidfile"] = os.path.abspath(os.path.join(settings.node.data_dir, _TWISTD_PIDFILE))
    log = logs.ProcessLog.to(file or sys.stdout, settings.node.log_format, threshold)
    log.attach(reactor)
    process = NodeProcess(reactor, file, None if _logs_elsewhere(twistd) else log.observer, is_daemon)
    node.setServiceParent(process)
    return process


class NodeProcess(MultiService):
    """A node as a process: its log and its signals.

    SIGTERM and SIGINT end it. On SIGHUP a daemon reopens its log, and a node in the foreground ends: its
    terminal was closed. SIGUSR1 begins a new log file, if the log is a file. SIGUSR2 does nothing.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, file: LogFile | None, observer: ILogObserver | None, is_daemon: bool = False
    ) -> None:
        super().__init__()
        self._reactor = reactor
        self._file = file
        self._observer = observer
        self._is_daemon = is_daemon
        self._stopping = False

    def setServiceParent(self, parent: Any) -> None:
        """Give twistd's Application, the `parent`, the log observer that twistd looks for there."""
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)

    def startService(self) -> None:
        super().startService()
        self._reactor.callWhenRunning(self._listen_to_signals)

    def _listen_to_signals(self) -> None:
        # Twisted's own handlers let the signal kill the process; a requested stop must exit with 0.
        handlers: dict[int, Callable[[], None]] = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
            signal.SIGHUP: self._reopen_log if self._is_daemon else self._stop,
            signal.SIGUSR1: self._rotate_log,
            signal.SIGUSR2: _do_nothing,
        }
        if signal.getsignal(signal.SIGUSR2) is not signal.SIG_DFL:
            del handlers[signal.SIGUSR2]  # twistd --debug enters its debugger on this signal.
        if not self._is_daemon and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            del handlers[signal.SIGHUP]  # nohup started it.
        for number, handler in handlers.items():
            signal.signal(number, lambda *_, handler=handler: self._reactor.callFromThread(handler))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()

    def _reopen_log(self) -> None:
        self._renew_log("reopened", LogFile.reopen)

    def _rotate_log(self) -> None:
        self._renew_log("rotated", LogFile.rotate)

    def _renew_log(self, what: str, renew: Callable[[LogFile], None]) -> None:
        if self._file is None:
            return
        try:
            renew(self._file)
        except OSError as wrong:
            self._log.error(
                "The log cannot be {what} ({reason}); logging continues in the old file.",
                event="log.not_renewed",
                what=what,
                reason=wrong.strerror,
            )
        else:
            self._log.info("The log was {what}.", event="log.renewed", what=what)


def _do_nothing() -> None:
    """Handle a signal that would otherwise end the process."""


@contextmanager
def exit_on_start_error() -> Iterator[None]:
    """Turn a `StartError` into one line on stderr and its exit code."""
    try:
        yield
    except StartError as error:
        print(f"dht14: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def _logs_elsewhere(twistd: Any) -> bool:
    return bool(twistd["logger"] or twistd["syslog"])


def _log_file(twistd: Any, data_dir: str) -> LogFile | None:
    """Choose the log file as twistd does, but a daemon's is in the data directory and old files are
    limited."""
    if _logs_elsewhere(twistd):
        return None
    name = twistd["logfile"]
    if name == "-" and not twistd["nodaemon"]:
        raise ConfigError("--logfile: a daemon has no stdout; name a file, or run in the foreground with -n")
    if name == "-" or (not name and twistd["nodaemon"]):
        return None
    try:
        return LogFile(name or os.path.join(data_dir, "twistd.log"))
    except OSError as wrong:
        raise ConfigError(
            f"--logfile: cannot write {wrong.filename} ({wrong.strerror}); name another"
        ) from None
