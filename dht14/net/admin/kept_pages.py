"""The pages of the admin surface for kept values: `/v1/kept`."""

import json

from attrs import frozen

from dht14.kademlia.parameters import MAX_VALUE
from dht14.net.admin.asked import ParseKey, asked_key, asked_storage, page_of_list
from dht14.net.admin.endpoint import AdminCall, Answer, HttpError, Method, whole_number
from dht14.net.admin.refusals import MISSING
from dht14.net.admin.view import KeepingView
from dht14.node.concurrency import run_limited
from dht14.records.kept import KeepRefusal, KeptBy
from dht14.records.receipt import NoRecord
from dht14.wire.messages import MAX_VERSION

MAX_KEYS = 256
"""Keys in one POST."""

KEYS_AT_ONCE = 16
"""Of these, the ones that are looked for at once."""

_REFUSED = {
    KeepRefusal.NOT_READY: (503, "See /readyz, and the log."),
    KeepRefusal.NO_VALUES: (409, "Ask a node."),
    KeepRefusal.LIST_FULL: (507, "Raise it, or take values off the list: dht14 kept, dht14 unkeep."),
    KeepRefusal.DELETED: (410, ""),
    KeepRefusal.NOT_AUTHENTIC: (422, ""),
    KeepRefusal.NO_FILE: (422, "Keep it by its key."),
    KeepRefusal.NO_VERSION: (400, "Send the version of the receipt, or no value."),
}

_BY = {name: one for one in KeptBy for name in one.names}


@frozen
class KeptPages:
    """The answers, for one node."""

    _keeping: KeepingView
    _parse_key: ParseKey

    def methods(self) -> dict[str, Method]:
        """List the verbs of `/v1/kept`."""
        options = frozenset({"ttl", "replication", "by"})
        return {
            "GET": Method(self.page, frozenset({"after", "limit"}), needs_token=True),
            "POST": Method(self.keep_many, options, needs_token=True, is_costly=True),
            "PUT": Method.of_key(self.keep, options | {"version"}),
            "DELETE": Method(self.unkeep, frozenset({"by"}), needs_token=True, segments=1),
        }

    async def page(self, call: AdminCall) -> Answer:
        """A page of the list."""
        return page_of_list(call, self._keeping.page)

    async def keep(self, call: AdminCall) -> Answer:
        """Keep the value in the body, which was just put; without a body, what is found under the key."""
        key = self._key(call.segments[0])
        if len(call.body) > MAX_VALUE:
            raise HttpError(413, f"a value has 1 to {MAX_VALUE:,} bytes")
        version = None
        if "version" in call.parameters:
            version = whole_number(call.parameters, "version", 0, 0, MAX_VERSION)
        ttl, replication = asked_storage(call.parameters)
        kept = await self._keeping.keep(key, call.body, version, ttl, replication, _asked_by(call))
        if isinstance(kept, KeepRefusal | NoRecord):
            raise _refused(kept)
        return Answer.of_json(kept)

    async def keep_many(self, call: AdminCall) -> Answer:
        """Keep what is found under each key of a list, and say which keys are not kept."""
        keys = self._keys(call.body)
        ttl, replication = asked_storage(call.parameters)
        by = _asked_by(call)
        refused: list[dict[str, str]] = []

        async def keep_one(key: int) -> None:
            kept = await self._keeping.keep(key, b"", None, ttl, replication, by)
            if isinstance(kept, KeepRefusal | NoRecord):
                refused.append({"key": f"{key:064x}", "error": _refused(kept).error})

        await run_limited(map(keep_one, keys), KEYS_AT_ONCE)
        return Answer.of_json({"kept": len(keys) - len(refused), "refused": refused})

    async def unkeep(self, call: AdminCall) -> Answer:
        """Let go of what keeps a value, or of a file; what nothing keeps any more is renewed no more."""
        key, by = self._key(call.segments[0]), _asked_by(call)
        if by is KeptBy.FILE:
            unkept = await self._keeping.unkeep_file(key)
            if isinstance(unkept, KeepRefusal):
                raise _refused(unkept)
            if unkept is None:
                raise HttpError(404, "no file is kept under this address", "GET /v1/kept lists what is.")
            return Answer.of_json(unkept)
        left = await self._keeping.unkeep(key, by)
        if isinstance(left, KeepRefusal):
            raise _refused(left)
        if left is None:
            raise HttpError(404, "this key is not kept", "GET /v1/kept lists what is.")
        return Answer.of_json({"key": f"{key:064x}", "by": left.names})

    def _key(self, text: str) -> int:
        return asked_key(self._parse_key, text)

    def _keys(self, body: bytes) -> list[int]:
        try:
            texts = json.loads(body)["keys"]
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise HttpError(400, 'the body must be {"keys": ["…", …]}') from None
        if len(texts) > MAX_KEYS:
            raise HttpError(413, f"at most {MAX_KEYS} keys at once")
        return list(dict.fromkeys(map(self._key, texts)))


def _asked_by(call: AdminCall) -> KeptBy:
    try:
        return _BY[call.parameters.get("by", "key")]
    except KeyError:
        raise HttpError(400, "by must be key, file or part") from None


def _refused(refusal: KeepRefusal | NoRecord) -> HttpError:
    if isinstance(refusal, NoRecord):
        return HttpError(*MISSING[refusal])
    status, hint = _REFUSED[refusal]
    return HttpError(status, refusal.value, hint)
