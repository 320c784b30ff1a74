"""Commands that write files for their user: `python -m tests.cuts.commands FOLDER LOG SEED`.

`dht14 keygen`, `dht14 get --output` over an older file, and the pieces of a large file as they are fetched.
"""

import os
import random
import sys

from dht14.client.part_file import PartFile
from dht14.cmd.main import main as dht14
from dht14.cmd.put_get import _write_file
from tests.cuts.expected import digest, mark


def main(folder: str, log: str, seed: str) -> None:
    """Write them."""
    marks = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    rng = random.Random(seed)

    def say(say: str, path: str, digest: str) -> None:
        os.write(marks, mark(say, path=path, digest=digest))

    for number in range(3):
        key_file = f"owner-{number}.pem"
        # While it is not done, nothing is promised of a new file.
        say("writing", key_file, "*")
        assert dht14(["keygen", os.path.join(folder, key_file)]) == 0
        with open(os.path.join(folder, key_file), "rb") as file:
            say("wrote", key_file, digest(file.read()))
    for _ in range(5):
        value = rng.randbytes(rng.choice([10, 5_000, 20_000]))
        say("writing", "output", digest(value))
        _write_file(os.path.join(folder, "output"), value)
    for number in range(3):
        pieces = [rng.randbytes(9_000) for _ in range(4)]
        say("writing", f"fetched-{number}", digest(b"".join(pieces)))
        part = PartFile(os.path.join(folder, f"fetched-{number}"))
        for piece in pieces:
            part.write(piece)
        part.finish()
        say("wrote", f"fetched-{number}", digest(b"".join(pieces)))


if __name__ == "__main__":
    main(*sys.argv[1:])
