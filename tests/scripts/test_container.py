import os
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

SCRIPT = Path(__file__).parents[2] / "scripts" / "container.sh"


class ContainerTests(SynchronousTestCase):
    """The entry point of the image, with programs in its path that only say how they were called."""

    def run_script(self, *words: str, **environment: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of `container.sh WORDS`."""
        path = Path(self.mktemp()).absolute()
        path.mkdir()
        for name in ("twistd", "dht14"):
            program = path / name
            program.write_text(f'#!/bin/sh\necho {name} "$@"\n')
            program.chmod(0o755)
        ended = subprocess.run(
            [SCRIPT, *words],
            env={"PATH": f"{path}{os.pathsep}{os.defpath}", **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return ended.returncode, ended.stdout, ended.stderr

    def test_node(self) -> None:
        """Without NODE_TYPE, and with `node`, it runs a node; options are passed on as they are."""
        started = "twistd -n dht14 --config /app/config.ini\n"
        self.assertEqual(self.run_script(), (0, started, ""))
        self.assertEqual(self.run_script(NODE_TYPE="node"), (0, started, ""))
        self.assertEqual(
            self.run_script("--log-level", "a  b")[1],
            "twistd -n dht14 --config /app/config.ini --log-level a  b\n",
        )

    def test_bootstrap_node(self) -> None:
        """With `bootstrap_node` it runs a bootstrap node."""
        self.assertEqual(
            self.run_script(NODE_TYPE="bootstrap_node"),
            (0, "twistd -n dht14-bootstrap --config /app/config.ini\n", ""),
        )

    def test_health(self) -> None:
        """`health` asks the node for what it is."""
        for node_type in ("node", "bootstrap_node"):
            asked = f"dht14 health --role {node_type} --config /app/config.ini\n"
            self.assertEqual(self.run_script("health", NODE_TYPE=node_type), (0, asked, ""))

    def test_other_types(self) -> None:
        """Any other NODE_TYPE is refused, with the exit code of a wrong configuration."""
        for node_type in ("bootstrap", "NODE", "node ", "*"):
            code, out, error = self.run_script(NODE_TYPE=node_type)
            self.assertEqual((code, out), (78, ""))
            self.assertIn(f"NODE_TYPE is '{node_type}'", error)
