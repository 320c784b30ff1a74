"""Checks the options of twistd itself, as far as a node depends on them.

twistd applies most of them after `makeService`, when a daemon has already forked. Errors in them would then
show as a traceback, or nowhere; here they end the start with one line on stderr.
"""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dht14.errors import ConfigError


def check_twistd_options(twistd: Any) -> None:
    """Refuse options that would fail after the start or hide the data directory. Raises `ConfigError`."""
    if twistd["chroot"] is not None:
        raise ConfigError("--chroot: the node could not reach its files; leave it out, or use a container")
    if not os.path.isdir(twistd["rundir"]):
        raise ConfigError(f"--rundir: {twistd['rundir']} is not a folder; name one, or leave it out")
    pidfile = twistd["pidfile"]
    if pidfile and (os.path.isdir(pidfile) or not os.access(os.path.dirname(pidfile) or ".", os.W_OK)):
        raise ConfigError(f"--pidfile: {pidfile} cannot be written; name another, or leave it out")


@contextmanager
def as_user_of(twistd: Any) -> Iterator[None]:
    """Create files as the user and the group of --uid and --gid, to which twistd switches later.

    The node could not read files of root. Raises `ConfigError` if this process may not switch.
    """
    uid, gid = twistd["uid"], twistd["gid"]
    if uid is not None and gid is None:
        gid = _group_of(uid)
    former = os.geteuid(), os.getegid(), os.getgroups()
    if uid in (None, former[0]) and gid in (None, former[1]):
        yield
        return
    try:
        _become(uid, gid)
    except PermissionError:
        raise ConfigError("--uid, --gid: only root may switch to another user; leave them out") from None
    try:
        yield
    finally:
        os.seteuid(former[0])
        os.setegid(former[1])
        os.setgroups(former[2])


def _group_of(uid: int) -> int:
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        raise ConfigError(f"--uid: there is no user {uid}; give --gid as well, or another user") from None


def _become(uid: int | None, gid: int | None) -> None:
    if gid is not None:
        os.setgroups([gid])
        os.setegid(gid)
    if uid is not None:
        os.seteuid(uid)
