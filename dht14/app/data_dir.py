"""The data directory: the identity of the node, its saved contacts, and the lock of its process."""

import errno
import fcntl
import hashlib
import itertools
import os
from collections.abc import Iterable
from contextlib import suppress

from attrs import define, field
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from dht14.database.fsync import fsync_folder, fsync_folders_of
from dht14.errors import ConfigError, DataDirInUse, Malformed
from dht14.kademlia.contact import Contact
from dht14.security.identity import PROOF_BYTES, Identity, Puzzle, VerifyProof, public_bytes, public_key_in
from dht14.wire.contacts import pack_contacts, unpack_contacts

MAX_SAVED_CONTACTS = 1_000
"""A join needs a few; of this many some survive almost any outage."""

_LOCK = "lock"
_IDENTITY = "identity.pem"
_PROOF = "identity.proof"
_CONTACTS = "contacts"
_WORKING = "working"
_REQUIRED_FREE_BYTES = 65_536
_SMALL_FILE_BYTES = 131_072
_DIGEST_BYTES = 32


@define
class DataDir:
    """A data directory that this process has locked. `path` is absolute."""

    path: str
    _lock: int
    _locked_by: int = field(factory=os.getpid, init=False)

    @classmethod
    def open(cls, path: str) -> "DataDir":
        """Make the directory if it is missing, and lock it until `close` or the end of the process.

        Raises `DataDirInUse` if another process has it, `ConfigError` if it cannot be used.
        """
        path = os.path.abspath(path)
        refuse_dead_link(path)
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
            lock = os.open(os.path.join(path, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unusable_error(path, error) from None
        try:
            # The open file holds the lock, not the process: it survives a daemon's fork, and ends with a
            # crash.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise DataDirInUse(
                f"[node] data_dir: another node uses {path}; stop it, or give this one another data_dir"
            ) from None
        except OSError as error:
            os.close(lock)
            raise unusable_error(path, error) from None
        try:
            # Otherwise a power cut could take the whole directory, with all that is flushed in it.
            fsync_folders_of(path)
        except OSError as error:
            os.close(lock)
            raise unusable_error(path, error) from None
        return cls(path, lock)

    def close(self) -> None:
        """Release the lock. A second call does nothing."""
        if self._lock >= 0:
            if self._locked_by == os.getpid():
                # A process that was forked meanwhile has the open file, too, and would keep the lock.
                fcntl.flock(self._lock, fcntl.LOCK_UN)
            os.close(self._lock)
            self._lock = -1

    def is_in_place(self) -> bool:
        """Whether the directory is still the one at its path."""
        try:
            return os.path.samestat(os.stat(self.file(_LOCK)), os.fstat(self._lock))
        except OSError:
            return False

    def show_working(self, is_working: bool) -> None:
        """Show other processes whether the node of this directory can do its work: see `trouble_at`."""
        with suppress(OSError):
            if is_working:
                os.close(os.open(self.file(_WORKING), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            else:
                os.unlink(self.file(_WORKING))

    def private_key(self) -> Ed25519PrivateKey:
        """Return the key of the node; make it if there is none. Raises `ConfigError` if it is damaged."""
        try:
            pem = self.read(_IDENTITY)
            if pem is None:
                return self._new_key()
        except OSError as error:
            raise unusable_error(self.path, error) from None
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError(
                f"[node] data_dir: {self.file(_IDENTITY)} holds no Ed25519 private key; "
                "restore a copy of it, or move it away to start with a new identity"
            )
        return key

    def proof(self) -> bytes | None:
        """Return the saved proof of work of the key; None if there is none. Raises `ConfigError`."""
        try:
            proof = self.read(_PROOF)
        except OSError as error:
            raise unusable_error(self.path, error) from None
        if proof is None or len(proof) != PROOF_BYTES:
            return None
        return proof if public_key_in(proof) == public_bytes(self.private_key()) else None

    def identity(self, puzzle: Puzzle) -> Identity | None:
        """Return the identity of the node; None if there is no proof of work that solves the network's
        puzzle."""
        proof = self.proof()
        if proof is not None:
            with suppress(Malformed):
                return Identity(self.private_key(), proof, puzzle.verify_proof(proof))
        return None

    def save_proof(self, proof: bytes, puzzle: Puzzle) -> Identity:
        """Save a proof of work, and return the identity that it gives. Raises `ConfigError`."""
        try:
            replace_file(self.file(_PROOF), proof, durable=True)
        except OSError as error:
            raise unusable_error(self.path, error) from None
        return Identity(self.private_key(), proof, puzzle.verify_proof(proof))

    def load_contacts(self, verify_proof: VerifyProof) -> tuple[Contact, ...]:
        """Return the saved contacts whose proof `verify_proof` accepts; none at the first start.

        Raises `Malformed` if the file is damaged.
        """
        try:
            saved = self.read(_CONTACTS)
        except OSError as error:
            raise Malformed(f"saved contacts cannot be read: {error.strerror}") from None
        if saved is None:
            return ()
        digest, body = saved[:_DIGEST_BYTES], saved[_DIGEST_BYTES:]
        if hashlib.sha256(body).digest() != digest:
            raise Malformed("saved contacts are damaged")
        return unpack_contacts(body, verify_proof, limit=MAX_SAVED_CONTACTS)

    def save_contacts(self, contacts: Iterable[Contact]) -> None:
        """Save contacts in place of the former ones. Raises `OSError`.

        The file is not flushed: a power cut may damage it. The digest shows that, and the seeds replace it.
        """
        body = pack_contacts(itertools.islice(contacts, MAX_SAVED_CONTACTS))
        replace_file(self.file(_CONTACTS), hashlib.sha256(body).digest() + body, durable=False)

    def _new_key(self) -> Ed25519PrivateKey:
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        replace_file(self.file(_IDENTITY), pem, durable=True)
        return key

    def file(self, name: str) -> str:
        """Return the path of a file in the directory."""
        return os.path.join(self.path, name)

    def read(self, name: str) -> bytes | None:
        """Return the content of a small file; None if it does not exist. Raises `OSError`."""
        with suppress(FileNotFoundError), open(self.file(name), "rb") as file:
            return file.read(_SMALL_FILE_BYTES)
        return None


def replace_file(path: str, content: bytes, *, durable: bool) -> None:
    """Replace a file atomically: after a crash it has its old or its new content. Raises `OSError`."""
    new = path + ".new"
    # Only the process with the lock writes here: what a crash left under this name can be overwritten.
    with open(new, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(new, path)
    if durable:
        fsync_folder(os.path.dirname(path))


def trouble_at(path: str) -> str:
    """Return why the node of this data directory cannot store values; "" if it can.

    Raises `PermissionError` if this user may not look into it.
    """
    path = os.path.abspath(path)
    if not _exists(os.path.join(path, _LOCK)):
        return f"no node's data directory is at {path}; give --data-dir as the node has it"
    if not _exists(os.path.join(path, _WORKING)) or os.statvfs(path).f_flag & os.ST_RDONLY:
        return f"the node with the data directory {path} cannot read or write its values; its log says why"
    return ""


def _exists(path: str) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def refuse_dead_link(path: str) -> None:
    """Raise `ConfigError` if a link leads nowhere: a directory made there would be in the wrong place."""
    if os.path.islink(path) and not os.path.exists(path):
        raise ConfigError(
            f"[node] data_dir: {path} is a link to {os.readlink(path)}, which does not exist; make or mount "
            "that"
        )


def require_free_space(folder: str) -> None:
    """Raise `ConfigError` if the disk of a folder has no space for what a daemon writes after it has left the
    terminal."""
    path = os.path.join(folder, _WORKING + ".new")
    try:
        try:
            with open(path, "wb", buffering=0) as file:
                if file.write(bytes(_REQUIRED_FREE_BYTES)) < _REQUIRED_FREE_BYTES:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)
    except OSError as error:
        raise unusable_error(folder, error) from None


def unusable_error(path: str, error: OSError) -> ConfigError:
    """Return the error for a data directory that cannot be used."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "free space on its disk"
    elif error.errno in (errno.EEXIST, errno.ENOTDIR):
        remedy = "make it a folder"
    else:
        remedy = "let this user write there"
    return ConfigError(
        f"[node] data_dir: {path} cannot be used ({error.strerror}); {remedy}, or give another data_dir"
    )
