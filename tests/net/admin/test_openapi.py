import json
from importlib.resources import files
from typing import Any, get_type_hints

from openapi_spec_validator import validate

from dht14.net.admin import view
from dht14.net.admin.access import AccessRules
from dht14.net.admin.exposition import Exposition
from dht14.net.admin.pages import Pages
from dht14.net.admin.streams import EventStream
from dht14.net.admin.walks import WalkStream
from tests.net.admin.case import AdminCase

SHAPES = (
    *(
        "Readiness",
        "Status",
        "Storage",
        "Kept",
        "Peer",
        "Bucket",
        "Record",
        "Records",
        "KeptValue",
        "KeptPage",
        "UnkeptFile",
    ),
    *("Holder", "Step", "Trace"),
    *("NetworkNode", "WalkEnd"),
)


class OpenApiTests(AdminCase):
    """The description is what the surface does."""

    def setUp(self) -> None:
        super().setUp()
        self.document: dict[str, Any] = json.loads(
            files("dht14.net.admin").joinpath("openapi.json").read_text(encoding="utf-8")
        )

    def test_valid(self) -> None:
        """It is valid OpenAPI 3.1, and is served."""
        validate(self.document)
        self.assertEqual(self.ask("GET", "/openapi.json").content, self.document)

    def test_operations(self) -> None:
        """It describes every path and verb, with parameters and whether a token is needed, and no others."""
        pages = Pages(self.view, Exposition(list, ""), int, self.set_level, self.clock.seconds)
        served = {
            ("/" + path + "/{key}" * method.segments, verb.lower()): (method.parameters, method.needs_token)
            for path, methods in pages.routes().items()
            for verb, method in methods.items()
        }
        served["/v1/events", "get"] = served["/v1/watch/{key}", "get"] = (EventStream.parameters, True)
        served["/v1/nodes", "get"] = (WalkStream.parameters, True)
        served["/v1/files", "put"] = (frozenset({"ttl", "replication"}), True)
        served["/v1/files/{key}", "get"] = (frozenset(), True)
        described = {
            (path, verb): (
                frozenset(one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"),
                "security" in operation,
            )
            for path, verbs in self.document["paths"].items()
            for verb, operation in verbs.items()
        }
        self.assertEqual(described, served)

    def test_shapes(self) -> None:
        """Its schemas have the fields of the JSON objects."""
        schemas = self.document["components"]["schemas"]
        for name in SHAPES:
            fields = get_type_hints(getattr(view, f"{name}Json"))
            self.assertEqual((name, set(schemas[name]["properties"])), (name, set(fields)))
            self.assertEqual((name, set(schemas[name]["required"])), (name, set(fields)))

    def test_token_is_described(self) -> None:
        """What it calls guarded is refused without the token."""
        self.assertFalse(AccessRules("t").accepts_token(None))
        for path, verbs in self.document["paths"].items():
            for verb, operation in verbs.items():
                status = self.ask(verb.upper(), path.replace("{key}", "k"), b"v", token=None).status
                self.assertEqual((path, verb, status == 401), (path, verb, "security" in operation))
