"""The responder's side of a handshake, before there is a session: cookies, pre-keys and limits.

A HELLO leaves nothing behind here. The work for a FINISH grows with what it has proven: first that its sender
receives at its address (cookie), then that the limits allow it now, then that it derived the key; only then
come its proof of work and its signature. Nobody is ever banned: an address that proved nothing may be forged.
"""

import random
from hmac import compare_digest
from hmac import digest as hmac_digest

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dht14.bounded import BoundedDict
from dht14.errors import Malformed
from dht14.kademlia.contact import Address
from dht14.kademlia.parameters import MAX_DATAGRAM
from dht14.security.identity import Identity, VerifyProof
from dht14.security.prekey_clock import PrekeyClock
from dht14.security.shares import Priority, SharedRateLimiter
from dht14.security.subnets import Party, Scope, parties_of
from dht14.session import handshake as hs
from dht14.session.metrics import SessionMetrics

COOKIE_LIFETIME = 120
"""Seconds within which an initiator must answer a CHALLENGE."""
PREKEY_ROTATION = hs.PREKEY_LIFETIME / 2
"""Seconds after which a new pre-key replaces one; the old one serves those who have it for as long again."""

MAX_PREKEY_DATE_ERROR = 3_600.0
"""Seconds by which the date of a pre-key may be wrong. Beyond, a new one replaces it: the clock was set, or
the first peers showed that it is wrong. With a date that is further off, initiators could refuse the
pre-key."""

CHALLENGES_PER_SECOND = 10_000
"""A CHALLENGE costs 5 µs to make and 5 µs to send: all of them take a tenth of a core."""
CHALLENGES_PER_PARTY = {Scope.SUBNET: 300.0, Scope.PROVIDER: 1_200.0}
"""A second. A subnet is an IPv4 /24 or IPv6 /48, a provider an IPv6 /32."""
FINISHES_PER_SECOND = 500
FINISHES_PER_SUBNET = 20
FINISHES_PER_PARTY = {
    Scope.SUBNET: FINISHES_PER_SUBNET,
    Scope.PROVIDER: 4 * FINISHES_PER_SUBNET,
    Scope.PRIVATE_HOST: FINISHES_PER_SECOND / 4,
}
MAX_REMEMBERED_FINISHES = FINISHES_PER_SECOND * (COOKIE_LIFETIME + 5)
"""All that can come while their cookies live (a second longer by rounding), and the burst besides. A FINISH
that is forgotten too early could be replayed, and its keys would seal a second time."""

_TIME_BYTES = 4


@frozen
class Limits:
    """Limits of what peers may cause: requests a second, by node id once it is proven, by host before."""

    peer_rate: float = 1_000.0
    peer_burst: float = 2_000.0
    diversity_private: bool = False
    """Whether limits by host and subnet hold in private ranges too."""

    def parties_of(self, host: str) -> tuple[Party, ...]:
        """Return who shares the limits of this address."""
        return parties_of(host, self.diversity_private)


@frozen(repr=False)
class _Prekey:
    private: X25519PrivateKey
    public: bytes
    made_at: float
    ahead: float
    """How far the time of day that dates it was ahead of the node's own clock."""
    signed: bytes
    """The end of every CHALLENGE: `proof 48 | pre-key 32 | exp u32 | signature 64`."""

    def may_be_handed_out(self, now: float, time: float) -> bool:
        """Return whether the pre-key is fresh, and its date agrees with the time of day `time`."""
        is_fresh = self.is_younger_than(PREKEY_ROTATION, now)
        return is_fresh and abs(time - now - self.ahead) < MAX_PREKEY_DATE_ERROR

    def is_younger_than(self, seconds: float, now: float) -> bool:
        return now - self.made_at < seconds


@frozen(repr=False)
class AcceptedInitiator:
    """The initiator of a FINISH with a valid proof and signature."""

    node_id: int
    proof: bytes
    request: bytes
    keys: hs.SessionKeys


class Acceptor:
    """Decides who may begin a session. Owns the cookie secret and the pre-keys: they end with the process."""

    def __init__(
        self,
        *,
        identity: Identity,
        verify_proof: VerifyProof,
        rng: random.Random,
        limits: Limits,
        now: float,
        prekey_clock: PrekeyClock,
        metrics: SessionMetrics,
    ) -> None:
        self._identity = identity
        self._verify_proof = verify_proof
        self._rng = rng
        self._prekey_clock = prekey_clock
        self._metrics = metrics
        self._secret = rng.randbytes(hs.KEY_BYTES)
        self._prekeys: list[_Prekey] = []
        """The current one, and the one before it."""
        challenge_shares = CHALLENGES_PER_PARTY | {Scope.PRIVATE_HOST: limits.peer_rate}
        self._challenges = SharedRateLimiter(CHALLENGES_PER_SECOND, challenge_shares, limits.parties_of, now)
        self._finishes = SharedRateLimiter(FINISHES_PER_SECOND, FINISHES_PER_PARTY, limits.parties_of, now)
        self._accepted_cids: BoundedDict[bytes, bytes] = BoundedDict(MAX_REMEMBERED_FINISHES)
        """The connection ids given to the latest initiators, by their ephemeral keys."""

    # HELLO

    def challenge(self, hello: bytes, address: Address, priority: Priority, now: float) -> bytes | None:
        """Return the CHALLENGE to a HELLO; None over the limits. Raises Malformed when it has another size.

        A HELLO that seeks another node gets one too. So its sender learns at once which node is here, and
        nobody can make it call this address again and again under ever new ids.
        """
        if len(hello) != hs.HELLO_BYTES:
            raise Malformed("a HELLO of another size")
        if not self._challenges.take(address[0], priority, now):
            self._metrics.hello_over_limit += 1
            return None
        self._metrics.challenges += 1
        head = hello[: hs.HELLO_HEAD_BYTES]
        cookie = self._cookie(head, address, _cookie_time(now, head))
        return hs.CHALLENGE + head[hs.CID] + cookie + self._prekey(now).signed

    def _cookie(self, head: bytes, address: Address, time: bytes) -> bytes:
        bound = time + hs.address_bytes(address) + head
        return time + hmac_digest(self._secret, bound, "sha256")[: hs.COOKIE_BYTES - _TIME_BYTES]

    def _prekey(self, now: float) -> _Prekey:
        time = self._prekey_clock.time_to_sign(now)
        if not self._prekeys or not self._prekeys[0].may_be_handed_out(now, time):
            self._prekeys = [self._new_prekey(now), *self._prekeys[:1]]
        return self._prekeys[0]

    def _new_prekey(self, now: float) -> _Prekey:
        private = X25519PrivateKey.from_private_bytes(self._rng.randbytes(hs.KEY_BYTES))
        public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        time = self._prekey_clock.time_to_sign(now)
        expires = (int((time + hs.PREKEY_LIFETIME) // 60) + 1).to_bytes(hs.EXPIRY_BYTES, "big")
        signature = self._identity.sign(hs.prekey_to_sign(public, expires))
        return _Prekey(private, public, now, time - now, self._identity.proof + public + expires + signature)

    def tidy(self, now: float) -> None:
        """Forget the pre-keys that serve nobody any more. A node that gets no HELLO makes no new ones, and
        would keep for ever what opens the sessions of their time."""
        self._prekeys = [
            prekey for prekey in self._prekeys if prekey.is_younger_than(2 * PREKEY_ROTATION, now)
        ]

    # FINISH

    def may_open(self, finish: bytes, address: Address, priority: Priority, now: float) -> bool:
        """Return whether a FINISH is worth the work of opening it: our cookie is in it, and the limits allow
        it.

        Raises Malformed when it is too short or too long.
        """
        if not hs.FINISH_BYTES <= len(finish) <= MAX_DATAGRAM:
            raise Malformed("a FINISH of an impossible size")
        if self._named_prekey(finish, now) is None or not self._is_own_cookie(finish, address, now):
            self._metrics.stale_finish += 1
            return False
        if not self._finishes.take(address[0], priority, now):
            self._metrics.finish_over_limit += 1
            return False
        return True

    def _named_prekey(self, finish: bytes, now: float) -> _Prekey | None:
        name = finish[hs.FINISH_HEAD_BYTES - hs.PREKEY_NAME_BYTES : hs.FINISH_HEAD_BYTES]
        for prekey in self._prekeys:
            if prekey.public.startswith(name) and prekey.is_younger_than(2 * PREKEY_ROTATION, now):
                return prekey
        return None

    def _is_own_cookie(self, finish: bytes, address: Address, now: float) -> bool:
        cookie = finish[hs.COOKIE]
        time = cookie[:_TIME_BYTES]
        if (int(now) - (int.from_bytes(time, "big") >> 1)) % (1 << 31) > COOKIE_LIFETIME:
            return False
        return compare_digest(cookie, self._cookie(self._hello_head(finish), address, time))

    def _hello_head(self, finish: bytes) -> bytes:
        """Make the first 49 bytes of the HELLO again. Its hint was the one for this node, or zeros."""
        ephemeral = ephemeral_of(finish)
        had_no_hint = finish[hs.COOKIE][_TIME_BYTES - 1] & 1
        hint = hs.NO_HINT if had_no_hint else hs.hint_for(self._identity.node_id, ephemeral)
        return hs.hello_head(finish[hs.CID], ephemeral, hint)

    def cid_of_repeated(self, finish: bytes) -> bytes | None:
        """Return the connection id that this FINISH was given when it came first; None when it is new."""
        return self._accepted_cids.get(ephemeral_of(finish))

    def accept(self, finish: bytes, own_cid: bytes, now: float) -> AcceptedInitiator:
        """Open a FINISH that `may_open` allowed, and remember it under `own_cid`.

        Raises Malformed when it proves too little.
        """
        prekey = self._named_prekey(finish, now)
        assert prekey is not None, "accept() without may_open()"
        ephemeral = ephemeral_of(finish)
        challenge = hs.CHALLENGE + finish[1 : hs.CHALLENGE_HEAD_BYTES] + prekey.signed
        transcript = hs.transcript_of(self._hello_head(finish), challenge)
        keys = hs.KeySchedule.of(transcript, hs.shared_secret(prekey.private, ephemeral))
        proof, signature, request = hs.open_finish(finish, keys)
        node_id = self._verify_proof(proof)
        hs.verify_signature(proof, signature, hs.transcript_to_sign(transcript, proof))
        self._accepted_cids[ephemeral] = own_cid
        self._metrics.accepted += 1
        return AcceptedInitiator(node_id, proof, request, keys.session_keys(node_id, self._identity.node_id))


def ephemeral_of(finish: bytes) -> bytes:
    """Return the initiator's X25519 public key in a FINISH."""
    return finish[hs.CHALLENGE_HEAD_BYTES : hs.CHALLENGE_HEAD_BYTES + hs.KEY_BYTES]


def _cookie_time(now: float, head: bytes) -> bytes:
    """Return 31 bits of seconds, and a bit that is 1 where the HELLO had no hint.

    With that bit the head of the HELLO can be made again from the FINISH.
    """
    hinted = head[-hs.HINT_BYTES :] != hs.NO_HINT
    return ((int(now) << 1 | (not hinted)) & 0xFFFF_FFFF).to_bytes(_TIME_BYTES, "big")
