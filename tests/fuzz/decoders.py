"""Targets of one decoder each: only its declared error leaves it, and each message has one encoding."""

import math
import os
import random
import struct
import tempfile
from base64 import encodebytes
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dht14.app import config
from dht14.app.data_dir import DataDir, replace_file
from dht14.app.options import Role
from dht14.database.entry_format import (
    ENTRY_HEADER_BYTES,
    NO_TAG,
    SLOT_BYTES,
    EntryFormat,
    pack_expiry,
    read_header,
    read_tags,
    read_writer_tag,
    unpack_expiry,
)
from dht14.errors import ConfigError, Malformed
from dht14.kademlia.parameters import MAX_VALUE
from dht14.records import envelope
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.records.record import Record, advertised_rank
from dht14.records.signing import load_key, sign_envelope, verify_envelope
from dht14.records.version_floors import NO_FLOOR, Floor
from dht14.security.identity import Identity, Puzzle
from dht14.wire import api_messages, datagram
from dht14.wire.contacts import pack_contacts, unpack_contacts
from dht14.wire.datagram import RPC_ID_BYTES
from tests.app.test_config import OLDER_FILE, SHIPPED_FILE
from tests.database.disk import vault
from tests.fakes import verify_proof
from tests.owners import Owner
from tests.wire.test_datagram import SAMPLES, SOME_CONTACTS

PUZZLE = Puzzle("fuzz", 0)


def message(raw: bytes) -> None:
    """An RPC message. Impossible contacts are left out, and nothing else is."""
    with suppress(Malformed):
        rpc_id, decoded = datagram.decode(raw, verify_proof)
        again = datagram.encode(rpc_id, decoded)
        assert again == raw or (
            len(again) < len(raw) and any(hasattr(decoded, a) for a in ("contacts", "nearer"))
        )
        assert datagram.decode(again, verify_proof) == (rpc_id, decoded)


def messages() -> Iterator[bytes]:
    for sample in SAMPLES:
        yield datagram.encode(bytes(RPC_ID_BYTES), sample)


def contacts(raw: bytes) -> None:
    """Contacts as they are packed in messages and in the file of saved ones."""
    with suppress(Malformed):
        unpacked = unpack_contacts(raw, verify_proof)
        assert unpack_contacts(pack_contacts(unpacked), verify_proof) == unpacked
        assert len(pack_contacts(unpacked)) <= len(raw)


def packed_contacts() -> Iterator[bytes]:
    yield pack_contacts(SOME_CONTACTS)
    yield pack_contacts(())


def owners_envelope(raw: bytes) -> None:
    """An owner's envelope, and what follows from it."""
    with suppress(Malformed):
        assert envelope.decode(raw).encode() == raw
        assert verify_envelope(raw) == envelope.decode(raw)


def envelopes() -> Iterator[bytes]:
    yield Owner(1).says(b"payload", 1)
    yield Owner(2, b"salt").says(b"payload", 1 << 62, cas=7)
    yield Owner(3).says(b"", 9, cas=0)


def record(raw: bytes) -> None:
    """A value with its version and key, as any peer may send it: `version u64 | key 32 | value`."""
    version, key, value = int.from_bytes(raw[:8], "big"), int.from_bytes(raw[8:40], "big"), raw[40:]
    digest = sha256(value).digest()
    for key_ in (key, int.from_bytes(digest, "big")):
        one = Record(key=key_, value=value, version=version, expires_at=60.0, replication=8)
        if one.is_authentic:
            assert one.kind in (1, 2, 3) and not one.conflicts_with(one)
            assert isinstance(one.is_tombstone, bool)
        claimed = advertised_rank(key_, version, one.is_owned, digest)
        assert claimed == one.rank or envelope.may_hash_to_owner_key(value)


def records() -> Iterator[bytes]:
    for owner, value in ((Owner(1), Owner(1).says(b"payload", 5)), (Owner(2), Owner(2).says(b"", 5))):
        yield (5).to_bytes(8, "big") + owner.key.to_bytes(32, "big") + value
    yield bytes(40) + b"open"
    yield bytes(40) + b"dht14/own" + bytes(32)


def api_message(raw: bytes) -> None:
    """One frame of the API, at the node and at its client."""
    with suppress(Malformed):
        request = api_messages.decode_request(raw)
        if isinstance(request, api_messages.WatchKey):
            assert api_messages.encode_watch(request.key, request.on) == raw
        elif isinstance(request, api_messages.GetRecord):
            assert api_messages.encode_get_record(request.key, request.content) == raw
        elif isinstance(request, api_messages.Get):
            assert api_messages.encode_get(request.key) == raw
        else:
            receipt = isinstance(request, api_messages.PutWithReceipt)
            again = api_messages.encode_put(
                request.ttl, request.replication, request.key, request.value, receipt=receipt
            )
            assert again[:7] + again[8:] == raw[:7] + raw[8:]
    with suppress(Malformed):
        assert _reply_again(api_messages.decode_reply(raw)) == raw


def _reply_again(reply: api_messages.ApiReply) -> bytes:
    if isinstance(reply, api_messages.PutReceipt):
        return api_messages.encode_receipt(reply.key, reply.receipt)
    if isinstance(reply, api_messages.ChangedRecord):
        value = reply.value or bytes(MAX_VALUE)  # Too large for it: it is left out.
        return api_messages.encode_changed(reply.key, reply.kind, reply.version, reply.ttl, value)
    if isinstance(reply, api_messages.FoundRecord):
        return api_messages.encode_record(reply.key, reply.kind, reply.version, reply.ttl, reply.value)
    if isinstance(reply, api_messages.GoneRecord):
        return api_messages.encode_gone(reply.key, reply.reason)
    if isinstance(reply, api_messages.MissingRecord):
        return api_messages.encode_no_record(reply.key, reply.reason)
    if isinstance(reply, api_messages.Success):
        return api_messages.encode_success(reply.key, reply.value)
    return api_messages.encode_failure(reply.key)


def api_frames() -> Iterator[bytes]:
    yield api_messages.encode_put(60, 8, bytes(32), b"value")
    yield api_messages.encode_get(bytes(32))
    yield api_messages.encode_success(bytes(32), b"value")
    yield api_messages.encode_failure(bytes(32))
    yield api_messages.encode_put(60, 8, bytes(32), b"value", receipt=True)
    for reason in PutReason:
        yield api_messages.encode_receipt(bytes(32), Receipt(PutOutcome.NOT_STORED, 1, 8, reason, 1 << 63))
    for content in (False, True):
        yield api_messages.encode_get_record(bytes(32), content)
    for on in (False, True):
        yield api_messages.encode_watch(bytes(32), on)
    for kind in (1, 2, 3):
        yield api_messages.encode_record(bytes(32), kind, 7, 60, b"value")
        yield api_messages.encode_changed(bytes(32), kind, 7, 60, b"value")
    yield api_messages.encode_changed(bytes(32), 1, 7, 60, bytes(MAX_VALUE))
    for why in NoRecord:
        yield api_messages.encode_gone(bytes(32), why)
        yield api_messages.encode_no_record(bytes(32), why)


def configuration(raw: bytes) -> None:
    """A configuration file; the folder that a `file:` is relative to is empty."""
    path = os.path.join(_folder(), "config.ini")
    with open(path, "wb") as file:
        file.write(raw)
    try:
        config.load(Role.NODE, path)
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1 and len(str(error)) < 2_000, str(error)


def configurations() -> Iterator[bytes]:
    yield OLDER_FILE.encode()
    yield b"[bootstrap]\na = " + b"ab" * 32 + b"@[::1]:8000\n[node]\ndata_dir=x\n"
    yield from (line.encode() for line in SHIPPED_FILE.read_text().split("\n\n"))


def data_files(raw: bytes) -> None:
    """The small files of a data directory with any content: `which u8 | content`."""
    which, content = raw[:1], raw[1:]
    data_dir = _data_dir()
    name = ("contacts", "contacts", "identity.pem", "identity.proof")[(which or b"\0")[0] % 4]
    if which == b"\0":
        content = sha256(content).digest() + content
    replace_file(data_dir.file(name), content, durable=False)
    try:
        with suppress(Malformed):
            assert len(data_dir.load_contacts(verify_proof)) <= 1_000
        with suppress(ConfigError):
            data_dir.identity(PUZZLE)
    finally:
        os.unlink(data_dir.file(name))


def kept_files() -> Iterator[bytes]:
    body = pack_contacts(SOME_CONTACTS)
    identity = _identity()
    pem = identity.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    yield b"\0" + body
    yield b"\1" + sha256(body).digest() + body
    yield b"\2" + pem
    yield b"\3" + identity.proof


def owners_key(raw: bytes) -> None:
    """An owner's key file: any bytes, or any bytes in the armour of a file. What is taken as a key signs what
    others verify."""
    if not raw.startswith(b"-----"):
        raw = b"-----BEGIN PRIVATE KEY-----\n%b-----END PRIVATE KEY-----\n" % encodebytes(raw)
    with suppress(Malformed):
        key = load_key(raw)
        signed = sign_envelope(key, 1, b"payload", salt=raw[-8:])
        assert verify_envelope(signed.encode()) == signed
        forged = bytearray(signed.encode())
        forged[-1] ^= 1
        with suppress(Malformed):
            raise AssertionError(f"a forged envelope is taken: {verify_envelope(bytes(forged))}")


def owners_keys() -> Iterator[bytes]:
    ed25519 = _identity().private_key
    for encoding in (PrivateFormat.PKCS8, PrivateFormat.OpenSSH):
        yield ed25519.private_bytes(Encoding.PEM, encoding, NoEncryption())
    others = (
        x25519.X25519PrivateKey.from_private_bytes(bytes(range(32))),
        ec.derive_private_key(14, ec.SECP256R1()),
    )
    for key in (ed25519, *others):
        yield key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    yield others[1].private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def disk_entry(raw: bytes) -> None:
    """An entry of the database: any bytes, and any bytes sealed as an entry. What is read of it is read again
    when it is written."""
    entry_format = EntryFormat(vault(), 7)
    slot, entry = raw[:SLOT_BYTES].ljust(SLOT_BYTES, b"\0"), raw[SLOT_BYTES:]
    sealed = entry[:ENTRY_HEADER_BYTES].ljust(ENTRY_HEADER_BYTES, b"\0")
    sealed += entry_format.vault.seal(entry[ENTRY_HEADER_BYTES:], slot + sealed)
    for one in (entry, sealed):
        with suppress(Malformed):
            read_header(one)
            assert set(read_tags(one)) >= {read_writer_tag(one)} - {NO_TAG}
        assert entry_format.read_floor(slot, one, math.inf) == NO_FLOOR
        with suppress(Malformed):
            header, body = entry_format.open(slot, one)
            floor = entry_format.read_floor(slot, one, -math.inf)
            assert floor == NO_FLOOR or floor == Floor(body.replication, header.version)
            again = entry_format.seal(slot, header, body)
            assert repr(entry_format.open(slot, again)) == repr((header, body))
            assert unpack_expiry(pack_expiry(header.until, slot))[1] == slot
        with suppress(Malformed):
            read = entry_format.read(slot, one)
            own = entry_format.slot(read.key)
            assert repr(entry_format.read(own, entry_format.write(own, read))) == repr(read)


def disk_entries() -> Iterator[bytes]:
    """Records of both families of addresses and of no writer, a brief one, a floor, and other formats."""
    header = bytes(SLOT_BYTES) + (7).to_bytes(8, "big") + struct.pack(">d", 600.0) + bytes(24)
    nobody = bytes(32) + b"\0" + bytes(16)
    v4, v6 = (bytes(range(32)) + size + b"\1\2\3\4".ljust(16, b"\0") for size in (b"\x04", b"\x06"))
    for replication, writer, value in (
        (8, v4, b"value"),
        (8, v6, b"value"),
        (0, nobody, b"value"),
        (0x80 | 20, v4, b"value"),
        (3, v4, b""),
    ):
        yield header + bytes([2, replication]) + bytes(range(32, 64)) + writer + value
    yield header + b"\1\x08" + bytes(81) + b"value"
    yield header + b"\2\x08"


@cache
def _identity() -> Identity:
    return Identity.made_up(PUZZLE, random.Random(14))


@cache
def _folder() -> str:
    return tempfile.mkdtemp(prefix="dht14-fuzz-", dir=tempfile.gettempdir())


@cache
def _data_dir() -> DataDir:
    return DataDir.open(os.path.join(_folder(), "data"))
