"""The responder's side of a handshake, before there is a session: cookies, pre-keys and limits. DESIGN 4.2.

A HELLO leaves nothing behind here. What a FINISH costs grows with what it has proven: first that its sender
receives at the address it names (cookie), then that it may come now (limits), then that it has agreed on a
key, and only then are its proof of work and its signature looked at. Nobody is ever banned: an address that
proved nothing may be somebody else's.
"""

import random
from collections import OrderedDict
from hmac import compare_digest
from hmac import digest as hmac_digest

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dht14.errors import Malformed
from dht14.kademlia.contact import Address
from dht14.security.agreed_time import AgreedTime
from dht14.security.identity import Identity
from dht14.security.shares import Priority, SharedRate
from dht14.security.subnets import Party, Scope, parties_of
from dht14.session import handshake as hs
from dht14.session.metrics import SessionMetrics

COOKIE_LIFE = 120
"""Seconds within which a CHALLENGE must be answered."""
PREKEY_ROTATION = hs.PREKEY_LIFE / 2
"""Seconds after which a pre-key is replaced; it opens what was begun with it for as long again."""

DATED_WRONG = 3_600.0
"""Seconds by which a pre-key's date must be off for another one to be made: the clock was set, or the first peers have
told that it is wrong. Nobody else takes it before it is right."""

CHALLENGES_A_SECOND = 10_000
"""A CHALLENGE costs 5 µs to make and 5 more to send: all of them take a tenth of a core."""
CHALLENGES_OF = {Scope.SUBNET: 300.0, Scope.PROVIDER: 1_200.0}
"""A second. A subnet is an IPv4 /24 or IPv6 /48, a provider an IPv6 /32."""
FINISHES_A_SECOND = 500
FINISHES_A_SUBNET = 20
FINISHES_OF = {
    Scope.SUBNET: FINISHES_A_SUBNET,
    Scope.PROVIDER: 4 * FINISHES_A_SUBNET,
    Scope.PRIVATE_HOST: FINISHES_A_SECOND / 4,
}
SEEN = FINISHES_A_SECOND * (COOKIE_LIFE + 5)
"""FINISHes remembered: as many as can come while their cookies live, which is a second longer by rounding, and
the burst besides. One that is forgotten too early could be replayed, and its keys would seal a second time."""

_TIME_BYTES = 4


@frozen
class Limits:
    """What others may cause. Rates a second, by node id once it is proven, by host before."""

    peer_rate: float = 1_000.0
    peer_burst: float = 2_000.0
    diversity_private: bool = False
    """Whether loopback and private ranges are limited by host and subnet like any other."""

    def parties_of(self, host: str) -> tuple[Party, ...]:
        """Who shares the limits of this address."""
        return parties_of(host, self.diversity_private)


@frozen(repr=False)
class _Prekey:
    private: X25519PrivateKey
    public: bytes
    made_at: float
    ahead: float
    """By how much the time that it is dated by is ahead of the node's own clock."""
    signed: bytes
    """The end of every CHALLENGE: proof 48 | pre-key 32 | exp u32 | signature 64."""

    def is_good(self, now: float, time: float) -> bool:
        """Whether it may be handed out: it is fresh, and dated as it would be now."""
        return self.serves(now, PREKEY_ROTATION) and abs(time - now - self.ahead) < DATED_WRONG

    def serves(self, now: float, seconds: float) -> bool:
        return now - self.made_at < seconds


@frozen(repr=False)
class Admitted:
    """The initiator of a FINISH that proved all it had to."""

    node_id: int
    proof: bytes
    request: bytes
    keys: tuple[bytes, bytes]
    """From the initiator to here, and back."""


class Acceptor:
    """Who may come in. Owns the cookie secret and the pre-keys, which are gone with the process."""

    def __init__(
        self,
        identity: Identity,
        check: hs.Check,
        rng: random.Random,
        limits: Limits,
        now: float,
        time: AgreedTime,
        metrics: SessionMetrics,
    ) -> None:
        self._identity = identity
        self._check = check
        self._rng = rng
        self._time = time
        self._metrics = metrics
        self._secret = rng.randbytes(hs.KEY_BYTES)
        self._prekeys: list[_Prekey] = []
        """The one that is handed out, and the one before it."""
        at_home = {Scope.PRIVATE_HOST: limits.peer_rate}
        self._challenges = SharedRate(CHALLENGES_A_SECOND, CHALLENGES_OF | at_home, limits.parties_of, now)
        self._finishes = SharedRate(FINISHES_A_SECOND, FINISHES_OF, limits.parties_of, now)
        self._seen: OrderedDict[bytes, bytes] = OrderedDict()
        """The connection ids given to the latest initiators, by their ephemeral keys."""

    # HELLO

    def challenge(self, hello: bytes, address: Address, standing: Priority, now: float) -> bytes | None:
        """The CHALLENGE to a HELLO; None where none is due. Malformed when it is of another size.

        One that seeks another node is answered too: so its sender learns at once who lives here, and
        cannot be made to call this address again and again under ever new ids.
        """
        if len(hello) != hs.HELLO_BYTES:
            raise Malformed("a HELLO of another size")
        if not self._challenges.take(address[0], standing, now):
            self._metrics.hello_over_limit += 1
            return None
        self._metrics.challenges += 1
        head = hello[: hs.HELLO_HEAD_BYTES]
        cookie = self._cookie(head, address, _cookie_time(now, head))
        return hs.CHALLENGE + head[1:9] + cookie + self._prekey(now).signed

    def _cookie(self, head: bytes, address: Address, time: bytes) -> bytes:
        bound = time + hs.address_bytes(address) + head
        return time + hmac_digest(self._secret, bound, "sha256")[: hs.COOKIE_BYTES - _TIME_BYTES]

    def _prekey(self, now: float) -> _Prekey:
        if not self._prekeys or not self._prekeys[0].is_good(now, self._time.to_sign(now)):
            self._prekeys = [self._new_prekey(now), *self._prekeys[:1]]
        return self._prekeys[0]

    def _new_prekey(self, now: float) -> _Prekey:
        private = X25519PrivateKey.from_private_bytes(self._rng.randbytes(hs.KEY_BYTES))
        public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        dated = self._time.to_sign(now)
        expires = (int((dated + hs.PREKEY_LIFE) // 60) + 1).to_bytes(4, "big")
        signature = self._identity.sign(hs.signed_prekey(public, expires))
        return _Prekey(private, public, now, dated - now, self._identity.proof + public + expires + signature)

    # FINISH

    def welcomes(self, finish: bytes, address: Address, standing: Priority, now: float) -> bool:
        """Whether a FINISH is worth the work of opening it: its cookie is ours, and its turn has come.

        Malformed when it is too short.
        """
        if len(finish) < hs.FINISH_BYTES:
            raise Malformed("a FINISH that is too short")
        if self._named_prekey(finish, now) is None or not self._cookie_is_ours(finish, address, now):
            self._metrics.stale_finish += 1
            return False
        if not self._finishes.take(address[0], standing, now):
            self._metrics.finish_over_limit += 1
            return False
        return True

    def _named_prekey(self, finish: bytes, now: float) -> _Prekey | None:
        name = finish[hs.FINISH_HEAD_BYTES - hs.PREKEY_NAME_BYTES : hs.FINISH_HEAD_BYTES]
        for prekey in self._prekeys:
            if prekey.public.startswith(name) and prekey.serves(now, 2 * PREKEY_ROTATION):
                return prekey
        return None

    def _cookie_is_ours(self, finish: bytes, address: Address, now: float) -> bool:
        cookie = finish[9 : hs.CHALLENGE_HEAD_BYTES]
        time = cookie[:_TIME_BYTES]
        if (int(now) - (int.from_bytes(time, "big") >> 1)) % (1 << 31) > COOKIE_LIFE:
            return False
        return compare_digest(cookie, self._cookie(self._hello_head(finish), address, time))

    def _hello_head(self, finish: bytes) -> bytes:
        """The head of the HELLO that this FINISH belongs to. Its hint was ours, or there was none."""
        ephemeral = ephemeral_of(finish)
        hint = hs.NO_HINT if finish[12] & 1 else hs.hint_for(self._identity.node_id, ephemeral)
        return hs.hello_head(finish[1:9], ephemeral, hint)

    def seen(self, finish: bytes) -> bytes | None:
        """The connection id that was given when this FINISH came first."""
        return self._seen.get(ephemeral_of(finish))

    def admit(self, finish: bytes, own_cid: bytes, now: float) -> Admitted:
        """Open a FINISH that is welcome, and remember it under `own_cid`. Malformed when it proves too little."""
        prekey = self._named_prekey(finish, now)
        assert prekey is not None, "only what is welcome is admitted"
        ephemeral = ephemeral_of(finish)
        challenge = hs.CHALLENGE + finish[1 : hs.CHALLENGE_HEAD_BYTES] + prekey.signed
        transcript = hs.transcript_of(self._hello_head(finish), challenge)
        keys = hs.KeySchedule.of(transcript, hs.agree(prekey.private, ephemeral))
        proof, signature, request = hs.open_finish(finish, keys)
        node_id = self._check(proof)
        hs.verify(proof, signature, hs.signed_transcript(transcript, proof))
        self._seen[ephemeral] = own_cid
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        self._metrics.accepted += 1
        return Admitted(node_id, proof, request, keys.directions(node_id, self._identity.node_id))


def ephemeral_of(finish: bytes) -> bytes:
    """The initiator's X25519 key in a FINISH."""
    return finish[hs.CHALLENGE_HEAD_BYTES : hs.CHALLENGE_HEAD_BYTES + hs.KEY_BYTES]


def _cookie_time(now: float, head: bytes) -> bytes:
    """31 bits of seconds, and a bit that tells whether the HELLO came without a hint: so its head can be
    made again from the FINISH."""
    hinted = head[-hs.HINT_BYTES :] != hs.NO_HINT
    return ((int(now) << 1 | (not hinted)) & 0xFFFF_FFFF).to_bytes(_TIME_BYTES, "big")
