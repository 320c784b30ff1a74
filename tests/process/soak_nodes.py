"""The nodes of a soak: twistd in the background, each over several lives in one data directory."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

from attrs import define, field

from dht14.app.state_file import read_state
from dht14.cmd.admin_client import UnixHttpConnection
from tests.process.nodes import DHT14, TIMEOUT, eventually, run_program, run_twistd
from tests.process.ports import free_port

SWEEP_SECONDS = 120
"""Between two sweeps of expired values: so the disk comes to rest within the time of a soak."""


@define(eq=False)
class SoakNode:
    """One node. Its folder must have a short path, for the socket in it."""

    folder: Path
    number: int
    is_steady: bool
    """Whether it lives from the start of the soak to its end."""
    seeds: tuple[str, ...] = ()
    p2p_port: int = field(factory=free_port)
    api_port: int = field(factory=free_port)
    pid: int = field(default=0, init=False)
    lives: int = field(default=0, init=False)
    node_id: int = field(default=0, init=False)
    """Of its present identity, once it has joined."""
    cpu: float = field(default=0.0, init=False)
    """Seconds of processor time of its former lives."""
    _keys: int = field(default=0, init=False)
    """Encryption keys that it had so far."""

    @property
    def name(self) -> str:
        """For people."""
        return f"node {self.number}"

    @property
    def data_dir(self) -> Path:
        """Its data directory."""
        return self.folder / "data"

    @property
    def address(self) -> str:
        """For `--bootstrap`."""
        return f"127.0.0.1:{self.p2p_port}"

    @property
    def api_address(self) -> str:
        """For clients."""
        return f"127.0.0.1:{self.api_port}"

    def start(self) -> "SoakNode":
        """Start a life of it."""
        if not self._keys:
            self.folder.mkdir(parents=True)
            self._make_key()
        words = ["dht14", "--data-dir", str(self.data_dir), "--p2p-address", self.address]
        words += ["--api-address", self.api_address, "--log-format", "json"]
        for seed in self.seeds:
            words += ["--bootstrap", seed]
        sweep = {"DHT14_NODE_CLEANUP_INTERVAL": str(SWEEP_SECONDS)}
        done = run_twistd(*words, folder=self.folder, extra={**self._environment(), **sweep})
        if done.returncode:
            raise AssertionError(f"{self.name} does not start: {done.returncode}: {done.stderr}")
        self.pid = int(eventually((self.data_dir / "twistd.pid").read_text, "its pid file"))
        self.lives += 1
        return self

    def wait_for_join(self, timeout: float = TIMEOUT) -> None:
        """Return when it has joined and opened its values. Raises AssertionError."""

        def has_joined() -> bool:
            if not self.is_alive():
                raise AssertionError(f"{self.name} ended by itself")
            state = read_state(str(self.data_dir))
            return state is not None and state.joined and not state.awaited

        eventually(has_joined, f"the join of {self.name}", timeout)
        self.node_id = int(self.asked("v1/status")["node_id"], 16)

    def is_alive(self) -> bool:
        """Whether its process runs. One that has ended is listed until its parent has asked for it."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def end(self, number: int) -> float:
        """Send a signal that ends it; return how many seconds it took to end."""
        began = time.monotonic()
        self.cpu += self._cpu_so_far()
        os.kill(self.pid, number)
        eventually(lambda: not self.is_alive(), f"the end of {self.name}")
        return time.monotonic() - began

    def send(self, number: int) -> None:
        """Send a signal that does not end it."""
        os.kill(self.pid, number)

    def _cpu_so_far(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def kill_if_alive(self) -> None:
        """End it if it runs."""
        if self.pid and self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    # While it is stopped

    def rekey(self) -> None:
        """Encrypt its values with another key."""
        environment_before = self._environment()
        self._make_key()
        words = ("rekey", "--data-dir", str(self.data_dir), "--new-key-file", str(self._key_file()))
        done = run_program(*DHT14, *words, folder=self.folder, extra=environment_before)
        if done.returncode:
            raise AssertionError(f"rekey of {self.name}: {done.returncode}: {done.stderr}")

    def forget_identity(self) -> None:
        """Let it have another identity in its next life."""
        for name in ("identity.pem", "identity.proof"):
            (self.data_dir / name).unlink()

    def _key_file(self) -> Path:
        return self.folder / f"key-{self._keys}"

    def _make_key(self) -> None:
        self._keys += 1
        self._key_file().write_text(os.urandom(32).hex())

    def _environment(self) -> dict[str, str]:
        return {"DHT14_SECURITY_ENCRYPTION_KEY": f"file:{self._key_file()}"}

    # Its admin surface

    @contextlib.contextmanager
    def http(self, method: str, path: str, body: bytes = b"") -> Iterator[Any]:
        """The response to a request. Raises OSError or HTTPException."""
        connection = UnixHttpConnection(str(self.data_dir / "admin.sock"), 10.0)
        try:
            connection.request(method, f"/{path}", body or None)
            yield connection.getresponse()
        finally:
            connection.close()

    def asked(self, path: str) -> Any:
        """Return a JSON document of it. Raises OSError or HTTPException."""
        with self.http("GET", path) as response:
            if response.status != 200:
                raise HTTPException(f"{path}: {response.status}")
            return json.loads(response.read())

    def log(self) -> Iterator[str]:
        """Yield the lines of its logs, the oldest first."""
        names = [f"twistd.log.{number}" for number in range(9, 0, -1)]
        for path in (self.data_dir / name for name in (*names, "twistd.log")):
            if path.exists():
                yield from path.read_text(errors="replace").splitlines()
