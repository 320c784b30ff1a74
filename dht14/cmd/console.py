"""The console script `dht14`: a command from its first import to its last line.

Ctrl-C ends it with exit code 130 and without a traceback, as soon as Python itself has started.
"""

import sys

try:
    from dht14.cmd import interrupts
    from dht14.cmd.command_error import INTERRUPTED
except KeyboardInterrupt:
    sys.exit(130)  # INTERRUPTED


def main() -> int:
    """Run the command that was typed and return its exit code."""
    try:
        interrupts.end_at_once(as_json="--json" in sys.argv)
        from dht14.cmd import main as commands

        code = commands.main()
        interrupts.end_at_once()
    except KeyboardInterrupt:
        return INTERRUPTED
    return code
