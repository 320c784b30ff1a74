"""`twistd dht14`: the options of a node, and what makes a twistd of it.

twistd calls `makeService` before it forks and before it opens a log: a start that fails is told on the
terminal where it was typed, with the exit code that its `StartError` carries.
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
from dht14.cmd.steady_clock import set_clock, steady_clock
from dht14.cmd.twistds import as_user_of, check_options
from dht14.errors import ConfigError, StartError

MORE_HELP = (
    " Every option of the configuration file may also stand in the environment, as DHT14_<SECTION>_<OPTION>; the "
    "command line goes before the environment, that before the file."
    " Behind twistd stand its own options: -n keeps it in the foreground, where it logs to stdout; without, it "
    "becomes a daemon, whose log and PID file are in its data directory."
    " Ends with 0 after SIGTERM or SIGINT. One that cannot start says why in a line and ends with 78 (the "
    "configuration, the key or the data directory is wrong), 75 (another process uses the data directory) or 69 (an "
    "address cannot be had)."
)

_UNKNOWN_OPTION = re.compile(r"option --(\S+) not (?:recognized|a unique prefix)")
_TWISTDS_PIDFILE = "twistd.pid"
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class BaseOptions(usage.Options):
    """What nodes and bootstrap nodes share. `settings` is there once the options are parsed."""

    role: Role
    settings: Settings
    pidfile_is_ours = False

    synopsis = "[options]"
    optParameters: Sequence[Sequence[str | None]] = (
        ("config", "c", None, "Configuration file; none is needed"),
        ("p2p-address", None, None, "HOST:PORT for other nodes"),
        ("data-dir", None, None, "Folder of identity, values, saved contacts and lock"),
        ("log-level", None, None, "debug, info, warn, error or critical"),
        ("log-format", None, None, "text or json"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.seeds: list[str] = []

    def opt_bootstrap(self, seed: str) -> None:
        """HOST:PORT to join through, in place of those configured. May be repeated."""
        self.seeds.append(seed)

    def opt_version(self) -> None:
        """Display the version and exit."""
        print(f"DHT-14 {__version__}")
        raise SystemExit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Wrong usage is a wrong configuration: told in a line, where twistd would print its help to stdout, and
        with the exit code after which nobody should start it again."""
        with start_errors_told():
            try:
                super().parseOptions(options)
            except usage.UsageError as wrong:
                raise ConfigError(f"{wrong}; {self._cure(str(wrong))}") from None

    def _cure(self, problem: str) -> str:
        """What to type instead: the option that is nearest to one that does not exist."""
        unknown = _UNKNOWN_OPTION.match(problem)
        known = [name.rstrip("=") for name in self.longOpt]
        typed = unknown[1] if unknown is not None else ""
        nearest = [name for name in known if typed and name.startswith(typed)]
        nearest = nearest or difflib.get_close_matches(typed, known, n=1)
        if not nearest:
            return "--help tells what can be given"
        return f"did you mean {' or '.join('--' + name for name in nearest)}?"

    def parseArgs(self, *words: str) -> None:
        """There are none. Twisted's own refusal does not say which."""
        if words:
            raise usage.UsageError(f"{words[0]!r} is not an option")

    def postOptions(self) -> None:
        """Read the whole configuration: a wrong one ends the start before anything is touched."""
        given = {name.replace("-", "_"): text for name, text in self.items() if text is not None}
        path = given.pop("config", None)
        with start_errors_told():
            self.settings = config.load(self.role, path, os.environ, given, self.seeds)
        twistd: Any = self.parent
        if twistd["pidfile"] == _TWISTDS_PIDFILE:
            # In the working directory it would keep a second node from starting there, and a stale one
            # whose number another process got would keep even the first. The data directory's lock
            # settles who runs; `makeService` puts a daemon's file below that lock.
            twistd["pidfile"] = ""
            self.pidfile_is_ours = True


class Options(BaseOptions):
    """Options of a node."""

    role = Role.NODE
    longdesc = "Runs a node, with the API for the modules of this host." + MORE_HELP
    optParameters = (("api-address", None, None, "HOST:PORT of the API (TCP)"),)


def makeService(options: BaseOptions) -> IService:
    """The node as a service, its ports open. Ends the process where it cannot start."""
    # One that comes before the reactor runs would end the process by the signal: it waits until then.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    # The memory of a node has its keys in it and values of others: a crash leaves nothing of that on the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Both late: `twistd --help` loads this page too, and --reactor may still choose another one.
    from twisted.internet import reactor

    from dht14.app.data_dir import require_free_space
    from dht14.app.service import build_node

    settings = options.settings
    twistd: Any = options.parent
    set_clock(reactor, steady_clock())
    with start_errors_told():
        check_options(twistd)
        with as_user_of(twistd):
            node = build_node(settings, reactor, options.role)
            file = _log_file(twistd, settings.node.data_dir)
            if not twistd["nodaemon"]:
                require_free_space(settings.node.data_dir)
    if options.pidfile_is_ours and not twistd["nodaemon"]:
        twistd["pidfile"] = os.path.abspath(os.path.join(settings.node.data_dir, _TWISTDS_PIDFILE))
    observer = logs.observer(file or sys.stdout, settings.node.log_format, settings.node.log_level)
    is_daemon = not twistd["nodaemon"]
    process = NodeProcess(reactor, file, None if _logs_elsewhere(twistd) else observer, is_daemon)
    node.setServiceParent(process)
    return process


class NodeProcess(MultiService):
    """A node as a process: where its log goes, and what signals do to it.

    SIGTERM and SIGINT end it. SIGHUP lets a daemon open its log again, and ends a node in the foreground: its
    terminal was closed. SIGUSR1 begins a new log file, where the log is one. SIGUSR2 does nothing.
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
        """Called with twistd's Application, in which twistd looks for a log observer."""
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)

    def startService(self) -> None:
        super().startService()
        self._reactor.callWhenRunning(self._listen_to_signals)

    def _listen_to_signals(self) -> None:
        # Twisted's own handlers end the process by the signal itself; a stop that was asked for is exit 0.
        answers: dict[int, Callable[[], None]] = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
            signal.SIGHUP: self._reopen_log if self._is_daemon else self._stop,
            signal.SIGUSR1: self._rotate_log,
            signal.SIGUSR2: _do_nothing,
        }
        if signal.getsignal(signal.SIGUSR2) is not signal.SIG_DFL:
            del answers[signal.SIGUSR2]  # twistd --debug drops into its debugger.
        if not self._is_daemon and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            del answers[signal.SIGHUP]  # It was started by nohup.
        for number, answer in answers.items():
            signal.signal(number, lambda *_, answer=answer: self._reactor.callFromThread(answer))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()

    def _reopen_log(self) -> None:
        self._renew_log("opened again", LogFile.reopen)

    def _rotate_log(self) -> None:
        self._renew_log("begun as a new file", LogFile.rotate)

    def _renew_log(self, what: str, renew: Callable[[LogFile], None]) -> None:
        if self._file is None:
            return
        try:
            renew(self._file)
        except OSError as wrong:
            self._log.error(
                "The log cannot be {what} ({reason}); it goes on where it was.",
                what=what,
                reason=wrong.strerror,
            )
        else:
            self._log.info("The log was {what}.", what=what)


def _do_nothing() -> None:
    """Of a signal that would else end the process."""


@contextmanager
def start_errors_told() -> Iterator[None]:
    """A `StartError` inside becomes one line on stderr and the exit code."""
    try:
        yield
    except StartError as error:
        print(f"dht14: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def _logs_elsewhere(twistd: Any) -> bool:
    return bool(twistd["logger"] or twistd["syslog"])


def _log_file(twistd: Any, data_dir: str) -> LogFile | None:
    """As twistd chooses it, but a daemon's file is in the data directory, and old ones are limited."""
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
