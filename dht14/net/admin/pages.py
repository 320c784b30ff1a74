"""The pages of the admin surface: what each path and verb answers."""

from collections.abc import Callable
from importlib.resources import files

from dht14.kademlia.parameters import MAX_VALUE
from dht14.net.admin.asked import ParseKey, asked_key, asked_storage, page_of_list
from dht14.net.admin.endpoint import AdminCall, Answer, HttpError, Method, Respond
from dht14.net.admin.exposition import Exposition
from dht14.net.admin.kept_pages import KeptPages
from dht14.net.admin.refusals import MISSING, REFUSED
from dht14.net.admin.view import NodeView
from dht14.records.receipt import NoRecord, PutOutcome, Receipt
from dht14.records.record import Record

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The dashboard loads nothing from elsewhere, runs no inline script, and no other page can frame it."""

SetLogLevel = Callable[[str], None]
"""Changes the log level of the process. Raises `ValueError` with the known levels."""


class Pages:
    """The answers, for one node."""

    def __init__(
        self,
        view: NodeView,
        exposition: Exposition,
        parse_key: ParseKey,
        set_log_level: SetLogLevel,
        now: Callable[[], float],
    ) -> None:
        self._view = view
        self._exposition = exposition
        self._parse_key = parse_key
        self._set_log_level = set_log_level
        self._now = now

    def routes(self) -> dict[str, dict[str, Method]]:
        """List the endpoints: path -> verb -> method. A key is the last segment of a path."""
        return {
            "": {"GET": Method(self.page("index.html", "text/html; charset=utf-8"))},
            "page.css": {"GET": Method(self.page("page.css", "text/css; charset=utf-8"))},
            "page.js": {"GET": Method(self.page("page.js", "text/javascript; charset=utf-8"))},
            "healthz": {"GET": Method(self.health)},
            "readyz": {"GET": Method(self.ready)},
            "metrics": {"GET": Method(self.metrics)},
            "openapi.json": {"GET": Method(self.openapi)},
            "v1/status": {"GET": Method(self.status)},
            "v1/peers": {"GET": Method(self.peers)},
            "v1/table": {"GET": Method(self.table)},
            "v1/records": {"GET": Method(self.records, frozenset({"after", "limit"}), needs_token=True)},
            "v1/values": {
                "GET": Method.of_key(self.get_value, frozenset({"content"})),
                "PUT": Method.of_key(self.put_value, frozenset({"ttl", "replication"})),
                "DELETE": Method.of_key(self.delete_value),
            },
            "v1/kept": KeptPages(self._view.keeping, self._parse_key).methods(),
            "v1/locate": {"GET": Method.of_key(self.locate)},
            "v1/trace": {"GET": Method.of_key(self.trace)},
            "v1/loglevel": {"POST": Method(self.log_level, frozenset({"level"}), needs_token=True)},
        }

    # The dashboard

    def page(self, name: str, content_type: str) -> Respond:
        """Make the method that answers with a file of the dashboard."""
        body = files("dht14.net.admin").joinpath("page", name).read_bytes()

        async def respond(call: AdminCall) -> Answer:
            return Answer(body, content_type, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})

        return respond

    # Probes

    async def health(self, call: AdminCall) -> Answer:
        """The process works: it answers."""
        return Answer(b"ok\n", "text/plain; charset=utf-8")

    async def ready(self, call: AdminCall) -> Answer:
        """The node can answer requests; if not, why."""
        readiness = self._view.readiness()
        return Answer.of_json(readiness, 200 if readiness["ready"] else 503)

    async def openapi(self, call: AdminCall) -> Answer:
        """The description of this surface, as OpenAPI 3.1."""
        return Answer(files("dht14.net.admin").joinpath("openapi.json").read_bytes())

    async def metrics(self, call: AdminCall) -> Answer:
        """All metrics, in a format of Prometheus."""
        return Answer(self._exposition.page(), Exposition.CONTENT_TYPE)

    # The node

    async def status(self, call: AdminCall) -> Answer:
        """The node at a glance."""
        return Answer.of_json(self._view.status())

    async def peers(self, call: AdminCall) -> Answer:
        """All contacts, nearest first."""
        return Answer.of_json({"peers": self._view.peers()})

    async def table(self, call: AdminCall) -> Answer:
        """The k-buckets."""
        return Answer.of_json({"buckets": self._view.table()})

    async def records(self, call: AdminCall) -> Answer:
        """A page of the records held here, without their values."""
        return page_of_list(call, self._view.records)

    async def log_level(self, call: AdminCall) -> Answer:
        """Change the log level of the running process."""
        level = call.parameters.get("level") or call.body.decode("utf-8", "replace").strip()
        try:
            self._set_log_level(level)
        except ValueError as error:
            raise HttpError(400, str(error)) from None
        return Answer.of_json({"level": level})

    # Values

    async def get_value(self, call: AdminCall) -> Answer:
        """The value under a key, as bytes; what is known of its record is in the headers."""
        key = self._key(call)
        flag = call.parameters.get("content", "0")
        if flag not in ("0", "1"):
            raise HttpError(400, "content must be 0 or 1")
        found = await self._view.get(key, flag == "1")
        if isinstance(found, NoRecord):
            raise HttpError(*MISSING[found])
        return Answer(found.value, "application/octet-stream", headers=self._headers_of(found))

    def _headers_of(self, record: Record) -> dict[str, str]:
        return {
            "X-DHT14-Key": f"{record.key:064x}",
            "X-DHT14-Kind": record.kind.name.lower(),
            "X-DHT14-Version": str(record.version),
            "X-DHT14-Expires-In": str(max(int(record.expires_at - self._now()), 0)),
        }

    async def put_value(self, call: AdminCall) -> Answer:
        """Store the body under a key; an owner's record is put as its signed envelope."""
        if not 1 <= len(call.body) <= MAX_VALUE:
            raise HttpError(413 if call.body else 400, f"a value has 1 to {MAX_VALUE:,} bytes")
        return await self._put(call)

    async def delete_value(self, call: AdminCall) -> Answer:
        """Delete an owner's record: the body is a signed envelope that says so."""
        key = self._key(call)
        tombstone = Record(key=key, value=call.body, version=0, expires_at=0.0, replication=0)
        if not tombstone.is_tombstone:
            raise HttpError(
                400,
                "a deletion is an envelope that the owner signed, and the body is none",
                "Use dht14 delete --sign. Open and content records cannot be deleted; they expire.",
            )
        return await self._put(call)

    async def _put(self, call: AdminCall) -> Answer:
        key = self._key(call)
        ttl, replication = asked_storage(call.parameters)
        receipt = await self._view.put(key, call.body, ttl, replication)
        if receipt.outcome is PutOutcome.NOT_STORED:
            raise HttpError(*REFUSED[receipt.reason])
        return Answer.of_json(_receipt_json(key, receipt), headers={"X-DHT14-Version": str(receipt.version)})

    async def locate(self, call: AdminCall) -> Answer:
        """What each of the nodes nearest to a key holds under it."""
        key = self._key(call)
        return Answer.of_json({"key": f"{key:064x}", "holders": await self._view.locate(key)})

    async def trace(self, call: AdminCall) -> Answer:
        """A get, call by call."""
        return Answer.of_json(await self._view.trace(self._key(call)))

    def _key(self, call: AdminCall) -> int:
        return asked_key(self._parse_key, call.segments[0])


def _receipt_json(key: int, receipt: Receipt) -> dict[str, object]:
    return {
        "key": f"{key:064x}",
        "outcome": receipt.outcome.name.lower(),
        "stored": receipt.stored,
        "wanted": receipt.wanted,
        "version": receipt.version,
    }
