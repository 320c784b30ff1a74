"""What the bulk channel counts: transfers, and connections that ended early."""

from attrs import define

from dht14.metrics import Family, counter

TRANSFERS = Family(
    "dht14_bulk_transfers_total",
    "Values sent over the bulk channel, by side (client, server), direction and outcome.",
)
BYTES = Family("dht14_bulk_bytes_total", "Bytes of values sent over the bulk channel, by side and direction.")
CLOSED = Family(
    "dht14_bulk_connections_closed_total",
    "Bulk connections that this node closed or turned away, by side and reason.",
)


@define
class BulkClientMetrics:
    """What `BulkClient` counts."""

    opened: int = counter("dht14_bulk_connections_opened_total", "Bulk connections that this node opened.")
    pushed: int = TRANSFERS.value(
        "A value was sent and answered.", side="client", direction="sent", outcome="done"
    )
    fetched: int = TRANSFERS.value("A value came.", side="client", direction="received", outcome="done")
    failed_pushes: int = TRANSFERS.value(
        "A value was not sent, or not answered.", side="client", direction="sent", outcome="failed"
    )
    failed_fetches: int = TRANSFERS.value(
        "A value did not come.", side="client", direction="received", outcome="failed"
    )
    bytes_sent: int = BYTES.value(side="client", direction="sent")
    bytes_received: int = BYTES.value(side="client", direction="received")
    idle: int = CLOSED.value("It was not used any more.", side="client", reason="idle")
    slow: int = CLOSED.value("The peer was too slow.", side="client", reason="slow")
    refused: int = CLOSED.value(
        "The peer broke the protocol or is another node.", side="client", reason="refused"
    )


@define
class BulkServerMetrics:
    """What `BulkServer` counts."""

    taken: int = TRANSFERS.value("A value came.", side="server", direction="received", outcome="done")
    given: int = TRANSFERS.value("A value was sent.", side="server", direction="sent", outcome="done")
    bytes_received: int = BYTES.value(side="server", direction="received")
    bytes_sent: int = BYTES.value(side="server", direction="sent")
    idle: int = CLOSED.value("The peer did not use it.", side="server", reason="idle")
    slow: int = CLOSED.value("The peer was too slow.", side="server", reason="slow")
    refused: int = CLOSED.value("The peer broke the protocol.", side="server", reason="refused")
    too_many: int = CLOSED.value(
        "It was not accepted: there are too many, of all peers or of its subnet.",
        side="server",
        reason="too_many",
    )
    displaced: int = CLOSED.value(
        "It was closed for a party that has fewer connections.", side="server", reason="displaced"
    )
    of_one_key: int = CLOSED.value("One peer had too many.", side="server", reason="of_one_key")
