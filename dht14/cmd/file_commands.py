"""`dht14 put --file` and `dht14 get dht14:HEX`: files of any size."""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from dht14.client.address import format_address
from dht14.client.blocking import Client
from dht14.client.errors import (
    DhtError,
    FileFailed,
    NoNode,
    NotAFile,
    NotReady,
    Refused,
    TimedOut,
    TooLarge,
    Unanswered,
    is_silence,
)
from dht14.client.file_store import FULL
from dht14.client.file_values import FetchedFile, FileProgress, FileTarget, StoredFile
from dht14.cmd import api_client
from dht14.cmd.command_error import DONE, NO_NODE, NOT_DONE, WRONG_USAGE, CommandError
from dht14.cmd.file_progress import TransferLine, bytes_text, storage_line
from dht14.cmd.keys import parse_key, parse_salt
from dht14.cmd.node_arguments import api_address
from dht14.cmd.output import print_bytes, print_json, print_status
from dht14.cmd.progress import Ticker, counted
from dht14.cmd.results import not_found_error
from dht14.cmd.signing import check_version_numbers, load_owner_key
from dht14.files import address as file_address
from dht14.records.receipt import NoRecord

if TYPE_CHECKING:
    from dht14.cmd.admin_client import AdminClient

MAX_PIPED = 1 << 40
"""Bytes of a file that is fetched to a pipe, unless more are asked for. On a disk a file must fit. But a
pipe takes everything, and a few small manifests can describe an exabyte."""

GO_ON = "the same command goes on from there"
GO_ON_WITH_ROOM = (
    "the same command goes on through another node, with fewer --replication, or when there is room"
)


class _Transfer:
    """One file on its way, and what is shown of it."""

    def __init__(self, doing: str) -> None:
        self._line = TransferLine(sys.stderr, doing)
        self.is_watched = True
        """Whether a standstill is told; not where somebody types the file."""
        self._doing = doing
        self._last: FileProgress | None = None
        self._is_announced = doing != "stored"
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return round(time.monotonic() - self._began, 6)

    def progressed(self, now: FileProgress) -> None:
        """Show how far it is; before, once, what the file takes."""
        self._last = now
        if not self._is_announced:
            self._is_announced = True
            if line := storage_line(now):
                print_status(line)
        self._line.update(now)

    @contextmanager
    def reported(self, args: argparse.Namespace) -> Iterator[None]:
        """Report every end but a good one, with how far the file has come. Raises `CommandError`."""
        ticks = Ticker(self._line.tick)
        if self.is_watched:
            ticks.begin()
        try:
            try:
                yield
            finally:
                ticks.end()
        except KeyboardInterrupt:
            self._line.end()
            if self._last is not None and self._last.bytes_done:
                print_status(f"interrupted after {bytes_text(self._last.bytes_done)}; {GO_ON}")
            raise
        except BrokenPipeError:
            raise
        except OSError as error:
            self._line.end()
            option = "--file" if self._doing == "stored" else "--output"
            reason = (
                f"{option}: {error.filename}: {error.strerror}" if error.filename else f"{option}: {error}"
            )
            done = f"; {bytes_text(self._last.bytes_done)} done, and {GO_ON}" if self._last else ""
            raise CommandError(WRONG_USAGE, f"{reason}{done}", "output") from None
        except DhtError as error:
            self._line.end()
            raise file_failure(api_address(args), error) from None
        self._line.end()


def run_put(args: argparse.Namespace, source: BinaryIO, keeping: "AdminClient | None") -> int:
    """Store a file and return the exit code. `keeping`: the node that is to keep it, if one is."""
    owner = None
    if args.sign is not None:
        owner = load_owner_key(args.sign)
        check_version_numbers(args)
    transfer = _Transfer("stored")
    transfer.is_watched = not source.isatty()
    with transfer.reported(args), file_client(args) as client:
        stored = client.put_file(
            source,
            owner=owner,
            salt=parse_salt(args.salt),
            seq=args.seq,
            cas=args.cas,
            ttl=args.ttl,
            replication=args.replication,
            progress=transfer.progressed,
        )
    kept: dict[str, object] = {}
    if keeping is not None:
        from dht14.cmd.kept import keep_file

        with file_client(args) as client:
            kept = keep_file(keeping, client, stored, args)
    if args.json:
        print_json(
            {
                "address": stored.address,
                "key": stored.key.hex(),
                "stored": True,
                **kept,
                "bytes": stored.size,
                "bytes_found": stored.bytes_found,
                "pieces": stored.pieces,
                "copies": stored.copies,
                "wanted": stored.wanted,
                "expires_in": stored.expires_in,
                "seconds": transfer.seconds,
            }
        )
    else:
        print_status(_stored_line(stored, transfer.seconds) + ("; kept" if kept else ""))
        print_bytes(stored.address.encode() + b"\n")
    return DONE


def run_get(args: argparse.Namespace, key: bytes) -> int:
    """Fetch the file under a key and return the exit code."""
    if args.json and args.output is None:
        raise CommandError(
            WRONG_USAGE, "give --output F: with --json a file cannot go to the standard output"
        )
    transfer = _Transfer("fetched")
    with transfer.reported(args), file_client(args) as client:
        target = _target(args.output)
        is_piped = args.max_bytes is None and not isinstance(target, str)
        limit = MAX_PIPED if is_piped else args.max_bytes
        fetched = client.get_file(
            file_address.format_address(key), target, max_bytes=limit, progress=transfer.progressed
        )
    if fetched is None:
        raise not_found_error(NoRecord.NOT_FOUND)
    if args.json:
        print_json(
            {
                "address": fetched.address,
                "key": key.hex(),
                "found": True,
                "bytes": fetched.size,
                "bytes_found": fetched.bytes_found,
                "pieces": fetched.pieces,
                "output": args.output,
                "seconds": transfer.seconds,
            }
        )
    else:
        print_status(_fetched_line(fetched, transfer.seconds))
    return DONE


def file_keys(args: argparse.Namespace) -> list[bytes]:
    """Return the keys of all values of the file whose address is `args.key`. Raises `CommandError`."""
    address = file_address.format_address(parse_key(args.key))
    try:
        with file_client(args) as client:
            keys = client.file_keys(address)
    except DhtError as error:
        raise file_failure(api_address(args), error) from None
    if keys is None:
        raise not_found_error(NoRecord.NOT_FOUND)
    return keys


def file_client(args: argparse.Namespace) -> Client:
    """Return a client of the node that the options name."""
    return Client(format_address(*api_address(args)))


def _target(output: str | None) -> FileTarget:
    if output is not None and output != "-":
        return output
    if sys.stdout is None:
        raise CommandError(WRONG_USAGE, "cannot write to the standard output: it is closed", "output")
    sys.stdout.flush()
    # A thread that waits in a buffered write would not let the program end.
    return cast(BinaryIO, getattr(sys.stdout.buffer, "raw", sys.stdout.buffer))


def _stored_line(stored: StoredFile, seconds: float) -> str:
    copies = "" if stored.copies is None else f", each on {counted(stored.copies, 'node')} or more"
    there = f", {bytes_text(stored.bytes_found)} of it before" if stored.bytes_found else ""
    rate = _rate(stored.size - stored.bytes_found, seconds)
    return f"stored {bytes_text(stored.size)} in {counted(stored.pieces, 'piece')}{there}{copies}{rate}"


def _fetched_line(fetched: FetchedFile, seconds: float) -> str:
    there = f", {bytes_text(fetched.bytes_found)} of it before" if fetched.bytes_found else ""
    return f"fetched {bytes_text(fetched.size)}{there}{_rate(fetched.size - fetched.bytes_found, seconds)}"


def _rate(moved: int, seconds: float) -> str:
    return f"; {seconds:.1f} s, {bytes_text(moved / seconds)}/s" if seconds else ""


def file_failure(node: tuple[str, int], error: DhtError) -> CommandError:
    """Return what ends a command for an error of the client."""
    facts: dict[str, object] = {}
    text, cause = str(error), error
    if isinstance(error, FileFailed):
        cause = error.__cause__ if isinstance(error.__cause__, DhtError) else error
        facts = {"bytes": error.bytes_done, "of": error.bytes_total}
        is_full = isinstance(cause, Refused) and cause.reason in FULL
        text = f"{error}; {GO_ON_WITH_ROOM if is_full else GO_ON}" if error.bytes_done else error.problem
    if isinstance(cause, NoNode) and not facts.get("bytes"):
        return api_client.no_node_error(node, cause.problem)
    if is_silence(cause) and not facts.get("bytes"):
        return api_client.silent_error(node)
    if isinstance(cause, Unanswered):
        return CommandError(NOT_DONE, text, "unanswered", **facts)
    if isinstance(cause, NoNode | NotReady | TimedOut):
        word = "not_ready" if isinstance(cause, NotReady) else "no_node"
        return CommandError(NO_NODE, text, word, address=format_address(*node), **facts)
    if isinstance(cause, Refused) and cause.reason is not None:
        return CommandError(NOT_DONE, text, cause.reason.name.lower(), **facts)
    if isinstance(cause, TooLarge):
        facts = {"bytes": cause.size, "limit": cause.limit}
        return CommandError(NOT_DONE, f"{text}; --max-bytes N fetches it", "too_large", **facts)
    if isinstance(cause, NotAFile):
        return CommandError(NOT_DONE, f"{text}; dht14 get --raw writes it", "not_a_file")
    return CommandError(NOT_DONE, text, "incomplete", **facts)
