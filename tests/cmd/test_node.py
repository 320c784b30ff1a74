import io
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.application.service import Application, MultiService
from twisted.internet import defer
from twisted.logger import ILogObserver, LogPublisher, capturedLogs
from twisted.python import usage
from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]
from twisted.trial.unittest import SynchronousTestCase

from dht14.app.log_file import LogFile
from dht14.app.options import LogFormat, Settings
from dht14.cmd import node
from dht14.cmd.node import NodeProcess, Options
from dht14.errors import AddressUnavailable, ConfigError, DataDirInUse


def parse(*words: str, options: Any = Options, twistd: dict[str, Any] | None = None) -> Any:
    """Parse the options of a node, below a twistd with the options `twistd`."""
    parsed = options()
    parsed.parent = ServerOptions()
    parsed.parent.opts.update(twistd or {})
    parsed.parseOptions(words)
    return parsed


@define
class FakeReactor:
    """Records the calls; `running` holds those for when it runs."""

    running: list[Any] = field(factory=list)
    from_thread: list[Any] = field(factory=list)
    stops: int = 0

    def callWhenRunning(self, call: Any) -> None:
        self.running.append(call)

    def callFromThread(self, call: Any) -> None:
        self.from_thread.append(call)

    def stop(self) -> None:
        self.stops += 1


class OptionsTests(SynchronousTestCase):
    """What can be typed after `twistd dht14`."""

    def test_none(self):
        """Without options a node has the defaults."""
        self.assertEqual(parse().settings, Settings())

    def test_all(self):
        """Every option reaches the settings."""
        settings = parse(
            *("--p2p-address", "127.0.0.1:1", "--api-address", "127.0.0.1:2", "--data-dir", "d"),
            *("--log-level", "debug", "--log-format", "json", "--bootstrap", "a:3", "--bootstrap", "b:4"),
        ).settings
        self.assertEqual((settings.node.p2p_address, settings.node.api_address[1]), (("127.0.0.1", 1), 2))
        self.assertEqual((settings.node.data_dir, settings.node.log_format), ("d", LogFormat.JSON))
        self.assertEqual([seed.port for seed in settings.bootstrap], [3, 4])

    def test_over_environment_over_file(self):
        """The command line overrides the environment, which overrides the file."""
        path = self.mktemp()
        Path(path).write_text("[node]\ndata_dir = f\nmax_bootstrap_retries = 7\ncleanup_interval = 60\n")
        self.patch(
            os, "environ", {"DHT14_NODE_DATA_DIR": "e", "DHT14_NODE_MAX_BOOTSTRAP_RETRIES": "8", "PATH": ""}
        )
        settings = parse("-c", path, "--data-dir", "o").settings.node
        self.assertEqual(
            (settings.data_dir, settings.max_bootstrap_retries, settings.cleanup_interval), ("o", 8, 60)
        )

    def test_wrong_configuration(self):
        """A wrong configuration ends the start with one line on stderr and its exit code."""
        err = io.StringIO()
        with redirect_stderr(err):
            ended = self.assertRaises(SystemExit, parse, "--log-level", "loud")
        self.assertEqual(ended.code, 78)
        self.assertEqual(len(err.getvalue().splitlines()), 1)
        self.assertIn("[node] log_level", err.getvalue())

    def test_wrong_usage(self):
        """An unknown option, a missing value or a positional argument: one line names it."""
        for words, named in ((["--foo"], "--foo"), (["--config"], "--config"), (["word"], "'word'")):
            err = io.StringIO()
            with redirect_stderr(err):
                ended = self.assertRaises(SystemExit, parse, *words)
            self.assertEqual(ended.code, 78)
            self.assertEqual(len(err.getvalue().splitlines()), 1)
            self.assertIn(named, err.getvalue())

    def test_twist(self):
        """Under `twist`, which offers the same plugins, one line says what to use in its place."""
        options = Options()
        options.parent = usage.Options()  # Without the options of twistd.
        err = io.StringIO()
        with redirect_stderr(err):
            ended = self.assertRaises(SystemExit, options.parseOptions, [])
        self.assertEqual((ended.code, len(err.getvalue().splitlines())), (78, 1))
        self.assertIn("twistd -n", err.getvalue())

    def test_nearest_option(self):
        """A mistyped option ends the start with 78 and the nearest option; its value is not repeated."""
        for word, nearest in (
            ("--p2p-adress", "--p2p-address"),
            ("--boostrap=secret", "--bootstrap"),
            ("--p2p_address", "--p2p-address"),
            ("--data", "--data-dir"),
            ("--log", "--log-"),
        ):
            err = io.StringIO()
            with redirect_stderr(err):
                ended = self.assertRaises(SystemExit, parse, word)
            self.assertEqual((ended.code, len(err.getvalue().splitlines())), (78, 1))
            self.assertIn(nearest, err.getvalue())
            self.assertNotIn("secret", err.getvalue())

    def test_pidfile(self):
        """twistd's default PID file in the working directory is not used; a requested one is."""
        own = parse()
        self.assertEqual((own.parent["pidfile"], own.pidfile_is_ours), ("", True))
        asked = parse(twistd={"pidfile": "/run/x.pid"})
        self.assertEqual((asked.parent["pidfile"], asked.pidfile_is_ours), ("/run/x.pid", False))


class StartErrorTests(SynchronousTestCase):
    """A start that fails."""

    def test_exit_codes(self):
        """Each kind has its own exit code and one line on stderr."""
        for error, code in ((ConfigError, 78), (DataDirInUse, 75), (AddressUnavailable, 69)):
            err = io.StringIO()
            with redirect_stderr(err), self.assertRaises(SystemExit) as ended, node.exit_on_start_error():
                raise error("why")
            self.assertEqual(ended.exception.code, code)
            self.assertEqual(err.getvalue(), "dht14: why\n")

    def test_bugs_are_loud(self):
        """Any other exception is our bug and passes through."""
        with self.assertRaises(ZeroDivisionError), node.exit_on_start_error():
            raise ZeroDivisionError


class LogFileTests(SynchronousTestCase):
    """Where the log goes."""

    def log_file(self, data_dir: str = "", **twistd: Any) -> LogFile | None:
        file = node._log_file(parse(twistd=twistd).parent, data_dir)
        if file is not None:
            self.addCleanup(file.close)
        return file

    def test_foreground(self):
        """With -n the log goes to stdout, unless a file is named."""
        self.assertIsNone(self.log_file(nodaemon=True))
        self.assertIsNone(self.log_file(nodaemon=True, logfile="-"))
        named = self.mktemp()
        file = self.log_file(nodaemon=True, logfile=named)
        assert file is not None
        self.assertEqual(file.path, os.path.abspath(named))

    def test_daemon(self):
        """A daemon logs into its data directory, readable only for its user, and keeps few old files."""
        folder = Path(self.mktemp())
        folder.mkdir()
        file = self.log_file(str(folder))
        assert file is not None
        self.assertEqual(file.path, str(folder.absolute() / "twistd.log"))
        self.assertEqual(os.stat(file.path).st_mode & 0o777, 0o600)
        self.assertEqual(file.old_files, 9)

    def test_unusable(self):
        """A file that cannot be written, and stdout for a daemon, are refused."""
        nowhere = os.path.join(self.mktemp(), "x", "y.log")
        self.assertRaises(ConfigError, self.log_file, logfile=nowhere)
        self.assertRaises(ConfigError, self.log_file, logfile="-")

    def test_elsewhere(self):
        """With --logger or --syslog twistd does the logging."""
        self.assertIsNone(self.log_file(logger="some.observer"))
        self.assertIsNone(self.log_file(syslog=True))


class NodeProcessTests(SynchronousTestCase):
    """A node inside twistd."""

    def setUp(self):
        for number in node._SIGNALS:
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.reactor = FakeReactor()

    def start(self, file: Any = None, is_daemon: bool = False) -> NodeProcess:
        process = NodeProcess(self.reactor, file, None, is_daemon)
        process.startService()
        for call in self.reactor.running:
            call()
        return process

    def log_file(self) -> LogFile:
        file = LogFile(self.mktemp())
        self.addCleanup(file.close)
        return file

    def send(self, number: int) -> None:
        os.kill(os.getpid(), number)
        for call in self.reactor.from_thread:
            call()
        self.reactor.from_thread.clear()

    def test_log_observer(self):
        """twistd finds our log observer."""
        observer = LogPublisher()
        application = Application("x")
        NodeProcess(self.reactor, None, observer).setServiceParent(application)
        self.assertIs(application.getComponent(ILogObserver), observer)

    def test_log_elsewhere(self):
        """Without our observer twistd chooses one."""
        application = Application("x")
        NodeProcess(self.reactor, None, None).setServiceParent(application)
        self.assertIsNone(application.getComponent(ILogObserver, None))

    def test_stop(self):
        """SIGTERM and SIGINT stop the reactor, once for any number of signals."""
        self.start()
        self.send(signal.SIGTERM)
        self.assertEqual(self.reactor.stops, 1)
        self.send(signal.SIGINT)
        self.send(signal.SIGTERM)
        self.assertEqual(self.reactor.stops, 1)

    def test_hangup_of_a_terminal(self):
        """SIGHUP stops a node in the foreground, unless nohup started it."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.start()
        self.send(signal.SIGHUP)
        self.assertEqual(self.reactor.stops, 0)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        self.start()
        self.send(signal.SIGHUP)
        self.assertEqual(self.reactor.stops, 1)

    def test_hangup_of_a_daemon(self):
        """SIGHUP makes a daemon reopen its log, and nothing else."""
        file = self.log_file()
        file.write("before\n")
        os.rename(file.path, file.path + ".moved")
        self.start(file, is_daemon=True)
        self.send(signal.SIGHUP)
        file.write("after\n")
        self.assertEqual(Path(file.path).read_text(), "after\n")
        self.assertEqual(self.reactor.stops, 0)

    def test_rotate(self):
        """SIGUSR1 begins a new log file; without a file it does nothing. SIGUSR2 never does anything."""
        file = self.log_file()
        file.write("before\n")
        self.start(file)
        self.send(signal.SIGUSR2)
        self.assertFalse(os.path.exists(file.path + ".1"))
        self.send(signal.SIGUSR1)
        self.assertEqual(Path(file.path + ".1").read_text(), "before\n")
        self.start()
        self.send(signal.SIGUSR1)
        self.assertEqual(self.reactor.stops, 0)

    def test_log_that_cannot_be_renewed(self):
        """If the folder is gone no line is lost: the old file continues, one error for each signal."""
        folder = Path(self.mktemp())
        folder.mkdir()
        file = LogFile(str(folder / "log"))
        self.addCleanup(file.close)
        os.rename(folder, str(folder) + "-moved")
        self.start(file, is_daemon=True)
        for number in (signal.SIGHUP, signal.SIGUSR1):
            with capturedLogs() as events:
                self.send(number)
            self.assertEqual([event["log_level"].name for event in events], ["error"])
        file.write("after\n")
        self.assertEqual(Path(str(folder) + "-moved", "log").read_text(), "after\n")

    def test_runs_the_node(self):
        """The node starts and stops with the process."""
        child = MultiService()
        process = NodeProcess(self.reactor, None, None)
        child.setServiceParent(process)
        process.startService()
        self.assertTrue(child.running)
        self.successResultOf(defer.maybeDeferred(process.stopService))
        self.assertFalse(child.running)


class ImportTests(SynchronousTestCase):
    """The imports of twistd's help."""

    def test_quick(self):
        """The module of the options imports neither the node nor the network."""
        script = (
            "import sys, dht14.cmd.node, dht14.cmd.bootstrap\n"
            "sys.exit('dht14.app.service' in sys.modules or 'twisted.internet.reactor' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
