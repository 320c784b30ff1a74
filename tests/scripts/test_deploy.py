import contextlib
import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.process.nodes import TOP, VoidPhone, environment
from tests.process.ports import free_port

WRONG = (
    (),
    ("",),
    ("0",),
    ("-1",),
    ("abc",),
    ("1.5",),
    ("2 3",),
    ("2", "3"),
    ("201",),
    ("007",),
    ("--local",),
)
WRONG_LOCAL = tuple(("--local", *words) for words in WRONG)
KEY = bytes(range(32))
# Says how it was called, and is as quiet about an engine without anything in it.
DOCKER = """#!/bin/sh
echo "$@" >>"{log}"
[ "$1" != run ] || echo "$DHT14_SECURITY_ENCRYPTION_KEY" >>"{keys}"
[ "$1" != inspect ] || echo true 0
[ "$1" != "{failing}" ] || exit 1
"""


def free_ports() -> tuple[int, int]:
    """A port before two free ones, and one before those of two bootstrap nodes and two nodes."""
    return _before_free_ports(1, 2), _before_free_ports(1, 2, 101, 102)


def _before_free_ports(*offsets: int) -> int:
    while True:
        port = free_port()
        with contextlib.suppress(OSError, OverflowError), contextlib.ExitStack() as sockets:
            for offset in offsets:
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    one = sockets.enter_context(socket.socket(socket.AF_INET, kind))
                    one.bind(("127.0.0.1", port + offset))
            return port


class DeployTestCase(SynchronousTestCase):
    """A copy of what `deploy.sh` needs of a checkout, with a virtual environment that is this Python."""

    def setUp(self) -> None:
        self.top = Path(self.mktemp()).absolute()
        for name in ("conf/config.ini", "scripts/deploy.sh", "Makefile", "setup.cfg", "pyproject.toml"):
            copy = self.top / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TOP / name, copy)
        self.program(".venv/bin/python", f'exec "{sys.executable}" "$@"')
        for name, module in (("twistd", "twisted.scripts.twistd"), ("dht14", "dht14.cmd.main")):
            function = "run" if name == "twistd" else "main"
            call = f"import sys; from {module} import {function} as run; sys.exit(run())"
            self.program(f".venv/bin/{name}", f'exec "{sys.executable}" -c "{call}" "$@"')
        (self.top / ".venv" / "installed").touch()
        self.docker()
        self.api_port, self.p2p_port = free_ports()

    def program(self, name: str, line: str) -> None:
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(line if line.startswith("#!") else f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def docker(self, failing: str = "nothing") -> None:
        """A container engine that does nothing and fails at one command."""
        log, keys = self.top / "docker.log", self.top / "docker.keys"
        self.program("path/docker", DOCKER.format(log=log, keys=keys, failing=failing))

    def docker_calls(self) -> list[str]:
        return (self.top / "docker.log").read_text().splitlines()

    def deploy(self, *words: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of `deploy.sh WORDS`."""
        path = f"{self.top / 'path'}{os.pathsep}{os.environ['PATH']}"
        ports = {"API_PORT": str(self.api_port), "P2P_PORT": str(self.p2p_port)}
        # Into files: a pipe would be held open by the nodes.
        with open(self.top / "out", "w+") as out, open(self.top / "err", "w+") as err:
            ended = subprocess.run(
                ["bash", self.top / "scripts" / "deploy.sh", *words],
                cwd="/",
                env=environment({"PATH": path, **ports}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                timeout=100,
                check=False,
            )
            out.seek(0)
            err.seek(0)
            return ended.returncode, out.read(), err.read()

    def api(self, number: int) -> VoidPhone:
        return VoidPhone(self.api_port + number)


class ArgumentsTests(DeployTestCase):
    def test_refused(self) -> None:
        """What is no number of nodes is refused, with the reason last, before anything is made or called."""
        for words in (*WRONG, *WRONG_LOCAL[1:]):
            code, out, error = self.deploy(*words)
            self.assertEqual((code, out), (2, ""), words)
            self.assertTrue(error.splitlines()[-1].startswith("deploy.sh: "), error)
        self.assertFalse((self.top / "data").exists())
        self.assertFalse((self.top / "docker.log").exists())


class LocalTests(DeployTestCase):
    """`deploy.sh --local`."""

    def setUp(self) -> None:
        super().setUp()
        self.docker(failing="version")
        self.addCleanup(self.deploy, "stop")

    def test_from_start_to_stop(self) -> None:
        """N nodes keep what they are given; a second deployment is refused; stop leaves nothing, and says
        nothing."""
        code, out, error = self.deploy("--local", "2")
        self.assertEqual((code, error), (0, ""))
        self.assertIn(f"127.0.0.1:{self.api_port + 1}", out)
        with self.api(1) as first, self.api(2) as second:
            self.assertTrue(first.put(KEY, b"value"))
            self.assertEqual(self.deploy("--local", "1")[0], 1)
            self.assertEqual(second.get(KEY), b"value")
        for name in (f"{kind}_{n}" for kind in ("node", "bootstrap_node") for n in (1, 2)):
            self.assertTrue((self.top / "data" / "deployment" / name / "identity.pem").exists())
        for _ in range(2):
            self.assertEqual(self.deploy("stop"), (0, "", ""))
        self.assertRaises(ConnectionRefusedError, self.api, 1)
        self.assertEqual(list((self.top / "data").iterdir()), [])

    def test_key(self) -> None:
        """Each deployment has a key of its own, for its owner's eyes only."""
        keys = set()
        for _ in range(2):
            self.assertEqual(self.deploy("--local", "1")[0], 0)
            file = self.top / "data" / "deployment" / "encryption.key"
            self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
            keys.add(file.read_text())
            self.assertFalse((file.parent / "node_1" / "encryption.key").exists())
            self.deploy("stop")
        self.assertEqual([len(bytes.fromhex(key)) for key in keys], [32, 32])

    def test_giving_up(self) -> None:
        """Where one node cannot start, its reason is printed, and the others are ended."""
        with socket.create_server(("127.0.0.1", self.api_port + 2)):
            code, out, error = self.deploy("--local", "2")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("api_address", error)
        self.assertRaises(ConnectionRefusedError, self.api, 1)
        self.assertEqual(list((self.top / "data").iterdir()), [])


class ContainerTests(DeployTestCase):
    """`deploy.sh N`, as far as it shows without a container engine."""

    def test_containers(self) -> None:
        """Two bootstrap nodes first, then N nodes with ports of this host; nowhere a key among the
        arguments."""
        self.assertEqual(self.deploy("3")[0], 0)
        runs = [call for call in self.docker_calls() if call.startswith("run ")]
        self.assertEqual(
            [call.split("--hostname ")[1].split()[0] for call in runs],
            ["bootstrap_node_1", "bootstrap_node_2", "node_1", "node_2", "node_3"],
        )
        for number, call in enumerate(runs[2:], start=1):
            self.assertIn(f"--publish 127.0.0.1:{self.api_port + number}:7400", call)
        self.assertFalse(any("--publish" in call for call in runs[:2]))
        (key,) = set((self.top / "docker.keys").read_text().split())
        self.assertEqual(len(bytes.fromhex(key)), 32)
        self.assertFalse(any(key in call for call in self.docker_calls()))

    def test_giving_up(self) -> None:
        """Where a container cannot be started, nothing of the deployment is kept."""
        self.docker(failing="run")
        self.assertEqual(self.deploy("3")[0], 1)
        self.assertEqual(list((self.top / "data").iterdir()), [])

    def test_no_engine(self) -> None:
        """Without a container engine it says so, and that there is --local."""
        self.docker(failing="version")
        code, _, error = self.deploy("3")
        self.assertEqual(code, 1)
        self.assertIn("--local", error)
