from twisted.trial.unittest import SynchronousTestCase

from dht14.net.admin.access import AccessRules
from tests.net.admin.case import TOKEN, AdminCase

GUARDED = (
    ("GET", "/v1/records"),
    ("GET", "/v1/values/k"),
    ("PUT", "/v1/values/k"),
    ("DELETE", "/v1/values/k"),
    ("GET", "/v1/files/k"),
    ("PUT", "/v1/files"),
    ("GET", "/v1/locate/k"),
    ("GET", "/v1/trace/k"),
    ("GET", "/v1/events"),
    ("GET", "/v1/watch/k"),
    ("GET", "/v1/nodes"),
    ("POST", "/v1/loglevel?level=debug"),
)
OPEN = (
    "/",
    "/page.js",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/v1/status",
    "/v1/peers",
    "/v1/table",
)


class AccessRulesTests(SynchronousTestCase):
    rules = AccessRules(TOKEN, ("node.example",))

    def test_hosts(self) -> None:
        """IP addresses, localhost and configured names are accepted, with or without a port; no others."""
        for host in ("127.0.0.1", "127.0.0.1:7480", "[::1]:7480", "LOCALHOST:1", "node.example", "10.1.2.3"):
            self.assertTrue(self.rules.accepts_host(host), host)
        for name in (
            None,
            "",
            "evil.example",
            "node.example.evil",
            "127.0.0.1.evil.example",
            "[",
            "localhost.",
        ):
            self.assertFalse(self.rules.accepts_host(name), name)

    def test_origins(self) -> None:
        """A request without Origin is accepted, or with that of this very server."""
        host = "127.0.0.1:7480"
        for origin in (None, "http://127.0.0.1:7480"):
            self.assertTrue(self.rules.accepts_origin(origin, host), origin)
        for origin in ("http://evil.example", "null", "https://127.0.0.1:7480", "http://127.0.0.1", ""):
            self.assertFalse(self.rules.accepts_origin(origin, host), origin)

    def test_tokens(self) -> None:
        """Only the whole token is accepted, as a bearer token."""
        for header in (f"Bearer {TOKEN}", f"bearer  {TOKEN} "):
            self.assertTrue(self.rules.accepts_token(header), header)
        for wrong in (None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer é"):
            self.assertFalse(self.rules.accepts_token(wrong), wrong)

    def test_unix_socket(self) -> None:
        """Over a Unix socket only the Origin is looked at: the file mode has decided."""
        rules = AccessRules(None)
        self.assertTrue(rules.accepts_host(None) and rules.accepts_token(None))


class GuardTests(AdminCase):
    def test_token(self) -> None:
        """What changes anything, reads a value or names a key is refused without the right token."""
        for verb, path in GUARDED:
            for token in (None, "wrong"):
                response = self.ask(verb, path, b"v", token)
                self.assertEqual((verb, path, response.status), (verb, path, 401))
                self.assertEqual(response.headers["www-authenticate"], "Bearer")
        self.assertEqual((self.view.puts, self.view.gets, self.view.levels), ([], [], []))

    def test_open(self) -> None:
        """The rest needs no token."""
        for path in OPEN:
            self.assertEqual((path, self.ask("GET", path, token=None).status), (path, 200))

    def test_foreign_pages(self) -> None:
        """A page of another origin, or a foreign name of this host, is refused at every path and verb."""
        every = [*GUARDED, *(("GET", path) for path in OPEN), ("GET", "/nothing"), ("OPTIONS", "/v1/status")]
        for verb, path in every:
            for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example:7480"}):
                response = self.ask(verb, path, b"v", **headers)
                self.assertEqual((verb, path, response.status), (verb, path, 403))
                self.assertNotIn("access-control-allow-origin", response.headers)
        self.assertEqual((self.view.puts, self.view.gets, self.view.levels), ([], [], []))

    def test_no_cross_origin(self) -> None:
        """There is no preflight, and nothing is allowed to other origins."""
        self.assertEqual(self.ask("OPTIONS", "/v1/values/k").status, 405)


class SocketTests(AdminCase):
    token = None

    def test_no_token(self) -> None:
        """Over a Unix socket nothing asks for a token, and any Host will do."""
        self.assertEqual(self.ask("GET", "/v1/records", token=None, Host="dht14").status, 200)
        self.assertEqual(self.ask("PUT", "/v1/values/k", b"v", token=None).status, 200)
