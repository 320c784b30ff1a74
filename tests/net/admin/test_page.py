import json
import re
import shutil
import subprocess
from importlib.resources import files

from twisted.trial.unittest import SynchronousTestCase

from dht14.records.envelope import MAX_SEQ

NODE = shutil.which("node")


class VersionTests(SynchronousTestCase):
    """The dashboard shows every digit of a version."""

    if NODE is None:
        skip = "needs Node.js"

    def test_all_digits(self) -> None:
        """Versions of more than 53 bits are not rounded; all else stays as it is."""
        assert NODE is not None
        page = files("dht14.net.admin").joinpath("page/page.js").read_text()
        function = re.search(r"^function withVersions.*?^}", page, re.MULTILINE | re.DOTALL)
        assert function is not None
        versions = [117697373643079681, MAX_SEQ, 5, None]
        answer = {"holders": [{"version": version, "bytes": 7, "outcome": "holds"} for version in versions]}
        script = f"console.log(JSON.stringify(withVersions(process.argv[1])))\n{function[0]}"
        told = subprocess.run(
            [NODE, "-e", script, json.dumps(answer, indent=1)], capture_output=True, check=True, timeout=60
        )
        holders = json.loads(told.stdout)["holders"]
        self.assertEqual(
            [holder["version"] for holder in holders],
            [None if version is None else str(version) for version in versions],
        )
        self.assertEqual({holder["bytes"] for holder in holders}, {7})
