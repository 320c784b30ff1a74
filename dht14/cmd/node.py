"""`twistd dht14`: the options of a node, and what makes a twistd of it.

twistd calls `makeService` before it forks and before it opens a log: a start that fails is told on the
terminal where it was typed, with the exit code that its `StartError` carries.
"""

import os
import resource
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.logfile import LogFile

from dht14 import __version__, config, logs
from dht14.cmd.steady_clock import set_clock, steady_clock
from dht14.errors import ConfigError, StartError
from dht14.settings import Role, Settings

MORE_HELP = (
    " Every option of the configuration file may also stand in the environment, as DHT14_<SECTION>_<OPTION>; the "
    "command line goes before the environment, that before the file."
    " Behind twistd stand its own options: -n keeps it in the foreground, where it logs to stdout; without, it "
    "becomes a daemon, whose log and PID file are in its data directory."
    " Ends with 0 after SIGTERM or SIGINT. One that cannot start says why in a line and ends with 78 (the "
    "configuration, the key or the data directory is wrong), 75 (another process uses the data directory) or 69 (an "
    "address cannot be had)."
)

_TWISTDS_PIDFILE = "twistd.pid"
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LOG_FILE_BYTES, _OLD_LOG_FILES = 10_000_000, 9


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
                raise ConfigError(f"{wrong}; --help tells what can be given") from None

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
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    # The memory of a node has its keys in it and values of others: a crash leaves nothing of that on the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Both late: `twistd --help` loads this page too, and --reactor may still choose another one.
    from twisted.internet import reactor

    from dht14.service import build_node

    settings = options.settings
    twistd: Any = options.parent
    set_clock(reactor, steady_clock())
    with start_errors_told():
        node = build_node(settings, reactor, options.role)
        file = _log_file(twistd, settings.node.data_dir)
    if options.pidfile_is_ours and not twistd["nodaemon"]:
        twistd["pidfile"] = os.path.abspath(os.path.join(settings.node.data_dir, _TWISTDS_PIDFILE))
    observer = logs.observer(file or sys.stdout, settings.node.log_format, settings.node.log_level)
    process = NodeProcess(reactor, file, None if _logs_elsewhere(twistd) else observer)
    node.setServiceParent(process)
    return process


class NodeProcess(MultiService):
    """A node as a process: where its log goes, and how signals end it."""

    _log = Logger()

    def __init__(self, reactor: Any, file: LogFile | None, observer: ILogObserver | None) -> None:
        super().__init__()
        self._reactor = reactor
        self._file = file
        self._observer = observer
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
        for number in _STOP_SIGNALS:
            signal.signal(number, lambda *_: self._reactor.callFromThread(self._stop))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
        file = self._file
        if file is not None:
            signal.signal(signal.SIGUSR1, lambda *_: self._reactor.callFromThread(file.rotate))

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()


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
        file: LogFile = LogFile.fromFullPath(
            name or os.path.join(data_dir, "twistd.log"),
            rotateLength=_LOG_FILE_BYTES,
            maxRotatedFiles=_OLD_LOG_FILES,
            defaultMode=0o600,
        )
        return file
    except OSError as wrong:
        raise ConfigError(
            f"--logfile: cannot write {wrong.filename} ({wrong.strerror}); name another"
        ) from None
