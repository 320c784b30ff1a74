"""`python -m dht14` is `dht14`, where the folder of commands is not in the path."""

import sys

from dht14.cmd.console import main

sys.exit(main())
